//! Requests that a service account signs for itself (RFC 7523, section 2.1).

use jsonwebtoken::Algorithm;
use jsonwebtoken::EncodingKey;
use jsonwebtoken::Header;
use serde_json::json;
use url::Url;

use super::token::MAX_TOKEN_BODY;
use crate::host::http::Request;
use crate::secret::PrivateKey;

/// The grant type (RFC 7523, section 2.1).
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Seconds that an assertion is good for: what Google allows at most.
pub const LIFETIME: u64 = 3600;

/// What an assertion says (RFC 7523, section 3). Times in Unix seconds.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// Who asks: `iss`.
    pub issuer: &'a str,
    /// Who is asked: `aud`.
    pub audience: &'a str,
    /// What is asked for: `scope`, which is Google's and not the RFC's.
    pub scopes: &'a [String],
    /// When: `iat`.
    pub now: u64,
}

/// A private key that cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`private_key` is no RSA key in PEM with at least 2048 bits")]
pub struct BadKey;

impl Assertion<'_> {
    /// Returns the assertion, signed with RS256 (RFC 7518, section 3.3).
    pub fn sign(&self, key: &PrivateKey, key_id: Option<&str>) -> Result<String, BadKey> {
        let claims = json!({
            "iss": self.issuer,
            "scope": self.scopes.join(" "),
            "aud": self.audience,
            "iat": self.now,
            "exp": self.now + LIFETIME,
        });
        let header = Header { kid: key_id.map(str::to_owned), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_pem(key.expose().as_bytes()).map_err(|_| BadKey)?;
        jsonwebtoken::encode(&header, &claims, &key).map_err(|_| BadKey)
    }
}

/// Returns the request that exchanges an assertion for an access token (RFC 7523, section 2.1).
pub fn request(endpoint: &Url, assertion: &str) -> Request {
    Request::post(endpoint.clone())
        .max_body(MAX_TOKEN_BODY)
        .field("grant_type", GRANT_TYPE)
        .secret_field("assertion", assertion)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::Value;

    use super::*;
    use crate::oauth::jose::Jwks;

    /// A key made for these tests alone, and its public half.
    const KEY: &str = include_str!("jwt_bearer/key.pem");
    const PUBLIC: &str = include_str!("jwt_bearer/public.json");

    fn signed(assertion: &Assertion<'_>) -> String {
        assertion.sign(&PrivateKey::new(KEY), Some("k1")).unwrap()
    }

    #[test]
    fn an_assertion_says_who_asks_whom_for_what_and_is_signed_by_the_key() {
        let scopes = ["https://a.test/one".to_owned(), "https://a.test/two".to_owned()];
        let jwt = signed(&Assertion {
            issuer: "robot@project.test",
            audience: "https://idp.test/token",
            scopes: &scopes,
            now: 1_800_000_000,
        });
        let mut parts = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let header: BTreeMap<String, String> = serde_json::from_slice(&parts.next().unwrap()).unwrap();
        let expected = [("alg", "RS256"), ("kid", "k1"), ("typ", "JWT")];
        assert_eq!(header, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let claims: Value = serde_json::from_slice(&parts.next().unwrap()).unwrap();
        assert_eq!(
            claims,
            json!({
                "iss": "robot@project.test", "scope": "https://a.test/one https://a.test/two",
                "aud": "https://idp.test/token", "iat": 1_800_000_000_u64, "exp": 1_800_003_600_u64,
            })
        );
        // The verifier is another program than the signer's: it knows nothing but the public key.
        assert!(Jwks::parse(PUBLIC.as_bytes()).unwrap().verify(&jwt).is_ok());
        let (message, signature) = jwt.rsplit_once('.').unwrap();
        let forged = format!("{}A.{signature}", &message[..message.len() - 1]);
        assert!(Jwks::parse(PUBLIC.as_bytes()).unwrap().verify(&forged).is_err());
    }

    #[test]
    fn what_is_no_key_is_named_and_not_repeated() {
        let assertion = Assertion { issuer: "i", audience: "a", scopes: &[], now: 0 };
        for text in ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(assertion.sign(&PrivateKey::new(text), None), Err(BadKey));
        }
        assert!(!BadKey.to_string().contains("c2VjcmV0"));
    }

    #[test]
    fn the_assertion_is_not_shown() {
        let request = request(&Url::parse("https://idp.test/token").unwrap(), "header.payload.signature");
        assert_eq!(
            request.body().as_slice(),
            b"grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=header.payload.signature"
        );
        assert!(format!("{request:?}").ends_with("assertion=****"), "{request:?}");
    }
}
