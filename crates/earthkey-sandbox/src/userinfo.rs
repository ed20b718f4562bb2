//! The UserInfo endpoint (OpenID Connect Core section 5.3) and bearer tokens (RFC 6750).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::account::Account;
use crate::provider::Provider;

/// Answers with the claims of whoever the token is about.
pub(crate) async fn userinfo(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    match claims(&provider, &headers) {
        Ok(claims) => ([(CACHE_CONTROL, "no-store")], Json(claims)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

/// Why a resource refuses a request (RFC 6750 section 3.1).
#[derive(Clone, Copy)]
pub(crate) enum Refusal {
    /// There is no token, and nothing to say but the scheme.
    NoToken,
    InvalidToken,
    InsufficientScope,
}

/// Returns the bearer token of a request (RFC 6750 section 2.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

impl Refusal {
    /// Returns the response, which names the scheme (RFC 6750 section 3).
    pub(crate) fn into_response(self) -> Response {
        let (status, error) = match self {
            Self::NoToken => (StatusCode::UNAUTHORIZED, None),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, Some("invalid_token")),
            Self::InsufficientScope => (StatusCode::FORBIDDEN, Some("insufficient_scope")),
        };
        let challenge = error.map_or_else(
            || "Bearer realm=\"sandbox\"".to_owned(),
            |error| format!("Bearer realm=\"sandbox\", error=\"{error}\""),
        );
        let body = json!({"error": error.unwrap_or("unauthorized")});
        (status, [(WWW_AUTHENTICATE, challenge)], Json(body)).into_response()
    }
}

fn claims(provider: &Provider, headers: &HeaderMap) -> Result<Map<String, Value>, Refusal> {
    let token = bearer(headers).ok_or(Refusal::NoToken)?;
    let state = provider.state();
    let access = state.access_token(token).ok_or(Refusal::InvalidToken)?;
    Account::find(&access.sub)
        .filter(|_| access.scope.is_about_person())
        .map(|account| account.claims(&access.scope))
        .ok_or(Refusal::InsufficientScope)
}
