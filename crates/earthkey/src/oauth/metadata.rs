//! What a provider says about itself (RFC 8414, OpenID Connect Discovery 1.0).

use url::Url;

use super::json;
use super::json::Object;
use super::json::WrongType;
use crate::error::printable;
use crate::host::http::Response;
use crate::host::http::is_confidential;

/// Authorization server metadata (RFC 8414, section 2).
///
/// Every address in it may carry secrets: https, or http to an address of this machine.
#[derive(Default, Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer, as the server writes it; ID tokens and `iss` parameters must say the same.
    pub issuer: String,
    /// Whether the issuer is known by its origin alone: a client's file names addresses and no issuer.
    pub is_known_by_origin: bool,
    /// Where a person is sent.
    pub authorization_endpoint: Option<Url>,
    /// Where grants become tokens.
    pub token_endpoint: Option<Url>,
    /// Where device codes come from (RFC 8628, section 4).
    pub device_authorization_endpoint: Option<Url>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// Where claims about the person are (OpenID Connect Core, section 5.3).
    pub userinfo_endpoint: Option<Url>,
    /// Where clients register themselves (RFC 7591).
    pub registration_endpoint: Option<Url>,
    /// Where the keys are that sign ID tokens.
    pub jwks_uri: Option<Url>,
    /// Scopes that may be asked for; servers need not list all.
    pub scopes_supported: Option<Vec<String>>,
    /// Grant types; absence means `authorization_code` and `implicit`.
    pub grant_types_supported: Option<Vec<String>>,
    /// Client authentication methods; absence means `client_secret_basic`.
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Proof key methods; absence means that the server knows none.
    pub code_challenge_methods_supported: Option<Vec<String>>,
    /// Whether authorization responses name their issuer (RFC 9207, section 3).
    pub authorization_response_iss_parameter_supported: bool,
}

/// How the issuer in the metadata is compared with the one that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerComparison {
    /// Character by character (RFC 8414, section 3.3).
    Exact,
    /// Slashes at the end aside: openEO back-ends list issuers with one that their providers do
    /// not have.
    IgnoringTrailingSlash,
}

/// Why an answer is not the metadata that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// The server answered with another status than 200.
    #[error("the server answered the request for its metadata with status {0}")]
    Status(u16),
    /// The body is no JSON object, often the page of a portal or a proxy.
    #[error("the metadata should be JSON, but {found} came")]
    NotJson {
        /// What came instead.
        found: String,
    },
    /// The metadata belongs to somebody else: misconfigured, or an attempt to mix providers up.
    #[error("the metadata names another issuer: asked `{asked}`, named `{named}`")]
    WrongIssuer {
        /// The issuer that was asked.
        asked: String,
        /// The issuer that the metadata names.
        named: String,
    },
    /// A member that must be there is not.
    #[error("the metadata has no `{0}`")]
    Missing(&'static str),
    /// A member has a type that the specification does not allow.
    #[error("in the metadata, `{name}` is not {expected}")]
    WrongType {
        /// The member.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An address that no request can go to, or one made to look like another.
    #[error("in the metadata, `{endpoint}` is not an address that can be used")]
    BadAddress {
        /// The member.
        endpoint: &'static str,
    },
    /// An address that would carry secrets in the clear.
    #[error("in the metadata, `{endpoint}` is not https, so that no secret may go there")]
    PlainHttp {
        /// The member.
        endpoint: &'static str,
    },
}

impl From<WrongType> for MetadataError {
    fn from(WrongType { name, expected }: WrongType) -> Self {
        Self::WrongType { name, expected }
    }
}

/// Returns where an issuer's metadata may be, in the order to try.
///
/// First the address of OpenID Connect Discovery 1.0, section 4, which appends to the issuer; then
/// those of RFC 8414, sections 3.1 and 5, which insert between its host and its path.
pub fn candidates(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut candidates: Vec<Url> = Vec::new();
    for well_known in [
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ] {
        let mut url = issuer.clone();
        url.set_path(&well_known);
        url.set_query(None);
        url.set_fragment(None);
        if !candidates.contains(&url) {
            candidates.push(url);
        }
    }
    candidates
}

/// Reads metadata and checks that it is that of the issuer asked (RFC 8414, section 3.3).
pub fn parse(
    asked_issuer: &str,
    comparison: IssuerComparison,
    response: &Response,
) -> Result<Metadata, MetadataError> {
    if response.status != 200 {
        return Err(MetadataError::Status(response.status));
    }
    let Some(mut object) = Object::parse(&response.body) else {
        return Err(MetadataError::NotJson { found: json::kind(response) });
    };
    let issuer = object.string("issuer")?.ok_or(MetadataError::Missing("issuer"))?;
    let same = match comparison {
        IssuerComparison::Exact => issuer == asked_issuer,
        IssuerComparison::IgnoringTrailingSlash => {
            issuer.trim_end_matches('/') == asked_issuer.trim_end_matches('/')
        }
    };
    if !same {
        return Err(MetadataError::WrongIssuer {
            asked: printable(asked_issuer, 200),
            named: printable(&issuer, 200),
        });
    }
    Ok(Metadata {
        is_known_by_origin: false,
        issuer,
        authorization_endpoint: endpoint(&mut object, "authorization_endpoint")?,
        token_endpoint: endpoint(&mut object, "token_endpoint")?,
        device_authorization_endpoint: endpoint(&mut object, "device_authorization_endpoint")?,
        revocation_endpoint: endpoint(&mut object, "revocation_endpoint")?,
        userinfo_endpoint: endpoint(&mut object, "userinfo_endpoint")?,
        registration_endpoint: endpoint(&mut object, "registration_endpoint")?,
        jwks_uri: endpoint(&mut object, "jwks_uri")?,
        scopes_supported: object.strings("scopes_supported")?,
        grant_types_supported: object.strings("grant_types_supported")?,
        token_endpoint_auth_methods_supported: object.strings("token_endpoint_auth_methods_supported")?,
        code_challenge_methods_supported: object.strings("code_challenge_methods_supported")?,
        authorization_response_iss_parameter_supported: object
            .boolean("authorization_response_iss_parameter_supported")?
            .unwrap_or(false),
    })
}

/// Takes an endpoint: no fragment (RFC 6749, section 3.1), no user name, which would only make one
/// host look like another.
fn endpoint(object: &mut Object, name: &'static str) -> Result<Option<Url>, MetadataError> {
    let Some(text) = object.string(name)? else { return Ok(None) };
    let url = Url::parse(&text).map_err(|_| MetadataError::BadAddress { endpoint: name })?;
    if !is_confidential(&url) {
        return Err(MetadataError::PlainHttp { endpoint: name });
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(MetadataError::BadAddress { endpoint: name });
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests;
