//! The token endpoint (RFC 6749 section 3.2) and what it hands out.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, PRAGMA};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::account::Account;
use crate::authorize::audience;
use crate::client::{Client, GrantType};
use crate::error::OAuthError;
use crate::google;
use crate::params::{Params, is_form};
use crate::provider::{Provider, Realm};
use crate::scope::Scope;
use crate::secret::{self, Digest};
use crate::state::{Authorization, Granted, unix_time};

/// Seconds an ID token is good for.
const ID_TOKEN_LIFETIME: u64 = 3_600;

/// Answers a token request.
pub(crate) async fn token(
    State(provider): State<Arc<Provider>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let granted = form(&headers, &body).and_then(|params| grant(&provider, &headers, &params));
    match granted {
        Ok(granted) => {
            let caching = [(CACHE_CONTROL, "no-store"), (PRAGMA, "no-cache")];
            (StatusCode::OK, caching, Json(answer(&provider, granted))).into_response()
        }
        Err(error) => error.into_response(provider.realm),
    }
}

/// Returns the parameters of a request to an endpoint that takes forms.
pub(crate) fn form(headers: &HeaderMap, body: &[u8]) -> Result<Params, OAuthError> {
    if !is_form(headers) {
        return Err(OAuthError::invalid_request("the body is not application/x-www-form-urlencoded"));
    }
    let params = Params::parse(body);
    match params.duplicate() {
        Some(_) => Err(OAuthError::invalid_request("a parameter came twice")),
        None => Ok(params),
    }
}

fn grant(provider: &Provider, headers: &HeaderMap, params: &Params) -> Result<Granted, OAuthError> {
    let required =
        |name| params.get(name).ok_or_else(|| OAuthError::invalid_request(format!("{name} is missing")));
    let named = params.get("grant_type").and_then(GrantType::parse).filter(|own| own.is_of(provider.realm));
    // The assertion says who sends it.
    if named == Some(GrantType::JwtBearer) {
        return google::jwt_bearer::grant(provider, params);
    }
    let mut state = provider.state();
    let client = Client::authenticate(&state, headers, params)?;
    required("grant_type")?;
    let unsupported = || OAuthError::new("unsupported_grant_type", "unknown grant_type");
    let grant_type = named.ok_or_else(unsupported)?;
    if !client.may(grant_type) {
        return Err(OAuthError::unauthorized_client());
    }
    let verifier = params.get("code_verifier");
    match grant_type {
        GrantType::AuthorizationCode => {
            state.redeem_code(&client, required("code")?, params.get("redirect_uri"), verifier)
        }
        GrantType::DeviceCode => state.redeem_device(&client, required("device_code")?, verifier),
        // EarthScope's SDK writes `scopes`, which is nobody's parameter and so means nothing.
        GrantType::RefreshToken if state.settings.reauthentication => Err(google::error::reauthentication()),
        GrantType::RefreshToken => state.refresh(&client, required("refresh_token")?, params.get("scope")),
        GrantType::ClientCredentials => {
            drop(state);
            client_credentials(provider, client, params)
        }
        GrantType::JwtBearer => Err(OAuthError::unauthorized_client()),
    }
}

/// Grants a client access for itself (RFC 6749 section 4.4): no person, so no ID token and no
/// refresh token.
fn client_credentials(
    provider: &Provider,
    client: Arc<Client>,
    params: &Params,
) -> Result<Granted, OAuthError> {
    let sub = match provider.realm {
        Realm::Earthscope => format!("{}@clients", client.id),
        Realm::Oidc | Realm::Openeo | Realm::Google => client.id.clone(),
    };
    let scope = Scope::parse(provider.realm, params.get("scope").unwrap_or_default());
    let authorization = Authorization {
        client,
        sub,
        scope: scope.without("openid").without("offline_access"),
        audience: audience(params)?,
        code_challenge: None,
        nonce: None,
        auth_time: 0,
    };
    Ok(Granted { authorization, family: None, refresh_token: None })
}

/// Returns the token response (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3).
fn answer(provider: &Provider, granted: Granted) -> Value {
    let (now, by_its_clock) = (unix_time(), provider.state().settings.now());
    let lifetime = provider.state().settings.access_token_lifetime;
    let access_token = access_token(provider, &granted, now, now + lifetime);
    provider.state().keep_access_token(&access_token, &granted, now + lifetime);
    let mut answer = match provider.realm {
        Realm::Google => google::token_answer(&granted, &access_token, lifetime),
        Realm::Oidc | Realm::Openeo | Realm::Earthscope => json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": lifetime,
            "scope": granted.authorization.scope.to_string(),
        }),
    };
    // An ID token is about a person, whatever scope a client asks for itself.
    if granted.family.is_some() && granted.authorization.scope.contains("openid") {
        answer["id_token"] = id_token(provider, &granted.authorization, &access_token, by_its_clock).into();
    }
    if let Some(refresh_token) = granted.refresh_token {
        if let Some(lifetime) = provider.state().settings.grant_lifetime {
            answer["refresh_token_expires_in"] = lifetime.into();
        }
        answer["refresh_token"] = refresh_token.into();
    }
    answer
}

/// Returns an access token: Google's is opaque, the others' are signed (RFC 9068), which carries `azp` beside `client_id` because
/// clients out there read either.
fn access_token(provider: &Provider, granted: &Granted, now: u64, expires: u64) -> String {
    let authorization = &granted.authorization;
    let audience = match provider.realm {
        Realm::Google => return google::access_token(),
        Realm::Oidc => provider.at("/api"),
        Realm::Openeo => provider.at("/openeo"),
        Realm::Earthscope => "https://api.earthscope.org".to_owned(),
    };
    let audience = authorization.audience.clone().unwrap_or(audience);
    let mut claims = json!({
        "iss": provider.issuer(),
        "aud": audience,
        "sub": authorization.sub,
        "iat": now,
        "exp": expires,
        "scope": authorization.scope.to_string(),
        "client_id": authorization.client.id,
        "azp": authorization.client.id,
        "jti": secret::random("sandbox-"),
    });
    if granted.family.is_none() {
        claims["gty"] = "client-credentials".into();
    }
    provider.keys().sign(Algorithm::RS256, "at+jwt", &claims)
}

/// Returns a signed ID token (OpenID Connect Core section 2).
fn id_token(provider: &Provider, authorization: &Authorization, access: &str, now: u64) -> String {
    let account = Account::find(&authorization.sub);
    let claims = account.map(|account| account.claims(&authorization.scope)).unwrap_or_default();
    let mut claims = Value::Object(claims);
    claims["iss"] = provider.issuer().into();
    claims["aud"] = authorization.client.id.clone().into();
    claims["azp"] = authorization.client.id.clone().into();
    claims["iat"] = now.into();
    claims["exp"] = (now + ID_TOKEN_LIFETIME).into();
    claims["auth_time"] = authorization.auth_time.into();
    claims["at_hash"] = Digest::of(access).left_half().into();
    if let Some(nonce) = &authorization.nonce {
        claims["nonce"] = nonce.clone().into();
    }
    provider.keys().sign(authorization.client.id_token_algorithm, "JWT", &claims)
}
