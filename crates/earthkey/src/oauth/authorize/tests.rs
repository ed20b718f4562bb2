use super::*;

fn verifier() -> CodeVerifier {
    CodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
}

fn pairs(url: &Url) -> Vec<(String, String)> {
    url.query_pairs().into_owned().collect()
}

fn parse(query: &str, iss_required: bool) -> Result<AuthorizationCode, RedirectError> {
    let state = State::new("xyz");
    let expected = ExpectedRedirect {
        state: &state,
        issuer: "https://honest.as.example",
        by_origin: false,
        iss_required,
    };
    parse_redirect(query, &expected)
}

fn refused(error: &str, description: Option<&str>) -> RedirectError {
    RedirectError::Refused { error: error.to_owned(), description: description.map(str::to_owned) }
}

#[test]
fn rfc6749_4_1_1_with_rfc7636_4_3() {
    let request = AuthorizationRequest {
        endpoint: &Url::parse("https://server.example.com/authorize").unwrap(),
        client_id: "s6BhdRkqt3",
        redirect_uri: "https://client.example.com/cb",
        scopes: &["openid".to_owned(), "offline_access".to_owned()],
        state: &State::new("xyz"),
        nonce: Some(&Nonce::new("n-0S6_WzA2Mj")),
        verifier: &verifier(),
        parameters: &[("access_type".to_owned(), "offline&state=evil".to_owned())],
    };
    assert_eq!(
        request.url().as_str(),
        "https://server.example.com/authorize?response_type=code&client_id=s6BhdRkqt3\
         &redirect_uri=https%3A%2F%2Fclient.example.com%2Fcb&scope=openid+offline_access&state=xyz\
         &nonce=n-0S6_WzA2Mj&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM\
         &code_challenge_method=S256&access_type=offline%26state%3Devil"
    );
}

#[test]
fn the_endpoints_own_query_is_kept_and_the_verifier_is_not_sent() {
    let request = AuthorizationRequest {
        endpoint: &Url::parse("https://server.example.com/authorize?tenant=a%26b").unwrap(),
        client_id: "c",
        redirect_uri: "http://127.0.0.1:1/",
        scopes: &[],
        state: &State::new("xyz"),
        nonce: None,
        verifier: &verifier(),
        parameters: &[],
    };
    let url = request.url();
    let pairs = pairs(&url);
    assert_eq!(pairs[0], ("tenant".to_owned(), "a&b".to_owned()));
    assert!(!pairs.iter().any(|(name, _)| name == "scope" || name == "nonce"));
    assert!(!url.as_str().contains(verifier().expose()));
    assert!(!format!("{request:?}").contains(verifier().expose()));
}

#[test]
fn a_server_may_add_what_does_not_decide_who_gets_the_answer() {
    let harmless = vec![
        ("access_type".to_owned(), "offline".to_owned()),
        ("prompt".to_owned(), "consent".to_owned()),
        ("audience".to_owned(), "https://api.test".to_owned()),
    ];
    assert_eq!(allowed_parameters(harmless.clone()), Ok(harmless));
}

#[test]
fn a_server_may_not_set_what_protects_the_answer() {
    for name in [
        "client_id",
        "redirect_uri",
        "response_type",
        "response_mode",
        "state",
        "nonce",
        "scope",
        "request",
        "request_uri",
        "code_challenge",
        "code_challenge_method",
        "code_challenge_anything",
        "Redirect_URI",
    ] {
        assert_eq!(
            allowed_parameters([
                ("prompt".to_owned(), "consent".to_owned()),
                (name.to_owned(), "x".to_owned())
            ]),
            Err(ForbiddenParameter { name: name.to_owned() })
        );
    }
}

#[test]
fn rfc6749_4_1_2() {
    let code = parse("code=SplxlOBeZQQYbYS6WxSbIA&state=xyz", false);
    assert_eq!(code, Ok(AuthorizationCode::new("SplxlOBeZQQYbYS6WxSbIA")));
}

#[test]
fn rfc6749_4_1_2_1() {
    let error = parse("error=access_denied&state=xyz", false).unwrap_err();
    assert_eq!(error, refused("access_denied", None));
    assert_eq!(error.to_string(), "the provider refused: `access_denied`");
    let described = "error=invalid_scope&error_description=no+%1b%5b2Jsuch+scope&state=xyz";
    assert_eq!(
        parse(described, false).unwrap_err().to_string(),
        "the provider refused: `invalid_scope` (no  [2Jsuch scope)"
    );
}

#[test]
fn rfc9207_2_1_and_2_2() {
    let iss = "iss=https%3A%2F%2Fhonest.as.example";
    for required in [false, true] {
        assert!(parse(&format!("code=x1848ZT64p4I&state=xyz&{iss}"), required).is_ok());
        assert_eq!(
            parse(&format!("error=access_denied&state=xyz&{iss}"), required),
            Err(refused("access_denied", None))
        );
    }
}

#[test]
fn rfc9207_2_4_a_wrong_issuer_is_refused_whether_or_not_one_is_required() {
    for required in [false, true] {
        for rest in ["code=c", "error=access_denied"] {
            for issuer in
                ["https://attacker.example", "https://honest.as.example/", "HTTPS://honest.as.example"]
            {
                let query = format!("{rest}&state=xyz&iss={issuer}");
                assert_eq!(
                    parse(&query, required),
                    Err(RedirectError::WrongIssuer { named: issuer.to_owned() })
                );
            }
        }
    }
}

#[test]
fn where_only_an_origin_is_known_any_issuer_of_it_is_the_one_that_was_asked() {
    let state = State::new("xyz");
    let named = |iss: &str| {
        let issuer = "https://honest.as.example";
        let expected = ExpectedRedirect { state: &state, issuer, by_origin: true, iss_required: false };
        parse_redirect(&format!("code=c&state=xyz&iss={iss}"), &expected).is_ok()
    };
    assert!(named("https://honest.as.example/realm") && named("https://honest.as.example"));
    for other in
        ["https://attacker.example", "http://honest.as.example", "https://honest.as.example:8443", "x"]
    {
        assert!(!named(other), "{other}");
    }
}

#[test]
fn rfc9207_2_4_a_missing_issuer_is_refused_where_one_is_required() {
    for query in ["code=c&state=xyz", "error=access_denied&state=xyz", "code=c&state=xyz&iss="] {
        assert_eq!(parse(query, true), Err(RedirectError::MissingIssuer), "{query}");
    }
    assert!(parse("code=c&state=xyz", false).is_ok());
}

#[test]
fn nothing_is_believed_before_the_state() {
    for query in [
        "",
        "code=c",
        "code=c&state=",
        "code=c&state=xyZ",
        "code=c&state=xyz%00",
        "code=c&State=xyz",
        "error=access_denied",
        "error=access_denied&state=other",
        "code=c&state=other&iss=https://attacker.example",
        "code=a&code=b&state=other",
    ] {
        assert_eq!(parse(query, true), Err(RedirectError::WrongState), "{query}");
    }
}

#[test]
fn parameters_come_once() {
    for (query, name) in [
        ("code=c&state=xyz&state=other", "state"),
        ("code=c&state=xyz&state=xyz", "state"),
        ("code=a&code=b&state=xyz", "code"),
        ("code=a&state=xyz&code=", "code"),
        ("state=xyz&error=a&error=b", "error"),
        ("code=c&state=xyz&iss=https://honest.as.example&iss=https://attacker.example", "iss"),
        ("code=c&state=xyz&iss=https://honest.as.example&%69ss=x", "iss"),
    ] {
        assert_eq!(parse(query, false), Err(RedirectError::Duplicate(name)), "{query}");
    }
}

#[test]
fn an_error_beside_a_code_is_an_error_and_an_empty_code_is_none() {
    assert_eq!(parse("code=c&error=access_denied&state=xyz", false), Err(refused("access_denied", None)));
    assert_eq!(parse("code=&state=xyz", false), Err(RedirectError::NoCode));
    assert_eq!(parse("state=xyz", false), Err(RedirectError::NoCode));
    assert!(parse("code=c&error=&state=xyz", false).is_ok());
}
