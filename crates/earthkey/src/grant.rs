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
    /// A token response; `body` is what it was read from.
    Answered {
        /// The 2xx body as it came.
        body: Zeroizing<Vec<u8>>,
        /// What it says.
        response: TokenResponse,
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
        Err(error) => return Exchanged::Unknown(error.to_string()),
    };
    match token::parse(&response) {
        Ok(answer) => Exchanged::Answered { body: response.body, response: answer },
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
