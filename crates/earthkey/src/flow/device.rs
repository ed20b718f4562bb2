//! A code entered on another device (RFC 8628).

use super::Plan;
use super::refused;
use super::token_error;
use super::unreachable;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::device;
use crate::oauth::device::DeviceAuthorization;
use crate::oauth::device::Poll;
use crate::oauth::device::Polling;
use crate::oauth::pkce;
use crate::oauth::token;
use crate::oauth::token::Refusal;
use crate::oauth::token::TokenResponse;
use crate::oauth::token::device_request;

/// Shows a code and waits until it has been entered.
pub async fn run(host: &Host, plan: &Plan) -> Result<TokenResponse> {
    let metadata = &plan.metadata;
    let endpoint =
        plan.endpoint(metadata.device_authorization_endpoint.as_ref(), "device authorization endpoint")?;
    let token_endpoint = plan.endpoint(metadata.token_endpoint.as_ref(), "token endpoint")?;
    let verifier = plan.device_pkce.then(|| pkce::verifier(host.random.bytes()));
    let challenge = verifier.as_ref().map(pkce::challenge);
    let request = device::authorization_request(
        &plan.client,
        endpoint,
        &plan.scopes,
        plan.audience.as_deref(),
        challenge.as_deref(),
        &plan.parameters_of_provider(),
    );
    let response = host.http.send(request).await.map_err(|error| unreachable(plan, error))?;
    let authorization = device::parse_authorization(&response).map_err(|error| token_error(plan, error))?;
    show(host, plan, &authorization);

    let _spinner = host.interaction.waiting("waiting for the code to be entered");
    let mut polling = Polling::new(&authorization);
    let start = host.clock.since_boot();
    // What kept the last poll from an answer, if anything did.
    let mut passing = None;
    loop {
        let elapsed = host.clock.since_boot().saturating_sub(start);
        let Some(wait) = polling.next_wait(elapsed) else {
            return Err(passing.unwrap_or_else(|| expired(plan)));
        };
        if elapsed + wait > plan.timeout {
            return Err(passing.unwrap_or_else(|| not_entered(plan)));
        }
        host.clock.sleep(wait).await;
        let request =
            device_request(&plan.client, token_endpoint, &authorization.device_code, verifier.as_ref());
        // The network may come back; a device code can be asked about as often as it likes.
        let poll = match host.http.send(request).await {
            Ok(response) => {
                let poll = device::parse_poll(&response);
                let error = token::parse(&response).err().filter(|_| poll == Poll::Retry);
                passing = error.map(|error| token_error(plan, error));
                poll
            }
            Err(error) => {
                passing = Some(unreachable(plan, error));
                Poll::Retry
            }
        };
        polling.on(&poll);
        match poll {
            Poll::Ready(response) => return Ok(response),
            Poll::Pending | Poll::SlowDown | Poll::Retry => {}
            Poll::Denied(refusal) => return Err(refused(plan, &refusal)),
            Poll::Expired => return Err(expired(plan)),
            Poll::Failed(error) => return Err(token_error(plan, error)),
        }
    }
}

/// Shows the code, also where a page has it filled in: the person compares the two (RFC 8628,
/// section 3.3.1).
fn show(host: &Host, plan: &Plan, authorization: &DeviceAuthorization) {
    let uri = &authorization.verification_uri;
    let complete = authorization.verification_uri_complete.as_ref();
    plan.announce(host);
    host.interaction.tell(&Notice::Device {
        verification_uri: uri,
        verification_uri_complete: complete,
        user_code: &authorization.user_code,
        expires_in: authorization.expires_in,
    });
    if plan.opens_browser {
        // The page is on the terminal in any case.
        let _ = host.interaction.open_browser(complete.unwrap_or(uri));
    }
}

fn not_entered(plan: &Plan) -> Error {
    Error::refused(format!("the code was not entered within {}", plan.waited()))
        .hint(format!("ask for a new one: `{}`", plan.again))
}

fn expired(plan: &Plan) -> Error {
    refused(plan, &Refusal { status: 400, error: "expired_token".into(), description: None, date: None })
}

#[cfg(test)]
mod tests;
