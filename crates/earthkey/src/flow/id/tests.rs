use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::flow::tests::plan;
use crate::flow::tests::shown;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::secret::AccessToken;
use crate::secret::IdToken;

/// Where scripted clocks stand.
const NOW: u64 = 1_800_000_000;

const NONCE: &str = "the-nonce";

struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn keys(&self) -> String {
        // An uncompressed point: 4, x, y.
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k", "x": encode(x), "y": encode(y)}]})
            .to_string()
    }

    fn sign(&self, claims: &Value) -> IdToken {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&json!({"alg": "ES256", "kid": "k"})), encode(claims));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        IdToken::new(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://idp.test",
        "sub": "ada",
        "aud": "the-client",
        "nonce": NONCE,
        "exp": NOW + 300,
        "iat": NOW,
        "email": "ada@example.org",
    })
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    match value.into() {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn response(id_token: Option<IdToken>) -> TokenResponse {
    TokenResponse {
        access_token: AccessToken::new("the-access-token"),
        token_type: "Bearer".into(),
        expires_in: Some(3600),
        refresh_token: None,
        id_token,
        scopes: None,
    }
}

/// Fetches the keys and checks, as a sign-in does.
async fn fetch_and_check(
    host: &Host,
    plan: &Plan,
    response: &TokenResponse,
    nonce: Option<&Nonce>,
) -> Result<Option<Claims>> {
    let keys = keys(host, plan).await?;
    check(host, plan, keys.as_ref(), response, nonce)
}

/// Checks a token at a provider that answers so when it is asked for its keys.
async fn check_with(keys: Result<Response, SendError>, token: IdToken) -> Result<Option<Claims>> {
    let world = World::new(move |request| {
        assert_eq!(request.url.as_str(), "https://idp.test/keys");
        assert!(request.max_body <= 1024 * 1024);
        keys.clone()
    });
    fetch_and_check(&world.host(1), &plan(), &response(Some(token)), Some(&Nonce::new(NONCE))).await
}

/// Checks claims that the provider itself signed.
async fn check_claims(claims: &Value) -> Result<Option<Claims>> {
    let signer = Signer::new();
    check_with(Ok(Response::new(200, signer.keys())), signer.sign(claims)).await
}

/// Checks that claims do not hold, and returns why.
async fn why_not(claims: &Value) -> String {
    let error = check_claims(claims).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(error.to_string(), "the ID token of `https://idp.test` does not hold");
    assert!(error.hints()[0].contains("nothing was stored"));
    error.causes().remove(0)
}

#[tokio::test]
async fn a_token_that_holds_says_who_signed_in() {
    let claims = check_claims(&claims()).await.unwrap().unwrap();
    assert_eq!(claims.sub, "ada");
    assert_eq!(account(&claims), "ada@example.org");
}

#[tokio::test]
async fn another_sign_ins_token_does_not_hold() {
    for nonce in [json!("another"), json!(""), json!("the-nonce "), Value::Null] {
        assert!(why_not(&with(claims(), "nonce", nonce)).await.contains("`nonce`"));
    }
}

#[tokio::test]
async fn another_clients_token_does_not_hold() {
    for audience in [json!("other"), json!([]), json!(["other"]), json!("the-client2")] {
        assert!(why_not(&with(claims(), "aud", audience)).await.contains("another client"));
    }
    let several = with(claims(), "aud", json!(["the-client", "other"]));
    assert!(why_not(&several).await.contains("azp"));
    assert!(why_not(&with(several, "azp", "other")).await.contains("another client"));
}

#[tokio::test]
async fn another_issuers_token_does_not_hold() {
    for issuer in ["https://evil.test", "https://idp.test/", "http://idp.test", ""] {
        assert!(why_not(&with(claims(), "iss", issuer)).await.contains("another issuer"), "{issuer}");
    }
}

#[tokio::test]
async fn times_hold_by_the_hosts_clock() {
    assert!(check_claims(&with(claims(), "exp", NOW - LEEWAY + 1)).await.is_ok());
    assert!(why_not(&with(claims(), "exp", NOW - LEEWAY)).await.contains("clock"));
    assert!(check_claims(&with(claims(), "iat", NOW + LEEWAY)).await.is_ok());
    assert!(why_not(&with(claims(), "iat", NOW + LEEWAY + 1)).await.contains("clock"));
}

#[tokio::test]
async fn another_access_token_does_not_hold() {
    assert!(why_not(&with(claims(), "at_hash", "AAAAAAAAAAAAAAAAAAAAAA")).await.contains("at_hash"));
}

#[tokio::test]
async fn another_key_does_not_hold() {
    let keys = Ok(Response::new(200, Signer::new().keys()));
    let error = check_with(keys, Signer::new().sign(&claims())).await.unwrap_err();
    assert!(error.causes()[0].contains("signature is wrong"), "{error:?}");
}

#[tokio::test]
async fn a_token_that_nobody_signed_does_not_hold() {
    let signer = Signer::new();
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let none = format!("{}.{}.", encode(&json!({"alg": "none"})), encode(&claims()));
    let whole = signer.sign(&claims());
    let (message, _) = whole.expose().rsplit_once('.').unwrap();
    for token in [none, format!("{message}."), message.to_owned(), "opaque".to_owned()] {
        let keys = Ok(Response::new(200, signer.keys()));
        let error = check_with(keys, IdToken::new(token.clone())).await.unwrap_err();
        assert_eq!(error.to_string(), "the ID token of `https://idp.test` does not hold", "{token}");
        assert!(!shown(&error).contains(&token));
    }
}

#[tokio::test]
async fn keys_that_do_not_come_are_an_error_and_never_a_pass() {
    let signer = Signer::new();
    for answer in [
        Err(SendError::NotSent("connection refused".into())),
        Err(SendError::TooLarge { limit: MAX_KEYS }),
        Ok(Response::new(404, signer.keys())),
        Ok(Response::new(302, signer.keys())),
        Ok(Response::new(200, "<html>")),
        Ok(Response::new(200, r#"{"keys": []}"#)),
        Ok(Response::new(200, r#"{"keys": {}}"#)),
    ] {
        let error = check_with(answer, signer.sign(&claims())).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(!error.causes().is_empty());
        assert!(!error.hints().is_empty(), "{error:?}");
    }
    let mut plan = plan();
    plan.metadata.jwks_uri = None;
    let world = World::new(|_| panic!("there is nobody to ask"));
    let response = response(Some(signer.sign(&claims())));
    let error = fetch_and_check(&world.host(1), &plan, &response, None).await.unwrap_err();
    assert!(!error.hints().is_empty(), "{error:?}");
}

#[tokio::test]
async fn without_a_token_or_a_way_to_check_it_nobody_is_named() {
    let world = World::new(|_| panic!("there is nothing to check"));
    let host = world.host(1);
    assert_eq!(check(&host, &plan(), None, &response(None), None).unwrap(), None);
    let unchecked = Plan { checks_id_token: false, ..plan() };
    let response = response(Some(Signer::new().sign(&claims())));
    assert!(keys(&host, &unchecked).await.unwrap().is_none());
    assert_eq!(check(&host, &unchecked, None, &response, None).unwrap(), None);
}

#[tokio::test]
async fn a_flow_that_sent_no_nonce_expects_none() {
    let signer = Signer::new();
    let keys = signer.keys();
    let world = World::new(move |_| Ok(Response::new(200, keys.clone())));
    let response = response(Some(signer.sign(&with(claims(), "nonce", Value::Null))));
    assert!(fetch_and_check(&world.host(1), &plan(), &response, None).await.unwrap().is_some());
}

#[tokio::test]
async fn an_account_is_fit_for_a_terminal() {
    for (remove, expected) in
        [("", "ada@example.org"), ("email", "al"), ("preferred_username", "Ada L"), ("name", "ada")]
    {
        let mut claims = with(with(claims(), "preferred_username", "al"), "name", "Ada\u{1b}L");
        for name in ["email", "preferred_username", "name"] {
            if remove.is_empty() {
                break;
            }
            claims = with(claims, name, Value::Null);
            if name == remove {
                break;
            }
        }
        assert_eq!(account(&check_claims(&claims).await.unwrap().unwrap()), expected);
    }
}
