use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::ECDSA_P384_SHA384_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::EcdsaSigningAlgorithm;
use aws_lc_rs::signature::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::signature::RSA_PSS_SHA512;
use aws_lc_rs::signature::RsaEncoding;
use aws_lc_rs::signature::RsaKeyPair;
use serde_json::json;

use super::*;

const NOW: u64 = 1_311_281_000;
const ACCESS_TOKEN: &str = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y";
const ACCESS_TOKEN_HASH: &str = "77QmUPtjPfzWtF2AnpK9RQ";

/// The key of OpenID Connect Core, appendix A.7.
const APPENDIX_A_MODULUS: &str = "w7Zdfmece8iaB0kiTY8pCtiBtzbptJmP28nSWwtdjRu0f2GFpajvWE4VhfJAjEsOc\
    wYzay7XGN0b-X84BfC8hmCTOj2b2eHT7NsZegFPKRUQzJ9wW8ipn_aDJWMGDuB1XyqT1E7DYqjUCEOD1b4FLpy_xPn6oV_T\
    YOfQ9fZdbE5HGxJUzekuGcOKqOQ8M7wfYHhHHLxGpQVgL0apWuP2gDDOdTtpuld4D2LK1MZK99s9gaSjRHE8JDb1Z4IGhEc\
    EyzkxswVdPndUWzfvWBBWXWxtSUvQGBRkuy1BHOa4sP6FKjWEeeF7gm7UMs2Nm2QUgNZw6xvEDGaLk4KASdIxRQ";

/// The ID token of OpenID Connect Core, appendix A.3, which came with [`ACCESS_TOKEN`].
const APPENDIX_A_3: &str = "eyJraWQiOiIxZTlnZGs3IiwiYWxnIjoiUlMyNTYifQ.ewogImlzcyI6ICJodHRwOi8vc2Vy\
    dmVyLmV4YW1wbGUuY29tIiwKICJzdWIiOiAiMjQ4Mjg5NzYxMDAxIiwKICJhdWQiOiAiczZCaGRSa3F0MyIsCiAibm9uY2U\
    iOiAibi0wUzZfV3pBMk1qIiwKICJleHAiOiAxMzExMjgxOTcwLAogImlhdCI6IDEzMTEyODA5NzAsCiAiYXRfaGFzaCI6IC\
    I3N1FtVVB0alBmeld0RjJBbnBLOVJRIgp9.F9gRev0Dt2tKcrBkHy72cmRqnLdzw9FLCCSebV7mWs7o_sv2O5s6zMky2kmh\
    HTVx9HmdvNnx9GaZ8XMYRFeYk8L5NZ7aYlA5W56nsG1iWOou_-gji0ibWIuuf4Owaho3YSoi7EvsTuLFz6tq-dLyz0dKABM\
    DsiCmJ5wqkPUDTE3QTXjzbUmOzUDli-gCh5QPuZAq0cNW3pf_2n4zpvTYtbmj12cVcxGIMZby7TMWESRjQ9_o3jvhVNcCGc\
    E0KAQXejhA1ocJhNEvQNqMFGlBb6_0RxxKjDZ-Oa329eGDidOvvp0h5hoES4a8IuGKS7NOcpp-aFwp0qVMDLI-Xnm-Pg";

/// A provider with one key, made for the test.
struct Provider {
    algorithm: Algorithm,
    pair: Pair,
    keys: Jwks,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl Provider {
    fn es256() -> Self {
        Self::ec(&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256, "P-256")
    }

    fn ec(curve: &'static EcdsaSigningAlgorithm, algorithm: Algorithm, name: &str) -> Self {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        // An uncompressed point: 4, x, y.
        let (x, y) = pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
        let key = json!({
            "kty": "EC", "kid": "k", "crv": name,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        });
        Self { algorithm, pair: Pair::Ec(pair), keys: jwks(&key) }
    }

    fn rsa(encoding: &'static dyn RsaEncoding, algorithm: Algorithm) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let key = json!({
            "kty": "RSA", "kid": "k",
            "n": encode(pair.public_key().modulus().big_endian_without_leading_zero()),
            "e": encode(pair.public_key().exponent().big_endian_without_leading_zero()),
        });
        Self { algorithm, pair: Pair::Rsa(pair, encoding), keys: jwks(&key) }
    }

    fn sign(&self, claims: &Value) -> IdToken {
        let header = json!({"alg": format!("{:?}", self.algorithm), "kid": "k"});
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
        };
        IdToken::new(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Verifies claims as if they had come in answer to a request with a nonce.
    fn verify(&self, claims: &Value) -> Result<Claims, IdTokenError> {
        self.verify_of("https://server.example.com", claims)
    }

    fn verify_of(&self, issuer: &str, claims: &Value) -> Result<Claims, IdTokenError> {
        let (nonce, access_token) = (Nonce::new("n-0S6_WzA2Mj"), AccessToken::new(ACCESS_TOKEN));
        let expected = Expected {
            issuer,
            client_id: "s6BhdRkqt3",
            nonce: Some(&nonce),
            access_token: Some(&access_token),
            now: NOW,
            leeway: 60,
        };
        verify(&self.sign(claims), &self.keys, &expected)
    }

    /// Verifies good claims after one of them was replaced; `null` leaves it out.
    fn verify_with(&self, name: &str, value: impl Into<Value>) -> Result<Claims, IdTokenError> {
        self.verify(&with(good(), name, value))
    }
}

fn jwks(key: &Value) -> Jwks {
    Jwks::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
}

fn good() -> Value {
    json!({
        "iss": "https://server.example.com",
        "sub": "248289761001",
        "aud": "s6BhdRkqt3",
        "nonce": "n-0S6_WzA2Mj",
        "exp": NOW + 900,
        "iat": NOW - 30,
        "name": "Jane\u{1b} Doe",
        "email": "janedoe@example.com",
    })
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    match value.into() {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[test]
fn openid_connect_core_appendix_a_3() {
    let keys = jwks(&json!({"kty": "RSA", "kid": "1e9gdk7", "n": APPENDIX_A_MODULUS, "e": "AQAB"}));
    let token = IdToken::new(APPENDIX_A_3);
    let (nonce, access_token) = (Nonce::new("n-0S6_WzA2Mj"), AccessToken::new(ACCESS_TOKEN));
    let expected = Expected {
        issuer: "http://server.example.com",
        client_id: "s6BhdRkqt3",
        nonce: Some(&nonce),
        access_token: Some(&access_token),
        now: 1_311_281_000,
        leeway: 0,
    };
    let claims = verify(&token, &keys, &expected).unwrap();
    assert_eq!((claims.sub.as_str(), claims.exp, claims.iat), ("248289761001", 1_311_281_970, 1_311_280_970));

    let swapped = AccessToken::new("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Z");
    let swapped = Expected { access_token: Some(&swapped), ..expected };
    assert_eq!(verify(&token, &keys, &swapped), Err(IdTokenError::WrongAccessToken));
}

#[test]
fn good_claims_are_read_and_made_fit_to_show() {
    assert_eq!(
        Provider::es256().verify(&good()),
        Ok(Claims {
            iss: "https://server.example.com".to_owned(),
            sub: "248289761001".to_owned(),
            aud: vec!["s6BhdRkqt3".to_owned()],
            email: Some("janedoe@example.com".to_owned()),
            name: Some("Jane  Doe".to_owned()),
            preferred_username: None,
            exp: NOW + 900,
            iat: NOW - 30,
        })
    );
}

#[test]
fn every_algorithm_hashes_the_access_token_in_its_own_way() {
    let es384 = Provider::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384, "P-384");
    let left_half = |algorithm: &'static digest::Algorithm| {
        let digest = digest::digest(algorithm, ACCESS_TOKEN.as_bytes());
        URL_SAFE_NO_PAD.encode(&digest.as_ref()[..digest.as_ref().len() / 2])
    };
    for (provider, hash) in [
        (Provider::es256(), ACCESS_TOKEN_HASH.to_owned()),
        (es384, left_half(&digest::SHA384)),
        (Provider::rsa(&RSA_PKCS1_SHA256, Algorithm::RS256), ACCESS_TOKEN_HASH.to_owned()),
        (Provider::rsa(&RSA_PSS_SHA512, Algorithm::PS512), left_half(&digest::SHA512)),
    ] {
        assert!(provider.verify_with("at_hash", hash).is_ok(), "{:?}", provider.algorithm);
        for wrong in ["", "77QmUPtjPfzWtF2AnpK9RR", "AAAA"] {
            assert_eq!(
                provider.verify_with("at_hash", wrong),
                Err(IdTokenError::WrongAccessToken),
                "{:?}",
                provider.algorithm
            );
        }
    }
}

#[test]
fn a_token_of_another_provider_is_refused() {
    let (ours, theirs) = (Provider::es256(), Provider::es256());
    let provider = Provider { pair: theirs.pair, ..ours };
    assert_eq!(provider.verify(&good()), Err(IdTokenError::Signature(JoseError::BadSignature)));
}

#[test]
fn the_issuer_is_compared_exactly() {
    let provider = Provider::es256();
    for issuer in ["https://attacker.example", "https://server.example.com/", "http://server.example.com"] {
        assert_eq!(
            provider.verify_with("iss", issuer),
            Err(IdTokenError::WrongIssuer {
                expected: "https://server.example.com".to_owned(),
                named: issuer.to_owned(),
            })
        );
    }
}

#[test]
fn the_audience_must_contain_the_client() {
    let provider = Provider::es256();
    assert!(provider.verify_with("aud", json!(["s6BhdRkqt3"])).is_ok());
    for audience in [json!("other"), json!(["other"]), json!([]), json!("s6BhdRkqt3 ")] {
        assert!(
            matches!(provider.verify_with("aud", audience.clone()), Err(IdTokenError::WrongAudience { .. })),
            "{audience}"
        );
    }
}

#[test]
fn several_audiences_need_an_authorized_party_and_one_present_must_be_the_client() {
    let provider = Provider::es256();
    let several = with(good(), "aud", json!(["other", "s6BhdRkqt3"]));
    assert_eq!(provider.verify(&several), Err(IdTokenError::WrongAuthorizedParty { named: None }));
    assert!(provider.verify(&with(several.clone(), "azp", "s6BhdRkqt3")).is_ok());
    let other = IdTokenError::WrongAuthorizedParty { named: Some("other".to_owned()) };
    assert_eq!(provider.verify(&with(several, "azp", "other")), Err(other.clone()));
    assert_eq!(provider.verify_with("azp", "other"), Err(other));
    assert!(provider.verify_with("azp", "s6BhdRkqt3").is_ok());
}

#[test]
fn times_are_checked_with_leeway_and_told_in_seconds() {
    let provider = Provider::es256();
    assert!(provider.verify_with("exp", NOW - 59).is_ok());
    assert_eq!(provider.verify_with("exp", NOW - 60), Err(IdTokenError::Expired { seconds: 60 }));
    assert!(provider.verify_with("iat", NOW + 60).is_ok());
    let early = provider.verify_with("iat", NOW + 3600).unwrap_err();
    assert_eq!(early, IdTokenError::NotYetIssued { seconds: 3600 });
    assert_eq!(
        early.to_string(),
        "the ID token was made 3600 s in the future by this machine's clock: check that the clock \
         is right, then sign in again"
    );
    assert!(provider.verify_with("exp", u64::MAX).is_ok());
    assert!(provider.verify_with("iat", u64::MAX).is_err());
}

#[test]
fn the_nonce_must_be_the_one_sent() {
    let provider = Provider::es256();
    for nonce in [json!("n-0S6_WzA2Mk"), json!(""), Value::Null] {
        assert_eq!(provider.verify_with("nonce", nonce), Err(IdTokenError::WrongNonce));
    }
    assert!(matches!(provider.verify_with("nonce", 1), Err(IdTokenError::WrongType { name: "nonce", .. })));
}

#[test]
fn ill_typed_claims_are_errors_and_never_absent() {
    let provider = Provider::es256();
    for (name, value) in [
        ("exp", json!("1311281970")),
        ("exp", json!(-1)),
        ("exp", json!([NOW + 900])),
        ("iat", json!("1311280970")),
        ("iat", json!(true)),
        ("iss", json!(1)),
        ("sub", json!(248_289_761_001_u64)),
        ("sub", json!("")),
        ("sub", json!("a\u{1b}b")),
        ("sub", json!("s".repeat(256))),
        ("aud", json!({"s6BhdRkqt3": 1})),
        ("aud", json!(["s6BhdRkqt3", 1])),
        ("azp", json!(["s6BhdRkqt3"])),
        ("at_hash", json!([ACCESS_TOKEN_HASH])),
        ("email", json!(["janedoe@example.com"])),
    ] {
        let result = provider.verify_with(name, value.clone());
        assert!(
            matches!(result, Err(IdTokenError::WrongType { name: named, .. }) if named == name),
            "{name}: {value}: {result:?}"
        );
    }
    for name in ["iss", "sub", "aud", "exp", "iat"] {
        assert_eq!(provider.verify_with(name, Value::Null), Err(IdTokenError::Missing(name)));
    }
    assert_eq!(provider.verify(&json!([])), Err(IdTokenError::NotClaims));
}

#[test]
fn what_was_not_sent_is_not_expected() {
    let provider = Provider::es256();
    let token = provider.sign(&with(with(good(), "nonce", "any"), "at_hash", "any"));
    let expected = Expected {
        issuer: "https://server.example.com",
        client_id: "s6BhdRkqt3",
        nonce: None,
        access_token: None,
        now: NOW,
        leeway: 0,
    };
    assert!(verify(&token, &provider.keys, &expected).is_ok());
}

#[test]
fn openid_core_15_6_2_google_may_leave_the_scheme_out_and_nobody_else() {
    let provider = Provider::es256();
    for named in ["https://accounts.google.com", "accounts.google.com"] {
        let claims = provider.verify_of("https://accounts.google.com", &with(good(), "iss", named)).unwrap();
        assert_eq!(claims.iss, "https://accounts.google.com");
    }
    for (issuer, named) in [
        ("https://server.example.com", "server.example.com"),
        ("https://server.example.com", "accounts.google.com"),
        ("https://accounts.google.com", "http://accounts.google.com"),
    ] {
        let error = provider.verify_of(issuer, &with(good(), "iss", named)).unwrap_err();
        assert!(matches!(error, IdTokenError::WrongIssuer { .. }), "{error}");
    }
}
