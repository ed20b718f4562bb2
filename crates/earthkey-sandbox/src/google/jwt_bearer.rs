//! Assertions that service accounts sign for themselves (RFC 7523 section 2.1).

use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{OAuthError, Why};
use crate::params::Params;
use crate::provider::{Provider, Realm};
use crate::scope::Scope;
use crate::state::{Authorization, Granted};

/// Whom an assertion must be for, wherever the endpoint really is.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// Seconds an assertion may live.
const LONGEST: i64 = 3_600;

/// Seconds by which the clock of a client may be ahead.
const TOLERANCE: i64 = 300;

const BAD_TIMES: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                         timeframe. Check your iat and exp values in the JWT claim.";

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: Value,
    iat: i64,
    exp: i64,
    sub: Option<String>,
    scope: Option<String>,
}

/// Grants a service account access for itself.
pub(crate) fn grant(provider: &Provider, params: &Params) -> Result<Granted, OAuthError> {
    let assertion = params
        .get("assertion")
        .ok_or_else(|| OAuthError::invalid_request("Missing required parameter: assertion"))?;
    let state = provider.state();
    let malformed = || refused("Invalid JWT");
    let header = jsonwebtoken::decode_header(assertion).map_err(|_| malformed())?;
    // Not believed before the signature is checked: they only say whose key to look for.
    let claims =
        jsonwebtoken::dangerous::insecure_decode::<Claims>(assertion).map_err(|_| malformed())?.claims;
    let client = state
        .service_accounts
        .account(&claims.iss)
        .ok_or_else(|| refused("Invalid grant: account not found"))?;
    let mut keys = state.service_accounts.keys(&claims.iss, header.kid.as_deref());
    let validation = signature_alone();
    if !keys.any(|key| jsonwebtoken::decode::<Value>(assertion, key, &validation).is_ok()) {
        return Err(refused("Invalid JWT Signature."));
    }
    if claims.aud != AUDIENCE {
        return Err(refused("Invalid JWT: Failed audience check."));
    }
    let now = i64::try_from(state.settings.now()).unwrap_or(i64::MAX);
    let lives = claims.exp.saturating_sub(claims.iat);
    if lives > LONGEST || claims.iat > now.saturating_add(TOLERANCE) || claims.exp <= now {
        return Err(refused(BAD_TIMES));
    }
    if claims.sub.is_some_and(|sub| sub != claims.iss) {
        let text = "Client is unauthorized to retrieve access tokens using this method, or client not \
                    authorized for any of the scopes requested.";
        return Err(OAuthError::new("unauthorized_client", text).because(Why::Google));
    }
    let authorization = Authorization {
        sub: client.id.clone(),
        client,
        scope: scope(claims.scope.as_deref().unwrap_or_default())?,
        audience: None,
        code_challenge: None,
        nonce: None,
        auth_time: 0,
    };
    Ok(Granted { authorization, family: None, refresh_token: None })
}

fn scope(requested: &str) -> Result<Scope, OAuthError> {
    let refused = |text| OAuthError::new("invalid_scope", text).because(Why::Google);
    if Scope::unknown(Realm::Google, requested).is_some() {
        return Err(refused("Invalid OAuth scope or ID token audience provided."));
    }
    let scope = Scope::parse(Realm::Google, requested);
    if scope.is_empty() { Err(refused("Empty or missing scope not allowed.")) } else { Ok(scope) }
}

fn refused(description: &str) -> OAuthError {
    OAuthError::invalid_grant(description).because(Why::Google)
}

/// Returns what lets a token pass whose signature is right; the claims have errors of their own.
fn signature_alone() -> Validation {
    let mut validation = Validation::new(Algorithm::RS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}
