//! The file of a client, as the Cloud console hands it out: `{"installed": {…}}`.

use std::path::Path;

use serde_json::Map;
use serde_json::Value;
use url::Url;

use super::super::Context;
use super::Addresses;
use super::ISSUER;
use super::TOKEN_ENDPOINT;
use super::is_googles;
use super::kind::Kind;
use super::members;
use super::post_client;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::http::is_confidential;
use crate::host::http::is_loopback;
use crate::login::Login;
use crate::oauth::client::Client;
use crate::secret::ClientSecret;
use crate::store::places::unusable;

/// A client of a person's own.
pub(in super::super) struct ClientFile {
    pub(in super::super) client: Client,
    pub(in super::super) addresses: Addresses,
    pub(in super::super) project: Option<String>,
}

impl ClientFile {
    /// Reads the file at `path`.
    pub(in super::super) fn load(cx: &Context<'_>, login: &Login, path: &Path) -> Result<Self> {
        let path = cx.absolute(path)?;
        let shown = path.display();
        let bytes =
            cx.read(&path).map_err(|error| unusable("cannot read", &path, error))?.ok_or_else(|| {
                Error::configuration(format!("there is no client file `{shown}`")).hint(DOWNLOAD)
            })?;
        let is_played = cx.sandbox()?.is_some();
        let file = Self::parse(&bytes).and_then(|file| file.of_one_server(is_played));
        file.map_err(|what| {
            Error::configuration(format!("`{shown}` is no client file that can be used"))
                .caused_by(what)
                .hint(match Kind::of(&members(&bytes)) {
                    Some(kind @ (Kind::Key | Kind::Person)) => kind.hint(login, &path).unwrap_or_default(),
                    _ => DOWNLOAD.to_owned(),
                })
        })
    }

    /// Refuses a file by which a person would consent on Google's own page and the code go elsewhere, or
    /// the other way round. Where a sandbox plays Google, it may be named beside it.
    fn of_one_server(self, is_played: bool) -> Result<Self, String> {
        let Addresses { authorization, token } = &self.addresses;
        let has_googles_page =
            Some(authorization.origin()) == Url::parse(ISSUER).ok().map(|url| url.origin());
        let is_of_sandbox = is_played && [authorization, token].into_iter().any(is_loopback);
        if has_googles_page == is_googles(token) || is_of_sandbox {
            return Ok(self);
        }
        Err(format!(
            "only one of its addresses is Google's: people would sign in at `{authorization}`, and the code \
             go to `{token}`"
        ))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        // serde's own words may quote a value, and with it the secret.
        let file: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            format!("it is no JSON object (line {}, column {})", error.line(), error.column())
        })?;
        let installed = file.get("installed").and_then(Value::as_object).ok_or_else(|| {
            let other = Kind::of(&file).filter(|kind| *kind != Kind::Client);
            other.map_or("it has no `installed`", Kind::text).to_owned()
        })?;
        let text = |name: &str| match installed.get(name).and_then(Value::as_str) {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(format!("`{name}` is missing")),
        };
        let address = |name: &str| {
            let text = text(name)?;
            let url = Url::parse(text).ok().filter(is_confidential);
            url.ok_or_else(|| format!("`{name}` is no https address: `{}`", printable(text, 100)))
        };
        Ok(Self {
            client: post_client(text("client_id")?, ClientSecret::new(text("client_secret")?)),
            addresses: Addresses {
                authorization: address("auth_uri")?,
                token: current(address("token_uri")?),
            },
            project: installed.get("project_id").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// Returns the address that Google's token endpoint has now, where a file has one that it had before.
fn current(token: Url) -> Url {
    match Url::parse(TOKEN_ENDPOINT) {
        Ok(current) if is_googles(&token) => current,
        _ => token,
    }
}

const DOWNLOAD: &str = "download the file of a client of type `Desktop app`: \
                        https://console.cloud.google.com/auth/clients";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::ClientAuthentication;

    const FILE: &str = r#"{"installed":{"client_id":"42-x.apps.googleusercontent.com","project_id":"p-1",
        "auth_uri":"https://idp.test/auth","token_uri":"https://idp.test/token","client_secret":"hidden",
        "redirect_uris":["http://localhost"]}}"#;

    fn fault(text: &str) -> String {
        ClientFile::parse(text.as_bytes()).err().unwrap()
    }

    #[test]
    fn a_desktop_client_is_read_with_its_own_addresses() {
        let file = ClientFile::parse(FILE.as_bytes()).unwrap();
        assert_eq!(file.client.id, "42-x.apps.googleusercontent.com");
        assert_eq!(file.client.authentication, ClientAuthentication::SecretPost(ClientSecret::new("hidden")));
        assert_eq!(file.addresses.authorization.as_str(), "https://idp.test/auth");
        assert_eq!(file.addresses.token.as_str(), "https://idp.test/token");
        assert_eq!(file.project.as_deref(), Some("p-1"));
    }

    #[test]
    fn a_file_in_which_one_address_alone_is_googles_is_refused() {
        let judged = |page: &str, token: &str, is_played: bool| {
            let file = FILE.replace("https://idp.test/auth", page).replace("https://idp.test/token", token);
            ClientFile::parse(file.as_bytes()).unwrap().of_one_server(is_played).map(|file| file.addresses)
        };
        let page = "https://accounts.google.com/o/oauth2/v2/auth";
        let other = "https://script.google.com/token";
        for (page, token) in [(page, other), ("https://idp.test/auth", TOKEN_ENDPOINT)] {
            let told = judged(page, token, true).unwrap_err();
            assert!(told.contains(&format!("`{page}`")) && told.contains(&format!("`{token}`")), "{told}");
        }
        let local = "http://127.0.0.1:8989/token";
        assert!(judged(page, local, false).is_err(), "anybody on this machine may listen there");
        assert!(judged(page, local, true).is_ok());
        assert!(judged("https://idp.test/auth", "https://idp.test/token", false).is_ok());
        // What the endpoint was called before is what it is called now.
        for former in crate::system::google::OTHER_TOKEN_ENDPOINTS {
            assert_eq!(judged(page, former, false).unwrap().token.as_str(), TOKEN_ENDPOINT);
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named_and_its_secret_is_not() {
        for (text, expected) in [
            ("", "it is no JSON object (line 1, column 0)"),
            ("{\"installed\":{\"client_secret\":\"hidden", "it is no JSON object (line 1, column 37)"),
            ("{}", "it has no `installed`"),
            (r#"{"installed": []}"#, "it has no `installed`"),
            (&FILE.replace("client_secret", "other"), "`client_secret` is missing"),
            (&FILE.replace("\"hidden\"", "7"), "`client_secret` is missing"),
            (&FILE.replace("auth_uri", "other"), "`auth_uri` is missing"),
            (
                &FILE.replace("https://idp.test/token", "http://idp.test/token"),
                "`token_uri` is no https address: `http://idp.test/token`",
            ),
        ] {
            assert_eq!(fault(text), expected);
        }
        assert!(fault(&FILE.replace("installed", "web")).contains("`Web application`"));
        assert!(fault(r#"{"type": "service_account"}"#).contains("the key of a service account"));
        assert!(fault(r#"{"type": "authorized_user"}"#).contains("a login of a person"));
    }
}
