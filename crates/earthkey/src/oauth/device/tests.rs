use super::*;
use crate::secret::AccessToken;
use crate::secret::ClientSecret;

const EXAMPLE: &str = r#"{
    "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://example.com/device",
    "verification_uri_complete": "https://example.com/device?user_code=WDJB-MJHT",
    "expires_in": 1800,
    "interval": 5
}"#;

fn endpoint() -> Url {
    Url::parse("https://server.example.com/device_authorization").unwrap()
}

fn example() -> DeviceAuthorization {
    parse_authorization(&Response::new(200, EXAMPLE)).unwrap()
}

/// Reads the example after one of its members was replaced; an empty value leaves it out.
fn changed(name: &str, value: &str) -> Result<DeviceAuthorization, TokenError> {
    let mut object: serde_json::Value = serde_json::from_str(EXAMPLE).unwrap();
    match value {
        "" => drop(object.as_object_mut().unwrap().remove(name)),
        value => object[name] = serde_json::from_str(value).unwrap(),
    }
    parse_authorization(&Response::new(200, object.to_string()))
}

fn poll(status: u16, error: &str) -> Poll {
    parse_poll(&Response::new(status, format!(r#"{{"error": "{error}"}}"#)))
}

fn polling(interval: u64, expires_in: u64) -> Polling {
    Polling::new(&DeviceAuthorization { expires_in, interval, ..example() })
}

fn wait(polling: &Polling, elapsed: u64) -> Option<u64> {
    polling.next_wait(Duration::from_secs(elapsed)).map(|wait| wait.as_secs())
}

#[test]
fn rfc8628_3_1() {
    let scopes = ["example_scope".to_owned()];
    let client = Client::public("1406020730");
    let request = authorization_request(&client, &endpoint(), &scopes, None, None, &[]);
    assert_eq!(request.body().as_slice(), b"scope=example_scope&client_id=1406020730");
    assert_eq!(request.max_body, token::MAX_TOKEN_BODY);
}

#[test]
fn a_request_can_have_a_secret_an_audience_a_proof_key_and_more() {
    let methods = ["client_secret_post".to_owned()];
    let client = Client::with_secret("c", ClientSecret::new("hidden"), Some(&methods));
    let request = authorization_request(
        &client,
        &endpoint(),
        &[],
        Some("https://api.test"),
        Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        &[("access_type".to_owned(), "offline".to_owned())],
    );
    assert_eq!(
        String::from_utf8(request.body().to_vec()).unwrap(),
        "audience=https%3A%2F%2Fapi.test\
         &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
         &client_id=c&client_secret=hidden&access_type=offline"
    );
}

#[test]
fn rfc8628_3_2() {
    let url = |text| Url::parse(text).unwrap();
    assert_eq!(
        example(),
        DeviceAuthorization {
            device_code: DeviceCode::new("GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS"),
            user_code: "WDJB-MJHT".to_owned(),
            verification_uri: url("https://example.com/device"),
            verification_uri_complete: Some(url("https://example.com/device?user_code=WDJB-MJHT")),
            expires_in: 1800,
            interval: 5,
        }
    );
    assert!(!format!("{:?}", example()).contains("GmRhmhcx"));
}

#[test]
fn what_real_servers_leave_out_is_made_good() {
    assert_eq!(changed("interval", "").unwrap().interval, 5);
    assert_eq!(changed("expires_in", "").unwrap().expires_in, 600);
    assert_eq!(changed("verification_uri_complete", "").unwrap().verification_uri_complete, None);
    let google = r#"{"device_code": "d", "user_code": "u", "expires_in": 1800, "interval": 5,
                     "verification_url": "https://www.google.com/device"}"#;
    let google = parse_authorization(&Response::new(200, google)).unwrap();
    assert_eq!(google.verification_uri.as_str(), "https://www.google.com/device");
}

#[test]
fn numbers_are_bounded() {
    for (value, expected) in [("0", 1), ("-1", 1), ("2.5", 3), ("\"7\"", 7), ("61", 60), ("1e99", 60)] {
        assert_eq!(changed("interval", value).unwrap().interval, expected, "{value}");
    }
    for (value, expected) in [("0", 0), ("-1", 0), ("900", 900), ("1e99", MAX_LIFETIME)] {
        assert_eq!(changed("expires_in", value).unwrap().expires_in, expected, "{value}");
    }
}

#[test]
fn what_cannot_be_shown_or_opened_is_an_error() {
    for (name, value) in [
        ("device_code", ""),
        ("device_code", "\"\""),
        ("device_code", "1"),
        ("user_code", ""),
        ("user_code", "\"\""),
        ("user_code", "\"AB\\u001b[2J\""),
        ("user_code", "\"AB\\u202eCD\""),
        ("verification_uri", ""),
        ("verification_uri", "\"http://example.com/device\""),
        ("verification_uri", "\"javascript:alert(1)\""),
        ("verification_uri", "\"--version\""),
        ("verification_uri", "\"https://accounts.test@evil.test/\""),
        ("verification_uri_complete", "\"http://example.com/device\""),
        ("verification_uri_complete", "7"),
        ("interval", "\"soon\""),
        ("expires_in", "[]"),
    ] {
        let result = changed(name, value);
        assert!(
            matches!(result, Err(TokenError::Unexpected { status: 200, .. })),
            "{name}: {value}: {result:?}"
        );
    }
    let page = parse_authorization(&Response::new(200, "<html>"));
    assert!(matches!(page, Err(TokenError::Unexpected { .. })));
    let refused = parse_authorization(&Response::new(401, r#"{"error": "invalid_client"}"#));
    assert!(matches!(refused, Err(TokenError::Refused(_))));
}

#[test]
fn rfc8628_3_5() {
    assert_eq!(poll(400, "authorization_pending"), Poll::Pending);
    assert_eq!(poll(400, "slow_down"), Poll::SlowDown);
    assert_eq!(poll(400, "expired_token"), Poll::Expired);
    let Poll::Denied(refusal) = poll(400, "access_denied") else { panic!("not denied") };
    assert_eq!(refusal.error, "access_denied");
    for error in ["invalid_grant", "invalid_client", "unauthorized_client"] {
        assert!(matches!(poll(400, error), Poll::Failed(TokenError::Refused(_))), "{error}");
    }
    let tokens = r#"{"access_token": "a", "token_type": "Bearer"}"#;
    let Poll::Ready(tokens) = parse_poll(&Response::new(200, tokens)) else { panic!("not ready") };
    assert_eq!(tokens.access_token, AccessToken::new("a"));
}

#[test]
fn codes_count_whatever_the_status_that_real_servers_give_them() {
    assert_eq!(poll(403, "authorization_pending"), Poll::Pending);
    assert_eq!(poll(428, "authorization_pending"), Poll::Pending);
    assert_eq!(poll(429, "slow_down"), Poll::SlowDown);
    assert!(matches!(poll(403, "access_denied"), Poll::Denied(_)));
}

#[test]
fn passing_errors_do_not_end_the_attempt_and_others_do() {
    for status in [429, 500, 502, 503, 504] {
        assert_eq!(parse_poll(&Response::new(status, "<html>")), Poll::Retry, "{status}");
    }
    assert_eq!(poll(429, "too_many_requests"), Poll::Retry);
    assert_eq!(poll(503, "authorization_pending"), Poll::Retry);
    for (status, body) in [(200, "<html>"), (200, "{}"), (302, ""), (404, "no")] {
        let poll = parse_poll(&Response::new(status, body));
        assert!(matches!(poll, Poll::Failed(TokenError::Unexpected { .. })), "{status}");
    }
}

#[test]
fn polls_come_at_the_interval_and_slow_down_lasts() {
    let mut polling = polling(5, 1800);
    assert_eq!(wait(&polling, 0), Some(5));
    polling.on(&Poll::Pending);
    assert_eq!(wait(&polling, 5), Some(5));
    polling.on(&Poll::SlowDown);
    assert_eq!(wait(&polling, 10), Some(10));
    polling.on(&Poll::Pending);
    assert_eq!(wait(&polling, 20), Some(10));
    polling.on(&Poll::SlowDown);
    assert_eq!(wait(&polling, 30), Some(15));
}

#[test]
fn passing_errors_back_off_and_are_forgotten() {
    let mut polling = polling(5, 1800);
    let waits: Vec<_> = (0..6)
        .map(|_| {
            polling.on(&Poll::Retry);
            wait(&polling, 0)
        })
        .collect();
    assert_eq!(waits, [10, 20, 40, 60, 60, 60].map(Some));
    for _ in 0..1000 {
        polling.on(&Poll::Retry);
    }
    assert_eq!(wait(&polling, 0), Some(60));
    polling.on(&Poll::Pending);
    assert_eq!(wait(&polling, 0), Some(5));
}

#[test]
fn polls_end_with_the_codes_and_a_back_off_does_not_skip_the_last() {
    let mut polling = polling(5, 600);
    assert_eq!(wait(&polling, 595), Some(5));
    assert_eq!(wait(&polling, 596), None);
    assert_eq!(wait(&polling, 600), None);
    assert_eq!(wait(&polling, u64::MAX), None);
    for _ in 0..10 {
        polling.on(&Poll::Retry);
    }
    assert_eq!(wait(&polling, 540), Some(60));
    assert_eq!(wait(&polling, 550), Some(5));
}
