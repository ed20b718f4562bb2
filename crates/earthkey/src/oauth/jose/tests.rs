use jsonwebtoken::EncodingKey;
use serde_json::json;

use super::*;

/// The payload of RFC 7515, appendix A.
const PAYLOAD: &[u8] = b"{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";

/// The key and the token of RFC 7515, appendix A.2.
const RS256_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-\
    4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-\
    bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4L\
    T6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const RS256: &str = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6L\
    y9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZ\
    j5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTy\
    WzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6B\
    fI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// The token of RFC 7515, appendix A.3.
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6L\
    y9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxL\
    a8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// The token of RFC 8037, appendix A.4.
const ED25519: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnL\
    WG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

fn rsa_key() -> Value {
    json!({"kty": "RSA", "n": RS256_MODULUS, "e": "AQAB"})
}

fn ec_key() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn ed_key() -> Value {
    json!({
        "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    })
}

/// Returns `key` with one member more.
fn with(mut key: Value, name: &str, value: impl Into<Value>) -> Value {
    key[name] = value.into();
    key
}

fn jwks(keys: &[Value]) -> Jwks {
    Jwks::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// Returns a token of any header, signed by nobody.
fn token(header: &Value) -> String {
    format!("{}.{}.c2ln", encoded(header.to_string().as_bytes()), encoded(PAYLOAD))
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn no_key(id: Option<&str>, algorithm: &str) -> JoseError {
    JoseError::NoKey { id: id.map(str::to_owned), algorithm: algorithm.to_owned() }
}

#[test]
fn rfc7515_appendix_a_2() {
    let verified = jwks(&[rsa_key()]).verify(RS256).unwrap();
    assert_eq!(verified, Verified { algorithm: Algorithm::RS256, payload: PAYLOAD.to_vec() });
}

#[test]
fn rfc7515_appendix_a_3() {
    let verified = jwks(&[ec_key()]).verify(ES256).unwrap();
    assert_eq!(verified, Verified { algorithm: Algorithm::ES256, payload: PAYLOAD.to_vec() });
}

#[test]
fn rfc8037_appendix_a_4() {
    let verified = jwks(&[ed_key()]).verify(ED25519).unwrap();
    assert_eq!(verified.payload, b"Example of Ed25519 signing");
}

#[test]
fn without_an_id_the_only_key_that_fits_the_algorithm_is_used() {
    let keys = jwks(&[rsa_key(), ec_key(), ed_key()]);
    for token in [RS256, ES256, ED25519] {
        assert!(keys.verify(token).is_ok());
    }
    let doubled = jwks(&[with(rsa_key(), "kid", "a"), with(rsa_key(), "kid", "b")]);
    assert_eq!(doubled.verify(RS256), Err(JoseError::Ambiguous { algorithm: "RS256".to_owned() }));
}

#[test]
fn a_changed_token_is_refused() {
    let keys = jwks(&[rsa_key(), ec_key()]);
    for token in [RS256, ES256] {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = message.split_once('.').unwrap();
        let other = encoded(br#"{"iss":"mallory"}"#);
        assert_eq!(keys.verify(&format!("{header}.{other}.{signature}")), Err(JoseError::BadSignature));
        assert_eq!(keys.verify(&format!("{message}.")), Err(JoseError::BadSignature));
        assert_eq!(keys.verify(&format!("{message}.{}", encoded(&[0; 64]))), Err(JoseError::BadSignature));
        assert_eq!(keys.verify(&format!("{message}.{signature}=")), Err(JoseError::BadSignature));
    }
}

#[test]
fn none_is_not_an_algorithm() {
    let keys = jwks(&[rsa_key(), ec_key()]);
    for name in ["none", "None", "NONE", ""] {
        let unsigned = token(&json!({ "alg": name }));
        assert_eq!(keys.verify(&unsigned), Err(JoseError::Algorithm(name.to_owned())));
        let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
        assert_eq!(keys.verify(&format!("{unsigned}.")), Err(JoseError::Algorithm(name.to_owned())));
    }
}

#[test]
fn a_public_key_is_no_hmac_secret() {
    // Signed with what an attacker knows: the modulus as text and as bytes.
    let modulus = URL_SAFE_NO_PAD.decode(RS256_MODULUS).unwrap();
    for secret in [RS256_MODULUS.as_bytes(), &modulus] {
        let message = format!("{}.{}", encoded(br#"{"alg":"HS256"}"#), encoded(br#"{"iss":"mallory"}"#));
        let secret = EncodingKey::from_secret(secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256).unwrap();
        assert_eq!(
            jwks(&[rsa_key()]).verify(&format!("{message}.{signature}")),
            Err(JoseError::Algorithm("HS256".to_owned()))
        );
    }
}

#[test]
fn a_published_secret_is_no_key() {
    let secret = json!({"kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"});
    let keys = jwks(&[secret.clone(), with(secret, "alg", "HS256")]);
    assert!(keys.0.is_empty());
}

#[test]
fn the_key_decides_the_algorithm() {
    assert_eq!(jwks(&[with(rsa_key(), "alg", "RS512")]).verify(RS256), Err(no_key(None, "RS256")));
    assert!(jwks(&[with(rsa_key(), "alg", "RS256")]).verify(RS256).is_ok());
    assert!(jwks(&[with(ed_key(), "alg", "Ed25519")]).verify(ED25519).is_ok());
    assert_eq!(jwks(&[ec_key()]).verify(RS256), Err(no_key(None, "RS256")));
    assert_eq!(jwks(&[rsa_key()]).verify(ES256), Err(no_key(None, "ES256")));
    // A key for another algorithm of its family, or for another curve than it says.
    for (key, token) in [
        (with(rsa_key(), "alg", "PS256"), RS256),
        (with(rsa_key(), "alg", "RSA-OAEP"), RS256),
        (with(ec_key(), "alg", "ES384"), ES256),
        (with(ec_key(), "crv", "P-384"), ES256),
        (with(ec_key(), "crv", "P-521"), ES256),
        (with(ed_key(), "crv", "X25519"), ED25519),
    ] {
        assert!(matches!(jwks(&[key]).verify(token), Err(JoseError::NoKey { .. })));
    }
}

#[test]
fn the_id_of_another_key_is_not_passed_over() {
    let keys = jwks(&[with(rsa_key(), "kid", "one"), with(ec_key(), "kid", "two")]);
    let named = |id: &str| token(&json!({"alg": "RS256", "kid": id}));
    assert_eq!(keys.verify(&named("one")), Err(JoseError::BadSignature));
    assert_eq!(keys.verify(&named("two")), Err(no_key(Some("two"), "RS256")));
    assert_eq!(keys.verify(&named("three")), Err(no_key(Some("three"), "RS256")));
    assert_eq!(
        keys.verify(&named("\u{1b}[2J")).unwrap_err().to_string(),
        "the provider lists no key `[2J` for `RS256`"
    );
}

#[test]
fn extensions_and_wrong_headers_are_refused() {
    let keys = jwks(&[rsa_key()]);
    assert_eq!(
        keys.verify(&token(&json!({"alg": "RS256", "crit": ["b64"], "b64": false}))),
        Err(JoseError::Critical)
    );
    for header in [
        json!({}),
        json!({"alg": 1}),
        json!({"alg": ["RS256"]}),
        json!({"alg": "RS256", "kid": 1}),
        json!([]),
    ] {
        assert_eq!(keys.verify(&token(&header)), Err(JoseError::NotSigned), "{header}");
    }
    for token in ["", ".", "..", "a.b", "opaque", "a.b.c.d.e", &format!("{RS256}.c2ln")] {
        assert_eq!(keys.verify(token), Err(JoseError::NotSigned), "{token}");
    }
}

#[test]
fn keys_of_no_use_are_left_out() {
    for key in [
        json!({}),
        json!(1),
        json!({"kty": "RSA"}),
        json!({"kty": "RSA", "n": 1, "e": "AQAB"}),
        json!({"kty": "RSA", "n": "!", "e": "AQAB"}),
        json!({"kty": "unheard-of"}),
        with(rsa_key(), "use", "enc"),
        with(rsa_key(), "key_ops", json!(["encrypt"])),
        with(rsa_key(), "kid", 1),
        with(ec_key(), "x", "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVA"),
        with(ec_key(), "crv", "secp256k1"),
    ] {
        let keys = jwks(&[key.clone(), with(with(rsa_key(), "use", "sig"), "key_ops", json!(["verify"]))]);
        assert_eq!(keys.0.len(), 1, "{key}");
        assert!(keys.verify(RS256).is_ok(), "{key}");
    }
}

#[test]
fn a_set_is_a_list_of_a_sensible_number_of_keys() {
    for body in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": null}"#, "<html>"] {
        assert_eq!(Jwks::parse(body.as_bytes()).unwrap_err(), JwksError::NotKeys, "{body}");
    }
    let many = json!({ "keys": vec![json!({}); MAX_KEYS + 1] }).to_string();
    assert_eq!(Jwks::parse(many.as_bytes()).unwrap_err(), JwksError::TooMany(MAX_KEYS + 1));
}

#[test]
fn peek_reads_claims_without_trust() {
    let claims = peek(RS256).unwrap();
    assert_eq!(claims["exp"], 1_300_819_380);
    // Padding that should not be there, and characters that only base64url has.
    let payload = base64::engine::general_purpose::URL_SAFE.encode(r#"{"sub":"~~~???üx"}"#);
    assert!(payload.contains('_') && payload.ends_with('='), "{payload}");
    assert_eq!(peek(&format!("e30.{payload}.")).unwrap()["sub"], "~~~???üx");
    for token in ["", "opaque", "a.b", "a.b.c", "e30.W10.c", "e30.e30.e30.e30", "e30.e30"] {
        assert_eq!(peek(token), None, "{token}");
    }
}
