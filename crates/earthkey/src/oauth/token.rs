//! The token endpoint (RFC 6749, sections 4.1.3, 4.4, 5 and 6; RFC 8628, section 3.4).

use std::time::SystemTime;

use http::header;
use url::Url;

use super::authorize::described;
use super::client::Client;
use super::json;
use super::json::Object;
use super::pkce;
use crate::error::printable;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::secret::AccessToken;
use crate::secret::AuthorizationCode;
use crate::secret::CodeVerifier;
use crate::secret::DeviceCode;
use crate::secret::IdToken;
use crate::secret::RefreshToken;

/// Bytes of a token endpoint's answer that are read at most.
pub const MAX_TOKEN_BODY: usize = 64 * 1024;

/// The longest life of a token that is believed: ten years, so that sums of times cannot overflow.
const MAX_LIFETIME: u64 = 10 * 366 * 24 * 60 * 60;

/// The longest wait that a server may ask for, in seconds; callers have shorter ones of their own.
const MAX_RETRY_AFTER: u64 = 24 * 60 * 60;

/// Returns the request that redeems an authorization code (RFC 6749, section 4.1.3).
pub fn code_request(
    client: &Client,
    endpoint: &Url,
    code: &AuthorizationCode,
    redirect_uri: &str,
    verifier: &CodeVerifier,
) -> Request {
    let request = grant(endpoint, "authorization_code")
        .secret_field("code", code.expose())
        .field("redirect_uri", redirect_uri)
        .secret_field("code_verifier", verifier.expose());
    client.authenticate(request)
}

/// Returns the request that refreshes an access token (RFC 6749, section 6).
///
/// Without `scopes` the server repeats those of the grant, which is what nearly all callers want.
pub fn refresh_request(
    client: &Client,
    endpoint: &Url,
    refresh_token: &RefreshToken,
    scopes: Option<&[String]>,
) -> Request {
    let mut request = grant(endpoint, "refresh_token").secret_field("refresh_token", refresh_token.expose());
    if let Some(scopes) = scopes {
        request = request.field("scope", &scopes.join(" "));
    }
    client.authenticate(request)
}

/// Returns the request of the client credentials grant (RFC 6749, section 4.4.2).
pub fn client_credentials_request(
    client: &Client,
    endpoint: &Url,
    scopes: &[String],
    audience: Option<&str>,
) -> Request {
    let request = with_scope(grant(endpoint, "client_credentials"), scopes);
    client.authenticate(with_audience(request, audience))
}

/// Returns the request that asks whether a person has agreed yet (RFC 8628, section 3.4).
pub fn device_request(
    client: &Client,
    endpoint: &Url,
    device_code: &DeviceCode,
    verifier: Option<&CodeVerifier>,
) -> Request {
    let mut request = grant(endpoint, "urn:ietf:params:oauth:grant-type:device_code")
        .secret_field("device_code", device_code.expose());
    if let Some(verifier) = verifier {
        request = request.secret_field("code_verifier", verifier.expose());
    }
    client.authenticate(request)
}

/// A successful answer of the token endpoint (RFC 6749, section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenResponse {
    /// The access token; fit for an HTTP header.
    pub access_token: AccessToken,
    /// `Bearer` as the server spells it.
    pub token_type: String,
    /// Seconds that the access token lives, if the server says so.
    pub expires_in: Option<u64>,
    /// The refresh token to use from now on; absent means that the one in use stays.
    pub refresh_token: Option<RefreshToken>,
    /// The ID token, unverified.
    pub id_token: Option<IdToken>,
    /// The scopes granted; absent means those asked for.
    pub scopes: Option<Vec<String>>,
}

/// Why the token endpoint gave no tokens. What counts is whether the grant is known to be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The server refuses, and says so in OAuth's terms.
    #[error("{0}")]
    Refused(Refusal),
    /// The server asks for patience: status 429 or 503.
    #[error("the provider asks to try again later (status {status})")]
    TryLater {
        /// The status code.
        status: u16,
        /// When, if the server says so.
        retry_after: Option<RetryAfter>,
    },
    /// The server failed, and may or may not have used the grant up: another 5xx.
    #[error("the provider failed (status {status})")]
    ServerError {
        /// The status code.
        status: u16,
    },
    /// An answer that is neither tokens nor a refusal, often from something in between.
    #[error("the provider gave no usable answer (status {status}): {what}")]
    Unexpected {
        /// The status code.
        status: u16,
        /// What came, or what is wrong with it.
        what: String,
    },
}

/// When a server wants to be asked again (RFC 9110, section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this many seconds.
    Seconds(u64),
    /// At this time, in seconds since 1970 by the server's clock.
    At(u64),
}

/// An error answer (RFC 6749, section 5.2): a 4xx with an OAuth error code in JSON, nothing else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider refused: `{error}`{}", described(.description.as_deref()))]
pub struct Refusal {
    /// The status code.
    pub status: u16,
    /// The error code, such as `invalid_grant`.
    pub error: String,
    /// The server's words, fit for a terminal.
    pub description: Option<String>,
    /// The server's clock (`Date`, RFC 9110, section 6.6.1), in Unix seconds.
    pub date: Option<u64>,
}

/// Reads the token endpoint's answer.
pub fn parse(response: &Response) -> Result<TokenResponse, TokenError> {
    if !response.is_success() {
        return Err(failure(response));
    }
    let Some(object) = Object::parse(&response.body) else {
        return Err(unexpected(response, json::kind(response)));
    };
    read(object).map_err(|what| unexpected(response, what))
}

/// Reads the body of a 2xx answer that was kept; the error says what is wrong with it.
pub fn parse_body(body: &[u8]) -> Result<TokenResponse, String> {
    read(Object::parse(body).ok_or("a body that is not a JSON object")?)
}

/// Returns the refresh token in the body of a 2xx answer, whatever else is wrong with it.
///
/// The server may have retired the one before: what cannot be served must still be kept.
pub fn refresh_token_in(body: &[u8]) -> Option<RefreshToken> {
    let token = Object::parse(body)?.string("refresh_token").ok()??;
    (!token.is_empty()).then(|| RefreshToken::new(token))
}

fn read(mut object: Object) -> Result<TokenResponse, String> {
    let wrong = |wrong: json::WrongType| wrong.to_string();
    let Some(access_token) = object.string("access_token").map_err(wrong)? else {
        // Some servers report errors with status 200.
        return Err(match object.string("error") {
            Ok(Some(error)) => {
                format!("the error `{}` in a successful answer", printable(&error, 100))
            }
            _ => "`access_token` is missing".to_owned(),
        });
    };
    if !is_visible(&access_token) {
        return Err("`access_token` is empty or has characters that no token has".to_owned());
    }
    let token_type = object.string("token_type").map_err(wrong)?.unwrap_or_else(|| "Bearer".to_owned());
    if !token_type.eq_ignore_ascii_case("bearer") {
        return Err(format!(
            "a token of type `{}`, but only bearer tokens can be used",
            printable(&token_type, 50)
        ));
    }
    let mut secret =
        |name| object.string(name).map(|text| text.filter(|text| !text.is_empty())).map_err(wrong);
    let refresh_token = secret("refresh_token")?.map(RefreshToken::new);
    let id_token = secret("id_token")?.map(IdToken::new);
    Ok(TokenResponse {
        access_token: AccessToken::new(access_token),
        token_type,
        expires_in: object.seconds("expires_in", MAX_LIFETIME).map_err(wrong)?,
        refresh_token,
        id_token,
        scopes: object
            .string("scope")
            .map_err(wrong)?
            .map(|scopes| scopes.split_ascii_whitespace().map(str::to_owned).collect()),
    })
}

/// Says what an answer other than 2xx means; the endpoints of RFC 7009, 7591 and 8628 report
/// errors as the token endpoint does.
pub(super) fn failure(response: &Response) -> TokenError {
    let status = response.status;
    match status {
        429 | 503 => TokenError::TryLater { status, retry_after: retry_after(response) },
        400..=499 => {
            refusal(response).map_or_else(|| unexpected(response, json::kind(response)), TokenError::Refused)
        }
        500..=599 => TokenError::ServerError { status },
        300..=399 => unexpected(response, "a redirect, which is never followed"),
        _ => unexpected(response, json::kind(response)),
    }
}

/// Reads an error answer; only a 4xx with an error code is one.
pub(super) fn refusal(response: &Response) -> Option<Refusal> {
    if !(400..500).contains(&response.status) {
        return None;
    }
    let mut object = Object::parse(&response.body)?;
    let error = object.string("error").ok()??;
    if error.len() > 100 || !is_visible(&error) || error.contains(['"', '\\']) {
        return None;
    }
    // A description of a wrong type does not make the refusal any less of one.
    let description = object.string("error_description").ok().flatten();
    Some(Refusal {
        status: response.status,
        error,
        description: description.map(|text| printable(&text, 200)).filter(|text| !text.is_empty()),
        date: response.header(header::DATE).and_then(date),
    })
}

/// Returns an error about an answer that is neither success nor refusal.
pub(super) fn unexpected(response: &Response, what: impl Into<String>) -> TokenError {
    TokenError::Unexpected { status: response.status, what: what.into() }
}

/// Whether a value consists of visible ASCII, and some (RFC 6749, appendix A, `1*VSCHAR`).
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
}

/// Adds `scope`, unless there is none to ask for.
pub(super) fn with_scope(request: Request, scopes: &[String]) -> Request {
    if scopes.is_empty() { request } else { request.field("scope", &scopes.join(" ")) }
}

/// Adds `audience`, as Auth0 has it.
pub(super) fn with_audience(request: Request, audience: Option<&str>) -> Request {
    match audience {
        Some(audience) => request.field("audience", audience),
        None => request,
    }
}

/// Adds a proof key's challenge.
pub(super) fn with_challenge(request: Request, challenge: Option<&str>) -> Request {
    match challenge {
        Some(challenge) => {
            request.field("code_challenge", challenge).field("code_challenge_method", pkce::METHOD)
        }
        None => request,
    }
}

fn grant(endpoint: &Url, grant_type: &'static str) -> Request {
    Request::post(endpoint.clone()).max_body(MAX_TOKEN_BODY).field("grant_type", grant_type)
}

fn retry_after(response: &Response) -> Option<RetryAfter> {
    let text = response.header(header::RETRY_AFTER)?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are still a long wait.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(RetryAfter::Seconds(seconds.min(MAX_RETRY_AFTER)));
    }
    date(text).map(RetryAfter::At)
}

/// Reads a date of HTTP (RFC 9110, section 5.6.7) as Unix seconds.
fn date(text: &str) -> Option<u64> {
    let at = httpdate::parse_http_date(text.trim()).ok()?;
    Some(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())
}

#[cfg(test)]
mod tests;
