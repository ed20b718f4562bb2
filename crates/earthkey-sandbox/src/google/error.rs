//! Errors in Google's words: those of its token endpoint, and those of its services.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, WWW_AUTHENTICATE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use crate::error::{OAuthError, Why};

/// Returns an error of the token endpoint as Google puts it.
pub(crate) fn reword(error: OAuthError) -> OAuthError {
    let (code, description) = match (error.why, error.code) {
        (Why::NoClient, _) => ("invalid_request", "Could not determine client ID from request."),
        (Why::UnknownClient, _) => ("invalid_client", "The OAuth client was not found."),
        (Why::NoSecret, _) => ("invalid_request", "client_secret is missing."),
        (Why::WrongSecret, _) => ("invalid_client", "The provided client secret is invalid."),
        (Why::RedirectUri, _) => ("redirect_uri_mismatch", "Bad Request"),
        (Why::NoVerifier, _) => ("invalid_grant", "Missing code verifier."),
        (Why::WrongVerifier, _) => ("invalid_grant", "Invalid code verifier."),
        (Why::Ended, _) => ("invalid_grant", "Token has been expired or revoked."),
        (Why::OtherClient, _) | (Why::Other, "unauthorized_client") => {
            ("unauthorized_client", "Unauthorized")
        }
        (Why::Scope, _) => ("invalid_scope", "Bad Request"),
        (Why::Other, "invalid_grant") => ("invalid_grant", "Bad Request"),
        (Why::Google | Why::Other, _) => return error,
    };
    OAuthError { code, description: description.to_owned(), ..error }
}

/// Returns the error of a login for which Google wants the person again.
pub(crate) fn reauthentication() -> OAuthError {
    let error = OAuthError::invalid_grant("reauth related error (invalid_rapt)").because(Why::Google);
    OAuthError { subtype: Some("invalid_rapt"), ..error }
}

/// An error of a service (`google.rpc.Status` in JSON).
#[derive(Debug)]
pub(crate) struct ApiError {
    http: StatusCode,
    status: &'static str,
    message: String,
    /// The reason, for programs.
    reason: Option<&'static str>,
    metadata: Vec<(&'static str, String)>,
}

impl ApiError {
    /// Returns the error of a request without an access token that is good.
    pub(crate) fn unauthenticated(message: &str, reason: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message).with_reason(reason)
    }

    /// Returns the error of a request that is understood and refused.
    pub(crate) fn permission_denied(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "PERMISSION_DENIED", message)
    }

    /// Returns the same error with a reason for programs.
    pub(crate) fn with_reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Returns the same error with something more about the reason.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.metadata.push((name, value.into()));
        self
    }

    /// Returns the response.
    pub(crate) fn into_response(self) -> Response {
        let mut error = json!({
            "code": self.http.as_u16(),
            "message": self.message,
            "status": self.status,
        });
        if let Some(reason) = self.reason {
            let metadata: Map<_, Value> =
                self.metadata.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            error["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": metadata,
            }]);
        }
        let caching = [(CACHE_CONTROL, "private")];
        let mut response = (self.http, caching, Json(json!({"error": error}))).into_response();
        if self.http == StatusCode::UNAUTHORIZED {
            let challenge = "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"";
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, challenge.parse().expect("a header value of our own"));
        }
        response
    }

    fn new(http: StatusCode, status: &'static str, message: impl Into<String>) -> Self {
        Self { http, status, message: message.into(), reason: None, metadata: Vec::new() }
    }
}
