//! Metadata of a provider (OpenID Connect Discovery section 4, RFC 8414) and its public keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use crate::client::GrantType;
use crate::provider::Provider;
use crate::scope::Scope;

/// Answers with the metadata, which is the same in both places.
pub(crate) async fn metadata(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let at = |path| provider.at(path);
    let endpoints = provider.endpoints;
    let basic_only = provider.state().settings.require_basic_auth;
    let methods: &[&str] = if basic_only {
        &["none", "client_secret_basic"]
    } else {
        &["none", "client_secret_basic", "client_secret_post"]
    };
    let mut metadata = json!({
        "issuer": provider.issuer(),
        "authorization_endpoint": at(endpoints.authorize),
        "token_endpoint": at(endpoints.token),
        "revocation_endpoint": at(endpoints.revoke),
        "userinfo_endpoint": at(endpoints.userinfo),
        "jwks_uri": at(endpoints.jwks),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": GrantType::offered(provider.realm),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": Scope::supported(provider.realm),
        "claims_supported": [
            "iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "name", "given_name",
            "family_name", "preferred_username", "email", "email_verified",
        ],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    });
    if let Some(device) = endpoints.device {
        metadata["device_authorization_endpoint"] = at(device).into();
    }
    if let Some(register) = endpoints.register {
        metadata["registration_endpoint"] = at(register).into();
    }
    Json(metadata)
}

/// Answers with the public keys.
pub(crate) async fn jwks(State(provider): State<Arc<Provider>>) -> Response {
    ([(CACHE_CONTROL, "max-age=300")], Json(provider.keys().jwks())).into_response()
}
