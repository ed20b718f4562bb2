//! Signatures of JSON Web Tokens (RFC 7515, 7517, 7518, 8037).
//!
//! The key decides which algorithms may be used, never the token alone: a token cannot turn a
//! public key into an HMAC secret, and `none` is not an algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::AlgorithmFamily;
use jsonwebtoken::DecodingKey;
use serde_json::Map;
use serde_json::Value;

use super::json::Object;
use super::json::WrongType;
use crate::error::printable;

/// The most keys that a set may have; real ones have less than ten.
const MAX_KEYS: usize = 100;

/// A set of public keys that sign tokens (RFC 7517, section 5).
#[derive(Clone, Debug)]
pub struct Jwks(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    decoding: DecodingKey,
}

/// Why a body is no set of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    /// The body is not `{"keys": [...]}`.
    #[error("the provider's signing keys should be JSON with a list of `keys`")]
    NotKeys,
    /// There are more keys than anybody has.
    #[error("the provider lists {0} signing keys, more than any provider has")]
    TooMany(usize),
}

/// Why a token's signature cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// The token is not a signed one in compact form (RFC 7515, section 7.1).
    #[error("the token is not a signed JSON Web Token")]
    NotSigned,
    /// The token needs an extension that is not understood (RFC 7515, section 4.1.11).
    #[error("the token needs an extension (`crit`) that is not understood")]
    Critical,
    /// The token names no algorithm with public keys: `none`, HMAC, or one that nobody knows.
    #[error("the token is signed with `{0}`, which is not an algorithm that can be trusted")]
    Algorithm(String),
    /// No key of the provider fits; it may have changed its keys since they were read.
    #[error("the provider lists no key{} for `{algorithm}`", with_id(.id.as_deref()))]
    NoKey {
        /// The `kid` that the token names.
        id: Option<String>,
        /// The `alg` that the token names.
        algorithm: String,
    },
    /// Several keys fit, and the token does not say which.
    #[error("the provider lists several keys for `{algorithm}`, and the token does not say which")]
    Ambiguous {
        /// The `alg` that the token names.
        algorithm: String,
    },
    /// The signature is wrong: the token was changed, or made by somebody else.
    #[error("the token's signature is wrong")]
    BadSignature,
}

/// A token whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// The algorithm of the signature.
    pub(super) algorithm: Algorithm,
    /// The payload.
    pub(super) payload: Vec<u8>,
}

impl Jwks {
    /// Reads a set of keys.
    ///
    /// Keys that do not sign, or that are of an unknown kind or broken, are left out (RFC 7517,
    /// section 5). Symmetric keys are among them: a published secret is none.
    pub fn parse(body: &[u8]) -> Result<Self, JwksError> {
        let mut object = Object::parse(body).ok_or(JwksError::NotKeys)?;
        let Some(Value::Array(keys)) = object.take("keys") else { return Err(JwksError::NotKeys) };
        if keys.len() > MAX_KEYS {
            return Err(JwksError::TooMany(keys.len()));
        }
        Ok(Self(keys.into_iter().filter_map(Key::read).collect()))
    }

    /// Verifies a token in compact form and returns its payload (RFC 7515, section 5.2).
    pub(super) fn verify(&self, jwt: &str) -> Result<Verified, JoseError> {
        let (message, signature) = jwt.rsplit_once('.').ok_or(JoseError::NotSigned)?;
        let (header, payload) = message.split_once('.').ok_or(JoseError::NotSigned)?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| JoseError::NotSigned)?;
        let mut header = URL_SAFE_NO_PAD
            .decode(header)
            .ok()
            .and_then(|header| Object::parse(&header))
            .ok_or(JoseError::NotSigned)?;
        if header.take("crit").is_some() {
            return Err(JoseError::Critical);
        }
        let wrong = |_: WrongType| JoseError::NotSigned;
        let name = header.string("alg").map_err(wrong)?.ok_or(JoseError::NotSigned)?;
        let id = header.string("kid").map_err(wrong)?;
        let algorithm = algorithm(&name).ok_or_else(|| JoseError::Algorithm(printable(&name, 50)))?;

        let key = self.find(id.as_deref(), algorithm)?;
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm) {
            Ok(true) => Ok(Verified { algorithm, payload }),
            _ => Err(JoseError::BadSignature),
        }
    }

    /// Returns the one key that has this id, if the token names one, and may use the algorithm.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, JoseError> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.algorithms.contains(&algorithm) && (id.is_none() || key.id.as_deref() == id));
        let name = || format!("{algorithm:?}");
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(&key.decoding),
            (None, _) => Err(JoseError::NoKey { id: id.map(|id| printable(id, 100)), algorithm: name() }),
            (Some(_), Some(_)) => Err(JoseError::Ambiguous { algorithm: name() }),
        }
    }
}

impl Key {
    /// Reads a JSON Web Key (RFC 7517, section 4; RFC 7518, section 6); `None` if it is of no use
    /// for signatures.
    fn read(jwk: Value) -> Option<Self> {
        let mut jwk = Object::of(jwk)?;
        if jwk.string("use").ok()?.is_some_and(|r#use| r#use != "sig") {
            return None;
        }
        if jwk.strings("key_ops").ok()?.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return None;
        }
        let curve = jwk.string("crv").ok()?;
        let (mut algorithms, decoding) = match (jwk.string("kty").ok()??.as_str(), curve.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (jwk.string("n").ok()??, jwk.string("e").ok()??);
                let key = DecodingKey::from_rsa_components(&n, &e).ok()?;
                (AlgorithmFamily::Rsa.algorithms().to_vec(), key)
            }
            ("EC", Some("P-256")) => (vec![Algorithm::ES256], point(&mut jwk, 32)?),
            ("EC", Some("P-384")) => (vec![Algorithm::ES384], point(&mut jwk, 48)?),
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_components(&jwk.string("x").ok()??).ok()?;
                (vec![Algorithm::EdDSA], key)
            }
            _ => return None,
        };
        if let Some(name) = jwk.string("alg").ok()? {
            algorithms.retain(|fits| algorithm(&name) == Some(*fits));
        }
        Some(Self { id: jwk.string("kid").ok()?, algorithms, decoding })
    }
}

/// Takes an elliptic curve point whose coordinates have `bytes` bytes each (RFC 7518, section
/// 6.2.1).
fn point(jwk: &mut Object, bytes: usize) -> Option<DecodingKey> {
    let (x, y) = (jwk.string("x").ok()??, jwk.string("y").ok()??);
    let fits = |part: &str| URL_SAFE_NO_PAD.decode(part).is_ok_and(|part| part.len() == bytes);
    if fits(&x) && fits(&y) { DecodingKey::from_ec_components(&x, &y).ok() } else { None }
}

/// Returns the claims of a token without trusting them; `None` if it is not a JSON Web Token.
///
/// For what its holder may know about it, such as when it expires. Who somebody is it only says: a login
/// may be refused by it, and none is granted.
pub fn peek(jwt: &str) -> Option<Map<String, Value>> {
    let mut parts = jwt.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    Some(Object::parse(&payload)?.into_members())
}

/// Returns whose a token says that it is, as [`peek`] reads it.
pub fn peek_subject(jwt: &str) -> Option<String> {
    peek(jwt)?.get("sub")?.as_str().map(str::to_owned)
}

/// Returns the algorithm of a name (RFC 7518, section 3.1; RFC 8037; RFC 9864), if it is one with
/// public keys.
fn algorithm(name: &str) -> Option<Algorithm> {
    let algorithm = match name {
        "Ed25519" => Algorithm::EdDSA,
        name => name.parse().ok()?,
    };
    (algorithm.family() != AlgorithmFamily::Hmac).then_some(algorithm)
}

fn with_id(id: Option<&str>) -> String {
    id.map(|id| format!(" `{id}`")).unwrap_or_default()
}

#[cfg(test)]
mod tests;
