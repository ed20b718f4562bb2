//! The openEO back-end (openEO API 1.2, with the JWT bearer tokens of 1.3 as a setting).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::account::Account;
use crate::bounded::Bounded;
use crate::client::http_basic;
use crate::provider::Provider;
use crate::secret::{self, Digest};
use crate::userinfo::bearer;

/// The conformance class that says plain JWT bearer tokens are taken.
const JWT_CLASS: &str = "https://api.openeo.org/1.3.0/authentication/jwt";

/// The back-end, whose logins are those of one provider.
struct Backend {
    provider: Arc<Provider>,
    basic_tokens: Mutex<Bounded<Digest, &'static str>>,
}

/// An openEO error: status, code and message.
type Refusal = (StatusCode, &'static str, &'static str);

const REQUIRED: Refusal =
    (StatusCode::UNAUTHORIZED, "AuthenticationRequired", "Unauthorized. Please authenticate.");
const SCHEME: Refusal =
    (StatusCode::FORBIDDEN, "AuthenticationSchemeInvalid", "Authentication method not supported.");
const TOKEN: Refusal = (
    StatusCode::FORBIDDEN,
    "TokenInvalid",
    "Authorization token has expired or is invalid. Please authenticate again.",
);
const CREDENTIALS: Refusal = (StatusCode::FORBIDDEN, "CredentialsInvalid", "Credentials are not correct.");

/// Returns the routes of the back-end.
pub(crate) fn routes(provider: &Arc<Provider>) -> Router {
    let backend = Backend { provider: Arc::clone(provider), basic_tokens: Mutex::new(Bounded::new(1_000)) };
    Router::new()
        .route("/openeo/.well-known/openeo", get(versions))
        .route("/openeo/1.2", get(capabilities))
        .route("/openeo/1.2/", get(capabilities))
        .route("/openeo/1.2/conformance", get(conformance))
        .route("/openeo/1.2/credentials/oidc", get(oidc))
        .route("/openeo/1.2/credentials/basic", get(basic))
        .route("/openeo/1.2/me", get(me))
        .with_state(Arc::new(backend))
}

async fn versions(State(backend): State<Arc<Backend>>) -> Json<Value> {
    Json(json!({
        "versions": [
            {"url": backend.provider.at("/openeo/1.1"), "api_version": "1.1.0", "production": true},
            {"url": backend.provider.at("/openeo/1.2"), "api_version": "1.2.0", "production": true},
        ],
    }))
}

async fn capabilities(State(backend): State<Arc<Backend>>) -> Json<Value> {
    let root = backend.provider.at("/openeo/1.2");
    let endpoint = |path: &str| json!({"path": path, "methods": ["GET"]});
    Json(json!({
        "api_version": "1.2.0",
        "backend_version": env!("CARGO_PKG_VERSION"),
        "stac_version": "1.0.0",
        "type": "Catalog",
        "id": "earthkey-sandbox",
        "title": "openEO Sandbox",
        "description": "An openEO back-end to sign in to, and nothing else.",
        "production": true,
        "conformsTo": backend.conformance_classes(),
        "endpoints": [
            endpoint("/"),
            endpoint("/conformance"),
            endpoint("/credentials/basic"),
            endpoint("/credentials/oidc"),
            endpoint("/me"),
        ],
        "links": [
            {"rel": "self", "href": format!("{root}/"), "type": "application/json"},
            {
                "rel": "version-history",
                "href": backend.provider.at("/openeo/.well-known/openeo"),
                "type": "application/json",
            },
            {"rel": "conformance", "href": format!("{root}/conformance"), "type": "application/json"},
        ],
    }))
}

async fn conformance(State(backend): State<Arc<Backend>>) -> Json<Value> {
    Json(json!({"conformsTo": backend.conformance_classes()}))
}

async fn oidc(State(backend): State<Arc<Backend>>) -> Json<Value> {
    Json(json!({
        "providers": [{
            "id": "sandbox",
            "issuer": backend.provider.issuer(),
            "title": "Sandbox",
            "description": "The identity provider of this sandbox.",
            "scopes": ["openid", "email"],
            "default_clients": [{
                "id": "sandbox-openeo",
                "grant_types": [
                    "authorization_code+pkce",
                    "urn:ietf:params:oauth:grant-type:device_code+pkce",
                    "refresh_token",
                ],
                "redirect_urls": ["http://127.0.0.1", "http://localhost"],
            }],
        }],
    }))
}

async fn basic(State(backend): State<Arc<Backend>>, headers: HeaderMap) -> Response {
    if !headers.contains_key(AUTHORIZATION) {
        return refuse(REQUIRED);
    }
    let Some((username, password)) = http_basic(&headers) else {
        return refuse(SCHEME);
    };
    match Account::sign_in(&username, &password) {
        Some(account) => {
            let token = secret::random("sandbox-");
            backend.basic_tokens().insert(Digest::of(&token), account.sub);
            ([(CACHE_CONTROL, "no-store")], Json(json!({"access_token": token}))).into_response()
        }
        None => refuse(CREDENTIALS),
    }
}

async fn me(State(backend): State<Arc<Backend>>, headers: HeaderMap) -> Response {
    let sub = match backend.subject(&headers) {
        Ok(sub) => sub,
        Err(refusal) => return refuse(refusal),
    };
    let mut answer = json!({"user_id": sub});
    if let Some(account) = Account::find(&sub) {
        answer["name"] = account.name.into();
    }
    ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

impl Backend {
    /// Returns whose the bearer token of a request is.
    fn subject(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        if !headers.contains_key(AUTHORIZATION) {
            return Err(REQUIRED);
        }
        let token = bearer(headers).ok_or(SCHEME)?;
        let parts: Vec<_> = token.split('/').collect();
        let sub = match parts[..] {
            ["oidc", "sandbox", token] => self.active(token),
            ["basic", "", token] => self.basic_tokens().get(&Digest::of(token)).map(|sub| (*sub).to_owned()),
            [jwt] if self.takes_plain_jwt() => self.active(jwt),
            _ => return Err(SCHEME),
        };
        sub.ok_or(TOKEN)
    }

    fn active(&self, token: &str) -> Option<String> {
        self.provider.state().access_token(token).map(|access| access.sub.clone())
    }

    fn conformance_classes(&self) -> Vec<&'static str> {
        let mut classes = vec!["https://api.openeo.org/1.2.0"];
        if self.takes_plain_jwt() {
            classes.push(JWT_CLASS);
        }
        classes
    }

    fn takes_plain_jwt(&self) -> bool {
        self.provider.state().settings.plain_jwt
    }

    fn basic_tokens(&self) -> MutexGuard<'_, Bounded<Digest, &'static str>> {
        self.basic_tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse((status, code, message): Refusal) -> Response {
    let body = json!({"code": code, "message": message, "id": secret::random("")[..12]});
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
