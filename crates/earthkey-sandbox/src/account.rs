//! The people who can sign in.

use serde_json::{Map, Value, json};

use crate::scope::Scope;
use crate::secret::Digest;

/// The password of every account.
const PASSWORD: &str = "sandbox";

/// An account of the sandbox.
///
/// Names are plain ASCII without `?` and `~`: some clients decode the payload of a token with the
/// standard base64 alphabet, and such characters are what makes the two alphabets differ.
pub(crate) struct Account {
    pub(crate) username: &'static str,
    pub(crate) sub: &'static str,
    pub(crate) name: &'static str,
    pub(crate) given_name: &'static str,
    pub(crate) family_name: &'static str,
    pub(crate) email: &'static str,
}

/// Every account there is.
pub(crate) const ACCOUNTS: &[Account] = &[
    Account {
        username: "ada",
        sub: "sandbox-ada",
        name: "Ada Lovelace",
        given_name: "Ada",
        family_name: "Lovelace",
        email: "ada@sandbox.test",
    },
    Account {
        username: "grace",
        sub: "sandbox-grace",
        name: "Grace Hopper",
        given_name: "Grace",
        family_name: "Hopper",
        email: "grace@sandbox.test",
    },
];

impl Account {
    /// Returns the account that signs in with this name and password.
    pub(crate) fn sign_in(username: &str, password: &str) -> Option<&'static Self> {
        let right = Digest::of(PASSWORD).matches(password);
        ACCOUNTS.iter().find(|account| account.username == username).filter(|_| right)
    }

    /// Returns the account with the subject identifier `sub`.
    pub(crate) fn find(sub: &str) -> Option<&'static Self> {
        ACCOUNTS.iter().find(|account| account.sub == sub)
    }

    /// Returns the claims that `scope` lets a client see (OpenID Connect Core section 5.4).
    pub(crate) fn claims(&self, scope: &Scope) -> Map<String, Value> {
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), json!(self.sub));
        if scope.shows_profile() {
            claims.insert("name".to_owned(), json!(self.name));
            claims.insert("given_name".to_owned(), json!(self.given_name));
            claims.insert("family_name".to_owned(), json!(self.family_name));
            claims.insert("preferred_username".to_owned(), json!(self.username));
        }
        if scope.shows_email() {
            claims.insert("email".to_owned(), json!(self.email));
            claims.insert("email_verified".to_owned(), json!(true));
        }
        claims
    }
}
