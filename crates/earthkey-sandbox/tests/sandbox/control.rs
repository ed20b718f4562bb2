//! The control interface.

use std::net::SocketAddr;

use earthkey_sandbox::robot::Person;
use earthkey_sandbox::{Options, Realm, Sandbox};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::bench::{Bench, VERIFIER, basic, parameter, string};

#[tokio::test]
async fn the_log_tells_what_was_asked_and_no_secret() {
    let bench = Bench::new().await;
    let redirect = bench.redirect(&[]).await;
    let code = parameter(&redirect, "code").unwrap();
    let tokens = bench.redeem(&code).await.value();
    let refreshed = bench.refresh(string(&tokens, "refresh_token")).await.value();
    let form = [("grant_type", "client_credentials")];
    bench.post_as("/oidc/token", &basic("sandbox-confidential", "sandbox-secret"), &form).await;
    // Secrets where none belongs.
    bench.post("/oidc/token", &[("client_id", &code), ("grant_type", &code)]).await;
    let body = json!({"client_id": "x", "token": string(&tokens, "access_token")});
    bench.json(Method::POST, "/oauth/revoke", &body).await;

    let log = bench.get("/_control/requests").await;
    let secrets = [
        VERIFIER,
        "sandbox-secret",
        "nonce-1",
        "state-1",
        code.as_str(),
        string(&tokens, "refresh_token"),
        string(&tokens, "access_token"),
        string(&tokens, "id_token"),
        string(&refreshed, "refresh_token"),
    ];
    for secret in secrets {
        assert!(!log.text.contains(secret));
    }

    let at_token = bench.get("/_control/requests?path=/oidc/token").await.value();
    let at_token = at_token.as_array().unwrap();
    assert_eq!(at_token.len(), 4);
    let refresh = &at_token[1];
    assert_eq!(refresh["grant_type"], "refresh_token");
    assert_eq!(refresh["client_id"], "sandbox-public");
    assert_eq!((&refresh["realm"], &refresh["method"]), (&json!("oidc"), &json!("POST")));
    assert_eq!(refresh["status"], 200);
    assert_eq!(refresh["form_keys"], json!(["grant_type", "client_id", "refresh_token"]));
    assert!(refresh["at"].as_u64().unwrap() > 1_700_000_000_000);
    assert!(refresh["seq"].as_u64() > at_token[0]["seq"].as_u64());
    assert_eq!(at_token[2]["client_id"], "sandbox-confidential");
    assert_eq!((&at_token[3]["client_id"], &at_token[3]["grant_type"]), (&json!("other"), &json!("other")));
    let records = bench.control().requests(Some("/oidc/token"));
    assert_eq!(serde_json::to_value(records).unwrap(), json!(at_token));

    let cleared = bench.json(Method::DELETE, "/_control/requests", &json!({})).await;
    assert_eq!(cleared.status, StatusCode::OK);
    assert!(bench.control().requests(None).is_empty());
}

#[tokio::test]
async fn paths_belong_to_realms() {
    let bench = Bench::new().await;
    let paths = [
        ("/oidc/jwks", json!("oidc")),
        ("/openeo/1.2/", json!("openeo")),
        ("/openeo-id/jwks", json!("openeo")),
        ("/.well-known/oauth-authorization-server/openeo-id", json!("openeo")),
        ("/.well-known/jwks.json", json!("earthscope")),
        ("/beta/user/profile", json!("earthscope")),
        ("/google/oauth2.googleapis.com/tokeninfo", json!("google")),
        ("/googles", json!(null)),
        ("/", json!(null)),
        ("/nowhere", json!(null)),
    ];
    for (path, realm) in paths {
        bench.get(path).await;
        let record = bench.control().requests(Some(path)).pop().unwrap();
        assert_eq!(serde_json::to_value(record.realm).unwrap(), realm, "{path}");
    }
}

#[tokio::test]
async fn logins_can_be_revoked_per_person() {
    let bench = Bench::new().await;
    let ada = bench.login().await;
    let redirect = bench.stopping_visit(&Person::grace(), &[]).await.last_redirect.unwrap();
    let grace = bench.redeem(&parameter(&redirect, "code").unwrap()).await.value();
    let request = json!({"realm": "oidc", "sub": "sandbox-ada"});
    let answer = bench.json(Method::POST, "/_control/revoke", &request).await;
    assert_eq!(answer.value(), json!({"revoked": 1}));
    let refused = bench.refresh(string(&ada, "refresh_token")).await;
    assert_eq!(refused.error(), (400, "invalid_grant".to_owned()));
    assert_eq!(bench.refresh(string(&grace, "refresh_token")).await.status, StatusCode::OK);
    let answer = bench.json(Method::POST, "/_control/revoke", &json!({"realm": "oidc"})).await;
    assert_eq!(answer.value(), json!({"revoked": 1}));
    let counts = bench.get("/_control/refresh-tokens?realm=oidc").await.value();
    assert_eq!(counts, json!({"live": 0, "superseded": 0, "families": 2, "revoked": 2}));
}

#[tokio::test]
async fn things_expire_over_http() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let authorization = format!("Bearer {}", string(&tokens, "access_token"));
    let request = json!({"realm": "oidc", "what": "access"});
    let answer = bench.json(Method::POST, "/_control/expire", &request).await;
    assert_eq!(answer.status, StatusCode::OK);
    let refused = bench.get_as("/oidc/userinfo", &authorization).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // Those that come later are good.
    let tokens = bench.refresh(string(&tokens, "refresh_token")).await.value();
    let authorization = format!("Bearer {}", string(&tokens, "access_token"));
    assert_eq!(bench.get_as("/oidc/userinfo", &authorization).await.status, StatusCode::OK);
}

#[tokio::test]
async fn settings_change_one_realm() {
    let bench = Bench::new().await;
    let request = json!({"realm": "oidc", "rotation": "never", "access_token_lifetime": 7});
    let answer = bench.json(Method::POST, "/_control/settings", &request).await.value();
    assert_eq!((&answer["rotation"], &answer["access_token_lifetime"]), (&json!("never"), &json!(7)));
    assert_eq!(bench.login().await["expires_in"], 7);
    assert_eq!(bench.earthscope_login().await["expires_in"], 3_600);
    let request = json!({"realm": "oidc", "grace_seconds": 9, "device_lifetime": u64::MAX});
    let answer = bench.json(Method::POST, "/_control/settings", &request).await.value();
    assert_eq!((&answer["rotation"], &answer["grace_seconds"]), (&json!("rotate"), &json!(9)));
    // No setting is so large that something overflows.
    let form = [("client_id", "sandbox-public")];
    assert_eq!(bench.post("/oidc/device_authorization", &form).await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_that_mean_nothing_are_refused() {
    let bench = Bench::new().await;
    let cases = [
        ("/_control/settings", json!({"realm": "oidc", "rotaton": "never"})),
        ("/_control/settings", json!({"realm": "nowhere"})),
        ("/_control/settings", json!({"plain_jwt": true})),
        ("/_control/expire", json!({"realm": "oidc", "what": "everything"})),
        ("/_control/expire", json!({"what": "access"})),
        ("/_control/revoke", json!({"realm": "oidc", "who": "ada"})),
        ("/_control/revoke", json!("oidc")),
    ];
    for (path, body) in cases {
        let answer = bench.json(Method::POST, path, &body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path} {body}");
        assert!(!string(&answer.value(), "error").is_empty());
    }
    let counts = bench.get("/_control/refresh-tokens?realm=nowhere").await;
    assert_eq!(counts.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_in_a_browser_have_no_control() {
    let bench = Bench::new().await;
    bench.get("/oidc/jwks").await;
    let forged = [("{\"realm\":\"oidc\",\"what\":\"refresh\"}", "")];
    assert_eq!(bench.post("/_control/expire", &forged).await.status, StatusCode::BAD_REQUEST);
    for (method, path) in [(Method::DELETE, "/_control/requests"), (Method::POST, "/_control/expire")] {
        let request = bench.http.request(method, bench.at(path));
        let request =
            request.header("origin", "https://evil.test").header("content-type", "application/json");
        let answer = request.body("{\"realm\":\"oidc\",\"what\":\"access\"}").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(bench.control().requests(None).len(), 1);
}

#[tokio::test]
async fn sandboxes_listen_on_loopback_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let listen: SocketAddr = address.parse().unwrap();
        let error = Sandbox::start(Options { listen, ..Options::default() }).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{address}");
    }
}

#[test]
fn a_sandbox_runs_in_a_thread_of_its_own() {
    let (send, receive) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            let sandbox = Sandbox::start(Options::default()).await.unwrap();
            send.send((sandbox.url().to_owned(), sandbox.control())).unwrap();
            let _ = stopped.await;
            sandbox.stop().await;
        });
    });
    let (url, control) = receive.recv().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let status =
        runtime().block_on(async { client.get(format!("{url}/oidc/jwks")).send().await.unwrap().status() });
    assert_eq!(status, StatusCode::OK);
    assert_eq!(control.requests(None)[0].realm, Some(Realm::Oidc));
    drop(stop);
    thread.join().unwrap();
}
