//! The device grant.

use earthkey_sandbox::robot::Person;
use earthkey_sandbox::{Change, Expiring, Options, Realm};
use reqwest::StatusCode;
use serde_json::Value;

use crate::bench::{Answer, Bench, CHALLENGE, DEVICE_GRANT, EARTHSCOPE_CLIENT, VERIFIER, basic, string};

async fn start(bench: &Bench) -> Value {
    let form = [("client_id", "sandbox-public"), ("scope", "openid offline_access")];
    bench.post("/oidc/device_authorization", &form).await.value()
}

async fn poll(bench: &Bench, device: &Value) -> Answer {
    let form = [
        ("grant_type", DEVICE_GRANT),
        ("client_id", "sandbox-public"),
        ("device_code", string(device, "device_code")),
    ];
    bench.post("/oidc/token", &form).await
}

#[tokio::test]
async fn a_person_lets_a_device_in() {
    let bench = Bench::new().await;
    let device = start(&bench).await;
    assert_eq!(device["verification_uri"], bench.at("/oidc/activate"));
    assert_eq!(device["expires_in"], 600);
    assert_eq!(poll(&bench, &device).await.error(), (400, "authorization_pending".to_owned()));

    let visit = Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
    assert_eq!(visit.status, StatusCode::OK);
    assert!(visit.text.contains("You are signed in"));
    let tokens = poll(&bench, &device).await.value();
    assert!(tokens["refresh_token"].is_string());
    let id = bench.claims(Realm::Oidc, string(&tokens, "id_token"), "sandbox-public").await;
    assert_eq!(id["sub"], "sandbox-ada");
    // A device code is good once.
    assert_eq!(poll(&bench, &device).await.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn a_person_types_the_code() {
    let bench = Bench::new().await;
    let device = start(&bench).await;
    let typed = string(&device, "user_code").to_lowercase().replace('-', "");
    let person = Person { user_code: Some(typed), ..Person::grace() };
    person.visit(string(&device, "verification_uri")).await.unwrap();
    assert_eq!(poll(&bench, &device).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_person_mistypes_the_code() {
    let bench = Bench::new().await;
    let device = start(&bench).await;
    let person = Person { user_code: Some("XXXX-XXXX".to_owned()), ..Person::ada() };
    let visit = person.visit(string(&device, "verification_uri")).await.unwrap();
    assert_eq!(visit.status, StatusCode::FORBIDDEN);
    assert!(visit.text.contains("That code is unknown"));
    assert_eq!(poll(&bench, &device).await.error(), (400, "authorization_pending".to_owned()));
}

#[tokio::test]
async fn a_person_denies_a_device() {
    let bench = Bench::new().await;
    let device = start(&bench).await;
    let person = Person::ada().denying();
    let visit = person.visit(string(&device, "verification_uri_complete")).await.unwrap();
    assert!(visit.text.contains("Access was denied"));
    assert_eq!(poll(&bench, &device).await.error(), (400, "access_denied".to_owned()));
    // The code is spent, for the person too.
    let visit = Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
    assert_eq!(visit.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn device_codes_expire() {
    let bench = Bench::new().await;
    let device = start(&bench).await;
    bench.control().expire(Realm::Oidc, Expiring::Device);
    assert_eq!(poll(&bench, &device).await.error(), (400, "expired_token".to_owned()));
    let visit = Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
    assert!(visit.text.contains("That code is unknown"));
}

#[tokio::test]
async fn polling_too_fast_is_slowed_down_until_there_is_a_decision() {
    let bench = Bench::with(Options { device_interval: 1_000, ..Options::default() }).await;
    let device = start(&bench).await;
    assert_eq!(device["interval"], 1_000);
    assert_eq!(poll(&bench, &device).await.error(), (400, "authorization_pending".to_owned()));
    assert_eq!(poll(&bench, &device).await.error(), (400, "slow_down".to_owned()));
    Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
    assert_eq!(poll(&bench, &device).await.status, StatusCode::OK);
}

#[tokio::test]
async fn device_codes_belong_to_their_client() {
    let bench = Bench::new().await;
    let device = start(&bench).await;
    let form = [("grant_type", DEVICE_GRANT), ("device_code", string(&device, "device_code"))];
    let other = basic("sandbox-confidential", "sandbox-secret");
    let answer = bench.post_as("/oidc/token", &other, &form).await;
    assert_eq!(answer.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn confidential_clients_authenticate_at_the_device_endpoint() {
    let bench = Bench::new().await;
    let form = [("client_id", "sandbox-confidential"), ("scope", "openid")];
    let refused = bench.post("/oidc/device_authorization", &form).await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
    let secret = basic("sandbox-confidential", "sandbox-secret");
    let answer = bench.post_as("/oidc/device_authorization", &secret, &form).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("cache-control"), "no-store");
    let unable = [("client_id", "sandbox-openeo-service"), ("client_secret", "sandbox-secret")];
    let unable = bench.post("/openeo-id/device_authorization", &unable).await;
    assert_eq!(unable.error(), (400, "unauthorized_client".to_owned()));
}

#[tokio::test]
async fn openeo_devices_need_a_challenge_and_its_verifier() {
    let bench = Bench::new().await;
    let id = ("client_id", "sandbox-openeo");
    let scope = ("scope", "openid email offline_access");
    let bare = bench.post("/openeo-id/device_authorization", &[id, scope]).await;
    assert_eq!(bare.error(), (400, "invalid_request".to_owned()));

    let form = [id, scope, ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")];
    let device = bench.post("/openeo-id/device_authorization", &form).await.value();
    Person::ada().visit(string(&device, "verification_uri_complete")).await.unwrap();
    let device_code = ("device_code", string(&device, "device_code"));
    let redeem = async |verifier: &str| {
        let form = [("grant_type", DEVICE_GRANT), id, device_code, ("code_verifier", verifier)];
        bench.post("/openeo-id/token", &form).await
    };
    assert_eq!(redeem("").await.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(redeem("another").await.error(), (400, "invalid_grant".to_owned()));
    let tokens = redeem(VERIFIER).await.value();
    assert!(tokens["refresh_token"].is_string());
}

#[tokio::test]
async fn earthscope_has_statuses_of_its_own() {
    let bench = Bench::new().await;
    let change = Change { device_interval: Some(1_000), ..Change::default() };
    bench.control().settings(Realm::Earthscope, &change);
    let form = [("client_id", EARTHSCOPE_CLIENT), ("scope", "offline_access")];
    let device = bench.post("/oauth/device/code", &form).await.value();
    let form = [
        ("grant_type", DEVICE_GRANT),
        ("client_id", EARTHSCOPE_CLIENT),
        ("device_code", string(&device, "device_code")),
    ];
    let poll = async || bench.post("/oauth/token", &form).await.error();
    assert_eq!(poll().await, (403, "authorization_pending".to_owned()));
    assert_eq!(poll().await, (429, "slow_down".to_owned()));
    bench.control().expire(Realm::Earthscope, Expiring::Device);
    assert_eq!(poll().await, (403, "expired_token".to_owned()));
}
