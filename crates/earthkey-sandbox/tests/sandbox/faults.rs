//! Faults: what a client sees, and what happened all the same.

use std::time::Duration;

use earthkey_sandbox::{Fault, Realm, RefreshTokens, When};
use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use crate::bench::{Bench, string};

/// The refresh request, without waiting for its answer.
fn refresh(bench: &Bench, refresh_token: &str) -> reqwest::RequestBuilder {
    let form =
        [("grant_type", "refresh_token"), ("client_id", "sandbox-public"), ("refresh_token", refresh_token)];
    bench.post_request("/oidc/token", &form)
}

fn superseded(bench: &Bench) -> usize {
    bench.control().refresh_tokens(Realm::Oidc).superseded
}

#[tokio::test]
async fn an_answer_can_be_lost_after_the_token_rotated() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let token = string(&tokens, "refresh_token");
    let fault = Fault { drop: Some(When::After), ..Fault::at("/oidc/token") };
    bench.control().add_fault(fault).unwrap();
    assert!(refresh(&bench, token).send().await.is_err());
    assert_eq!(superseded(&bench), 1);
    let record = bench.control().requests(Some("/oidc/token")).pop().unwrap();
    assert_eq!((record.grant_type.as_deref(), record.status), (Some("refresh_token"), None));
    // The fault was for one request; this one is a reuse.
    assert_eq!(bench.refresh(token).await.error(), (400, "invalid_grant".to_owned()));
}

#[tokio::test]
async fn a_connection_can_be_lost_before_anything_happened() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let fault = Fault { drop: Some(When::Before), ..Fault::at("/oidc/token") };
    bench.control().add_fault(fault).unwrap();
    assert!(refresh(&bench, string(&tokens, "refresh_token")).send().await.is_err());
    assert_eq!(superseded(&bench), 0);
    assert_eq!(bench.refresh(string(&tokens, "refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_late_answer_belongs_to_something_that_happened() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    // Longer than any test runs: only giving up ends it.
    let fault = Fault { delay_ms: 3_600_000, ..Fault::at("/oidc/token") };
    bench.control().add_fault(fault).unwrap();
    let request = refresh(&bench, string(&tokens, "refresh_token")).send();
    tokio::select! {
        answer = request => panic!("answered: {answer:?}"),
        () = until(|| superseded(&bench) == 1) => {}
    }
}

#[tokio::test]
async fn a_lost_answer_can_be_late_as_well() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let fault = Fault { drop: Some(When::After), delay_ms: 5, ..Fault::at("/oidc/token") };
    bench.control().add_fault(fault).unwrap();
    assert!(refresh(&bench, string(&tokens, "refresh_token")).send().await.is_err());
    assert_eq!(superseded(&bench), 1);
}

#[tokio::test]
async fn answers_can_be_anything() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let fault = json!({
        "path": "/oidc/token",
        "grant_type": "refresh_token",
        "times": 2,
        "status": 503,
        "body": "<h1>busy</h1>",
        "content_type": "text/html",
        "headers": {"retry-after": "7"},
    });
    let added = bench.json(Method::POST, "/_control/faults", &fault).await;
    assert_eq!(added.status, StatusCode::OK, "{}", added.text);
    for _ in 0..2 {
        let answer = bench.refresh(string(&tokens, "refresh_token")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!((answer.text.as_str(), answer.header("content-type")), ("<h1>busy</h1>", "text/html"));
        assert_eq!(answer.header("retry-after"), "7");
    }
    assert_eq!(superseded(&bench), 0);
    assert_eq!(bench.refresh(string(&tokens, "refresh_token")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_answer_can_be_garbled_after_the_token_rotated() {
    let bench = Bench::new().await;
    let tokens = bench.login().await;
    let fault = Fault { body: Some("{\"access_tok".to_owned()), act: true, ..Fault::at("/oidc/token") };
    bench.control().add_fault(fault).unwrap();
    let answer = bench.refresh(string(&tokens, "refresh_token")).await;
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "{\"access_tok"));
    assert_eq!(superseded(&bench), 1);
}

#[tokio::test]
async fn headers_alone_are_put_on_the_real_answer() {
    let bench = Bench::new().await;
    let headers = [("date".to_owned(), "Thu, 01 Jan 1970 00:00:00 GMT".to_owned())].into();
    bench.control().add_fault(Fault { headers, ..Fault::at("/oidc/jwks") }).unwrap();
    let answer = bench.get("/oidc/jwks").await;
    assert_eq!(answer.header("date"), "Thu, 01 Jan 1970 00:00:00 GMT");
    assert!(answer.value()["keys"].is_array());
}

#[tokio::test]
async fn bodies_can_be_endless_huge_or_stuck() {
    let bench = Bench::new().await;
    let path = "/oidc/jwks";
    let endless = Fault { body: Some("{".to_owned()), endless: true, ..Fault::at(path) };
    bench.control().add_fault(endless).unwrap();
    let mut response = bench.http.get(bench.at(path)).send().await.unwrap();
    let mut read = 0;
    while read < 1_000_000 {
        read += response.chunk().await.unwrap().expect("no end").len();
    }
    drop(response);

    let huge = Fault { body_size: Some(100_000), ..Fault::at(path) };
    bench.control().add_fault(huge).unwrap();
    assert_eq!(bench.get(path).await.text.len(), 100_000);

    let stuck = Fault { body: Some("{".to_owned()), stall: true, ..Fault::at(path) };
    bench.control().add_fault(stuck).unwrap();
    let mut response = bench.http.get(bench.at(path)).send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap(), "{");
    assert!(timeout(Duration::from_millis(50), response.chunk()).await.is_err());
}

#[tokio::test]
async fn faults_can_be_called_off() {
    let bench = Bench::new().await;
    let fault = json!({"path": "/oidc/jwks", "times": 100, "status": 500});
    bench.json(Method::POST, "/_control/faults", &fault).await;
    assert_eq!(bench.get("/oidc/jwks").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    bench.json(Method::DELETE, "/_control/faults", &json!({})).await;
    assert_eq!(bench.get("/oidc/jwks").await.status, StatusCode::OK);
}

#[tokio::test]
async fn faults_that_cannot_be_are_refused() {
    let bench = Bench::new().await;
    let cases = [
        json!({"path": "oidc"}),
        json!({"path": "/", "status": 42}),
        json!({"path": "/", "headers": {"a b": "c"}}),
        json!({"path": "/", "content_type": "a\nb"}),
        json!({"path": "/", "statsu": 500}),
        json!({"path": "/", "drop": "sometimes"}),
    ];
    for fault in cases {
        let answer = bench.json(Method::POST, "/_control/faults", &fault).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{fault}");
        assert!(!string(&answer.value(), "error").is_empty());
    }
}

#[tokio::test]
async fn a_stopped_sandbox_is_gone() {
    let bench = Bench::new().await;
    let url = bench.at("/oidc/jwks");
    let counts = RefreshTokens::default();
    assert_eq!(bench.control().refresh_tokens(Realm::Oidc), counts);
    // An idle connection that is kept alive does not keep the sandbox.
    assert_eq!(bench.get("/oidc/jwks").await.status, StatusCode::OK);
    let Bench { sandbox, http } = bench;
    sandbox.stop().await;
    assert!(http.get(url).send().await.is_err());
}

/// Waits until something is so, giving way to everything else meanwhile.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::task::yield_now().await;
    }
}
