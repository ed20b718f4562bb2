//! Who signed in: ID tokens, checked.

use super::Plan;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::http::Request;
use crate::oauth::id_token;
use crate::oauth::id_token::Claims;
use crate::oauth::id_token::Expected;
use crate::oauth::jose::Jwks;
use crate::oauth::token::TokenResponse;
use crate::secret::Nonce;

/// How far the provider's clock may differ from ours, in seconds.
const LEEWAY: u64 = 120;

/// Bytes of a key set that are read at most.
const MAX_KEYS: usize = 256 * 1024;

/// Fetches the keys that the provider signs ID tokens with, `None` where it publishes none.
///
/// Before a code is redeemed: what the provider answers then must not be lost because its keys
/// cannot be had.
pub async fn keys(host: &Host, plan: &Plan) -> Result<Option<Jwks>> {
    let issuer = &plan.metadata.issuer;
    let Some(uri) = plan.metadata.jwks_uri.clone().filter(|_| plan.checks_id_token) else { return Ok(None) };
    let no_keys = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::network(format!("the keys of `{issuer}` cannot be fetched"))
            .caused_by(cause)
            .hint(format!("nothing was stored; sign in again: `{}`", plan.again))
    };
    let answer =
        host.http.send(Request::get(uri).max_body(MAX_KEYS)).await.map_err(|error| no_keys(error.into()))?;
    if !answer.is_success() {
        return Err(no_keys(format!("status {}", answer.status).into()));
    }
    Jwks::parse(&answer.body).map(Some).map_err(|error| no_keys(error.into()))
}

/// Checks the ID token of a token response, if there is one, with the provider's own keys.
pub fn check(
    host: &Host,
    plan: &Plan,
    keys: Option<&Jwks>,
    response: &TokenResponse,
    nonce: Option<&Nonce>,
) -> Result<Option<Claims>> {
    let Some(token) = response.id_token.as_ref().filter(|_| plan.checks_id_token) else { return Ok(None) };
    let issuer = &plan.metadata.issuer;
    let keys = keys.ok_or_else(|| {
        Error::network(format!("`{issuer}` publishes no keys to check its ID tokens with"))
            .hint("nothing was stored; tell the provider: its metadata has no `jwks_uri`")
    })?;
    let expected = Expected {
        issuer,
        client_id: &plan.client.id,
        nonce,
        access_token: Some(&response.access_token),
        now: host.clock.now(),
        leeway: LEEWAY,
    };
    id_token::verify(token, keys, &expected).map(Some).map_err(|error| {
        Error::network(format!("the ID token of `{issuer}` does not hold"))
            .caused_by(error)
            .hint("nothing was stored; if the clock of this machine is right, tell the provider")
    })
}

/// Returns how people know an account.
pub fn account(claims: &Claims) -> String {
    let known = claims.email.as_ref().or(claims.preferred_username.as_ref()).or(claims.name.as_ref());
    crate::error::printable(known.unwrap_or(&claims.sub), 200)
}

#[cfg(test)]
mod tests;
