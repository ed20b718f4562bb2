//! The pages people see, and the headers they come with.

use askama::Template;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use url::{Host, Url};

use crate::provider::{Provider, Realm};
use crate::session::Session;

/// The path of the style sheet.
pub(crate) const STYLE_PATH: &str = "/_assets/sandbox.css";

const STYLE: &str = include_str!("../assets/sandbox.css");

/// The front page, which says what runs here.
#[derive(Template)]
#[template(path = "index.html")]
pub(crate) struct Index<'a> {
    pub(crate) title: &'a str,
    pub(crate) url: &'a str,
    pub(crate) issuers: Vec<(&'static str, String)>,
    pub(crate) accounts: Vec<(&'static str, &'static str)>,
}

/// Name and password.
#[derive(Template)]
#[template(path = "sign-in.html")]
pub(crate) struct SignInPage<'a> {
    pub(crate) title: &'a str,
    pub(crate) action: &'a str,
    pub(crate) csrf: &'a str,
    pub(crate) request: &'a str,
    pub(crate) client: &'a str,
    pub(crate) username: &'a str,
    pub(crate) wrong: bool,
}

/// What a client asks for, and whether it may.
#[derive(Template)]
#[template(path = "consent.html")]
pub(crate) struct ConsentPage<'a> {
    pub(crate) title: &'a str,
    pub(crate) action: &'a str,
    pub(crate) csrf: &'a str,
    pub(crate) request: &'a str,
    pub(crate) client: &'a str,
    pub(crate) person: &'a str,
    pub(crate) email: &'a str,
    pub(crate) scopes: Vec<(&'static str, &'static str)>,
    pub(crate) user_code: Option<&'a str>,
    pub(crate) destination: Option<&'a str>,
}

/// The code that a device shows.
#[derive(Template)]
#[template(path = "activate.html")]
pub(crate) struct ActivatePage<'a> {
    pub(crate) title: &'a str,
    pub(crate) action: &'a str,
    pub(crate) csrf: &'a str,
    pub(crate) user_code: &'a str,
    pub(crate) wrong: bool,
}

/// The end: back to the device.
#[derive(Template)]
#[template(path = "done.html")]
pub(crate) struct DonePage<'a> {
    pub(crate) title: &'a str,
    pub(crate) allowed: bool,
}

/// Something that cannot go on.
#[derive(Template)]
#[template(path = "error.html")]
pub(crate) struct ErrorPage<'a> {
    pub(crate) title: &'a str,
    pub(crate) heading: &'a str,
    pub(crate) text: &'a str,
    pub(crate) code: Option<&'a str>,
}

/// Returns a page as a response.
///
/// `redirect` is where the form of the page may lead in the end: browsers apply `form-action` to
/// the redirects after a submission too.
pub(crate) fn page(status: StatusCode, page: &impl Template, redirect: Option<&Url>) -> Response {
    let form_action = redirect.map(|url| format!(" {}", source(url))).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self'{form_action}; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    let html = page.render().expect("a template of our own renders into a string");
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = policy.parse() {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    guard(&mut response);
    response
}

/// Returns the page for a request that cannot go on and must not be redirected.
pub(crate) fn error(realm: Realm, heading: &str, text: &str, code: Option<&str>) -> Response {
    let content = ErrorPage { title: realm.title(), heading, text, code };
    page(StatusCode::BAD_REQUEST, &content, None)
}

/// Returns the page for a form whose session or token is not known (any more).
pub(crate) fn expired(realm: Realm) -> Response {
    let text = "Nothing was changed. Go back to the program that sent you here and start again.";
    error(realm, "This page is not valid any more", text, None)
}

/// Returns a redirect that a browser follows with GET.
pub(crate) fn see_other(location: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(LOCATION, location);
    }
    guard(&mut response);
    response
}

/// Returns the response with the session cookie set.
pub(crate) fn with_session(mut response: Response, provider: &Provider, id: &str) -> Response {
    response.headers_mut().append(SET_COOKIE, Session::set_cookie(provider, id));
    response
}

/// Returns the style sheet.
pub(crate) async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("max-age=3600")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, STYLE).into_response()
}

fn guard(response: &mut Response) {
    let fixed: [(HeaderName, &str); 4] = [
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
}

/// Returns the source expression of a content security policy for the origin of `url`.
fn source(url: &Url) -> String {
    match url.host() {
        // Policies have no notation for IPv6 addresses.
        Some(Host::Ipv6(_)) | None => format!("{}:", url.scheme()),
        Some(_) => url.origin().ascii_serialization(),
    }
}
