//! The others, each shared between threads as its documentation says.

use std::sync::Arc;
use std::time::Duration;

use gcp_auth::CustomServiceAccount;
use gcp_auth::TokenProvider;
use google_cloud_auth::credentials::AccessTokenCredentials;
use google_cloud_auth::credentials::CacheableResource;
use google_cloud_auth::credentials::Credentials;
use google_cloud_auth::credentials::user_account;
use http::Extensions;
use http::header::AUTHORIZATION;
use serde_json::Value;
use serde_json::json;
use yup_oauth2::ServiceAccountAuthenticator;
use yup_oauth2::authenticator::DefaultAuthenticator;

use crate::Result;
use crate::contestant::Contestant;
use crate::contestant::timed_on_a_runtime;
use crate::token_server::TokenServer;

const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];

/// gcp_auth, with the key of a service account.
pub(crate) struct GcpAuth<'a> {
    provider: Arc<dyn TokenProvider>,
    token: &'a str,
}

impl<'a> GcpAuth<'a> {
    pub(crate) async fn new(key: &Value, token: &'a str) -> Result<Self> {
        let provider: Arc<dyn TokenProvider> = Arc::new(CustomServiceAccount::from_json(&key.to_string())?);
        provider.token(&SCOPES).await?;
        Ok(Self { provider, token })
    }
}

impl Contestant for GcpAuth<'_> {
    fn package(&self) -> Option<&'static str> {
        Some("gcp_auth")
    }

    fn call(&self) -> &'static str {
        "provider.token(scopes).await"
    }

    fn hand_out(&self, calls: u32) -> Result<Duration> {
        let call = async || self.provider.token(&SCOPES).await;
        timed_on_a_runtime(calls, call, |token| token.as_str() == self.token)
    }
}

/// google-cloud-auth, with a person's login: with a service account's key it signs a token itself, which
/// would be another than everybody's, and longer.
pub(crate) struct GoogleCloudAuth<'a> {
    credentials: AccessTokenCredentials,
    token: &'a str,
}

impl<'a> GoogleCloudAuth<'a> {
    pub(crate) async fn new(server: &TokenServer, token: &'a str) -> Result<Self> {
        let credentials = persons_login(server).build_access_token_credentials()?;
        credentials.access_token().await?;
        Ok(Self { credentials, token })
    }
}

impl Contestant for GoogleCloudAuth<'_> {
    fn package(&self) -> Option<&'static str> {
        Some("google-cloud-auth")
    }

    fn call(&self) -> &'static str {
        "credentials.access_token().await"
    }

    fn hand_out(&self, calls: u32) -> Result<Duration> {
        let call = async || self.credentials.access_token().await;
        timed_on_a_runtime(calls, call, |access| access.token == self.token)
    }
}

/// The same, asked for the headers of a request, as its documentation does first.
pub(crate) struct GoogleCloudAuthHeaders {
    credentials: Credentials,
    authorization: String,
}

impl GoogleCloudAuthHeaders {
    pub(crate) async fn new(server: &TokenServer, token: &str) -> Result<Self> {
        let credentials = persons_login(server).build()?;
        credentials.headers(Extensions::new()).await?;
        Ok(Self { credentials, authorization: format!("Bearer {token}") })
    }
}

impl Contestant for GoogleCloudAuthHeaders {
    fn package(&self) -> Option<&'static str> {
        Some("google-cloud-auth")
    }

    fn call(&self) -> &'static str {
        "credentials.headers(extensions).await"
    }

    fn hand_out(&self, calls: u32) -> Result<Duration> {
        let call = async || self.credentials.headers(Extensions::new()).await;
        timed_on_a_runtime(calls, call, |headers| match headers {
            CacheableResource::New { data, .. } => data[AUTHORIZATION] == self.authorization,
            CacheableResource::NotModified => false,
        })
    }
}

fn persons_login(server: &TokenServer) -> user_account::Builder {
    user_account::Builder::new(json!({
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "secret",
        "refresh_token": "refresh",
        "token_uri": server.url(),
    }))
}

/// yup-oauth2, with the key of a service account.
pub(crate) struct YupOauth2<'a> {
    authenticator: DefaultAuthenticator,
    token: &'a str,
}

impl<'a> YupOauth2<'a> {
    pub(crate) async fn new(key: &Value, token: &'a str) -> Result<Self> {
        let key = serde_json::from_value(key.clone())?;
        let authenticator = ServiceAccountAuthenticator::builder(key).build().await?;
        authenticator.token(&SCOPES).await?;
        Ok(Self { authenticator, token })
    }
}

impl Contestant for YupOauth2<'_> {
    fn package(&self) -> Option<&'static str> {
        Some("yup-oauth2")
    }

    fn call(&self) -> &'static str {
        "authenticator.token(scopes).await"
    }

    fn hand_out(&self, calls: u32) -> Result<Duration> {
        let call = async || self.authenticator.token(&SCOPES).await;
        timed_on_a_runtime(calls, call, |access| access.token() == Some(self.token))
    }
}
