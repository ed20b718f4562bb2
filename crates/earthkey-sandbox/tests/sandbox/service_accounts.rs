//! Service accounts: keys, and assertions signed with them.

use earthkey_sandbox::{Change, Expiring, Realm};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::google::{
    ALGORITHMS, CLOUD_PLATFORM, EARTH_ENGINE, EMAIL, MODELS, REVOKE, TOKEN, TOKENINFO, bearer, refusal,
};
use crate::bench::{Answer, Bench, string};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SIGNATURE: &str = "Invalid JWT Signature.";
const TIMES: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable \
                     timeframe. Check your iat and exp values in the JWT claim.";

fn bad_grant(description: &str) -> (u16, String, String) {
    (400, "invalid_grant".to_owned(), description.to_owned())
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// Returns the claims that Google's libraries sign, with members changed.
fn claims(key: &Value, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": key["client_email"],
        "aud": "https://oauth2.googleapis.com/token",
        "iat": now(),
        "exp": now() + 3_600,
        "scope": EARTH_ENGINE,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn sign(key: &Value, id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::RS256) };
    jsonwebtoken::encode(&header, claims, &private_key(key)).unwrap()
}

/// Returns the PKCS #1 key inside the PKCS #8 key of a key file.
fn private_key(key: &Value) -> EncodingKey {
    use base64::Engine as _;
    let pem = string(key, "private_key");
    let encoded: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    EncodingKey::from_rsa_der(&der[26..])
}

async fn post(bench: &Bench, assertion: &str) -> Answer {
    bench.post(TOKEN, &[("assertion", assertion), ("grant_type", JWT_BEARER)]).await
}

async fn ask(bench: &Bench, key: &Value, changes: &Value) -> Answer {
    let id = string(key, "private_key_id");
    post(bench, &sign(key, Some(id), &claims(key, changes))).await
}

#[tokio::test]
async fn a_key_file_is_googles() {
    let bench = Bench::new().await;
    let answer = bench.json(Method::POST, "/_control/service-account-keys", &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let key = answer.value();
    let expected = [
        ("type", "service_account"),
        ("project_id", "sandbox-project"),
        ("client_email", "robot@sandbox-project.iam.gserviceaccount.com"),
        ("token_uri", "https://oauth2.googleapis.com/token"),
        ("auth_uri", "https://accounts.google.com/o/oauth2/auth"),
        ("universe_domain", "googleapis.com"),
    ];
    for (name, value) in expected {
        assert_eq!(key[name], value);
    }
    assert!(string(&key, "private_key_id").starts_with("sandbox-"));
    let pem = string(&key, "private_key");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\nMII"));
    assert!(pem.ends_with("\n-----END PRIVATE KEY-----\n") && pem.lines().all(|line| line.len() <= 64));

    // A second key of the same account, and another account.
    let again = bench.control().service_account_key(None);
    assert_eq!(again["client_id"], key["client_id"]);
    assert_ne!(again["private_key_id"], key["private_key_id"]);
    let request = json!({"email": "other@p.iam.gserviceaccount.com"});
    let other = bench.json(Method::POST, "/_control/service-account-keys", &request).await.value();
    assert_eq!(other["client_email"], "other@p.iam.gserviceaccount.com");
    assert_ne!(other["client_id"], key["client_id"]);
    for request in [json!({"email": "nobody"}), json!({"email": "a@b@c"}), json!({"mail": "a@b"}), json!([])]
    {
        let answer = bench.json(Method::POST, "/_control/service-account-keys", &request).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{request}");
    }
}

#[tokio::test]
async fn an_assertion_brings_an_access_token_and_nothing_else() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    let answer =
        ask(&bench, &key, &json!({"scope": format!("{EARTH_ENGINE} {CLOUD_PLATFORM} {EMAIL} openid")})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let tokens = answer.value();
    assert!(string(&tokens, "access_token").starts_with("ya29.sandbox-"));
    assert_eq!((&tokens["expires_in"], &tokens["token_type"]), (&json!(3_599), &json!("Bearer")));
    assert_eq!(tokens.as_object().unwrap().len(), 3, "{tokens}");
    let record = bench.control().requests(Some(TOKEN)).pop().unwrap();
    assert_eq!(record.grant_type.as_deref(), Some(JWT_BEARER));

    let access_token = string(&tokens, "access_token");
    let info = bench.get(&format!("{TOKENINFO}?access_token={access_token}")).await.value();
    assert_eq!((&info["azp"], &info["email"]), (&key["client_id"], &key["client_email"]));
    assert_eq!(bench.get_as(ALGORITHMS, &bearer(&tokens)).await.status, StatusCode::OK);
    // It has a project, so it needs to name none.
    assert_eq!(bench.get_as(MODELS, &bearer(&tokens)).await.status, StatusCode::OK);
    assert_eq!(bench.post(REVOKE, &[("token", access_token)]).await.status, StatusCode::OK);
    assert_eq!(bench.get_as(MODELS, &bearer(&tokens)).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn signatures_are_checked() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    let other = bench.control().service_account_key(Some("other@p.iam.gserviceaccount.com"));
    let (id, other_id) = (string(&key, "private_key_id"), string(&other, "private_key_id"));
    let own = claims(&key, &json!({}));
    let cases = [
        // Another key under this one's name, another account's key, a key that never was.
        sign(&other, Some(id), &own),
        sign(&other, Some(other_id), &own),
        sign(&key, Some("sandbox-nothing"), &own),
        sign(&other, None, &own),
    ];
    for assertion in cases {
        assert_eq!(refusal(&post(&bench, &assertion).await), bad_grant(SIGNATURE));
    }
    // Signed, and then changed.
    let signed = sign(&key, Some(id), &own);
    let (wider, parts) = (
        sign(&key, Some(id), &claims(&key, &json!({"scope": EMAIL}))),
        signed.split('.').collect::<Vec<_>>(),
    );
    let forged = format!("{}.{}.{}", parts[0], wider.split('.').nth(1).unwrap(), parts[2]);
    assert_eq!(refusal(&post(&bench, &forged).await), bad_grant(SIGNATURE));
    // Without an identifier every key of the account is tried, as for a bare PEM file.
    assert_eq!(post(&bench, &sign(&key, None, &own)).await.status, StatusCode::OK);

    let hmac =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &own, &EncodingKey::from_secret(b"x")).unwrap();
    assert_eq!(refusal(&post(&bench, &hmac).await), bad_grant(SIGNATURE));
    for nonsense in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(refusal(&post(&bench, nonsense).await).1, "invalid_grant");
    }
    assert_eq!(bench.post(TOKEN, &[("grant_type", JWT_BEARER)]).await.error().1, "invalid_request");
}

#[tokio::test]
async fn deleted_keys_sign_nothing() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    assert_eq!(ask(&bench, &key, &json!({})).await.status, StatusCode::OK);
    let request = json!({"realm": "google", "what": "keys"});
    let answer = bench.json(Method::POST, "/_control/expire", &request).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(refusal(&ask(&bench, &key, &json!({})).await), bad_grant(SIGNATURE));
    let fresh = bench.control().service_account_key(None);
    assert_eq!(ask(&bench, &fresh, &json!({})).await.status, StatusCode::OK);
    bench.control().expire(Realm::Google, Expiring::Keys);
    assert_eq!(refusal(&ask(&bench, &fresh, &json!({})).await), bad_grant(SIGNATURE));

    let nobody = json!({"iss": "nobody@p.iam.gserviceaccount.com"});
    assert_eq!(refusal(&ask(&bench, &fresh, &nobody).await), bad_grant("Invalid grant: account not found"));
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_is_noticed() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    for offset in [3_600, -3_600] {
        let change = Change { clock_offset: Some(offset), ..Change::default() };
        bench.control().settings(Realm::Google, &change);
        assert_eq!(refusal(&ask(&bench, &key, &json!({})).await), bad_grant(TIMES), "{offset}");
        // Whoever goes by the server's clock is let in.
        let right = json!({"iat": now() + offset, "exp": now() + offset + 3_600});
        assert_eq!(ask(&bench, &key, &right).await.status, StatusCode::OK, "{offset}");
    }
    bench.control().settings(Realm::Google, &Change { clock_offset: Some(0), ..Change::default() });
    assert_eq!(ask(&bench, &key, &json!({})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn times_are_checked() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    let good = [json!({"iat": now() + 240}), json!({"iat": now() - 3_000, "exp": now() + 60})];
    for changes in good {
        let mut changes = changes;
        if changes.get("exp").is_none() {
            changes["exp"] = json!(now() + 3_600);
        }
        assert_eq!(ask(&bench, &key, &changes).await.status, StatusCode::OK, "{changes}");
    }
    let bad = [
        json!({"exp": now() + 3_700}),
        json!({"iat": now() + 360, "exp": now() + 600}),
        json!({"iat": now() - 3_600, "exp": now() - 1}),
        json!({"iat": now() - 7_200, "exp": now() + 60}),
    ];
    for changes in bad {
        assert_eq!(refusal(&ask(&bench, &key, &changes).await), bad_grant(TIMES), "{changes}");
    }
    let elsewhere = json!({"aud": "https://accounts.google.com/o/oauth2/token"});
    let failed = bad_grant("Invalid JWT: Failed audience check.");
    assert_eq!(refusal(&ask(&bench, &key, &elsewhere).await), failed);
}

#[tokio::test]
async fn a_scope_is_needed_and_nobody_is_impersonated() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    let cases = [
        (json!(""), "Empty or missing scope not allowed."),
        (Value::Null, "Empty or missing scope not allowed."),
        (json!("nonsense"), "Invalid OAuth scope or ID token audience provided."),
        (json!(format!("{EARTH_ENGINE} nonsense")), "Invalid OAuth scope or ID token audience provided."),
    ];
    for (scope, text) in cases {
        let expected = (400, "invalid_scope".to_owned(), text.to_owned());
        assert_eq!(refusal(&ask(&bench, &key, &json!({"scope": scope})).await), expected);
    }
    let answer = ask(&bench, &key, &json!({"sub": "ada@sandbox.test"})).await;
    assert_eq!(answer.error(), (401, "unauthorized_client".to_owned()));
    assert_eq!(ask(&bench, &key, &json!({"sub": key["client_email"]})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_account_has_a_boundary() {
    let bench = Bench::new().await;
    let key = bench.control().service_account_key(None);
    let tokens = ask(&bench, &key, &json!({})).await.value();
    let path = format!(
        "/google/iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}/allowedLocations",
        string(&key, "client_email")
    );
    assert_eq!(bench.get(&path).await.status, StatusCode::UNAUTHORIZED);
    let answer = bench.get_as(&path, &bearer(&tokens)).await;
    assert_eq!(answer.value(), json!({"locations": [], "encodedLocations": "0x0"}));
}
