//! Token revocation (RFC 7009).

use url::Url;

use super::client::Client;
use super::token;
use super::token::TokenError;
use crate::host::http::Request;
use crate::host::http::Response;

/// Which kind of token is revoked (RFC 7009, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenTypeHint {
    /// `access_token`.
    AccessToken,
    /// `refresh_token`; most servers then revoke its access tokens too.
    RefreshToken,
}

impl TokenTypeHint {
    fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "access_token",
            Self::RefreshToken => "refresh_token",
        }
    }
}

/// Returns the request that revokes `token` (RFC 7009, section 2.1).
pub fn request(client: &Client, endpoint: &Url, token: &str, hint: TokenTypeHint) -> Request {
    let request = Request::post(endpoint.clone())
        .max_body(token::MAX_TOKEN_BODY)
        .secret_field("token", token)
        .field("token_type_hint", hint.as_str());
    client.authenticate(request)
}

/// Reads the answer (RFC 7009, section 2.2); a token that the server does not know is revoked.
pub fn parse(response: &Response) -> Result<(), TokenError> {
    if response.is_success() {
        return Ok(());
    }
    match token::failure(response) {
        // What Google answers where the RFC wants a success.
        TokenError::Refused(refusal) if refusal.error == "invalid_token" => Ok(()),
        failure => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::token::Refusal;
    use crate::secret::ClientSecret;

    fn endpoint() -> Url {
        Url::parse("https://server.example.com/revoke").unwrap()
    }

    #[test]
    fn rfc7009_2_1() {
        let client = Client::with_secret("s6BhdRkqt3", ClientSecret::new("gX1fBat3bV"), None);
        let request = request(&client, &endpoint(), "45ghiukldjahdnhzdauz", TokenTypeHint::RefreshToken);
        assert_eq!(request.body().as_slice(), b"token=45ghiukldjahdnhzdauz&token_type_hint=refresh_token");
        assert_eq!(request.headers[http::header::AUTHORIZATION], "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
        assert!(!format!("{request:?}").contains("45ghiukldjahdnhzdauz"));
    }

    #[test]
    fn an_access_token_is_hinted_as_one() {
        let request = request(&Client::public("c"), &endpoint(), "t", TokenTypeHint::AccessToken);
        assert_eq!(request.body().as_slice(), b"token=t&token_type_hint=access_token&client_id=c");
    }

    #[test]
    fn done_whatever_the_body_and_refused_in_oauth_terms() {
        assert_eq!(parse(&Response::new(200, "")), Ok(()));
        assert_eq!(parse(&Response::new(200, "<html>")), Ok(()));
        assert_eq!(parse(&Response::new(400, r#"{"error":"invalid_token"}"#)), Ok(()));
        let refusal = Response::new(400, r#"{"error":"unsupported_token_type"}"#);
        assert_eq!(
            parse(&refusal),
            Err(TokenError::Refused(Refusal {
                status: 400,
                error: "unsupported_token_type".to_owned(),
                description: None,
                date: None,
            }))
        );
        assert!(matches!(
            parse(&Response::new(503, "")),
            Err(TokenError::TryLater { status: 503, retry_after: None })
        ));
        assert!(matches!(parse(&Response::new(404, "")), Err(TokenError::Unexpected { .. })));
    }
}
