//! What a JSON file of Google's is: people take one for another.

use std::path::Path;

use serde_json::Map;
use serde_json::Value;

use super::authorized_user;
use super::key;
use crate::error::word;
use crate::login::Login;

/// What a file is, if it is one of those that Google hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A client that signs a person in.
    Client,
    /// A client of a server, whose browsers come back elsewhere.
    WebClient,
    /// A person's login, as `gcloud` keeps it.
    Person,
    /// A service account's key.
    Key,
}

impl Kind {
    pub(super) fn of(file: &Map<String, Value>) -> Option<Self> {
        match file.get("type").and_then(Value::as_str) {
            Some(authorized_user::TYPE) => Some(Self::Person),
            Some(key::TYPE) => Some(Self::Key),
            _ if file.contains_key("installed") => Some(Self::Client),
            _ if file.contains_key("web") => Some(Self::WebClient),
            _ => None,
        }
    }

    /// Says what the file is.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Client => "it is the file of a client, which signs a person in",
            Self::WebClient => {
                "it is of a client of type `Web application`, whose browsers do not come back to this machine"
            }
            Self::Person => "it is a login of a person, as `gcloud` keeps it",
            Self::Key => "it is the key of a service account",
        }
    }

    /// Says what the file is good for.
    pub(super) fn hint(self, login: &Login, path: &Path) -> Option<String> {
        let path = word(path.display());
        match self {
            Self::Client => {
                Some(format!("sign in with it: `earthkey login {login} --client-id-file {path}`"))
            }
            Self::WebClient => None,
            Self::Person => Some(format!("use it as it is: `export GOOGLE_APPLICATION_CREDENTIALS={path}`")),
            Self::Key => Some(format!("sign in with it: `earthkey login {login} --key {path}`")),
        }
    }
}
