//! Who may come back, and what they are told.

use super::*;
use crate::host::process::Peer;

#[tokio::test]
async fn nothing_is_believed_without_the_right_state() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let printed = sign_in.printed("state");
    for query in [
        "",
        "?",
        "?code=evil",
        "?code=evil&state=",
        "?code=evil&state=guessed",
        "?state=guessed&error=access_denied",
        "?error=access_denied",
        "?error=server_error&error_description=go+to+evil.test&state=",
        &format!("?code=evil&state={printed}&state=guessed"),
        &format!("?code=evil&state=guessed&state={printed}"),
        &format!("?code=evil&state={printed}&state={printed}"),
        &format!("?code=evil&state={}", &printed[..21]),
        &format!("?code=evil&state={printed}x"),
        &format!("?code=evil&state={}", printed.to_ascii_lowercase()),
        &format!("?code=evil&STATE={printed}"),
        &format!("?code=evil#state={printed}"),
        &format!("?code=evil&state={}&state={printed}", opened.state),
        // The cookie alone is no state.
        &format!("?code=evil&state={}", opened.cookie.split_once('=').unwrap().1.trim()),
    ] {
        for headers in ["", &opened.cookie] {
            let answer = sign_in.get_with(&format!("/callback{query}"), headers).await;
            assert_eq!(answer.status, 400, "{query}");
            assert!(!answer.body.contains("evil"), "{query}");
        }
    }
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_opened_browsers_state_needs_its_cookie() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let pair = opened.cookie.trim().strip_prefix("Cookie: ").unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    for cookie in [
        String::new(),
        "Cookie: \r\n".to_owned(),
        format!("Cookie: {name}=\r\n"),
        format!("Cookie: {name}={}\r\n", &value[..21]),
        format!("Cookie: {name}={value}x\r\n"),
        format!("Cookie: other={value}\r\n"),
        format!("Cookie: x{name}={value}\r\n"),
        format!("Cookie: {value}\r\n"),
        format!("X-Cookie: {pair}\r\n"),
    ] {
        for answer in ["code=stolen", "error=access_denied"] {
            let callback = format!("/callback?{answer}&state={}", opened.state);
            assert_eq!(sign_in.get_with(&callback, &cookie).await.status, 400, "{cookie}");
        }
    }
    assert!(!sign_in.task.is_finished());
    // Other programs' cookies for this host come along.
    let callback = format!("/callback?code=good&state={}", opened.state);
    let crowded = format!("Cookie: _xsrf=2|a; name=J\u{f6}rg; {pair}; username=\"b=c\"\r\n");
    assert_eq!(sign_in.get_with(&callback, &crowded).await.status, 303);
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    assert_eq!(returned.attempt.state().expose(), opened.state);
}

#[tokio::test]
async fn the_printed_pages_state_needs_no_cookie() {
    SignIn::begin(plan()).await.still_succeeds().await;
    let sign_in = SignIn::begin(plan()).await;
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn other_names_of_this_address_are_other_places() {
    let sign_in = SignIn::begin(plan()).await;
    let (port, state) = (sign_in.port, sign_in.printed("state"));
    let start = sign_in.start();
    for host in [
        "Host: evil.test\r\n".to_owned(),
        format!("Host: evil.test:{port}\r\n"),
        format!("Host: localhost:{port}\r\n"),
        format!("Host: 127.0.0.1.evil.test:{port}\r\n"),
        format!("Host: 127.0.0.1:{port}.evil.test\r\n"),
        format!("Host: 127.0.0.2:{port}\r\n"),
        format!("Host: [::1]:{port}\r\n"),
        format!("Host: 0.0.0.0:{port}\r\n"),
        "Host: 127.0.0.1\r\n".to_owned(),
        "Host: 127.0.0.1:1\r\n".to_owned(),
        "Host: \r\n".to_owned(),
        String::new(),
        format!("Host: 127.0.0.1:{port}\r\nHost: evil.test\r\n"),
        format!("Host: evil.test\r\nHost: 127.0.0.1:{port}\r\n"),
        format!("Host: evil.test\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\n"),
    ] {
        for target in [start.clone(), format!("/callback?code=evil&state={state}"), "/done".to_owned()] {
            let answer = sign_in.send(&format!("GET {target} HTTP/1.1\r\n{host}\r\n")).await;
            assert!([400, 421].contains(&answer.status), "{host}: {}", answer.head);
            assert_eq!(answer.header("location"), None);
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    // The start page was not used up.
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn only_get_counts() {
    let sign_in = SignIn::begin(plan()).await;
    let (port, state) = (sign_in.port, sign_in.printed("state"));
    let query = format!("code=evil&state={state}");
    for method in ["POST", "HEAD", "PUT", "OPTIONS", "DELETE", "TRACE", "get"] {
        for target in [sign_in.start(), format!("/callback?{query}"), "/done".to_owned()] {
            let answer = sign_in
                .send(&format!(
                    "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n"
                ))
                .await;
            assert_eq!(answer.status, 405, "{method} {target}");
            assert_eq!(answer.header("location"), None);
        }
    }
    let form = format!(
        "POST /callback HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{query}",
        query.len()
    );
    assert_eq!(sign_in.send(&form).await.status, 405);
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn stray_requests_change_nothing() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    for target in [
        "/",
        "/favicon.ico",
        "/robots.txt",
        "/.well-known/appspecific/com.chrome.devtools.json",
        // The last page, before the end.
        "/done",
        &format!("/?code=evil&state={state}"),
        &format!("/callback/?code=evil&state={state}"),
        &format!("/Callback?code=evil&state={state}"),
        &format!("//callback?code=evil&state={state}"),
        &format!("/x/../callback?code=evil&state={state}"),
        &format!("/start/../callback?code=evil&state={state}"),
    ] {
        let answer = sign_in.get(target).await;
        assert_eq!(answer.status, 404, "{target}");
        assert!(!answer.body.contains("evil"));
    }
    sign_in.opened().await;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn another_users_visit_gets_nothing_and_uses_nothing_up() {
    let sign_in = SignIn::begin(plan()).await;
    let warnings = || {
        let said = sign_in.world.person.said();
        said.into_iter().filter(|said| said.starts_with("Warning") && said.contains("another user")).count()
    };
    let visitor = |peer| *sign_in.world.visitor.lock().unwrap() = peer;
    visitor(Peer::Anothers);
    assert_eq!(sign_in.get("/start/AAAAAAAAAAAAAAAAAAAAAA").await.status, 404);
    assert_eq!(warnings(), 0, "a guess is nobody's visit");
    for _ in 0..2 {
        let answer = sign_in.get(&sign_in.start()).await;
        assert_eq!(answer.status, 403);
        assert_eq!((answer.header("location"), answer.header("set-cookie")), (None, None));
        assert_eq!(warnings(), 1);
    }
    visitor(Peer::Ours);
    let opened = sign_in.opened().await;
    let callback = format!("/callback?code=the-code&state={}", opened.state);
    assert_eq!(sign_in.get_with(&callback, &opened.cookie).await.status, 303);
    assert_eq!(in_time(sign_in.task).await.unwrap().unwrap().code.expose(), "the-code");
}

#[tokio::test]
async fn the_printed_page_does_not_ask_who_comes_back() {
    let sign_in = SignIn::begin(plan()).await;
    // What forwards a port may be anybody's.
    *sign_in.world.visitor.lock().unwrap() = Peer::Anothers;
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_start_page_is_good_once_and_cannot_be_guessed() {
    let sign_in = SignIn::begin(plan()).await;
    let start = sign_in.start();
    for guess in [
        "/start".to_owned(),
        "/start/".to_owned(),
        "/start/AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        start[..start.len() - 1].to_owned(),
        format!("{start}/"),
        format!("{start}x"),
        start.to_ascii_lowercase(),
        start.replace("/start/", "/Start/"),
    ] {
        let answer = sign_in.get(&guess).await;
        assert_eq!(answer.status, 404, "{guess}");
        assert_eq!(answer.header("set-cookie"), None);
    }
    sign_in.opened().await;
    for _ in 0..2 {
        let again = sign_in.get(&start).await;
        assert_eq!(again.status, 404);
        assert_eq!((again.header("location"), again.header("set-cookie")), (None, None));
    }
    sign_in.still_succeeds().await;
}

#[tokio::test]
async fn the_callback_leads_to_a_page_that_tells_nothing() {
    let sign_in = SignIn::begin(plan()).await;
    let state = sign_in.printed("state");
    let answer = sign_in.get(&format!("/callback?code=the-code&state={state}&iss=https://idp.test")).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/done")));
    let last_page = sign_in.get("/done").await;
    assert_eq!(last_page.status, 200);
    for page in [answer, last_page] {
        for secret in ["the-code", state.as_str(), "idp.test"] {
            assert!(!page.head.contains(secret) && !page.body.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn the_first_callback_is_the_last() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let state = sign_in.printed("state");
    assert_eq!(sign_in.get(&format!("/callback?code=first&state={state}")).await.status, 303);
    for (query, headers) in [
        (format!("code=second&state={state}"), ""),
        (format!("error=access_denied&state={state}"), ""),
        (format!("code=third&state={}", opened.state), opened.cookie.as_str()),
    ] {
        assert_eq!(sign_in.get_with(&format!("/callback?{query}"), headers).await.status, 400);
    }
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    assert_eq!(returned.code.expose(), "first");
}

#[tokio::test]
async fn another_issuers_answer_ends_the_sign_in_without_a_code() {
    for (required, query) in [
        (false, "code=the-code&iss=https://evil.test"),
        (false, "error=access_denied&iss=https://evil.test"),
        (false, "code=the-code&iss=https://idp.test/"),
        (false, "code=the-code&iss=https://idp.test&iss=https://evil.test"),
        (true, "code=the-code&iss=https://evil.test"),
        (true, "code=the-code"),
        (true, "code=the-code&iss="),
        (true, "error=access_denied"),
    ] {
        let mut plan = plan();
        plan.metadata.authorization_response_iss_parameter_supported = required;
        let sign_in = SignIn::begin(plan).await;
        let callback = format!("/callback?{query}&state={}", sign_in.printed("state"));
        let (last_page, error) = sign_in.fails_after(&callback).await;
        assert!(last_page.body.contains("Not signed in"), "{query}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.to_string(), "the answer of the sign-in does not hold", "{query}");
        assert!(!shown(&error).contains("the-code"), "{query}");
        assert!(error.hints()[0].contains("`earthkey login oidc/work --audience a`"));
    }
}

#[tokio::test]
async fn the_issuer_itself_is_believed() {
    for required in [false, true] {
        let mut plan = plan();
        plan.metadata.authorization_response_iss_parameter_supported = required;
        let sign_in = SignIn::begin(plan).await;
        let state = sign_in.printed("state");
        let callback = format!("/callback?code=c&state={state}&iss=https%3A%2F%2Fidp.test");
        assert_eq!(sign_in.get(&callback).await.status, 303);
        assert!(in_time(sign_in.task).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_denial_is_an_answer() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let callback = format!(
        "/callback?error=access_denied&error_description=no%1b%5b2J%0d%0a%3Cscript%3E&state={}",
        opened.state
    );
    assert_eq!(sign_in.get_with(&callback, &opened.cookie).await.status, 303);
    let last_page = sign_in.get("/done").await;
    assert!(last_page.body.contains("Not signed in"));
    let error = in_time(sign_in.task).await.unwrap().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "the sign-in was denied");
    assert_eq!(error.causes(), ["access_denied: no [2J  <script>"]);
}

#[tokio::test]
async fn an_answer_that_no_server_gives_ends_the_sign_in_too() {
    // The state is right, so that nothing better will come: waiting would say nothing.
    for query in ["", "&code=", "&code=a&code=b", "&error=a&error=b"] {
        let sign_in = SignIn::begin(plan()).await;
        let callback = format!("/callback?state={}{query}", sign_in.printed("state"));
        let (_, error) = sign_in.fails_after(&callback).await;
        assert_eq!(error.to_string(), "the answer of the sign-in does not hold", "{query}");
    }
}
