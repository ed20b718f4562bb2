//! Revocation as Google has it: whoever has a token may end what it is of.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::params::{Params, is_form};
use crate::provider::Provider;

/// Revokes all that an account granted the client of the token in the form or in the query.
pub(crate) async fn revoke(
    State(provider): State<Arc<Provider>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = Params::parse(query.unwrap_or_default().as_bytes());
    let form = Params::parse(if is_form(&headers) { &body } else { &[] });
    let token = form.get("token").or_else(|| query.get("token")).unwrap_or_default();
    if provider.state().revoke_grants(token) {
        return Json(json!({})).into_response();
    }
    let error = json!({"error": "invalid_token", "error_description": "Token expired or revoked"});
    (StatusCode::BAD_REQUEST, Json(error)).into_response()
}
