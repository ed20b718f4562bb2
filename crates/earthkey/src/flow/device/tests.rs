use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::error::ErrorKind;
use crate::flow::tests::plan;
use crate::flow::tests::shown;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::World;

type Answer = Result<Response, SendError>;

/// What the world looks like after a sign-in.
struct Ended {
    world: World,
    outcome: Result<TokenResponse>,
    /// When each poll came, in seconds since the authorization arrived.
    polls: Vec<u64>,
}

fn authorization() -> Value {
    json!({
        "device_code": "the-device-code",
        "user_code": "WDJB-MJHT",
        "verification_uri": "https://idp.test/activate",
        "verification_uri_complete": "https://idp.test/activate?user_code=WDJB-MJHT",
        "expires_in": 900,
        "interval": 5,
    })
}

fn with(mut object: Value, name: &str, value: impl Into<Value>) -> Value {
    match value.into() {
        Value::Null => drop(object.as_object_mut().unwrap().remove(name)),
        value => object[name] = value,
    }
    object
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside answers that did not come")]
fn ok(body: &Value) -> Answer {
    Ok(Response::new(200, body.to_string()))
}

#[expect(clippy::unnecessary_wraps, reason = "it stands beside answers that did not come")]
fn error(code: &str) -> Answer {
    Ok(Response::new(400, json!({ "error": code }).to_string()))
}

fn tokens() -> Answer {
    ok(&json!({"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}))
}

/// Signs in at a provider that authorizes so and answers each poll by its number.
async fn sign_in(
    plan: &Plan,
    authorized: Answer,
    poll: impl Fn(usize) -> Answer + Send + Sync + 'static,
) -> Ended {
    let count = Arc::new(Mutex::new(0));
    let polled = count.clone();
    let world = World::new(move |request| match request.url.path() {
        "/device" => authorized.clone(),
        "/token" => {
            let mut count = polled.lock().unwrap();
            *count += 1;
            poll(*count)
        }
        path => panic!("nothing else is asked: {path}"),
    });
    let times = Arc::new(Mutex::new(Vec::new()));
    let mut host = world.host(1);
    host.http = Arc::new(Timed { http: host.http, clock: host.clock.clone(), times: times.clone() });
    let outcome = run(&host, plan).await;
    let polls = times.lock().unwrap().clone();
    Ended { world, outcome, polls }
}

/// A network that notes when it was asked for tokens.
struct Timed {
    http: Arc<dyn crate::host::Http>,
    clock: Arc<dyn crate::host::Clock>,
    times: Arc<Mutex<Vec<u64>>>,
}

impl crate::host::Http for Timed {
    fn send(&self, request: crate::host::http::Request) -> crate::host::BoxFuture<'_, Answer> {
        if request.url.path() == "/token" {
            // Scripted clocks begin an hour after boot.
            self.times.lock().unwrap().push(self.clock.since_boot().as_secs() - 3600);
        }
        self.http.send(request)
    }

    fn for_another_runtime(self: Arc<Self>) -> Arc<dyn crate::host::Http> {
        self
    }
}

#[tokio::test]
async fn a_code_that_is_entered_brings_tokens() {
    let ended = sign_in(&plan(), ok(&authorization()), |_| tokens()).await;
    assert_eq!(ended.outcome.unwrap().access_token.expose(), "the-token");
    // Not even the first poll comes before the interval (RFC 8628, section 3.5).
    assert_eq!(ended.polls, [5]);
    let requests = ended.world.http.requests();
    assert_eq!(requests[0].form_value("scope"), Some("openid offline_access"));
    assert_eq!(requests[1].form_value("device_code"), Some("the-device-code"));
    assert!(!format!("{requests:?}").contains("the-device-code"));
}

#[tokio::test]
async fn a_proof_key_goes_with_both_requests_where_it_is_known() {
    for device_pkce in [false, true] {
        let ended = sign_in(&Plan { device_pkce, ..plan() }, ok(&authorization()), |_| tokens()).await;
        let requests = ended.world.http.requests();
        assert_eq!(requests[0].form_value("code_challenge").is_some(), device_pkce);
        assert_eq!(requests[1].form_value("code_verifier").is_some(), device_pkce);
        if let Some(verifier) = requests[1].form_value("code_verifier") {
            let challenge = pkce::challenge(&crate::secret::CodeVerifier::new(verifier));
            assert_eq!(requests[0].form_value("code_challenge"), Some(challenge.as_str()));
            assert_eq!(requests[0].form_value("code_challenge_method"), Some("S256"));
        }
    }
}

#[tokio::test]
async fn the_audience_is_asked_for_once() {
    let plan = Plan {
        audience: Some("https://api.test".into()),
        parameters: vec![
            ("audience".into(), "https://other.test".into()),
            ("prompt".into(), "consent".into()),
        ],
        ..plan()
    };
    let ended = sign_in(&plan, ok(&authorization()), |_| tokens()).await;
    let body = String::from_utf8(ended.world.http.requests()[0].body().to_vec()).unwrap();
    assert_eq!(body.matches("audience=").count(), 1, "{body}");
    assert!(body.contains("audience=https%3A%2F%2Fapi.test") && body.contains("prompt=consent"), "{body}");
}

#[tokio::test]
async fn the_interval_is_kept_and_slow_down_slows_for_good() {
    let ended = sign_in(&plan(), ok(&authorization()), |poll| match poll {
        1 | 4 => error("authorization_pending"),
        2 | 3 => error("slow_down"),
        _ => tokens(),
    })
    .await;
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.polls, [5, 10, 20, 35, 50]);
}

#[tokio::test]
async fn passing_errors_are_survived_and_not_hammered() {
    let ended = sign_in(&plan(), ok(&authorization()), |poll| match poll {
        1 => Err(SendError::NotSent("connection refused".into())),
        2 => Err(SendError::Unknown("no whole answer in time".into())),
        3 => Ok(Response::new(500, "")),
        4 => Ok(Response::new(503, "<html>")),
        5 => Ok(Response::new(429, "")),
        6 => error("authorization_pending"),
        _ => tokens(),
    })
    .await;
    assert!(ended.outcome.is_ok());
    assert_eq!(ended.polls.len(), 7);
    let waits: Vec<_> = ended.polls.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits.iter().all(|wait| (5..=60).contains(wait)), "{waits:?}");
    // Back to the interval once an answer came.
    assert_eq!(waits[5], 5);
}

#[tokio::test]
async fn what_was_decided_is_an_answer() {
    for (code, message) in [
        ("access_denied", "the sign-in was denied"),
        ("expired_token", "the code expired before it was entered"),
        ("invalid_grant", "the provider refused"),
        ("invalid_client", "the provider does not accept the client"),
    ] {
        let ended = sign_in(&plan(), ok(&authorization()), move |_| error(code)).await;
        let error = ended.outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{code}");
        assert_eq!(error.to_string(), message);
        assert!(error.hints()[0].contains("earthkey login oidc/work"));
        assert_eq!(ended.polls, [5]);
    }
}

#[tokio::test]
async fn nobody_polls_for_a_code_that_has_expired() {
    let lives_30 = with(authorization(), "expires_in", 30);
    let ended = sign_in(&plan(), ok(&lives_30), |_| error("authorization_pending")).await;
    let error = ended.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "the code expired before it was entered");
    assert_eq!(ended.polls, [5, 10, 15, 20, 25, 30]);
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_the_plan_says() {
    let plan = Plan { timeout: Duration::from_secs(12), ..plan() };
    let ended = sign_in(&plan, ok(&authorization()), |_| error("authorization_pending")).await;
    let error = ended.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "the code was not entered within 12 seconds");
    assert!(error.hints()[0].contains("earthkey login oidc/work"));
    assert_eq!(ended.polls, [5, 10]);
}

#[tokio::test]
async fn a_network_that_stays_away_is_what_failed() {
    let lives_60 = with(authorization(), "expires_in", 60);
    let unreachable = || Err(SendError::NotSent("connection refused".into()));
    let ended = sign_in(&plan(), ok(&lives_60), move |_| unreachable()).await;
    let error = ended.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(error.causes(), ["connection refused"]);
    let ended = sign_in(&plan(), ok(&lives_60), |_| Ok(Response::new(502, ""))).await;
    let error = ended.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(shown(&error).contains("502"), "{}", shown(&error));
    assert!(!error.hints().is_empty());
}

#[tokio::test]
async fn pages_that_are_not_safe_are_never_shown_or_opened() {
    for name in ["verification_uri", "verification_uri_complete"] {
        for page in [
            "http://idp.test/activate",
            "http://localhost/activate",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "--remote-debugging-port=1",
            "-https://idp.test/",
            "/activate",
            "https://idp.test@evil.test/activate",
            "",
        ] {
            let ended = sign_in(&plan(), ok(&with(authorization(), name, page)), |_| tokens()).await;
            let error = ended.outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Network, "{name}: {page}");
            assert!(ended.world.person.opened().is_empty(), "{name}: {page}");
            assert!(ended.world.person.said().is_empty(), "{name}: {page}");
            assert!(ended.polls.is_empty(), "{name}: {page}");
            assert!(!error.hints().is_empty());
        }
    }
}

#[tokio::test]
async fn the_code_is_shown_even_with_the_complete_page_and_below_who_asks_for_what() {
    for complete in [Value::Null, "https://idp.test/activate?user_code=WDJB-MJHT".into()] {
        let authorization = with(authorization(), "verification_uri_complete", complete.clone());
        let ended = sign_in(&plan(), ok(&authorization), |_| tokens()).await;
        let said = ended.world.person.said();
        assert_eq!(said.len(), 2);
        assert!(said[0].starts_with("Request"), "{}", said[0]);
        assert!(said[0].contains("the-client") && said[0].contains("offline_access"), "{}", said[0]);
        assert!(said[1].starts_with("Device"), "{}", said[1]);
        assert!(said[1].contains("user_code: \"WDJB-MJHT\"") && said[1].contains("expires_in: 900"));
        let page = complete.as_str().unwrap_or("https://idp.test/activate");
        assert_eq!(ended.world.person.opened().iter().map(url::Url::as_str).collect::<Vec<_>>(), [page]);
    }
}

#[tokio::test]
async fn without_a_browser_none_is_opened() {
    let plan = Plan { opens_browser: false, ..plan() };
    let ended = sign_in(&plan, ok(&authorization()), |_| tokens()).await;
    assert!(ended.world.person.opened().is_empty());
    assert_eq!(ended.world.person.said().len(), 2);
}

#[tokio::test]
async fn server_text_cannot_move_the_cursor() {
    for code in ["WD\u{1b}[2J", "WD\r\nJB", "WD\u{202e}JB", ""] {
        let ended = sign_in(&plan(), ok(&with(authorization(), "user_code", code)), |_| tokens()).await;
        let error = ended.outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network, "{code:?}");
        assert!(ended.world.person.said().is_empty());
    }
    let refusal =
        json!({"error": "access_denied", "error_description": format!("no\u{1b}[2J{}", "x".repeat(9999))});
    let answer = Response::new(400, refusal.to_string());
    let ended = sign_in(&plan(), ok(&authorization()), move |_| Ok(answer.clone())).await;
    let shown = shown(&ended.outcome.unwrap_err());
    assert!(!shown.contains('\u{1b}') && !shown.contains("\\u{1b}"), "{shown}");
    assert!(shown.len() < 1500, "{}", shown.len());
}

#[tokio::test]
async fn no_answer_at_all_is_a_matter_of_the_network() {
    for answer in [
        Err(SendError::NotSent("connection refused".into())),
        Ok(Response::new(200, "<html>")),
        Ok(Response::new(302, "")),
        Ok(Response::new(500, "")),
        ok(&with(authorization(), "device_code", Value::Null)),
    ] {
        let ended = sign_in(&plan(), answer, |_| tokens()).await;
        let error = ended.outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(!error.hints().is_empty(), "{error:?}");
        assert!(!shown(&error).contains("the-device-code"));
        assert!(ended.world.person.said().is_empty());
    }
}

#[tokio::test]
async fn a_provider_without_the_flow_is_asked_nothing() {
    let mut plan = plan();
    plan.metadata.device_authorization_endpoint = None;
    let ended = sign_in(&plan, ok(&authorization()), |_| tokens()).await;
    assert_eq!(ended.outcome.unwrap_err().kind(), ErrorKind::Configuration);
    assert!(ended.world.http.requests().is_empty());
}

#[tokio::test]
async fn tokens_that_cannot_be_read_end_it_without_being_shown() {
    let ended = sign_in(&plan(), ok(&authorization()), |_| {
        ok(&json!({"access_token": "the\ntoken", "refresh_token": "the-refresh-token"}))
    })
    .await;
    let error = ended.outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(!shown(&error).contains("the-refresh-token"));
    assert_eq!(ended.polls, [5]);
}
