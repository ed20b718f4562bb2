//! The token endpoint: refresh with rotation, client credentials, client authentication, revocation.

use earthkey_sandbox::{Change, Expiring, Options, Realm, RefreshTokens, Rotation, RotationKind};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::bench::{Bench, EARTHSCOPE_CLIENT, basic, string};

fn invalid_grant() -> (u16, String) {
    (400, "invalid_grant".to_owned())
}

#[tokio::test]
async fn refresh_rotates() {
    let bench = Bench::new().await;
    let first = bench.login().await;
    let answer = bench.refresh(string(&first, "refresh_token")).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    let second = answer.value();
    assert_ne!(second["refresh_token"], first["refresh_token"]);
    assert_ne!(second["access_token"], first["access_token"]);
    assert_eq!(second["scope"], first["scope"]);
    let id = bench.claims(Realm::Oidc, string(&second, "id_token"), "sandbox-public").await;
    assert_eq!((&id["sub"], &id["nonce"]), (&json!("sandbox-ada"), &Value::Null));
    assert_eq!(bench.refresh(string(&second, "refresh_token")).await.status, StatusCode::OK);
    let counts = RefreshTokens { live: 1, superseded: 2, families: 1, revoked: 0 };
    assert_eq!(bench.control().refresh_tokens(Realm::Oidc), counts);
}

#[tokio::test]
async fn reuse_without_grace_revokes_the_family_but_no_access_token() {
    let bench = Bench::new().await;
    let first = bench.login().await;
    let second = bench.refresh(string(&first, "refresh_token")).await.value();
    let reused = bench.refresh(string(&first, "refresh_token")).await;
    assert_eq!(reused.error(), invalid_grant());
    assert_eq!(reused.value()["error_description"], "Unknown or invalid refresh token.");
    assert_eq!(bench.refresh(string(&second, "refresh_token")).await.error(), invalid_grant());
    let authorization = format!("Bearer {}", string(&second, "access_token"));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::OK);
    let counts = RefreshTokens { live: 0, superseded: 0, families: 1, revoked: 1 };
    assert_eq!(bench.control().refresh_tokens(Realm::Oidc), counts);
}

#[tokio::test]
async fn reuse_within_the_grace_period_is_answered_afresh() {
    let rotation = Rotation::Rotate { grace_seconds: 1_000 };
    let bench = Bench::with(Options { rotation, ..Options::default() }).await;
    let first = bench.login().await;
    let second = bench.refresh(string(&first, "refresh_token")).await.value();
    let again = bench.refresh(string(&first, "refresh_token")).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_ne!(again.value()["refresh_token"], second["refresh_token"]);
    assert_eq!(bench.refresh(string(&second, "refresh_token")).await.status, StatusCode::OK);

    // Of one family: when the grace is over, a reuse takes all of them.
    let change = Change { grace_seconds: Some(0), ..Change::default() };
    bench.control().settings(Realm::Oidc, &change);
    assert_eq!(bench.refresh(string(&first, "refresh_token")).await.error(), invalid_grant());
    let again = again.value();
    assert_eq!(bench.refresh(string(&again, "refresh_token")).await.error(), invalid_grant());
}

#[tokio::test]
async fn without_rotation_a_refresh_token_stays() {
    let bench = Bench::with(Options { rotation: Rotation::Never, ..Options::default() }).await;
    let first = bench.login().await;
    for _ in 0..3 {
        let answer = bench.refresh(string(&first, "refresh_token")).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.value()["refresh_token"], Value::Null);
    }
    let change = Change { rotation: Some(RotationKind::Rotate), ..Change::default() };
    bench.control().settings(Realm::Oidc, &change);
    assert!(bench.refresh(string(&first, "refresh_token")).await.value()["refresh_token"].is_string());
    assert_eq!(bench.refresh(string(&first, "refresh_token")).await.error(), invalid_grant());
}

#[tokio::test]
async fn refresh_tokens_belong_to_their_client_and_expire() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let refresh_token = string(&tokens, "refresh_token");
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
    let other = basic("sandbox-confidential", "sandbox-secret");
    assert_eq!(bench.post_as("/oidc/token", &other, &form).await.error(), invalid_grant());
    assert_eq!(bench.refresh("sandbox-unknown").await.error(), invalid_grant());
    let second = bench.refresh(refresh_token).await.value();
    bench.control().expire(Realm::Oidc, Expiring::Refresh);
    assert_eq!(bench.refresh(string(&second, "refresh_token")).await.error(), invalid_grant());
}

#[tokio::test]
async fn scope_may_shrink_and_not_grow() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let refresh = async |refresh_token: &str, scope: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "sandbox-public"),
            ("refresh_token", refresh_token),
            ("scope", scope),
        ];
        bench.post("/oidc/token", &form).await
    };
    let wider = refresh(string(&tokens, "refresh_token"), "openid data:read").await;
    assert_eq!(wider.error(), (400, "invalid_scope".to_owned()));
    let narrower = refresh(string(&tokens, "refresh_token"), "email").await.value();
    assert_eq!(narrower["scope"], "email");
    assert_eq!(narrower["id_token"], Value::Null);
    // What was granted is not lost by asking for less once.
    let full = bench.refresh(string(&narrower, "refresh_token")).await.value();
    assert_eq!(full["scope"], tokens["scope"]);
}

#[tokio::test]
async fn no_refresh_token_without_offline_access() {
    let bench = Bench::new().await;
    let redirect = bench.redirect(&[("scope", "openid")]).await;
    let code = crate::bench::parameter(&redirect, "code").unwrap();
    let tokens = bench.redeem(&code).await.value();
    assert_eq!(tokens["refresh_token"], Value::Null);
    assert_eq!(bench.control().refresh_tokens(Realm::Oidc), RefreshTokens::default());
}

#[tokio::test]
async fn clients_get_tokens_for_themselves() {
    let bench = Bench::new().await;
    let form = [("grant_type", "client_credentials"), ("scope", "openid data:read offline_access")];
    let secret = basic("sandbox-confidential", "sandbox-secret");
    let tokens = bench.post_as("/oidc/token", &secret, &form).await.value();
    assert_eq!(tokens["scope"], "data:read");
    assert_eq!((&tokens["id_token"], &tokens["refresh_token"]), (&Value::Null, &Value::Null));
    let claims = bench.claims(Realm::Oidc, string(&tokens, "access_token"), &bench.at("/api")).await;
    assert_eq!(claims["sub"], "sandbox-confidential");
}

#[tokio::test]
async fn clients_must_prove_themselves() {
    let bench = Bench::new().await;
    let grant = ("grant_type", "client_credentials");
    let id = ("client_id", "sandbox-confidential");
    let invalid_client = (401, "invalid_client".to_owned());
    let post = async |form: &[(&str, &str)]| bench.post("/oidc/token", form).await.error();
    assert_eq!(post(&[grant]).await, invalid_client);
    assert_eq!(post(&[grant, ("client_id", "nobody")]).await, invalid_client);
    assert_eq!(post(&[grant, id]).await, invalid_client);
    assert_eq!(post(&[grant, id, ("client_secret", "wrong")]).await, invalid_client);
    let public = ("client_id", "sandbox-public");
    assert_eq!(post(&[grant, public, ("client_secret", "sandbox-secret")]).await, invalid_client);
    assert_eq!(post(&[grant, public]).await, (400, "unauthorized_client".to_owned()));

    let wrong = bench.post_as("/oidc/token", &basic("sandbox-confidential", "wrong"), &[grant]).await;
    assert_eq!(wrong.error(), invalid_client);
    assert!(wrong.header("www-authenticate").starts_with("Basic"));
    let right = basic("sandbox-confidential", "sandbox-secret");
    let twice = bench.post_as("/oidc/token", &right, &[grant, ("client_secret", "sandbox-secret")]).await;
    assert_eq!(twice.error(), (400, "invalid_request".to_owned()));
    let other = bench.post_as("/oidc/token", &right, &[grant, public]).await;
    assert_eq!(other.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn secrets_in_the_body_can_be_forbidden() {
    let bench = Bench::new().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "sandbox-confidential"),
        ("client_secret", "sandbox-secret"),
    ];
    assert_eq!(bench.post("/oidc/token", &form).await.status, StatusCode::OK);
    let change = Change { require_basic_auth: Some(true), ..Change::default() };
    bench.control().settings(Realm::Oidc, &change);
    assert_eq!(bench.post("/oidc/token", &form).await.error(), (401, "invalid_client".to_owned()));
    let header = basic("sandbox-confidential", "sandbox-secret");
    assert_eq!(bench.post_as("/oidc/token", &header, &form[..1]).await.status, StatusCode::OK);
    let metadata = bench.get("/oidc/.well-known/openid-configuration").await.value();
    let methods = json!(["none", "client_secret_basic"]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
}

#[tokio::test]
async fn malformed_token_requests_are_refused() {
    let bench = Bench::new().await;
    let id = ("client_id", "sandbox-public");
    let post = async |form: &[(&str, &str)]| bench.post("/oidc/token", form).await.error();
    let invalid_request = (400, "invalid_request".to_owned());
    assert_eq!(post(&[id]).await, invalid_request);
    assert_eq!(post(&[id, ("grant_type", "magic")]).await, (400, "unsupported_grant_type".to_owned()));
    assert_eq!(post(&[id, ("grant_type", "refresh_token")]).await, invalid_request);
    assert_eq!(post(&[id, ("grant_type", "authorization_code")]).await, invalid_request);
    assert_eq!(post(&[id, id, ("grant_type", "refresh_token")]).await, invalid_request);
    let json = bench.json(Method::POST, "/oidc/token", &json!({"grant_type": "refresh_token"})).await;
    assert_eq!(json.error(), invalid_request);
    let large = "x".repeat(65 * 1_024);
    let large = bench.post("/oidc/token", &[id, ("refresh_token", &large)]).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn revocation_ends_a_login() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let revoke = async |client: &str, token: &str| {
        bench.post("/oidc/revoke", &[("client_id", client), ("token", token)]).await
    };
    assert_eq!(revoke("sandbox-public", "unknown").await.status, StatusCode::OK);
    assert_eq!(revoke("nobody", "unknown").await.error(), (401, "invalid_client".to_owned()));
    let other = basic("sandbox-confidential", "sandbox-secret");
    let form = [("token", string(&tokens, "refresh_token"))];
    let foreign = bench.post_as("/oidc/revoke", &other, &form).await;
    assert_eq!(foreign.error(), (400, "unauthorized_client".to_owned()));

    let authorization = format!("Bearer {}", string(&tokens, "access_token"));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::OK);
    let revoked = revoke("sandbox-public", string(&tokens, "refresh_token")).await;
    assert_eq!(revoked.status, StatusCode::OK);
    assert_eq!(bench.refresh(string(&tokens, "refresh_token")).await.error(), invalid_grant());
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_access_token_can_be_revoked_alone() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let access = string(&tokens, "access_token");
    bench.post("/oidc/revoke", &[("client_id", "sandbox-public"), ("token", access)]).await;
    let refused = bench.get_as("/oidc/userinfo", &format!("Bearer {access}")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(bench.refresh(string(&tokens, "refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn earthscope_answers_as_its_clients_expect() {
    let bench = Bench::new().await;
    let tokens = bench.earthscope_login().await;
    // `scopes` is what EarthScope's SDK writes.
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", EARTHSCOPE_CLIENT),
        ("refresh_token", string(&tokens, "refresh_token")),
        ("scopes", "nonsense"),
    ];
    assert_eq!(bench.post("/oauth/token", &form).await.status, StatusCode::OK);
    let reused = bench.post("/oauth/token", &form).await;
    assert_eq!(reused.error(), (403, "invalid_grant".to_owned()));
    assert_eq!(reused.value()["error_description"], "Unknown or invalid refresh token.");

    let tokens = bench.earthscope_login().await;
    let refresh_token = string(&tokens, "refresh_token");
    let body = json!({"client_id": EARTHSCOPE_CLIENT, "token": refresh_token});
    assert_eq!(bench.json(Method::POST, "/oauth/revoke", &body).await.status, StatusCode::OK);
    let form =
        [("grant_type", "refresh_token"), ("client_id", EARTHSCOPE_CLIENT), ("refresh_token", refresh_token)];
    assert_eq!(bench.post("/oauth/token", &form).await.error(), (403, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn earthscope_machine_clients_get_their_audience() {
    let bench = Bench::new().await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "sandbox-m2m"),
        ("client_secret", "sandbox-secret"),
        ("audience", "https://api.earthscope.org"),
    ];
    let tokens = bench.post("/oauth/token", &form).await.value();
    let access = string(&tokens, "access_token");
    let claims = bench.claims(Realm::Earthscope, access, "https://api.earthscope.org").await;
    assert_eq!(claims["sub"], "sandbox-m2m@clients");
    assert_eq!(claims["gty"], "client-credentials");
}

#[tokio::test]
async fn payloads_decode_with_either_base64_alphabet() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    for name in ["access_token", "id_token"] {
        let payload = string(&tokens, name).split('.').nth(1).unwrap();
        assert!(!payload.contains(['-', '_']), "{name}");
    }
}

#[tokio::test]
async fn access_tokens_expire_by_the_clock() {
    let bench = Bench::with(Options { access_token_lifetime: 0, ..Options::default() }).await;
    let tokens = bench.login().await;
    assert_eq!(tokens["expires_in"], 0);
    let authorization = format!("Bearer {}", string(&tokens, "access_token"));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::UNAUTHORIZED);
}
