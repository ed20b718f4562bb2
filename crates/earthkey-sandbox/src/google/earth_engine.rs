//! The Earth Engine API, as far as its library asks before it is ready.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::caller::Caller;
use super::documents::Documents;
use super::error::ApiError;
use super::hosts;
use super::project::{self, Service};
use crate::provider::Provider;
use crate::scope::{CLOUD_PLATFORM, EARTH_ENGINE, EARTH_ENGINE_READ_ONLY};

const SERVICE: Service = Service { title: "Earth Engine API", host: hosts::EARTH_ENGINE, registers: true };

/// The list of data sets that are about to go, which the library warns of.
const CATALOG: &str = "/earthengine-stac/catalog/catalog_deprecated.json";

/// The service, whose logins are those of Google.
struct EarthEngine {
    provider: Arc<Provider>,
    documents: Documents,
}

/// Returns the routes of the service, and of the one file its library reads elsewhere.
pub(crate) fn routes(provider: &Arc<Provider>, documents: Documents) -> Router {
    let service = EarthEngine { provider: Arc::clone(provider), documents };
    let mut router = Router::new()
        .route(&hosts::path(SERVICE.host, "/$discovery/rest"), get(discovery))
        .route(&hosts::path(hosts::STORAGE, CATALOG), get(catalog));
    for version in ["v1", "v1alpha", "v1beta"] {
        let path = format!("/{version}/projects/{{project}}/algorithms");
        router = router.route(&hosts::path(SERVICE.host, &path), get(algorithms));
    }
    router.with_state(Arc::new(service))
}

/// Describes the API: to everybody, but not to somebody with a token that is not good.
async fn discovery(State(service): State<Arc<EarthEngine>>, headers: HeaderMap) -> Response {
    if headers.contains_key(AUTHORIZATION)
        && let Err(error) = Caller::of(&service.provider, &headers)
    {
        return error.into_response();
    }
    document(&service.documents.discovery)
}

async fn algorithms(
    State(service): State<Arc<EarthEngine>>,
    Path(project): Path<String>,
    headers: HeaderMap,
) -> Response {
    match admit(&service.provider, &headers, &project) {
        Ok(()) => document(&service.documents.algorithms),
        Err(error) => error.into_response(),
    }
}

async fn catalog() -> Json<Value> {
    Json(json!({
        "type": "Catalog",
        "id": "sandbox",
        "stac_version": "1.0.0",
        "description": "No data set is about to go.",
        "links": [],
    }))
}

fn admit(provider: &Provider, headers: &HeaderMap, project: &str) -> Result<(), ApiError> {
    const SCOPES: [&str; 3] = [EARTH_ENGINE, EARTH_ENGINE_READ_ONLY, CLOUD_PLATFORM];
    let caller = Caller::of(provider, headers)?;
    caller.needs(|scope| SCOPES.iter().any(|name| scope.contains(name)))?;
    if let Some(billed) = project::of_header(headers) {
        project::check(&SERVICE, billed)?;
    }
    project::check(&SERVICE, project)
}

fn document(content: &Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json; charset=UTF-8")], content.clone()).into_response()
}
