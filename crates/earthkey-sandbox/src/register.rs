//! Dynamic client registration (RFC 7591).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use crate::client::{Authentication, Client, GrantType, Redirects, has_forbidden_parts, is_loopback};
use crate::error::OAuthError;
use crate::params::is_json;
use crate::provider::{Provider, Realm};
use crate::secret::{self, Digest};
use crate::state::unix_time;

/// The client metadata that means something here (RFC 7591 section 2); the rest is ignored.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default = "default_method")]
    token_endpoint_auth_method: String,
    #[serde(default = "default_grants")]
    grant_types: Vec<String>,
    #[serde(default = "default_response_types")]
    response_types: Vec<String>,
    client_name: Option<String>,
    id_token_signed_response_alg: Option<String>,
}

/// Answers a registration request.
pub(crate) async fn register(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    match client(&headers, &body) {
        Ok((client, answer)) => {
            provider.state().register(client);
            (StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
        }
        Err(error) => error.into_response(provider.realm),
    }
}

fn client(headers: &HeaderMap, body: &[u8]) -> Result<(Client, Value), OAuthError> {
    let metadata: Option<Metadata> =
        Some(body).filter(|_| is_json(headers)).and_then(|body| serde_json::from_slice(body).ok());
    let metadata = metadata.ok_or_else(|| invalid("the body is not client metadata in JSON"))?;
    let grants: Vec<_> = metadata.grant_types.iter().map(|name| grant_type(name)).collect();
    let grants: Option<Vec<_>> = grants.into_iter().collect();
    let grants = grants.ok_or_else(|| invalid("unknown grant type"))?;
    let redirects = redirects(&metadata.redirect_uris)?;
    let by_code = grants.contains(&GrantType::AuthorizationCode);
    if by_code && redirects.is_empty() {
        return Err(OAuthError::new("invalid_redirect_uri", "redirect_uris is missing"));
    }
    if metadata.response_types.iter().any(|kind| kind != "code") {
        return Err(invalid("response_types may hold code alone"));
    }
    let secret = secret::random("sandbox-");
    let digest = Digest::of(&secret);
    let authentication = match metadata.token_endpoint_auth_method.as_str() {
        "none" => Authentication::None,
        "client_secret_basic" => Authentication::Basic(digest),
        "client_secret_post" => Authentication::Post(digest),
        _ => return Err(invalid("unknown token_endpoint_auth_method")),
    };
    if authentication == Authentication::None && grants.contains(&GrantType::ClientCredentials) {
        return Err(invalid("client_credentials needs a client that authenticates"));
    }
    let algorithm = match metadata.id_token_signed_response_alg.as_deref() {
        None | Some("RS256") => Algorithm::RS256,
        Some("ES256") => Algorithm::ES256,
        Some(_) => return Err(invalid("unknown id_token_signed_response_alg")),
    };
    let id = secret::random("sandbox-")[..24].to_owned();
    let name: Option<String> = metadata.client_name.map(|name| name.chars().take(100).collect());
    let mut answer = json!({
        "client_id": id,
        "client_id_issued_at": unix_time(),
        "redirect_uris": metadata.redirect_uris,
        "token_endpoint_auth_method": metadata.token_endpoint_auth_method,
        "grant_types": metadata.grant_types,
        "response_types": metadata.response_types,
        "id_token_signed_response_alg": format!("{algorithm:?}"),
    });
    if authentication != Authentication::None {
        answer["client_secret"] = secret.into();
        answer["client_secret_expires_at"] = 0.into();
    }
    if let Some(name) = &name {
        answer["client_name"] = name.clone().into();
    }
    let client = Client {
        name: name.unwrap_or_else(|| id.clone()),
        id,
        authentication,
        grants,
        redirects: Redirects::Registered(redirects),
        device_pkce: false,
        id_token_algorithm: algorithm,
    };
    Ok((client, answer))
}

/// Returns a grant type that a registered client may have.
fn grant_type(name: &str) -> Option<GrantType> {
    GrantType::parse(name).filter(|grant| grant.is_of(Realm::Oidc))
}

fn redirects(uris: &[String]) -> Result<Vec<Url>, OAuthError> {
    let parse = |uri: &String| {
        Url::parse(uri)
            .ok()
            .filter(|url| !has_forbidden_parts(url) && (url.scheme() == "https" || is_loopback(url)))
            .ok_or_else(|| OAuthError::new("invalid_redirect_uri", "neither https nor on loopback"))
    };
    if uris.len() > 20 {
        return Err(OAuthError::new("invalid_redirect_uri", "too many redirect_uris"));
    }
    uris.iter().map(parse).collect()
}

fn invalid(description: &str) -> OAuthError {
    OAuthError::new("invalid_client_metadata", description)
}

fn default_method() -> String {
    "client_secret_basic".to_owned()
}

fn default_grants() -> Vec<String> {
    vec![GrantType::AuthorizationCode.as_str().to_owned()]
}

fn default_response_types() -> Vec<String> {
    vec!["code".to_owned()]
}
