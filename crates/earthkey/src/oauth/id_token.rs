//! ID tokens: who signed in (OpenID Connect Core 1.0, sections 2 and 3.1.3.7).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::jose::JoseError;
use super::jose::Jwks;
use super::json::Object;
use super::json::WrongType;
use crate::error::printable;
use crate::secret::AccessToken;
use crate::secret::IdToken;
use crate::secret::Nonce;

/// What an ID token must say.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The issuer, as its metadata names it.
    pub issuer: &'a str,
    /// The client that asked.
    pub client_id: &'a str,
    /// The nonce, if one was sent.
    pub nonce: Option<&'a Nonce>,
    /// The access token that came with it.
    pub access_token: Option<&'a AccessToken>,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Seconds that clocks may differ.
    pub leeway: u64,
}

/// What a verified ID token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The person, as this issuer names them; fit for a terminal.
    pub sub: String,
    /// Those the token is for.
    pub aud: Vec<String>,
    /// The person's address, fit for a terminal and not necessarily unaltered.
    pub email: Option<String>,
    /// The person's name, likewise.
    pub name: Option<String>,
    /// The name by which the person would like to be known, likewise.
    pub preferred_username: Option<String>,
    /// When the token expires, in seconds since 1970.
    pub exp: u64,
    /// When the token was made, in seconds since 1970.
    pub iat: u64,
}

/// Why an ID token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// The signature cannot be trusted.
    #[error("the ID token cannot be trusted: {0}")]
    Signature(#[from] JoseError),
    /// The payload is no JSON object.
    #[error("the ID token's payload is not a JSON object")]
    NotClaims,
    /// A claim that every ID token has is missing.
    #[error("the ID token has no `{0}`")]
    Missing(&'static str),
    /// A claim has a type that the specification does not allow.
    #[error("in the ID token, `{name}` is not {expected}")]
    WrongType {
        /// The claim.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The token comes from another issuer.
    #[error("the ID token comes from another issuer: expected `{expected}`, named `{named}`")]
    WrongIssuer {
        /// The issuer that was asked.
        expected: String,
        /// The issuer that the token names.
        named: String,
    },
    /// The token is for another client.
    #[error("the ID token is for another client, `{named}`")]
    WrongAudience {
        /// The clients that the token names.
        named: String,
    },
    /// The token was given to another client (`azp`).
    #[error("the ID token was issued to another client{}", issued_to(.named.as_deref()))]
    WrongAuthorizedParty {
        /// The client that the token names, if any.
        named: Option<String>,
    },
    /// The token is too old, by this machine's clock.
    #[error(
        "the ID token expired {seconds} s ago by this machine's clock: check that the clock is \
         right, then sign in again"
    )]
    Expired {
        /// Seconds since it expired.
        seconds: u64,
    },
    /// The token comes from the future, by this machine's clock.
    #[error(
        "the ID token was made {seconds} s in the future by this machine's clock: check that the \
         clock is right, then sign in again"
    )]
    NotYetIssued {
        /// Seconds until it is made.
        seconds: u64,
    },
    /// The token belongs to another sign-in: an old one, or an attack.
    #[error("the ID token does not belong to this sign-in: its `nonce` is missing or another")]
    WrongNonce,
    /// The access token is not the one that the ID token came with.
    #[error("the access token does not belong to the ID token: `at_hash` differs")]
    WrongAccessToken,
}

impl From<WrongType> for IdTokenError {
    fn from(WrongType { name, expected }: WrongType) -> Self {
        Self::WrongType { name, expected }
    }
}

/// Verifies an ID token and returns what it says (OpenID Connect Core, section 3.1.3.7).
pub fn verify(token: &IdToken, keys: &Jwks, expected: &Expected<'_>) -> Result<Claims, IdTokenError> {
    let verified = keys.verify(token.expose())?;
    let mut object = Object::parse(&verified.payload).ok_or(IdTokenError::NotClaims)?;
    let claims = Claims::read(&mut object)?.with_whole_issuer(expected.issuer);

    if claims.iss != expected.issuer {
        return Err(IdTokenError::WrongIssuer {
            expected: printable(expected.issuer, 200),
            named: printable(&claims.iss, 200),
        });
    }
    if !claims.aud.iter().any(|audience| audience == expected.client_id) {
        return Err(IdTokenError::WrongAudience { named: printable(&claims.aud.join("`, `"), 200) });
    }
    let authorized_party = object.string("azp")?;
    let must_name_us = claims.aud.len() > 1 || authorized_party.is_some();
    if must_name_us && authorized_party.as_deref() != Some(expected.client_id) {
        return Err(IdTokenError::WrongAuthorizedParty {
            named: authorized_party.map(|party| printable(&party, 200)),
        });
    }
    if expected.now >= claims.exp.saturating_add(expected.leeway) {
        return Err(IdTokenError::Expired { seconds: expected.now - claims.exp });
    }
    if claims.iat > expected.now.saturating_add(expected.leeway) {
        return Err(IdTokenError::NotYetIssued { seconds: claims.iat - expected.now });
    }
    if let Some(nonce) = expected.nonce
        && object.string("nonce")?.map(Nonce::new).as_ref() != Some(nonce)
    {
        return Err(IdTokenError::WrongNonce);
    }
    if let Some(hash) = object.string("at_hash")?
        && let Some(access_token) = expected.access_token
        && hash != access_token_hash(verified.algorithm, access_token)
    {
        return Err(IdTokenError::WrongAccessToken);
    }
    Ok(claims)
}

/// Google's issuer, and how Google may write it in an ID token (OpenID Connect Core, section 15.6.2).
const GOOGLE: (&str, &str) = ("https://accounts.google.com", "accounts.google.com");

impl Claims {
    /// Adds the scheme that Google may leave out; nobody else may.
    fn with_whole_issuer(self, expected: &str) -> Self {
        let (whole, bare) = GOOGLE;
        if expected == whole && self.iss == bare { Self { iss: whole.to_owned(), ..self } } else { self }
    }

    fn read(object: &mut Object) -> Result<Self, IdTokenError> {
        let mut shown = |name| {
            let text = object.string(name)?;
            Ok::<_, WrongType>(text.map(|text| printable(&text, 200)).filter(|text| !text.is_empty()))
        };
        let (email, name) = (shown("email")?, shown("name")?);
        let preferred_username = shown("preferred_username")?;
        let sub = object.string("sub")?.ok_or(IdTokenError::Missing("sub"))?;
        if sub.is_empty() || printable(&sub, 255) != sub {
            return Err(IdTokenError::WrongType {
                name: "sub",
                expected: "a name of at most 255 visible characters",
            });
        }
        Ok(Self {
            iss: object.string("iss")?.ok_or(IdTokenError::Missing("iss"))?,
            sub,
            aud: audiences(object)?,
            email,
            name,
            preferred_username,
            exp: object.date("exp")?.ok_or(IdTokenError::Missing("exp"))?,
            iat: object.date("iat")?.ok_or(IdTokenError::Missing("iat"))?,
        })
    }
}

/// Takes `aud`, which is one string or a list of them (RFC 7519, section 4.1.3).
fn audiences(object: &mut Object) -> Result<Vec<String>, IdTokenError> {
    match object.take("aud") {
        None => Err(IdTokenError::Missing("aud")),
        Some(Value::String(audience)) => Ok(vec![audience]),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(audience) => Ok(audience),
                _ => Err(wrong_audience_type()),
            })
            .collect(),
        Some(_) => Err(wrong_audience_type()),
    }
}

fn wrong_audience_type() -> IdTokenError {
    IdTokenError::WrongType { name: "aud", expected: "a string or a list of strings" }
}

/// Returns the left half of the access token's hash, by the hash of the signature's algorithm
/// (OpenID Connect Core, section 3.1.3.6).
fn access_token_hash(algorithm: Algorithm, access_token: &AccessToken) -> String {
    let algorithm = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        // Ed25519 hashes with SHA-512 inside (RFC 8032, section 5.1).
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let digest = digest::digest(algorithm, access_token.expose().as_bytes());
    let digest = digest.as_ref();
    URL_SAFE_NO_PAD.encode(&digest[..digest.len() / 2])
}

fn issued_to(named: Option<&str>) -> String {
    match named {
        Some(named) => format!(", `{named}`"),
        None => ": it has several audiences and no `azp`".to_owned(),
    }
}

#[cfg(test)]
mod tests;
