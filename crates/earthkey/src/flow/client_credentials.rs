//! The client's own credentials (RFC 6749, section 4.4).

use super::Plan;
use super::redeem;
use crate::error::Result;
use crate::host::Host;
use crate::oauth::token;
use crate::oauth::token::TokenResponse;

/// Obtains a token with the client's own credentials.
pub async fn run(host: &Host, plan: &Plan) -> Result<TokenResponse> {
    let endpoint = plan.endpoint(plan.metadata.token_endpoint.as_ref(), "token endpoint")?;
    let audience = plan.audience.as_deref();
    redeem(host, plan, token::client_credentials_request(&plan.client, endpoint, &plan.scopes, audience))
        .await
}
