//! The pages: headers, escaping, forgery.

use earthkey_sandbox::robot::{Browser, Person};
use reqwest::StatusCode;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::json;

use crate::bench::{Answer, Bench, CALLBACK, string};

/// A browser by hand, which keeps one cookie and follows nothing.
struct Hand<'a> {
    bench: &'a Bench,
    cookie: String,
}

impl Hand<'_> {
    async fn get(&mut self, path: &str) -> Answer {
        let request = self.bench.http.get(self.bench.at(path)).header(COOKIE, &self.cookie);
        self.take(Answer::of(request.send().await.unwrap()).await)
    }

    async fn post(&mut self, path: &str, form: &[(&str, &str)]) -> Answer {
        let request = self.bench.post_request(path, form).header(COOKIE, &self.cookie);
        self.take(Answer::of(request.send().await.unwrap()).await)
    }

    fn take(&mut self, answer: Answer) -> Answer {
        if let Some(cookie) = answer.headers.get(SET_COOKIE) {
            cookie.to_str().unwrap().split(';').next().unwrap().clone_into(&mut self.cookie);
        }
        answer
    }
}

fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    answer.headers[LOCATION].to_str().unwrap().to_owned()
}

/// Returns the value of a hidden field.
fn hidden<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let (_, rest) = answer.text.split_once(&format!("name=\"{name}\" value=\"")).expect(name);
    rest.split_once('"').unwrap().0
}

fn assert_guarded(answer: &Answer) {
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    assert_eq!(answer.header("x-frame-options"), "DENY");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

fn assert_page(answer: &Answer, form_action: &str) {
    assert_guarded(answer);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let policy = answer.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; "), "{policy}");
    assert!(policy.contains(&format!("form-action {form_action};")), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
    let page = answer.text.to_lowercase();
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
    for forbidden in ["<script", "style=", " onclick", "javascript:", "http-equiv"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[tokio::test]
async fn pages_are_guarded() {
    let bench = Bench::new().await;
    let mut hand = Hand { bench: &bench, cookie: String::new() };
    let query = bench.authorization_url(&[]);
    let start = hand.get(&format!("/oidc/authorize?{}", query.query().unwrap())).await;
    assert_guarded(&start);
    let cookie = start.header("set-cookie");
    assert!(cookie.ends_with("; Path=/oidc; HttpOnly; SameSite=Lax"), "{cookie}");

    let page = hand.get(&location(&start)).await;
    assert_page(&page, "'self'");
    let form = [
        ("csrf", hidden(&page, "csrf")),
        ("request", hidden(&page, "request")),
        ("username", "ada"),
        ("password", "sandbox"),
    ];
    let signed_in = hand.post("/oidc/sign-in", &form).await;
    assert_guarded(&signed_in);
    let page = hand.get(&location(&signed_in)).await;
    // Where the form leads in the end, since browsers hold redirects against the policy too.
    assert_page(&page, "'self' http://127.0.0.1:9");
    assert!(page.text.contains("Ada Lovelace") && page.text.contains("Keep you signed in"));
    let form =
        [("csrf", hidden(&page, "csrf")), ("request", hidden(&page, "request")), ("decision", "allow")];
    let allowed = hand.post("/oidc/consent", &form).await;
    assert_guarded(&allowed);
    assert!(location(&allowed).starts_with(CALLBACK));
    // What was decided is decided.
    assert_eq!(hand.post("/oidc/consent", &form).await.status, StatusCode::BAD_REQUEST);

    for path in ["/", "/oidc/activate", "/oidc/done?outcome=allowed", "/oidc/sign-in", "/oidc/authorize"] {
        assert_page(&bench.get(path).await, "'self'");
    }
}

#[tokio::test]
async fn policies_have_no_notation_for_ipv6() {
    let bench = Bench::new().await;
    let mut hand = Hand { bench: &bench, cookie: String::new() };
    let url = bench.authorization_url(&[("redirect_uri", "http://[::1]:9/")]);
    let start = hand.get(&format!("/oidc/authorize?{}", url.query().unwrap())).await;
    let page = hand.get(&location(&start)).await;
    let form = [
        ("csrf", hidden(&page, "csrf")),
        ("request", hidden(&page, "request")),
        ("username", "ada"),
        ("password", "sandbox"),
    ];
    let next = location(&hand.post("/oidc/sign-in", &form).await);
    assert_page(&hand.get(&next).await, "'self' http:");
}

#[tokio::test]
async fn forms_need_their_token() {
    let bench = Bench::new().await;
    let mut hand = Hand { bench: &bench, cookie: String::new() };
    let url = bench.authorization_url(&[]);
    let start = hand.get(&format!("/oidc/authorize?{}", url.query().unwrap())).await;
    let page = hand.get(&location(&start)).await;
    let (csrf, request) = (hidden(&page, "csrf").to_owned(), hidden(&page, "request").to_owned());
    let cookie = hand.cookie.clone();

    // Another session's token, no token, a wrong one.
    let other = bench.get("/oidc/activate").await;
    for forged in [hidden(&other, "csrf"), "", "wrong"] {
        let form = [("csrf", forged), ("request", &request), ("username", "ada"), ("password", "sandbox")];
        let answer = hand.post("/oidc/sign-in", &form).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains("not valid any more"));
        assert!(!answer.headers.contains_key(SET_COOKIE));
        let form = [("csrf", forged), ("user_code", "BCDF-GHJK")];
        assert_eq!(hand.post("/oidc/activate", &form).await.status, StatusCode::BAD_REQUEST);
        let form = [("csrf", forged), ("request", &request), ("decision", "allow")];
        assert_eq!(hand.post("/oidc/consent", &form).await.status, StatusCode::BAD_REQUEST);
    }
    // The token without the session.
    let mut stranger = Hand { bench: &bench, cookie: String::new() };
    let form = [("csrf", csrf.as_str()), ("request", &request), ("username", "ada"), ("password", "sandbox")];
    assert_eq!(stranger.post("/oidc/sign-in", &form).await.status, StatusCode::BAD_REQUEST);
    // And with it.
    let signed_in = hand.post("/oidc/sign-in", &form).await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    // The session from before the sign-in is worth nothing now.
    assert_ne!(hand.cookie, cookie);
    let mut fixed = Hand { bench: &bench, cookie };
    assert_eq!(fixed.get(&location(&signed_in)).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn consent_needs_a_person() {
    let bench = Bench::new().await;
    let mut hand = Hand { bench: &bench, cookie: String::new() };
    let url = bench.authorization_url(&[]);
    let start = hand.get(&format!("/oidc/authorize?{}", url.query().unwrap())).await;
    let page = hand.get(&location(&start)).await;
    let request = hidden(&page, "request").to_owned();
    let shown = hand.get(&format!("/oidc/consent?request={request}")).await;
    assert!(location(&shown).starts_with("/oidc/sign-in?"));
    let form = [("csrf", hidden(&page, "csrf")), ("request", &request), ("decision", "allow")];
    assert_eq!(hand.post("/oidc/consent", &form).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_wrong_password_is_asked_again() {
    let bench = Bench::new().await;
    for person in [Person::new("ada", "wrong"), Person::new("nobody", "sandbox"), Person::new("", "")] {
        let visit = bench.stopping_visit(&person, &[]).await;
        assert_eq!(visit.status, StatusCode::FORBIDDEN);
        assert!(visit.text.contains("role=\"alert\"") && visit.text.contains("name=\"password\""));
        assert!(visit.last_redirect.is_none());
    }
}

#[tokio::test]
async fn whatever_comes_from_outside_is_escaped() {
    let bench = Bench::new().await;
    let evil = "<script>alert(1)</script>\"'&";
    let registration = json!({
        "client_name": evil,
        "redirect_uris": ["http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
    });
    let client = bench.json(reqwest::Method::POST, "/oidc/register", &registration).await.value();
    let changes = [("client_id", string(&client, "client_id")), ("login_hint", evil)];
    // A name that no account has: the page comes back with it.
    let visit = bench.stopping_visit(&Person::new(evil, "sandbox"), &changes).await;
    assert!(!visit.text.contains("<script") && !visit.text.contains("\"'&"), "{}", visit.text);
    assert_eq!(visit.text.matches("&#60;script&#62;").count(), 2);

    let mut hand = Hand { bench: &bench, cookie: String::new() };
    let url = bench.authorization_url(&changes);
    let start = hand.get(&format!("/oidc/authorize?{}", url.query().unwrap())).await;
    let page = hand.get(&location(&start)).await;
    assert!(!page.text.contains("<script"));
    assert_eq!(page.text.matches("&#60;script&#62;").count(), 2, "name and hint");
    let page = hand.get("/oidc/activate?user_code=%22%3E%3Cscript%3E").await;
    assert!(!page.text.contains("<script") && !page.text.contains("\"\">"));
}

#[tokio::test]
async fn user_codes_in_links_are_filled_in_but_not_sent() {
    let bench = Bench::new().await;
    let form = [("client_id", "sandbox-public"), ("scope", "openid")];
    let device = bench.post("/oidc/device_authorization", &form).await.value();
    let user_code = string(&device, "user_code");
    let page = bench.get(&format!("/oidc/activate?user_code={user_code}")).await;
    assert!(page.text.contains(&format!("value=\"{user_code}\"")));
    assert!(page.text.contains("<button") && !page.text.contains("decision"));
}

#[tokio::test]
async fn sessions_are_per_realm() {
    let bench = Bench::new().await;
    let mut browser = Browser::new().unwrap();
    let person = Person::ada().stopping_at_foreign_redirect();
    person.visit_with(&mut browser, bench.authorization_url(&[]).as_str()).await.unwrap();
    let other = bench.authorization_url(&[("client_id", "sandbox-openeo"), ("prompt", "none")]);
    let other = other.as_str().replace("/oidc/", "/openeo-id/");
    let redirect = person.visit_with(&mut browser, &other).await.unwrap().last_redirect.unwrap();
    assert_eq!(crate::bench::parameter(&redirect, "error").as_deref(), Some("login_required"));
}

#[tokio::test]
async fn the_style_is_a_file_of_its_own() {
    let bench = Bench::new().await;
    let style = bench.get("/_assets/sandbox.css").await;
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert!(style.text.contains("prefers-color-scheme: dark") && style.text.contains(":focus-visible"));
}

#[tokio::test]
async fn names_that_somebody_pointed_here_are_not_served() {
    let bench = Bench::new().await;
    let port = bench.sandbox.url().rsplit_once(':').unwrap().1;
    let cases = [
        (format!("127.0.0.1:{port}"), StatusCode::OK),
        (format!("localhost:{port}"), StatusCode::OK),
        (format!("evil.test:{port}"), StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1".to_owned(), StatusCode::MISDIRECTED_REQUEST),
        ("127.0.0.1:1".to_owned(), StatusCode::MISDIRECTED_REQUEST),
    ];
    for (host, status) in cases {
        let request = bench.http.get(bench.at("/")).header("host", &host);
        assert_eq!(request.send().await.unwrap().status(), status, "{host}");
    }
}
