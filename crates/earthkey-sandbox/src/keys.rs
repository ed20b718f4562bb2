//! Signing keys of a provider and their public half (RFC 7515, 7517).

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::Value;

use crate::secret;

/// Bytes before the PKCS #1 key in the PKCS #8 form of a 2048-bit RSA key: the outer sequence (4),
/// the version (3), the algorithm (15) and the head of the octet string (4).
const PKCS8_HEAD: usize = 26;

/// The signing keys of one provider: RSA 2048 and P-256.
pub(crate) struct Keys {
    rsa: SigningKey,
    ec: SigningKey,
}

/// A key and what it is known by.
pub(crate) struct SigningKey {
    key: EncodingKey,
    id: String,
    algorithm: Algorithm,
}

impl Keys {
    /// Returns fresh keys.
    pub(crate) fn generate() -> Self {
        let ec =
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key can be generated");
        let ec = ec.to_pkcs8v1().expect("a fresh key has a PKCS #8 form");
        Self {
            rsa: SigningKey::of_rsa(&generate_rsa()),
            ec: SigningKey::new(EncodingKey::from_ec_der(ec.as_ref()), Algorithm::ES256),
        }
    }

    /// Returns `claims` as a signed token whose header says `token_type`.
    pub(crate) fn sign(&self, algorithm: Algorithm, token_type: &str, claims: &Value) -> String {
        let key = if algorithm == Algorithm::ES256 { &self.ec } else { &self.rsa };
        let header = Header {
            typ: Some(token_type.to_owned()),
            kid: Some(key.id.clone()),
            ..Header::new(key.algorithm)
        };
        jsonwebtoken::encode(&header, claims, &key.key).expect("a key of our own signs a JSON object")
    }

    /// Returns the public keys (RFC 7517 section 5).
    pub(crate) fn jwks(&self) -> JwkSet {
        JwkSet { keys: vec![self.rsa.jwk(), self.ec.jwk()] }
    }
}

/// Returns a fresh RSA key in PKCS #8.
pub(crate) fn generate_rsa() -> Vec<u8> {
    let key = KeyPair::generate(KeySize::Rsa2048).expect("an RSA key can be generated");
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).expect("a fresh key has a PKCS #8 form");
    der.as_ref().to_vec()
}

impl SigningKey {
    /// Returns the key that [`generate_rsa`] made.
    pub(crate) fn of_rsa(pkcs8: &[u8]) -> Self {
        Self::new(EncodingKey::from_rsa_der(&pkcs8[PKCS8_HEAD..]), Algorithm::RS256)
    }

    /// Returns what the key is known by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Returns the public half.
    pub(crate) fn jwk(&self) -> Jwk {
        let mut jwk =
            Jwk::from_encoding_key(&self.key, self.algorithm).expect("a key of our own has a public half");
        jwk.common.key_id = Some(self.id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk
    }

    fn new(key: EncodingKey, algorithm: Algorithm) -> Self {
        Self { key, id: secret::random("sandbox-")[..24].to_owned(), algorithm }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::json;

    use super::*;

    #[test]
    fn both_keys_verify_through_the_published_set() {
        let keys = Keys::generate();
        let published = keys.jwks();
        for algorithm in [Algorithm::RS256, Algorithm::ES256] {
            let token = keys.sign(algorithm, "JWT", &json!({"exp": 4_000_000_000_u64, "aud": "a"}));
            let header = jsonwebtoken::decode_header(&token).unwrap();
            assert_eq!(header.alg, algorithm);
            let jwk = published.find(&header.kid.unwrap()).unwrap();
            let mut validation = Validation::new(algorithm);
            validation.set_audience(&["a"]);
            let key = DecodingKey::from_jwk(jwk).unwrap();
            jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
        }
    }
}
