//! The device authorization endpoint (RFC 8628 section 3.1).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::authorize::{audience, code_challenge};
use crate::client::{Client, GrantType};
use crate::error::OAuthError;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::state::DeviceRequest;
use crate::token::form;

/// Answers a device authorization request.
pub(crate) async fn authorize(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match start(&provider, &headers, &body) {
        Ok(answer) => ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err(error) => error.into_response(provider.realm),
    }
}

fn start(provider: &Provider, headers: &HeaderMap, body: &[u8]) -> Result<Value, OAuthError> {
    let params = form(headers, body)?;
    let mut state = provider.state();
    let client = Client::authenticate(&state, headers, &params)?;
    if !client.may(GrantType::DeviceCode) {
        return Err(OAuthError::unauthorized_client());
    }
    let code_challenge = code_challenge(&params)?;
    if client.device_pkce && code_challenge.is_none() {
        return Err(OAuthError::invalid_request("code_challenge is missing"));
    }
    let scope = Scope::parse(provider.realm, params.get("scope").unwrap_or_default());
    let audience = audience(&params)?;
    let grant = state.start_device(DeviceRequest { client, scope, audience, code_challenge });
    let verification_uri = provider.at(provider.endpoints.activate);
    let complete = format!("{verification_uri}?user_code={}", grant.user_code);
    Ok(json!({
        "device_code": grant.device_code,
        "user_code": grant.user_code,
        "verification_uri": verification_uri,
        "verification_uri_complete": complete,
        "expires_in": grant.expires_in,
        "interval": grant.interval,
    }))
}
