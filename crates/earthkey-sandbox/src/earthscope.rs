//! The EarthScope API, as far as it answers who is signed in.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::account::Account;
use crate::provider::Provider;
use crate::userinfo::{Refusal, bearer};

/// Returns the routes of the API.
pub(crate) fn routes(provider: &Arc<Provider>) -> Router {
    Router::new().route("/beta/user/profile", get(profile)).with_state(Arc::clone(provider))
}

async fn profile(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    let Some(token) = bearer(&headers) else {
        return Refusal::NoToken.into_response();
    };
    let Some(sub) = provider.state().access_token(token).map(|access| access.sub.clone()) else {
        return Refusal::InvalidToken.into_response();
    };
    // A machine client is nobody, so it has no profile.
    let Some(account) = Account::find(&sub) else {
        return Refusal::InsufficientScope.into_response();
    };
    let profile = json!({
        "first_name": account.given_name,
        "last_name": account.family_name,
        "country_code": "US",
        "region_code": "CO",
        "institution": "Sandbox University",
        "work_sector": "academia",
        "user_id": account.sub,
        "primary_email": account.email,
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-01T00:00:00Z",
    });
    ([(CACHE_CONTROL, "no-store")], Json(profile)).into_response()
}
