//! The authorization request and its redirect (RFC 6749, section 4.1; RFC 9207).

use url::Url;
use url::form_urlencoded;

use super::pkce;
use crate::error::printable;
use crate::secret::AuthorizationCode;
use crate::secret::CodeVerifier;
use crate::secret::Nonce;
use crate::secret::State;

/// Parameters that decide who gets the answer and what protects it; no server may set them.
const OUR_OWN: [&str; 9] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "state",
    "nonce",
    "scope",
    "request",
    "request_uri",
];

/// An authorization request with a proof key (RFC 6749, section 4.1.1; RFC 7636, section 4.3).
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The authorization endpoint.
    pub endpoint: &'a Url,
    /// The client identifier.
    pub client_id: &'a str,
    /// Where the answer goes.
    pub redirect_uri: &'a str,
    /// The scopes asked for; none leaves the choice to the server.
    pub scopes: &'a [String],
    /// What ties the answer to this request.
    pub state: &'a State,
    /// What ties the ID token to this request.
    pub nonce: Option<&'a Nonce>,
    /// The proof key, of which only the challenge is sent.
    pub verifier: &'a CodeVerifier,
    /// Further parameters, our own or those that [`allowed_parameters`] let through.
    pub parameters: &'a [(String, String)],
}

impl AuthorizationRequest<'_> {
    /// Returns the URL a person is sent to; a query that the endpoint has is kept.
    pub fn url(&self) -> Url {
        let mut url = self.endpoint.clone();
        let mut query = url.query_pairs_mut();
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", self.client_id)
            .append_pair("redirect_uri", self.redirect_uri);
        if !self.scopes.is_empty() {
            query.append_pair("scope", &self.scopes.join(" "));
        }
        query.append_pair("state", self.state.expose());
        if let Some(nonce) = self.nonce {
            query.append_pair("nonce", nonce.expose());
        }
        query
            .append_pair("code_challenge", &pkce::challenge(self.verifier))
            .append_pair("code_challenge_method", pkce::METHOD)
            .extend_pairs(self.parameters);
        drop(query);
        url
    }
}

/// A server asked for an authorization parameter that is not its to set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server asks for the authorization parameter `{name}`, which only the client may choose")]
pub struct ForbiddenParameter {
    /// The parameter's name.
    pub name: String,
}

/// Lets through the authorization parameters that a server may add, such as openEO's
/// `authorization_parameters`.
///
/// Refuses those that decide who gets the answer and what protects it.
pub fn allowed_parameters(
    from_server: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<(String, String)>, ForbiddenParameter> {
    from_server
        .into_iter()
        .map(|(name, value)| {
            // Names are case-sensitive, but a lenient server is no reason to let one slip by.
            let folded = name.to_ascii_lowercase();
            if OUR_OWN.contains(&folded.as_str()) || folded.starts_with("code_challenge") {
                Err(ForbiddenParameter { name: printable(&name, 100) })
            } else {
                Ok((name, value))
            }
        })
        .collect()
}

/// What a redirect must say to be the answer to a request.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedRedirect<'a> {
    /// The request's `state`.
    pub state: &'a State,
    /// The issuer, as its metadata names it.
    pub issuer: &'a str,
    /// Whether any issuer of that origin is meant.
    pub by_origin: bool,
    /// Whether the metadata advertises `authorization_response_iss_parameter_supported`.
    pub iss_required: bool,
}

impl ExpectedRedirect<'_> {
    fn is_issuer(&self, named: &str) -> bool {
        let origin = |text: &str| Url::parse(text).ok().map(|url| url.origin());
        named == self.issuer || (self.by_origin && origin(named) == origin(self.issuer))
    }
}

/// Why a redirect brings no authorization code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// The redirect does not belong to this request: an old page, or an attack.
    #[error("the redirect does not belong to this sign-in: its `state` is missing or another")]
    WrongState,
    /// The server says that its redirects name it, and this one does not.
    #[error("the redirect does not name its issuer, although the provider says it would")]
    MissingIssuer,
    /// The redirect comes from another provider: an attempt to mix them up (RFC 9207, section 1).
    #[error("the redirect comes from another provider, `{named}`")]
    WrongIssuer {
        /// The issuer that the redirect names.
        named: String,
    },
    /// The provider or the person said no (RFC 6749, section 4.1.2.1).
    #[error("the provider refused: `{error}`{}", described(.description.as_deref()))]
    Refused {
        /// The error code.
        error: String,
        /// The server's words.
        description: Option<String>,
    },
    /// The redirect brings neither a code nor an error.
    #[error("the redirect brings no authorization code")]
    NoCode,
    /// A parameter came twice, which no server does (RFC 6749, section 3.1).
    #[error("the redirect has the parameter `{0}` more than once")]
    Duplicate(&'static str),
}

/// Reads the query of a redirect (RFC 6749, section 4.1.2; RFC 9207, section 2.4).
///
/// Nothing in it is believed before its `state` is known to be this request's, not even an error.
pub fn parse_redirect(
    query: &str,
    expected: &ExpectedRedirect<'_>,
) -> Result<AuthorizationCode, RedirectError> {
    let state = only(query, "state")?.map(State::new);
    if state.as_ref() != Some(expected.state) {
        return Err(RedirectError::WrongState);
    }
    let code = only(query, "code")?;
    let error = only(query, "error")?;
    match only(query, "iss")? {
        Some(iss) if !expected.is_issuer(&iss) => {
            return Err(RedirectError::WrongIssuer { named: printable(&iss, 200) });
        }
        None if expected.iss_required => return Err(RedirectError::MissingIssuer),
        _ => {}
    }
    if let Some(error) = error {
        let description = only(query, "error_description")?;
        return Err(RedirectError::Refused {
            error: printable(&error, 100),
            description: description.map(|text| printable(&text, 200)),
        });
    }
    code.map(AuthorizationCode::new).ok_or(RedirectError::NoCode)
}

/// Returns the one value of a parameter; an empty value counts as absent (RFC 6749, section 3.1).
fn only(query: &str, name: &'static str) -> Result<Option<String>, RedirectError> {
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name);
    let value = values.next().map(|(_, value)| value.into_owned());
    if values.next().is_some() {
        return Err(RedirectError::Duplicate(name));
    }
    Ok(value.filter(|value| !value.is_empty()))
}

/// Returns a server's description as the end of a sentence.
pub(super) fn described(description: Option<&str>) -> String {
    description.map(|text| format!(" ({text})")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
