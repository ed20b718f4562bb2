//! The Gemini API, as far as it lists its models.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::caller::Caller;
use super::error::ApiError;
use super::hosts;
use super::project::{self, Service};
use crate::provider::Provider;
use crate::scope::CLOUD_PLATFORM;

const SERVICE: Service = Service { title: "Gemini API", host: hosts::GENERATIVE_LANGUAGE, registers: false };

/// What the scopes of the service begin with.
const SCOPES: &str = "https://www.googleapis.com/auth/generative-language";

/// Returns the routes of the service.
pub(crate) fn routes(provider: &Arc<Provider>) -> Router {
    let mut router = Router::new();
    for version in ["v1", "v1beta"] {
        router = router.route(&hosts::path(SERVICE.host, &format!("/{version}/models")), get(models));
    }
    router.with_state(Arc::clone(provider))
}

async fn models(State(provider): State<Arc<Provider>>, headers: HeaderMap) -> Response {
    match admit(&provider, &headers) {
        Ok(()) => Json(list()).into_response(),
        Err(error) => error.into_response(),
    }
}

fn admit(provider: &Provider, headers: &HeaderMap) -> Result<(), ApiError> {
    let caller = Caller::of(provider, headers)?;
    caller.needs(|scope| scope.contains(CLOUD_PLATFORM) || scope.contains_prefix(SCOPES))?;
    match project::of_header(headers) {
        Some(project) => project::check(&SERVICE, project),
        // A service account has a project, a person has none.
        None if caller.is_person => Err(ApiError::permission_denied(format!(
            "Your application is authenticating by using local Application Default Credentials. The {} API \
             requires a quota project, which is not set by default. To learn how to set your quota project, \
             see https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds .",
            SERVICE.host
        ))
        .with_reason("SERVICE_DISABLED")
        .with("service", SERVICE.host)),
        None => Ok(()),
    }
}

fn list() -> Value {
    json!({
        "models": [{
            "name": "models/gemini-sandbox",
            "version": "001",
            "displayName": "Gemini Sandbox",
            "description": "A model that is listed and answers nothing.",
            "inputTokenLimit": 1024,
            "outputTokenLimit": 1024,
            "supportedGenerationMethods": ["generateContent"],
        }],
    })
}
