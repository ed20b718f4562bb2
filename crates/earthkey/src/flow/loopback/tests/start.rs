//! What is handed out.

use super::*;

#[tokio::test]
async fn the_browser_that_was_opened_comes_back() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    let callback = format!("/callback?code=the-code&state={}", opened.state);
    let answer = sign_in.get_with(&callback, &opened.cookie).await;
    assert_eq!(answer.status, 303);
    let returned = in_time(sign_in.task).await.unwrap().unwrap();
    assert_eq!(returned.code.expose(), "the-code");
    let Returned { attempt, .. } = &returned;
    assert_eq!(attempt.state().expose(), opened.state);
    assert_eq!(parameter(&opened.authorize, "nonce").as_deref(), Some(attempt.nonce().expose()));
    let challenge = parameter(&opened.authorize, "code_challenge");
    assert_eq!(challenge, Some(pkce::challenge(attempt.verifier())));
    assert_eq!(parameter(&opened.authorize, "redirect_uri").as_deref(), Some(attempt.redirect_uri()));
}

#[tokio::test]
async fn the_authorization_url_is_in_nobodys_argv() {
    let sign_in = SignIn::begin(plan()).await;
    let pages = sign_in.world.person.opened();
    let opened = sign_in.opened().await;
    assert_eq!(pages.len(), 1);
    let page = pages[0].as_str();
    let name = page.strip_prefix(&format!("http://127.0.0.1:{}/start/", sign_in.port)).unwrap();
    // 128 bits in base64.
    assert_eq!(name.len(), 22);
    for name in ["state", "nonce", "code_challenge"] {
        assert!(!page.contains(&parameter(&opened.authorize, name).unwrap()), "{name}");
        assert!(!page.contains(&sign_in.printed(name)), "{name}");
    }
    assert!(!page.contains(opened.cookie.split_once('=').unwrap().1.trim()));
}

#[tokio::test]
async fn what_is_printed_and_what_is_opened_share_no_secret() {
    let sign_in = SignIn::begin(plan()).await;
    let opened = sign_in.opened().await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(parameter(&opened.authorize, name).unwrap(), sign_in.printed(name), "{name}");
    }
    for name in ["redirect_uri", "client_id", "scope", "response_type"] {
        assert_eq!(parameter(&opened.authorize, name).unwrap(), sign_in.printed(name), "{name}");
    }
    let redirect = format!("http://127.0.0.1:{}/callback", sign_in.port);
    assert_eq!(sign_in.printed("redirect_uri"), redirect);
    assert_eq!(sign_in.printed("code_challenge_method"), "S256");
}

#[tokio::test]
async fn client_and_scopes_are_named_above_the_page() {
    let sign_in = SignIn::begin(plan()).await;
    let said = sign_in.world.person.said();
    assert_eq!(said.len(), 2);
    assert!(said[0].contains("the-client") && said[0].contains("offline_access"), "{}", said[0]);
    assert!(said[1].starts_with("Visit") && said[1].contains("opened: true"));
}

#[tokio::test]
async fn the_cookie_is_of_this_attempt_and_out_of_reach() {
    let (one, other) = (SignIn::begin(plan()).await, SignIn::begin(plan()).await);
    let set = one.opened().await.set_cookie;
    let mut attributes = set.split("; ");
    let (name, value) = attributes.next().unwrap().split_once('=').unwrap();
    let attributes: Vec<_> = attributes.collect();
    for needed in ["HttpOnly", "SameSite=Lax", "Path=/callback"] {
        assert!(attributes.contains(&needed), "{set}");
    }
    // Cookies of a host are those of all its ports: no further than this page, no longer than this
    // attempt.
    assert!(attributes.contains(&"Max-Age=600"), "{set}");
    assert!(!set.contains("Domain"));
    assert!(name.len() > 22 && value.len() == 22, "{set}");
    let other_set = other.opened().await.set_cookie;
    let (other_name, other_value) = other_set.split(';').next().unwrap().split_once('=').unwrap();
    assert!(name != other_name && value != other_value);
}

#[tokio::test]
async fn without_a_browser_no_start_page_is_good() {
    let sign_in = SignIn::begin(Plan { opens_browser: false, ..plan() }).await;
    assert!(sign_in.world.person.opened().is_empty());
    assert!(sign_in.world.person.said()[1].contains("opened: false"));
    for start in ["/start/", "/start", "/start/None"] {
        assert_eq!(sign_in.get(start).await.status, 404);
    }
    sign_in.still_succeeds().await;
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
    let sign_in = SignIn::begin(plan).await;
    assert_eq!(sign_in.printed("audience"), "https://api.test");
    assert_eq!(sign_in.printed("prompt"), "consent");
}

#[test]
fn an_attempts_secrets_do_not_show() {
    let world = World::new(|_| panic!("nothing is asked"));
    let attempt = Attempt::new(&world.host(1), "http://127.0.0.1:1/callback");
    let shown = format!("{attempt:?}");
    for secret in [attempt.state().expose(), attempt.nonce().expose(), attempt.verifier().expose()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
