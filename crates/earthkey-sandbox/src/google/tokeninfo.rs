//! What Google says of an access token to whoever has it.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::account::Account;
use crate::params::{Params, is_form};
use crate::provider::Provider;
use crate::state::unix_time;

/// Answers with what is known of the token in the query or in the form.
pub(crate) async fn tokeninfo(
    State(provider): State<Arc<Provider>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = Params::parse(query.unwrap_or_default().as_bytes());
    let form = Params::parse(if is_form(&headers) { &body } else { &[] });
    let token = form.get("access_token").or_else(|| query.get("access_token"));
    let caching = [(CACHE_CONTROL, "no-store")];
    if let Some(answer) = token.and_then(|token| describe(&provider, token)) {
        return (caching, Json(answer)).into_response();
    }
    let error = json!({"error": "invalid_token", "error_description": "Invalid Value"});
    (StatusCode::BAD_REQUEST, caching, Json(error)).into_response()
}

fn describe(provider: &Provider, token: &str) -> Option<Value> {
    let state = provider.state();
    let access = state.access_token(token)?;
    // Relative to the real clock, and then told by the realm's: a token lives as long by either.
    let left = access.expires_at.saturating_sub(unix_time());
    let mut answer = json!({
        "azp": access.client_id,
        "aud": access.client_id,
        "sub": access.sub,
        "scope": access.scope.to_string(),
        "exp": (state.settings.now() + left).to_string(),
        "expires_in": left.to_string(),
    });
    if access.scope.shows_email() {
        let person = Account::find(&access.sub).map(|account| account.email);
        if let Some(email) = person.or_else(|| state.service_accounts.email_of(&access.sub)) {
            answer["email"] = email.into();
            answer["email_verified"] = "true".into();
        }
    }
    answer["access_type"] = "offline".into();
    Some(answer)
}
