//! The control interface: in process as [`Control`], over HTTP below `/_control`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::fault::Fault;
use crate::google;
use crate::google::service_account::{self, ServiceAccountKey};
use crate::params::{Params, is_json};
use crate::provider::Realm;
use crate::requests::Record;
use crate::settings::{Change, Settings};
use crate::state::RefreshTokens;

/// A handle on a running sandbox: what was asked of it, and how it behaves from now on.
#[derive(Clone)]
pub struct Control {
    app: Arc<App>,
}

/// What can be made to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expiring {
    /// Access tokens, as the resources see them; what they say of themselves stays.
    Access,
    /// Authorization codes.
    Code,
    /// Device codes.
    Device,
    /// Keys of Google's service accounts: they are deleted.
    Keys,
    /// Refresh tokens.
    Refresh,
    /// Sessions of browsers.
    Session,
}

/// A fault that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot inject this fault: {0}")]
pub struct BadFault(&'static str);

impl Control {
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Returns the requests so far, or those for one path, in the order of arrival.
    pub fn requests(&self, path: Option<&str>) -> Vec<Record> {
        self.app.requests.list(path)
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.app.requests.clear();
    }

    /// Adds a fault for requests to come.
    pub fn add_fault(&self, fault: Fault) -> Result<(), BadFault> {
        if let Some(defect) = fault.defect() {
            return Err(BadFault(defect));
        }
        self.app.faults.add(fault);
        Ok(())
    }

    /// Forgets the faults that have not happened.
    pub fn clear_faults(&self) {
        self.app.faults.clear();
    }

    /// Lets things expire now.
    pub fn expire(&self, realm: Realm, what: Expiring) {
        let mut state = self.app.provider(realm).state();
        match what {
            Expiring::Access => state.expire_access_tokens(),
            Expiring::Code => state.expire_codes(),
            Expiring::Device => state.expire_device_codes(),
            Expiring::Keys => state.service_accounts.delete_keys(),
            Expiring::Refresh => state.expire_refresh_tokens(),
            Expiring::Session => state.sessions.clear(),
        }
    }

    /// Revokes the refresh tokens of everybody, or of the subject `sub`, and returns the number of
    /// logins that lost theirs.
    pub fn revoke(&self, realm: Realm, sub: Option<&str>) -> usize {
        self.app.provider(realm).state().revoke_families(sub)
    }

    /// Changes settings of a realm and returns what they are now.
    pub fn settings(&self, realm: Realm, change: &Change) -> Settings {
        let mut state = self.app.provider(realm).state();
        state.settings.apply(change);
        state.settings.clone()
    }

    /// Returns the client file of the Desktop client at Google, as its console hands it out.
    pub fn client_file(&self) -> Value {
        google::client_file("installed")
    }

    /// Makes a key for a service account at Google, and returns its key file.
    pub fn service_account_key(&self, email: Option<&str>) -> Value {
        let key = ServiceAccountKey::generate();
        let email = email.unwrap_or(service_account::DEFAULT_EMAIL);
        self.app.provider(Realm::Google).state().service_accounts.add(email, key)
    }

    /// Returns how many refresh tokens a realm has given out.
    pub fn refresh_tokens(&self, realm: Realm) -> RefreshTokens {
        self.app.provider(realm).state().refresh_tokens()
    }
}

/// Returns the routes of the control interface.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/_control/requests", get(list_requests).delete(clear_requests))
        .route("/_control/faults", post(add_fault).delete(clear_faults))
        .route("/_control/expire", post(expire))
        .route("/_control/revoke", post(revoke))
        .route("/_control/settings", post(settings))
        .route("/_control/refresh-tokens", get(refresh_tokens))
        .route("/_control/client-file", get(client_file))
        .route("/_control/service-account-keys", post(service_account_key))
        .with_state(Control::new(app))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpireRequest {
    realm: Realm,
    what: Expiring,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    realm: Realm,
    sub: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    email: Option<String>,
}

/// A [`Change`] beside the realm it is for. Serde's `flatten` would let a misspelt setting pass.
#[derive(Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct SettingsRequest {
    realm: Realm,
    change: Change,
}

impl TryFrom<Map<String, Value>> for SettingsRequest {
    type Error = serde_json::Error;

    fn try_from(mut members: Map<String, Value>) -> Result<Self, Self::Error> {
        let realm = members.remove("realm").unwrap_or_default();
        Ok(Self { realm: Realm::deserialize(realm)?, change: Change::deserialize(Value::Object(members))? })
    }
}

async fn list_requests(State(control): State<Control>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    Json(control.requests(params.get("path"))).into_response()
}

async fn clear_requests(State(control): State<Control>, headers: HeaderMap) -> Response {
    answer(from_program(&headers), |()| control.clear_requests())
}

async fn clear_faults(State(control): State<Control>, headers: HeaderMap) -> Response {
    answer(from_program(&headers), |()| control.clear_faults())
}

async fn add_fault(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    let fault = parse(&headers, &body);
    let added = fault.and_then(|fault| control.add_fault(fault).map_err(|bad| bad.to_string()));
    answer(added, |()| ())
}

async fn expire(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    answer(parse(&headers, &body), |ExpireRequest { realm, what }| {
        control.expire(realm, what);
    })
}

async fn revoke(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    answer(
        parse(&headers, &body),
        |RevokeRequest { realm, sub }| json!({"revoked": control.revoke(realm, sub.as_deref())}),
    )
}

async fn settings(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    answer(parse(&headers, &body), |SettingsRequest { realm, change }| control.settings(realm, &change))
}

async fn refresh_tokens(State(control): State<Control>, RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let name = params.get("realm").unwrap_or_default();
    let realm = Realm::ALL.into_iter().find(|realm| realm.as_str() == name);
    let realm = realm.ok_or_else(|| "realm is not oidc, openeo, earthscope or google".to_owned());
    answer(realm, |realm| control.refresh_tokens(realm))
}

async fn client_file(RawQuery(query): RawQuery) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let kind = match params.get("kind") {
        None | Some("installed") => Ok("installed"),
        Some("web") => Ok("web"),
        Some(_) => Err("kind is neither installed nor web".to_owned()),
    };
    answer(kind, google::client_file)
}

async fn service_account_key(State(control): State<Control>, headers: HeaderMap, body: Bytes) -> Response {
    let request = parse(&headers, &body).and_then(|KeyRequest { email }| match email {
        Some(email) if !service_account::is_email(&email) => Err("email is no e-mail address".to_owned()),
        email => Ok(email),
    });
    answer(request, |email| control.service_account_key(email.as_deref()))
}

/// Returns what `act` makes of a request, or what is wrong with the request.
fn answer<T, A: Serialize>(parsed: Result<T, String>, act: impl FnOnce(T) -> A) -> Response {
    match parsed {
        Ok(request) => Json(act(request)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response(),
    }
}

/// Parses a body in JSON.
fn parse<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, String> {
    from_program(headers)?;
    if !is_json(headers) {
        return Err("the body is not application/json".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// Refuses requests of pages in a browser, which say where they come from.
fn from_program(headers: &HeaderMap) -> Result<(), String> {
    if headers.contains_key(ORIGIN) {
        return Err("pages in a browser may not control a sandbox".to_owned());
    }
    Ok(())
}
