//! Exchanges without a person: one request to a token endpoint, and what its outcome means for
//! the grant that was sent.

use zeroize::Zeroizing;

use crate::host::Host;
use crate::host::http::Request;
use crate::host::http::SendError;
use crate::oauth::token;
use crate::oauth::token::Refusal;
use crate::oauth::token::RetryAfter;
use crate::oauth::token::TokenError;
use crate::oauth::token::TokenResponse;

/// What came of one request to a token endpoint.
#[derive(Debug)]
pub enum Exchanged {
    /// An answer that must be kept: a token response, or one that holds a refresh token though it
    /// cannot be served.
    Answered {
        /// The 2xx body as it came.
        body: Zeroizing<Vec<u8>>,
        /// What it says, or what is wrong with it.
        response: Result<TokenResponse, String>,
    },
    /// The provider said no.
    Refused(Refusal),
    /// The provider asks to come back later; nothing was spent.
    Later {
        /// The status.
        status: u16,
        /// How long, in seconds.
        wait: Option<u64>,
    },
    /// An answer that no provider should give; it is not asked again at once.
    Unexpected(String),
    /// The provider may have acted, and nobody knows.
    Unknown(String),
    /// Nothing was sent.
    NotSent(String),
}

/// Sends a request to a token endpoint and sorts what comes of it.
pub async fn exchange(host: &Host, request: Request) -> Exchanged {
    let response = match host.http.send(request).await {
        Ok(response) => response,
        Err(SendError::NotSent(cause)) => return Exchanged::NotSent(cause),
        Err(SendError::Unknown(cause)) => return Exchanged::Unknown(cause),
        // The same request would bring the same answer.
        Err(error @ SendError::TooLarge { .. }) => return Exchanged::Unexpected(error.to_string()),
    };
    let is_to_be_kept = response.is_success() && token::refresh_token_in(&response.body).is_some();
    match token::parse(&response) {
        Ok(answer) => Exchanged::Answered { body: response.body, response: Ok(answer) },
        Err(error) if is_to_be_kept => {
            Exchanged::Answered { body: response.body, response: Err(error.to_string()) }
        }
        Err(TokenError::Refused(refusal)) => Exchanged::Refused(refusal),
        Err(TokenError::TryLater { status, retry_after }) => {
            let wait = retry_after.map(|after| match after {
                RetryAfter::Seconds(seconds) => seconds,
                RetryAfter::At(at) => at.saturating_sub(host.clock.now()),
            });
            Exchanged::Later { status, wait }
        }
        Err(error @ TokenError::ServerError { .. }) => Exchanged::Unknown(error.to_string()),
        Err(error) => Exchanged::Unexpected(error.to_string()),
    }
}
