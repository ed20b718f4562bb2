use http::HeaderValue;

use super::*;
use crate::secret::ClientSecret;

fn endpoint() -> Url {
    Url::parse("https://server.example.com/token").unwrap()
}

fn rfc6749_client() -> Client {
    Client::with_secret("s6BhdRkqt3", ClientSecret::new("gX1fBat3bV"), None)
}

fn body_of(request: &Request) -> String {
    String::from_utf8(request.body().to_vec()).unwrap()
}

fn error_of(status: u16, body: &str) -> TokenError {
    parse(&Response::new(status, body)).unwrap_err()
}

/// Returns a token response with one member more.
fn with(member: &str) -> Result<TokenResponse, String> {
    parse_body(format!(r#"{{"access_token": "a", "token_type": "Bearer", {member}}}"#).as_bytes())
}

fn retry_after_of(value: &'static str) -> Option<RetryAfter> {
    let mut response = Response::new(429, "");
    response.headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
    match parse(&response) {
        Err(TokenError::TryLater { status: 429, retry_after }) => retry_after,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rfc6749_4_1_3_with_rfc7636_4_5() {
    let request = code_request(
        &rfc6749_client(),
        &endpoint(),
        &AuthorizationCode::new("SplxlOBeZQQYbYS6WxSbIA"),
        "https://client.example.com/cb",
        &CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
    );
    assert_eq!(
        body_of(&request),
        "grant_type=authorization_code&code=SplxlOBeZQQYbYS6WxSbIA\
         &redirect_uri=https%3A%2F%2Fclient.example.com%2Fcb\
         &code_verifier=dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    );
    assert_eq!(request.headers[header::AUTHORIZATION], "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
    assert_eq!(request.max_body, 64 * 1024);
    let shown = format!("{request:?}");
    assert!(!shown.contains("SplxlOBeZQQYbYS6WxSbIA") && !shown.contains("dBjftJeZ"), "{shown}");
}

#[test]
fn rfc6749_6() {
    let token = RefreshToken::new("tGzv3JOkF0XG5Qx2TlKWIA");
    let request = refresh_request(&rfc6749_client(), &endpoint(), &token, None);
    assert_eq!(body_of(&request), "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA");
    assert_eq!(request.headers[header::AUTHORIZATION], "Basic czZCaGRSa3F0MzpnWDFmQmF0M2JW");
    assert!(!format!("{request:?}").contains("tGzv3JOkF0XG5Qx2TlKWIA"));

    let scopes = ["a".to_owned(), "b".to_owned()];
    let narrowed = refresh_request(&Client::public("c"), &endpoint(), &token, Some(&scopes));
    assert_eq!(
        body_of(&narrowed),
        "grant_type=refresh_token&refresh_token=tGzv3JOkF0XG5Qx2TlKWIA&scope=a+b&client_id=c"
    );
}

#[test]
fn rfc6749_4_4_2() {
    let request = client_credentials_request(&rfc6749_client(), &endpoint(), &[], None);
    assert_eq!(body_of(&request), "grant_type=client_credentials");
    let scopes = ["openid".to_owned(), "email".to_owned()];
    let request =
        client_credentials_request(&Client::public("c"), &endpoint(), &scopes, Some("https://api.test"));
    assert_eq!(
        body_of(&request),
        "grant_type=client_credentials&scope=openid+email\
         &audience=https%3A%2F%2Fapi.test&client_id=c"
    );
}

#[test]
fn rfc8628_3_4() {
    let code = DeviceCode::new("GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS");
    let request = device_request(&Client::public("1406020730"), &endpoint(), &code, None);
    assert_eq!(
        body_of(&request),
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code\
         &device_code=GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS&client_id=1406020730"
    );
    assert!(!format!("{request:?}").contains("GmRhmhcx"));
    let verifier = CodeVerifier::new("verifier");
    let request = device_request(&Client::public("c"), &endpoint(), &code, Some(&verifier));
    assert_eq!(request.form_value("code_verifier"), Some("verifier"));
}

#[test]
fn rfc6749_5_1() {
    let response = Response::new(
        200,
        r#"{
            "access_token": "2YotnFZFEjr1zCsicMWpAA",
            "token_type": "bearer",
            "expires_in": 3600,
            "refresh_token": "tGzv3JOkF0XG5Qx2TlKWIA",
            "scope": "openid  offline_access",
            "example_parameter": "example_value"
        }"#,
    );
    assert_eq!(
        parse(&response),
        Ok(TokenResponse {
            access_token: AccessToken::new("2YotnFZFEjr1zCsicMWpAA"),
            token_type: "bearer".to_owned(),
            expires_in: Some(3600),
            refresh_token: Some(RefreshToken::new("tGzv3JOkF0XG5Qx2TlKWIA")),
            id_token: None,
            scopes: Some(vec!["openid".to_owned(), "offline_access".to_owned()]),
        })
    );
    assert_eq!(parse_body(&response.body).ok(), parse(&response).ok());
}

#[test]
fn only_the_access_token_is_indispensable() {
    assert_eq!(
        parse_body(br#"{"access_token": "a"}"#),
        Ok(TokenResponse {
            access_token: AccessToken::new("a"),
            token_type: "Bearer".to_owned(),
            expires_in: None,
            refresh_token: None,
            id_token: None,
            scopes: None,
        })
    );
}

#[test]
fn an_empty_refresh_token_is_an_absent_one() {
    assert_eq!(with(r#""refresh_token": """#).unwrap().refresh_token, None);
    assert_eq!(with(r#""refresh_token": null"#).unwrap().refresh_token, None);
    assert_eq!(with(r#""id_token": """#).unwrap().id_token, None);
    assert_eq!(refresh_token_in(br#"{"refresh_token": ""}"#), None);
}

#[test]
fn a_lifetime_may_be_text_and_is_bounded() {
    for (value, expected) in [
        ("3600", 3600),
        ("\"3600\"", 3600),
        ("0", 0),
        ("-1", 0),
        ("18446744073709551615", MAX_LIFETIME),
        ("1e308", MAX_LIFETIME),
    ] {
        let response = with(&format!("\"expires_in\": {value}")).unwrap();
        assert_eq!(response.expires_in, Some(expected), "{value}");
    }
}

#[test]
fn only_bearer_tokens_are_taken() {
    for token_type in ["bearer", "Bearer", "BEARER"] {
        let body = format!(r#"{{"access_token": "a", "token_type": "{token_type}"}}"#);
        assert_eq!(parse_body(body.as_bytes()).unwrap().token_type, token_type);
    }
    for token_type in ["\"DPoP\"", "\"mac\"", "\"\"", "1"] {
        let body = format!(r#"{{"access_token": "a", "token_type": {token_type}}}"#);
        assert!(parse_body(body.as_bytes()).is_err(), "{token_type}");
    }
}

#[test]
fn wrong_types_are_errors_that_tell_no_secret() {
    for body in [
        r#"{"access_token": ["hidden"]}"#,
        r#"{"access_token": ""}"#,
        r#"{"access_token": "hidden\r\nX-Injected: 1"}"#,
        r#"{"access_token": "hiddenü"}"#,
        r#"{"access_token": "hidden", "refresh_token": {"hidden": 1}}"#,
        r#"{"access_token": "hidden", "id_token": 7}"#,
        r#"{"access_token": "hidden", "expires_in": "soon, hidden"}"#,
        r#"{"access_token": "hidden", "expires_in": true}"#,
        r#"{"access_token": "hidden", "scope": ["hidden"]}"#,
        r#"{"access_token": "hidden", "token_type": 1}"#,
        r#"{"refresh_token": "hidden"}"#,
        r#""hidden""#,
        "hidden",
    ] {
        let error = error_of(200, body);
        assert!(matches!(error, TokenError::Unexpected { status: 200, .. }), "{body}: {error}");
        assert!(!error.to_string().contains("hidden"), "{error}");
        assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    }
}

#[test]
fn a_refresh_token_survives_an_answer_that_cannot_be_used() {
    for body in [
        r#"{"access_token": "a", "token_type": "DPoP", "refresh_token": "successor"}"#,
        r#"{"access_token": 1, "refresh_token": "successor"}"#,
        r#"{"refresh_token": "successor", "expires_in": true}"#,
    ] {
        assert!(parse_body(body.as_bytes()).is_err());
        assert_eq!(refresh_token_in(body.as_bytes()), Some(RefreshToken::new("successor")));
    }
    assert_eq!(refresh_token_in(b"<html>"), None);
    assert_eq!(refresh_token_in(br#"{"refresh_token": 1}"#), None);
}

#[test]
fn rfc6749_5_2() {
    let body = r#"{"error": "invalid_request", "error_description": "a\u001b]0;b\nc"}"#;
    let error = error_of(400, body);
    assert_eq!(
        error,
        TokenError::Refused(Refusal {
            status: 400,
            error: "invalid_request".to_owned(),
            description: Some("a ]0;b c".to_owned()),
            date: None,
        })
    );
    assert_eq!(error.to_string(), "the provider refused: `invalid_request` (a ]0;b c)");
    let long = format!(r#"{{"error": "x", "error_description": "{}"}}"#, "d".repeat(5000));
    let TokenError::Refused(refusal) = error_of(401, &long) else { panic!("not refused") };
    assert_eq!(refusal.description.unwrap().chars().count(), 201);
}

#[test]
fn only_a_4xx_with_an_error_code_in_json_is_a_refusal() {
    let code = r#"{"error": "invalid_grant"}"#;
    for status in [400, 401, 403, 404] {
        assert!(matches!(error_of(status, code), TokenError::Refused(_)), "{status}");
    }
    for status in [429, 503] {
        assert_eq!(error_of(status, code), TokenError::TryLater { status, retry_after: None });
    }
    for status in [500, 502, 504, 599] {
        assert_eq!(error_of(status, code), TokenError::ServerError { status });
    }
    for status in [100, 301, 302, 307, 308] {
        let error = error_of(status, code);
        assert!(matches!(error, TokenError::Unexpected { .. }), "{status}: {error}");
    }
    // A success that says no: a person may act on it, but it is no refusal of the grant.
    assert_eq!(
        error_of(200, code).to_string(),
        "the provider gave no usable answer (status 200): the error `invalid_grant` in a \
         successful answer"
    );
    let long = format!(r#"{{"error": "{}"}}"#, "x".repeat(101));
    for body in [
        "",
        "<html>invalid_grant</html>",
        "[]",
        r#"{"error": ""}"#,
        r#"{"error": null}"#,
        r#"{"error": {"code": 403, "message": "no"}}"#,
        r#"{"error": "a\nb"}"#,
        r#"{"error": "a\"b"}"#,
        r#"{"error": "a\\b"}"#,
        r#"{"error": "né"}"#,
        r#"{"message": "Forbidden"}"#,
        &long,
    ] {
        let error = error_of(400, body);
        assert!(matches!(error, TokenError::Unexpected { status: 400, .. }), "{body}: {error}");
    }
}

#[test]
fn a_page_in_between_is_named() {
    let mut page = Response::new(403, "<html>hidden</html>");
    page.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    assert_eq!(
        parse(&page).unwrap_err().to_string(),
        "the provider gave no usable answer (status 403): an HTML page"
    );
    page.status = 200;
    assert!(matches!(parse(&page), Err(TokenError::Unexpected { status: 200, .. })));
}

#[test]
fn rfc9110_10_2_3() {
    assert_eq!(retry_after_of("120"), Some(RetryAfter::Seconds(120)));
    assert_eq!(retry_after_of("0"), Some(RetryAfter::Seconds(0)));
    assert_eq!(retry_after_of("99999999999999999999999"), Some(RetryAfter::Seconds(MAX_RETRY_AFTER)));
    // The date of RFC 9110, section 5.6.7, in its three forms.
    for date in
        ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    {
        assert_eq!(retry_after_of(date), Some(RetryAfter::At(784_111_777)), "{date}");
    }
    for nonsense in ["", "soon", "-5", "+5", "1.5", "Sun, 99 Nov 1994 08:49:37 GMT"] {
        assert_eq!(retry_after_of(nonsense), None, "{nonsense}");
    }
}
