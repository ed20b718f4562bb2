//! The device authorization grant (RFC 8628).

use std::time::Duration;

use url::Url;

use super::client::Client;
use super::json;
use super::json::Object;
use super::token;
use super::token::Refusal;
use super::token::TokenError;
use super::token::TokenResponse;
use crate::error::printable;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::is_confidential;
use crate::secret::DeviceCode;

/// Seconds between polls where the server does not say (RFC 8628, section 3.2).
const DEFAULT_INTERVAL: u64 = 5;

/// The longest interval, and the longest that passing errors delay a poll, in seconds.
const MAX_INTERVAL: u64 = 60;

/// Seconds that `slow_down` adds to the interval for good (RFC 8628, section 3.5).
const SLOW_DOWN: u64 = 5;

/// Seconds that a code lives where the server does not say, against section 3.2.
const DEFAULT_LIFETIME: u64 = 600;

/// The longest life of a code that is believed, in seconds.
const MAX_LIFETIME: u64 = 24 * 60 * 60;

/// Returns the request for a device code and a user code (RFC 8628, section 3.1).
///
/// `challenge` adds a proof key, which some servers take here too; `parameters` are those that
/// [`allowed_parameters`](super::authorize::allowed_parameters) let through.
pub fn authorization_request(
    client: &Client,
    endpoint: &Url,
    scopes: &[String],
    audience: Option<&str>,
    challenge: Option<&str>,
    parameters: &[(String, String)],
) -> Request {
    let request = Request::post(endpoint.clone()).max_body(token::MAX_TOKEN_BODY);
    let request = token::with_audience(token::with_scope(request, scopes), audience);
    let request = token::with_challenge(request, challenge);
    parameters
        .iter()
        .fold(client.authenticate(request), |request, (name, value)| request.extra_field(name.clone(), value))
}

/// What a person is shown and what is polled with (RFC 8628, section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceAuthorization {
    /// The code to poll with.
    pub device_code: DeviceCode,
    /// The code that a person types in; fit for a terminal.
    pub user_code: String,
    /// The page to type it into.
    pub verification_uri: Url,
    /// The same page with the code in its address.
    pub verification_uri_complete: Option<Url>,
    /// Seconds that both codes live.
    pub expires_in: u64,
    /// Seconds between polls.
    pub interval: u64,
}

/// Reads the device authorization endpoint's answer.
pub fn parse_authorization(response: &Response) -> Result<DeviceAuthorization, TokenError> {
    if !response.is_success() {
        return Err(token::failure(response));
    }
    let Some(object) = Object::parse(&response.body) else {
        return Err(token::unexpected(response, json::kind(response)));
    };
    read(object).map_err(|what| token::unexpected(response, what))
}

fn read(mut object: Object) -> Result<DeviceAuthorization, String> {
    let wrong = |wrong: json::WrongType| wrong.to_string();
    let device_code = object
        .string("device_code")
        .map_err(wrong)?
        .filter(|code| !code.is_empty())
        .ok_or("`device_code` is missing")?;
    let user_code = object.string("user_code").map_err(wrong)?.ok_or("`user_code` is missing")?;
    if user_code.is_empty() || printable(&user_code, 100) != user_code {
        return Err("`user_code` is not fit to be shown".to_owned());
    }
    let verification_uri = match page(&mut object, "verification_uri")? {
        Some(uri) => uri,
        // Google's name for it, older than the RFC.
        None => page(&mut object, "verification_url")?.ok_or("`verification_uri` is missing")?,
    };
    Ok(DeviceAuthorization {
        device_code: DeviceCode::new(device_code),
        user_code,
        verification_uri,
        verification_uri_complete: page(&mut object, "verification_uri_complete")?,
        expires_in: object.seconds("expires_in", MAX_LIFETIME).map_err(wrong)?.unwrap_or(DEFAULT_LIFETIME),
        interval: object.seconds("interval", MAX_INTERVAL).map_err(wrong)?.unwrap_or(DEFAULT_INTERVAL).max(1),
    })
}

/// Takes the address of a page that a person is sent to and signs in on.
fn page(object: &mut Object, name: &'static str) -> Result<Option<Url>, String> {
    let Some(text) = object.string(name).map_err(|wrong| wrong.to_string())? else {
        return Ok(None);
    };
    let url = Url::parse(&text).map_err(|_| format!("`{name}` is not an address"))?;
    if !is_confidential(&url) || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`{name}` is not an https address that is safe to open"));
    }
    Ok(Some(url))
}

/// What a poll brought (RFC 8628, section 3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Poll {
    /// The person agreed: here are the tokens.
    Ready(TokenResponse),
    /// The person has not decided yet.
    Pending,
    /// The same, and polls come too often.
    SlowDown,
    /// The person, or the server for them, said no.
    Denied(Refusal),
    /// The codes are too old; a new attempt may be made.
    Expired,
    /// Nothing will come of this attempt.
    Failed(TokenError),
    /// A passing error: no answer, 429 or 5xx. The codes stay good.
    Retry,
}

/// Reads the token endpoint's answer to a poll.
///
/// Error codes count whatever the 4xx: Auth0 polls too fast with 429, Google pends with 428.
pub fn parse_poll(response: &Response) -> Poll {
    if let Some(refusal) = token::refusal(response) {
        return match refusal.error.as_str() {
            "authorization_pending" => Poll::Pending,
            "slow_down" => Poll::SlowDown,
            "expired_token" => Poll::Expired,
            "access_denied" => Poll::Denied(refusal),
            _ if response.status == 429 => Poll::Retry,
            _ => Poll::Failed(TokenError::Refused(refusal)),
        };
    }
    match token::parse(response) {
        Ok(tokens) => Poll::Ready(tokens),
        Err(TokenError::TryLater { .. } | TokenError::ServerError { .. }) => Poll::Retry,
        Err(error) => Poll::Failed(error),
    }
}

/// When to poll: the schedule of RFC 8628, sections 3.4 and 3.5, without a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polling {
    interval: u64,
    lifetime: u64,
    passing_errors: u32,
}

impl Polling {
    /// Starts the schedule of an authorization.
    pub fn new(authorization: &DeviceAuthorization) -> Self {
        Self { interval: authorization.interval, lifetime: authorization.expires_in, passing_errors: 0 }
    }

    /// Takes note of what a poll brought.
    pub fn on(&mut self, poll: &Poll) {
        if matches!(poll, Poll::Retry) {
            self.passing_errors = self.passing_errors.saturating_add(1);
            return;
        }
        self.passing_errors = 0;
        if matches!(poll, Poll::SlowDown) {
            self.interval = self.interval.saturating_add(SLOW_DOWN);
        }
    }

    /// Returns how long to wait before the next poll; `None` once the codes would be too old.
    ///
    /// `elapsed` is the time since the authorization arrived.
    pub fn next_wait(&self, elapsed: Duration) -> Option<Duration> {
        let remaining = Duration::from_secs(self.lifetime).checked_sub(elapsed)?;
        let interval = Duration::from_secs(self.interval);
        let backed_off = interval
            .saturating_mul(2_u32.saturating_pow(self.passing_errors))
            .min(Duration::from_secs(MAX_INTERVAL).max(interval));
        // A long back-off must not skip the last poll that is in time.
        let wait = if backed_off > remaining { interval } else { backed_off };
        (wait <= remaining).then_some(wait)
    }
}

#[cfg(test)]
mod tests;
