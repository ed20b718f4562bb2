//! Service accounts and their keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use jsonwebtoken::DecodingKey;
use serde_json::{Value, json};

use super::PROJECT;
use super::caller::Caller;
use crate::bounded::Bounded;
use crate::client::{Authentication, Client};
use crate::keys::{self, SigningKey};
use crate::pem;
use crate::provider::Provider;

/// The account of a key that is for none in particular.
pub(crate) const DEFAULT_EMAIL: &str = "robot@sandbox-project.iam.gserviceaccount.com";

/// The service accounts that were ever given a key.
pub(crate) struct ServiceAccounts {
    /// By e-mail address. An account is the client of the tokens it gets.
    accounts: Bounded<String, Arc<Client>>,
    keys: Bounded<String, PublicKey>,
    next: u64,
}

/// A fresh key, which nobody has yet.
pub(crate) struct ServiceAccountKey {
    id: String,
    pem: String,
    public: DecodingKey,
}

/// What is kept of a key.
struct PublicKey {
    email: String,
    key: DecodingKey,
}

impl ServiceAccountKey {
    /// Returns a fresh key; that takes a tenth of a second.
    pub(crate) fn generate() -> Self {
        let pkcs8 = keys::generate_rsa();
        let key = SigningKey::of_rsa(&pkcs8);
        let public = DecodingKey::from_jwk(&key.jwk()).expect("a key of our own has a public half");
        Self { id: key.id().to_owned(), pem: pem::encode("PRIVATE KEY", &pkcs8), public }
    }
}

impl ServiceAccounts {
    /// Gives a key to an account, which exists from then on, and returns the key file.
    pub(crate) fn add(&mut self, email: &str, key: ServiceAccountKey) -> Value {
        let client = self.account(email).unwrap_or_else(|| self.create(email));
        let file = json!({
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": key.id,
            "private_key": key.pem,
            "client_email": email,
            "client_id": client.id,
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": "https://oauth2.googleapis.com/token",
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_x509_cert_url":
                format!("https://www.googleapis.com/robot/v1/metadata/x509/{}", email.replace('@', "%40")),
            "universe_domain": "googleapis.com",
        });
        self.keys.insert(key.id, PublicKey { email: email.to_owned(), key: key.public });
        file
    }

    /// Returns the account with an e-mail address.
    pub(crate) fn account(&self, email: &str) -> Option<Arc<Client>> {
        self.accounts.get(&email.to_owned()).cloned()
    }

    /// Returns the e-mail address of the account with an identifier.
    pub(crate) fn email_of(&self, id: &str) -> Option<&str> {
        self.accounts.values().find(|account| account.id == id).map(|account| account.name.as_str())
    }

    /// Returns the keys of an account that may have signed something: the one of that identifier,
    /// or all of them if there is none.
    pub(crate) fn keys<'a>(
        &'a self,
        email: &'a str,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let wanted = move |own: &&String| id.is_none_or(|id| *own == id);
        self.keys
            .iter()
            .filter(move |(own, public)| wanted(own) && public.email == email)
            .map(|(_, public)| &public.key)
    }

    /// Deletes all keys; the accounts stay.
    pub(crate) fn delete_keys(&mut self) {
        self.keys.clear();
    }

    fn create(&mut self, email: &str) -> Arc<Client> {
        let id = format!("1{:020}", self.next);
        self.next += 1;
        let client = Arc::new(Client::new(&id, email, Authentication::None, Vec::new()));
        self.accounts.insert(email.to_owned(), Arc::clone(&client));
        client
    }
}

impl Default for ServiceAccounts {
    fn default() -> Self {
        Self { accounts: Bounded::new(1_000), keys: Bounded::new(1_000), next: 1 }
    }
}

/// Returns whether text is an e-mail address plain enough for a file, a path and a log.
pub(crate) fn is_email(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._@".contains(&byte);
    let parts: Vec<_> = text.split('@').collect();
    text.len() <= 100
        && text.bytes().all(plain)
        && parts.len() == 2
        && parts.iter().all(|part| !part.is_empty())
}

/// Answers where an account may be used: anywhere, as for one without a regional access boundary.
pub(crate) async fn allowed_locations(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    match Caller::of(&provider, &headers) {
        Ok(_) => Json(json!({"locations": [], "encodedLocations": "0x0"})).into_response(),
        Err(error) => error.into_response(),
    }
}
