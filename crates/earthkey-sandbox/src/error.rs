//! OAuth errors on the wire.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::google;
use crate::provider::Realm;

/// An error of RFC 6749 section 5.2 or 4.1.2.1, RFC 8628 section 3.5 or RFC 7591 section 3.2.2.
#[derive(Debug)]
pub(crate) struct OAuthError {
    pub(crate) code: &'static str,
    pub(crate) description: String,
    pub(crate) why: Why,
    /// Google's `error_subtype`.
    pub(crate) subtype: Option<&'static str>,
    /// Whether the client tried HTTP authentication, so that the answer must name the scheme.
    pub(crate) challenge: bool,
}

/// The reason of an error, for the realm that has its own words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    NoClient,
    UnknownClient,
    NoSecret,
    WrongSecret,
    /// A redirect URI that differs from the one of the authorization request.
    RedirectUri,
    NoVerifier,
    WrongVerifier,
    /// A refresh token that was good once.
    Ended,
    /// A refresh token of another client.
    OtherClient,
    /// A scope that is not known or was not granted.
    Scope,
    /// What the description says, which is in Google's words already.
    Google,
    /// Nothing that any realm has words of its own for.
    Other,
}

impl OAuthError {
    /// Returns an error with a code and its description.
    pub(crate) fn new(code: &'static str, description: impl Into<String>) -> Self {
        Self { code, description: description.into(), why: Why::Other, subtype: None, challenge: false }
    }

    pub(crate) fn invalid_request(description: impl Into<String>) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) fn invalid_grant(description: impl Into<String>) -> Self {
        Self::new("invalid_grant", description)
    }

    pub(crate) fn invalid_client(description: impl Into<String>, challenge: bool) -> Self {
        Self { challenge, ..Self::new("invalid_client", description) }
    }

    pub(crate) fn unauthorized_client() -> Self {
        Self::new("unauthorized_client", "this client may not use this grant")
    }

    /// Returns the same error with its reason.
    pub(crate) fn because(self, why: Why) -> Self {
        Self { why, ..self }
    }

    /// Returns the response of an endpoint of `realm`.
    pub(crate) fn into_response(self, realm: Realm) -> Response {
        if realm == Realm::Google {
            return google::error::reword(self).respond(realm);
        }
        self.respond(realm)
    }

    fn respond(self, realm: Realm) -> Response {
        let mut body = json!({"error": self.code, "error_description": self.description});
        if let Some(subtype) = self.subtype {
            body["error_subtype"] = subtype.into();
        }
        let mut response = (self.status(realm), Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, "no-store".parse().expect("a header value"));
        if self.challenge {
            headers.insert(WWW_AUTHENTICATE, "Basic realm=\"sandbox\"".parse().expect("a header value"));
        }
        response
    }

    fn status(&self, realm: Realm) -> StatusCode {
        match (self.code, realm) {
            ("invalid_client", _) | ("unauthorized_client", Realm::Google) => StatusCode::UNAUTHORIZED,
            // What Auth0 answers where RFC 6749 section 5.2 says 400.
            (
                "invalid_grant" | "authorization_pending" | "access_denied" | "expired_token",
                Realm::Earthscope,
            ) => StatusCode::FORBIDDEN,
            ("slow_down", Realm::Earthscope) => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
