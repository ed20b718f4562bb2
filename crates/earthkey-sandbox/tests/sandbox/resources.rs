//! The openEO back-end and the EarthScope API.

use earthkey_sandbox::robot::Person;
use earthkey_sandbox::{Change, Expiring, Realm};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::bench::{Answer, Bench, CHALLENGE, DEVICE_GRANT, VERIFIER, basic, string};

const ME: &str = "/openeo/1.2/me";

async fn openeo_token(bench: &Bench) -> String {
    let id = ("client_id", "sandbox-openeo");
    let form = [id, ("scope", "openid"), ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let device = bench.post("/openeo-id/device_authorization", &form).await.value();
    Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
    let form = [
        ("grant_type", DEVICE_GRANT),
        id,
        ("device_code", string(&device, "device_code")),
        ("code_verifier", VERIFIER),
    ];
    string(&bench.post("/openeo-id/token", &form).await.value(), "access_token").to_owned()
}

fn openeo_error(answer: &Answer) -> (u16, String) {
    let value = answer.value();
    assert!(!string(&value, "message").is_empty() && !string(&value, "id").is_empty());
    (answer.status.as_u16(), string(&value, "code").to_owned())
}

#[tokio::test]
async fn openeo_is_found_from_its_root() {
    let bench = Bench::new().await;
    let versions = bench.get("/openeo/.well-known/openeo").await.value();
    let newest =
        versions["versions"].as_array().unwrap().iter().max_by_key(|own| own["api_version"].as_str());
    let root = string(newest.unwrap(), "url").strip_prefix(bench.sandbox.url()).unwrap().to_owned();
    let capabilities = bench.get(&format!("{root}/")).await.value();
    assert_eq!(capabilities["api_version"], "1.2.0");
    for endpoint in capabilities["endpoints"].as_array().unwrap() {
        let path = format!("{root}{}", string(endpoint, "path"));
        assert_ne!(bench.get(&path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let providers = bench.get(&format!("{root}/credentials/oidc")).await.value();
    let provider = &providers["providers"][0];
    assert_eq!((&provider["id"], &provider["scopes"]), (&json!("sandbox"), &json!(["openid", "email"])));
    let issuer = string(provider, "issuer").strip_prefix(bench.sandbox.url()).unwrap();
    let metadata = bench.get(&format!("{issuer}/.well-known/openid-configuration")).await.value();
    assert_eq!(metadata["issuer"], provider["issuer"]);
}

#[tokio::test]
async fn openeo_takes_tokens_of_its_provider() {
    let bench = Bench::new().await;
    let token = openeo_token(&bench).await;
    let me = bench.get_as(ME, &format!("Bearer oidc/sandbox/{token}")).await;
    assert_eq!(me.status, StatusCode::OK);
    assert_eq!(me.value()["user_id"], "sandbox-ada");
    bench.control().expire(Realm::Openeo, Expiring::Access);
    let expired = bench.get_as(ME, &format!("Bearer oidc/sandbox/{token}")).await;
    assert_eq!(openeo_error(&expired), (403, "TokenInvalid".to_owned()));
}

#[tokio::test]
async fn openeo_says_what_is_wrong_with_a_header() {
    let bench = Bench::new().await;
    assert_eq!(openeo_error(&bench.get(ME).await), (401, "AuthenticationRequired".to_owned()));
    let token = openeo_token(&bench).await;
    let cases = [
        (basic("ada", "sandbox"), "AuthenticationSchemeInvalid"),
        (format!("Bearer {token}"), "AuthenticationSchemeInvalid"),
        (format!("Bearer oidc/other/{token}"), "AuthenticationSchemeInvalid"),
        (format!("Bearer oidc/sandbox/a/{token}"), "AuthenticationSchemeInvalid"),
        (format!("Bearer basic//{token}"), "TokenInvalid"),
        ("Bearer oidc/sandbox/nonsense".to_owned(), "TokenInvalid"),
    ];
    for (authorization, code) in cases {
        let answer = bench.get_as(ME, &authorization).await;
        assert_eq!(openeo_error(&answer), (403, code.to_owned()));
    }
}

#[tokio::test]
async fn openeo_takes_plain_tokens_when_it_says_so() {
    let bench = Bench::new().await;
    let class = json!("https://api.openeo.org/1.3.0/authentication/jwt");
    let lists_class = async || {
        let listed = |value: Value| value["conformsTo"].as_array().unwrap().contains(&class);
        let capabilities = listed(bench.get("/openeo/1.2/").await.value());
        assert_eq!(capabilities, listed(bench.get("/openeo/1.2/conformance").await.value()));
        capabilities
    };
    let token = openeo_token(&bench).await;
    assert!(!lists_class().await);
    let change = Change { plain_jwt: Some(true), ..Change::default() };
    bench.control().settings(Realm::Openeo, &change);
    assert!(lists_class().await);
    for authorization in [format!("Bearer {token}"), format!("Bearer oidc/sandbox/{token}")] {
        assert_eq!(bench.get_as(ME, &authorization).await.status, StatusCode::OK);
    }
    assert_eq!(openeo_error(&bench.get_as(ME, "Bearer nonsense").await), (403, "TokenInvalid".to_owned()));
}

#[tokio::test]
async fn openeo_takes_basic_credentials() {
    let bench = Bench::new().await;
    let path = "/openeo/1.2/credentials/basic";
    assert_eq!(openeo_error(&bench.get(path).await), (401, "AuthenticationRequired".to_owned()));
    let wrong = bench.get_as(path, &basic("ada", "wrong")).await;
    assert_eq!(openeo_error(&wrong), (403, "CredentialsInvalid".to_owned()));
    let bearer = bench.get_as(path, "Bearer x").await;
    assert_eq!(openeo_error(&bearer), (403, "AuthenticationSchemeInvalid".to_owned()));
    let right = bench.get_as(path, &basic("ada", "sandbox")).await.value();
    let me = bench.get_as(ME, &format!("Bearer basic//{}", string(&right, "access_token"))).await;
    assert_eq!(me.value()["user_id"], "sandbox-ada");
}

#[tokio::test]
async fn openeo_services_are_somebody_too() {
    let bench = Bench::new().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "sandbox-openeo-service"),
        ("client_secret", "sandbox-secret"),
        ("scope", "openid email"),
    ];
    let tokens = bench.post("/openeo-id/token", &form).await.value();
    let authorization = format!("Bearer oidc/sandbox/{}", string(&tokens, "access_token"));
    assert_eq!(bench.get_as(ME, &authorization).await.value()["user_id"], "sandbox-openeo-service");
}

#[tokio::test]
async fn earthscope_knows_who_is_signed_in() {
    let bench = Bench::new().await;
    let path = "/beta/user/profile";
    assert_eq!(bench.get(path).await.status, StatusCode::UNAUTHORIZED);
    let tokens = bench.earthscope_login().await;
    let access = string(&tokens, "access_token");
    bench.claims(Realm::Earthscope, access, "https://api.earthscope.org").await;
    let profile = bench.get_as(path, &format!("Bearer {access}")).await;
    assert_eq!(profile.status, StatusCode::OK);
    assert_eq!(profile.value()["primary_email"], "ada@sandbox.test");
    bench.control().expire(Realm::Earthscope, Expiring::Access);
    let expired = bench.get_as(path, &format!("Bearer {access}")).await;
    assert_eq!(expired.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn userinfo_needs_the_openid_scope() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/userinfo").await.header("www-authenticate"), "Bearer realm=\"sandbox\"");
    let tokens = bench.earthscope_login().await;
    let answer = bench.get_as("/userinfo", &format!("Bearer {}", string(&tokens, "access_token"))).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert!(answer.header("www-authenticate").contains("insufficient_scope"));
}
