//! Google: its sign-in, its token endpoint, and the two services that people sign in for.
//!
//! Every host is played below a path of its own, see [`hosts`].

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::DATE;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use self::documents::Documents;
use crate::authorize;
use crate::client::{Authentication, Client, GrantType};
use crate::pages;
use crate::provider::{Endpoints, Provider};
use crate::secret::{self, Digest};
use crate::state::Granted;

pub(crate) mod caller;
pub(crate) mod documents;
pub(crate) mod earth_engine;
pub(crate) mod error;
pub(crate) mod gemini;
pub(crate) mod hosts;
pub(crate) mod jwt_bearer;
pub(crate) mod project;
pub(crate) mod revoke;
pub(crate) mod service_account;
pub(crate) mod tokeninfo;

/// The project of whatever has one here.
const PROJECT: &str = "sandbox-project";

/// The client of Earth Engine's own library. That it is no secret, its sources show.
const EARTH_ENGINE_CLIENT: (&str, &str) =
    ("517222506229-vsmmajv00ul0bs7p89v5m89qs8eb9359.apps.googleusercontent.com", "RUP0RZ6e0pPhDzsqIJ7KlNd1");

/// The client of gcloud, which is no secret either.
const GCLOUD_CLIENT: (&str, &str) =
    ("764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com", "d-FL95Q19q7MQmFpd7hHD0Ty");

/// The Desktop client of a person.
const DESKTOP_CLIENT: (&str, &str) = ("424242424242-sandbox.apps.googleusercontent.com", "sandbox-secret");

/// The paths of Google.
pub(crate) const ENDPOINTS: Endpoints = Endpoints {
    issuer: "https://accounts.google.com",
    // Its pages are reached by the path of a host and, over TLS, by that host alone.
    cookie: "/",
    authorize: "/google/accounts.google.com/o/oauth2/v2/auth",
    token: "/google/oauth2.googleapis.com/token",
    device: None,
    revoke: "/google/oauth2.googleapis.com/revoke",
    userinfo: "/google/openidconnect.googleapis.com/v1/userinfo",
    jwks: "/google/www.googleapis.com/oauth2/v3/certs",
    register: None,
    sign_in: "/google/accounts.google.com/sign-in",
    consent: "/google/accounts.google.com/consent",
    activate: "/google/accounts.google.com/activate",
    done: "/google/accounts.google.com/done",
    openid_configuration: None,
    authorization_server: None,
};

/// Returns the clients that Google starts with.
pub(crate) fn clients() -> Vec<Client> {
    let client = |(id, secret): (&str, &str), name| {
        let grants = vec![GrantType::AuthorizationCode, GrantType::RefreshToken];
        Client::new(id, name, Authentication::Any(Digest::of(secret)), grants)
    };
    vec![
        client(EARTH_ENGINE_CLIENT, "Earth Engine Authenticator"),
        client(GCLOUD_CLIENT, "Google Auth Library"),
        client(DESKTOP_CLIENT, "Sandbox desktop application"),
    ]
}

/// Returns the routes of all hosts that every provider does not have.
pub(crate) fn routes(provider: &Arc<Provider>, documents: Documents) -> Router {
    let auth = hosts::path(hosts::ACCOUNTS, "/o/oauth2/auth");
    let tokeninfo = hosts::path(hosts::OAUTH2, "/tokeninfo");
    let locations =
        hosts::path(hosts::IAM_CREDENTIALS, "/v1/projects/-/serviceAccounts/{email}/allowedLocations");
    Router::new()
        // Over TLS the style sheet of its pages is a path of this host.
        .route(&hosts::path(hosts::ACCOUNTS, pages::STYLE_PATH), get(pages::style))
        .route(&auth, get(authorize::by_query).post(authorize::by_form))
        .route(&tokeninfo, get(tokeninfo::tokeninfo).post(tokeninfo::tokeninfo))
        .route(&locations, get(service_account::allowed_locations))
        .with_state(Arc::clone(provider))
        .merge(earth_engine::routes(provider, documents))
        .merge(gemini::routes(provider))
}

/// Returns the client file of the Desktop client, `kind` being what its console calls the client.
pub(crate) fn client_file(kind: &str) -> Value {
    let (id, secret) = DESKTOP_CLIENT;
    json!({
        kind: {
            "client_id": id,
            "project_id": PROJECT,
            "auth_uri": "https://accounts.google.com/o/oauth2/auth",
            "token_uri": "https://oauth2.googleapis.com/token",
            "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
            "client_secret": secret,
            "redirect_uris": ["http://localhost"],
        },
    })
}

/// Returns a fresh access token, which tells nobody anything.
pub(crate) fn access_token() -> String {
    secret::random("ya29.sandbox-")
}

/// Returns the token response, all but the ID token.
pub(crate) fn token_answer(granted: &Granted, access_token: &str, lifetime: u64) -> Value {
    let mut answer = json!({
        "access_token": access_token,
        "expires_in": lifetime.saturating_sub(1),
        "token_type": "Bearer",
    });
    // What a service account gets has nothing else.
    if granted.family.is_some() {
        answer["scope"] = granted.authorization.scope.to_string().into();
    }
    answer
}

/// Lets a response tell the time of Google's clock.
pub(crate) fn stamp(provider: &Provider, response: &mut Response) {
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(provider.state().settings.now());
    if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(now)) {
        response.headers_mut().entry(DATE).or_insert(date);
    }
}
