//! Who calls a service.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

use super::error::ApiError;
use crate::account::Account;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::userinfo::bearer;

/// Whoever sent a good access token.
pub(crate) struct Caller {
    pub(crate) scope: Scope,
    /// Whether it is a person, and no service account.
    pub(crate) is_person: bool,
}

impl Caller {
    /// Returns who sent a request.
    pub(crate) fn of(provider: &Provider, headers: &HeaderMap) -> Result<Self, ApiError> {
        const ADVICE: &str = "Expected OAuth 2 access token, login cookie or other valid authentication \
                              credential. See \
                              https://developers.google.com/identity/sign-in/web/devconsole-project.";
        if !headers.contains_key(AUTHORIZATION) {
            let text = format!("Request is missing required authentication credential. {ADVICE}");
            return Err(ApiError::unauthenticated(&text, "CREDENTIALS_MISSING"));
        }
        let state = provider.state();
        let Some(token) = bearer(headers).and_then(|token| state.access_token(token)) else {
            let text = format!("Request had invalid authentication credentials. {ADVICE}");
            return Err(ApiError::unauthenticated(&text, "ACCESS_TOKEN_EXPIRED"));
        };
        Ok(Self { scope: token.scope.clone(), is_person: Account::find(&token.sub).is_some() })
    }

    /// Refuses a caller whose token is not for this.
    pub(crate) fn needs(&self, enough: impl Fn(&Scope) -> bool) -> Result<(), ApiError> {
        if enough(&self.scope) {
            return Ok(());
        }
        let error = ApiError::permission_denied("Request had insufficient authentication scopes.");
        Err(error.with_reason("ACCESS_TOKEN_SCOPE_INSUFFICIENT"))
    }
}
