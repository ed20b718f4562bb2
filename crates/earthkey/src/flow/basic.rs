//! A name and a password, for HTTP Basic (RFC 7617), as openEO back-ends take them.

use serde_json::Value;

use super::Plan;
use super::token_error;
use super::unreachable;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::Host;
use crate::host::http::Request;
use crate::oauth::token;
use crate::oauth::token::TokenResponse;

/// Sends a name and a password, and reads the token.
pub async fn run(host: &Host, plan: &Plan, request: Request) -> Result<TokenResponse> {
    let place = &plan.metadata.issuer;
    let response = host.http.send(request).await.map_err(|error| unreachable(plan, error))?;
    if matches!(response.status, 401 | 403) {
        // openEO's errors are `{code, message}`, not OAuth's.
        let document: Option<Value> = serde_json::from_slice(&response.body).ok();
        let message = document.as_ref().and_then(|document| document.get("message")?.as_str());
        let message =
            message.map_or_else(|| format!("status {}", response.status), |text| printable(text, 200));
        return Err(Error::refused(format!("`{place}` does not accept the name or the password"))
            .caused_by(message)
            .hint(format!("try again: `{} --flow basic --username NAME`", plan.again)));
    }
    token::parse(&response).map_err(|error| token_error(plan, error))
}
