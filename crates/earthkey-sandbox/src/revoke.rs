//! Revocation (RFC 7009).

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use url::form_urlencoded;

use crate::client::Client;
use crate::error::OAuthError;
use crate::params::{Params, is_json};
use crate::provider::{Provider, Realm};
use crate::token::form;

/// Answers a revocation request.
pub(crate) async fn revoke(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match revoke_token(&provider, &headers, &body) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(provider.realm),
    }
}

fn revoke_token(provider: &Provider, headers: &HeaderMap, body: &[u8]) -> Result<(), OAuthError> {
    let params = if provider.realm == Realm::Earthscope && is_json(headers) {
        json_params(body)?
    } else {
        form(headers, body)?
    };
    let mut state = provider.state();
    let client = Client::authenticate(&state, headers, &params)?;
    let token = params.get("token").ok_or_else(|| OAuthError::invalid_request("token is missing"))?;
    state.revoke_token(&client, token)
}

/// Returns the members of a JSON object that are strings, as the form they stand for: what Auth0
/// takes and EarthScope's SDK sends.
fn json_params(body: &[u8]) -> Result<Params, OAuthError> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(OAuthError::invalid_request("the body is not a JSON object"));
    };
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &members {
        if let Value::String(text) = value {
            encoded.append_pair(name, text);
        }
    }
    Ok(Params::parse(encoded.finish().as_bytes()))
}
