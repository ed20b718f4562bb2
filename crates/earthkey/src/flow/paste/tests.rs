use url::Url;

use super::*;
use crate::error::ErrorKind;
use crate::flow::tests::plan;
use crate::flow::tests::shown;
use crate::host::scripted::World;

fn world() -> World {
    World::new(|request| panic!("nothing is asked before there is a code: {request:?}"))
}

/// Returns a plan for a provider that says it checks proof keys, or does not say.
fn plan_with_proof_keys(methods: Option<&[&str]>) -> Plan {
    let mut plan = plan();
    plan.metadata.code_challenge_methods_supported =
        methods.map(|methods| methods.iter().map(|&method| method.to_owned()).collect());
    plan
}

/// What a person pasted, in answer to an attempt whose state is put where `STATE` stands.
fn pasted(plan: &Plan, text: &str) -> Result<AuthorizationCode> {
    let attempt = attempt(&world().host(1), plan);
    code_of(plan, &attempt, &text.replace("STATE", attempt.state().expose()))
}

#[test]
fn an_address_brings_its_code() {
    for text in [
        "http://127.0.0.1:50000/callback?code=the-code&state=STATE",
        "  http://127.0.0.1:50000/callback?code=the-code&state=STATE \r\n",
        "http://127.0.0.1:50000/callback?state=STATE&code=the-code&iss=https%3A%2F%2Fidp.test&session_state=x",
        "http://127.0.0.1:50000/callback?code=the-code&state=STATE#",
        // Browsers leave out what they think nobody wants to see.
        "127.0.0.1:50000/callback?code=the-code&state=STATE",
        "localhost:50000/callback?code=the-code&state=STATE",
        "?code=the-code&state=STATE",
        "code=the-code&state=STATE",
    ] {
        for plan in [plan(), plan_with_proof_keys(Some(&["S256"]))] {
            assert_eq!(pasted(&plan, text).unwrap().expose(), "the-code", "{text}");
        }
    }
}

#[test]
fn an_address_without_the_right_state_brings_nothing() {
    // Whether or not a bare code would do.
    for plan in [plan(), plan_with_proof_keys(Some(&["S256"]))] {
        for text in [
            "http://127.0.0.1:50000/callback?code=the-code",
            "http://127.0.0.1:50000/callback?code=the-code&state=",
            "http://127.0.0.1:50000/callback?code=the-code&state=guessed",
            "http://127.0.0.1:50000/callback?code=the-code&state=STATEx",
            "http://127.0.0.1:50000/callback?code=the-code&state=STATE&state=guessed",
            "http://127.0.0.1:50000/callback?error=access_denied&state=guessed",
            "http://127.0.0.1:50000/callback?code=the-code#state=STATE",
            "127.0.0.1:50000/callback?code=the-code&state=guessed",
            "localhost:50000/callback?code=the-code&state=guessed",
            "idp.test/approved?code=the-code&state=guessed",
            "?code=the-code&state=guessed",
            "code=the-code&state=guessed",
            "state=guessed&code=the-code",
        ] {
            let error = pasted(&plan, text).unwrap_err();
            // What comes twice is no slip of the hand.
            let is_twice = text.matches("state=").count() == 2;
            let kind = if is_twice { ErrorKind::Refused } else { ErrorKind::Usage };
            assert_eq!(error.kind(), kind, "{text}");
            assert!(!shown(&error).contains("the-code"), "{text}");
        }
    }
}

#[test]
fn an_address_that_is_cut_off_is_told_from_one_of_another_sign_in() {
    for text in [
        "http://127.0.0.1:50000/callback?",
        "http://127.0.0.1:50000/callback?code=the-code",
        "http://127.0.0.1:50000/callback?code=the-code&sta",
        "http://127.0.0.1:50000/callback?code=the-code&state=",
        "http://127.0.0.1:50000/callback?code=the-code&state=half",
        "http://127.0.0.1:50000/callback?state=STATE",
        "http://127.0.0.1:50000/callback?state=STATE&co",
        "http://127.0.0.1:50000/callback?state=STATE&code=",
    ] {
        let error = pasted(&plan(), text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
        assert!(
            error.to_string().starts_with("the address that was pasted looks cut off"),
            "{error}: {text}"
        );
    }
    for text in [
        "http://127.0.0.1:50000/callback?state=short&code=the-code",
        "http://127.0.0.1:50000/callback?code=the-code&state=STATEx",
        "http://127.0.0.1:50000/callback?error=access_denied&state=another-one&iss=https%3A%2F%2Fidp.test",
    ] {
        let error = pasted(&plan(), text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{text}");
        assert!(error.to_string().contains("belongs to another sign-in"), "{error}: {text}");
    }
}

/// An attacker's address costs a person no sign-in, and brings the attacker nothing.
#[tokio::test]
async fn an_address_of_another_sign_in_is_asked_for_again() {
    let world = world();
    let host = world.host(1);
    let attempt = attempt(&host, &plan());
    let (right, ours) = (attempt.redirect_uri(), attempt.state().expose());
    world
        .person
        .will_answer(&format!("{right}?code=stolen&state=of-the-attacker-and-as-long-as-ours-would-be"));
    world.person.will_answer(&format!("{right}?code=the-code"));
    world.person.will_answer(&format!("{right}?code=the-code&state={ours}"));
    let code = ask(&host, &plan(), &attempt).await.unwrap();
    assert_eq!(code.expose(), "the-code");
    let said = world.person.said();
    assert!(said[2].contains("belongs to another sign-in"), "{}", said[2]);
    assert!(said[3].contains("looks cut off"), "{}", said[3]);
    assert!(!said.iter().any(|said| said.contains("stolen")));

    for _ in 0..3 {
        world.person.will_answer(&format!("{right}?code=stolen&state=of-the-attacker"));
    }
    let error = ask(&host, &plan(), &attempt).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.hints()[1], "or begin anew: `earthkey login oidc/work --audience a --flow paste`");
}

#[test]
fn an_address_of_another_issuer_brings_nothing() {
    for (required, iss) in [
        (false, "&iss=https://evil.test"),
        (false, "&iss=https://idp.test&iss=https://evil.test"),
        (true, "&iss=https://evil.test"),
        (true, "&iss="),
        (true, ""),
    ] {
        let mut plan = plan_with_proof_keys(Some(&["S256"]));
        plan.metadata.authorization_response_iss_parameter_supported = required;
        let text = format!("http://127.0.0.1:50000/callback?code=the-code&state=STATE{iss}");
        let error = pasted(&plan, &text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{iss}");
        assert!(!shown(&error).contains("the-code"), "{iss}");
    }
}

#[test]
fn a_denial_is_an_answer() {
    let text = "http://127.0.0.1:50000/callback?error=access_denied&error_description=no%1b%5b2J&state=STATE";
    let error = pasted(&plan(), text).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "the sign-in was denied");
    assert_eq!(error.causes(), ["access_denied: no [2J"]);
}

#[test]
fn a_bare_code_is_taken_only_where_proof_keys_are_known_to_be_checked() {
    for code in ["4/0AX4XfWh-x_yZ0123456", "SplxlOBeZQQYbYS6WxSbIA", "0.AXoA~b.c-d0123456789ab"] {
        let code_of = |methods| pasted(&plan_with_proof_keys(methods), code);
        assert_eq!(code_of(Some(&["plain", "S256"])).unwrap().expose(), code);
        for methods in [None, Some(&[][..]), Some(&["plain"][..]), Some(&["s256"][..])] {
            let error = code_of(methods).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{methods:?}");
            // It was not used, so that it is still worth something.
            assert!(!shown(&error).contains(code), "{}", shown(&error));
            assert!(error.hints()[0].contains("whole address"));
        }
    }
}

#[test]
fn junk_is_no_code_and_not_repeated() {
    let plan = plan_with_proof_keys(Some(&["S256"]));
    for text in [
        "",
        "   ",
        "\u{1b}[2J",
        "the code is x1",
        "x1\u{7}",
        "x1\nx2",
        // Shorter than what nobody can guess.
        "x1",
        "x1x1x1x1x1x1x1x1x1x1x",
        "c\u{f6}de",
        "https://idp.test/approved",
        "https://idp.test/#code=x1",
        "javascript:alert(1)",
        &"x1".repeat(100_000),
    ] {
        let error = pasted(&plan, text).unwrap_err();
        let shown = shown(&error);
        assert_eq!(error.kind(), ErrorKind::Usage, "{shown}");
        assert!(!error.hints().is_empty());
        assert!(!shown.contains("x1") && !shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown}");
        assert!(shown.len() < 1000);
    }
}

#[tokio::test]
async fn with_nobody_there_it_is_an_error_at_once() {
    let world = world();
    let host = world.host(1);
    let error = ask(&host, &plan(), &attempt(&host, &plan())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LoginRequired);
    assert!(error.hints()[0].contains("earthkey login oidc/work"));
    // There is no page to visit for an answer that nobody takes.
    assert_eq!(world.person.said(), [""; 0]);
    assert!(world.person.opened().is_empty());
}

#[tokio::test]
async fn the_page_is_printed_and_in_nobodys_argv() {
    let world = world();
    let host = world.host(1);
    let attempt = attempt(&host, &plan());
    let answer = format!("{}?code=the-code&state={}", attempt.redirect_uri(), attempt.state().expose());
    world.person.will_answer(&answer);
    let code = ask(&host, &Plan { opens_browser: true, ..plan() }, &attempt).await.unwrap();
    assert_eq!(code.expose(), "the-code");
    assert!(world.person.opened().is_empty());
    let said = world.person.said();
    assert_eq!(said.len(), 2);
    assert!(said[0].contains("the-client") && said[0].contains("offline_access"), "{}", said[0]);
    assert!(said[1].contains("opened: false") && said[1].contains(attempt.state().expose()));
}

#[test]
fn the_redirect_leads_to_this_machine_and_never_to_the_retired_mode() {
    let world = world();
    let host = world.host(1);
    for _ in 0..1000 {
        let attempt = attempt(&host, &plan());
        let redirect = Url::parse(attempt.redirect_uri()).unwrap();
        assert_eq!((redirect.scheme(), redirect.host_str()), ("http", Some("127.0.0.1")));
        assert!(redirect.port().unwrap() >= 49152);
        assert_eq!(redirect.path(), "/callback");
    }
}

/// A person who went away.
struct Absent;

impl crate::host::Interaction for Absent {
    fn can_ask(&self) -> bool {
        true
    }

    fn tell(&self, _: &Notice<'_>) {}

    fn open_browser(&self, _: &Url) -> std::io::Result<()> {
        panic!("the browser is anywhere but here")
    }

    fn ask(&self, _: &str) -> crate::host::BoxFuture<'_, std::io::Result<String>> {
        panic!("what is pasted is not shown")
    }

    fn ask_hidden(&self, _: &str) -> crate::host::BoxFuture<'_, std::io::Result<String>> {
        Box::pin(std::future::pending())
    }

    fn waiting(&self, _: &str) -> Box<dyn Send> {
        Box::new(())
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_longer_than_the_plan_says() {
    let host = Host { interaction: std::sync::Arc::new(Absent), ..world().host(1) };
    let error = ask(&host, &plan(), &attempt(&host, &plan())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.to_string(), "nothing was pasted within 600 seconds");
}
