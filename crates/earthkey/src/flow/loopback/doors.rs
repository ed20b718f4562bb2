//! What a loopback listener answers: nothing that arrives is believed before its `Host`, its
//! `state` and, for the browser that we opened, its cookie.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;
use url::Position;
use url::Url;

use super::Attempt;
use super::Outcome;
use crate::error::Result;
use crate::flow::Plan;
use crate::flow::pages;
use crate::host::Host;
use crate::host::interaction::Interaction;
use crate::host::interaction::Notice;
use crate::host::process::Peer;
use crate::host::process::Process;
use crate::oauth::authorize::ExpectedRedirect;
use crate::oauth::authorize::RedirectError;
use crate::oauth::authorize::parse_redirect;

/// The three ways in: the start page, the callback, the last page.
pub(super) struct Doors {
    process: Arc<dyn Process>,
    interaction: Arc<dyn Interaction>,
    authority: String,
    callback: String,
    /// The start page's name, until it has been used.
    start: Mutex<Option<String>>,
    /// Whether it was told that another user came for it.
    has_warned: AtomicBool,
    authorize: Url,
    cookie_name: String,
    cookie_value: String,
    /// How long the browser keeps the cookie, in seconds.
    cookie_age: u64,
    opened: Attempt,
    printed: Attempt,
    issuer: String,
    by_origin: bool,
    iss_required: bool,
    /// Whether a code came back, once anything did.
    has_code: Mutex<Option<bool>>,
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    /// Where it came from.
    pub(super) peer: SocketAddr,
    /// Where it arrived.
    pub(super) here: SocketAddr,
}

/// A page, or the way to one.
pub(super) type Answer = http::Response<String>;

impl Doors {
    /// Makes the doors of a sign-in; without `start` there is no start page.
    pub(super) fn new(
        host: &Host,
        plan: &Plan,
        redirect_uri: &Url,
        start: Option<String>,
        opened: &Attempt,
        printed: &Attempt,
    ) -> Result<Self> {
        Ok(Self {
            process: host.process.clone(),
            interaction: host.interaction.clone(),
            authority: redirect_uri[Position::BeforeHost..Position::AfterPort].to_owned(),
            callback: redirect_uri.path().to_owned(),
            start: Mutex::new(start),
            has_warned: AtomicBool::new(false),
            authorize: opened.url(plan)?,
            cookie_name: format!("earthkey_{}", host.random.token()),
            cookie_value: host.random.token(),
            cookie_age: plan.timeout.as_secs(),
            opened: opened.clone(),
            printed: printed.clone(),
            issuer: plan.metadata.issuer.clone(),
            by_origin: plan.metadata.is_known_by_origin,
            iss_required: plan.metadata.authorization_response_iss_parameter_supported,
            has_code: Mutex::new(None),
        })
    }

    /// Returns the answer, and whether it is the last page.
    pub(super) fn answer(
        &self,
        request: &http::Request<Incoming>,
        ends: Ends,
        outcome: &mpsc::Sender<Outcome>,
    ) -> (Answer, bool) {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        if !matches!((hosts.next(), hosts.next()), (Some(host), None) if host == self.authority.as_str()) {
            // Another name for this address: a page elsewhere that was rebound to it.
            let answer =
                page(StatusCode::MISDIRECTED_REQUEST, "Not here", "This address belongs to a sign-in.");
            return (answer, false);
        }
        if request.method() != Method::GET {
            return (
                page(StatusCode::METHOD_NOT_ALLOWED, "Not so", "Only pages can be fetched here."),
                false,
            );
        }
        match request.uri().path() {
            path if path == self.callback => (self.callback(request, outcome), false),
            "/done" => self.done().map_or_else(|| (not_found(), false), |answer| (answer, true)),
            path => match path.strip_prefix("/start/") {
                Some(name) => (self.start(name, ends), false),
                None => (not_found(), false),
            },
        }
    }

    /// Returns the last page. The code has not been redeemed yet, so that it promises nothing.
    fn done(&self) -> Option<Answer> {
        let has_code = *self.has_code.lock().expect("nothing panics while holding it");
        let (title, text) = if has_code? {
            ("Back to the terminal", "You can close this page. The terminal says whether you are signed in.")
        } else {
            ("Not signed in", "The terminal says why.")
        };
        Some(page(StatusCode::OK, title, text))
    }

    /// Hands out the cookie that makes a browser the one that we opened. Its address was in the arguments
    /// of a process, where other users of the machine can read it and be faster.
    fn start(&self, name: &str, ends: Ends) -> Answer {
        let is_named = |expected: &str| same(expected.as_bytes(), name.as_bytes());
        let start = || self.start.lock().expect("nothing panics while holding it");
        if !start().as_deref().is_some_and(is_named) {
            return not_found();
        }
        if self.process.whose_is(ends.peer, ends.here) == Peer::Anothers {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                self.interaction.tell(&Notice::Warning(
                    "another user of this machine came for the page that the browser was opened with, and \
                     was sent away; if that was your browser, visit the printed address with it",
                ));
            }
            let text =
                "This page is for the user who began the sign-in. The terminal has an address for all.";
            return page(StatusCode::FORBIDDEN, "Not for this user", text);
        }
        // Somebody else may have been faster meanwhile.
        if start().take_if(|expected| is_named(expected)).is_none() {
            return not_found();
        }
        let mut answer = redirect(self.authorize.as_str());
        let cookie = format!(
            "{}={}; HttpOnly; SameSite=Lax; Path={}; Max-Age={}",
            self.cookie_name, self.cookie_value, self.callback, self.cookie_age
        );
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            answer.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        answer
    }

    fn callback(&self, request: &http::Request<Incoming>, outcome: &mpsc::Sender<Outcome>) -> Answer {
        let stray = || {
            page(
                StatusCode::BAD_REQUEST,
                "Not this sign-in",
                "This address belongs to another sign-in, or to none. Nothing has changed.",
            )
        };
        let mut has_code = self.has_code.lock().expect("nothing panics while holding it");
        if has_code.is_some() {
            return stray();
        }
        let query = request.uri().query().unwrap_or("");
        for (attempt, by_our_browser) in [(&self.opened, true), (&self.printed, false)] {
            let expected = ExpectedRedirect {
                state: &attempt.state,
                issuer: &self.issuer,
                by_origin: self.by_origin,
                iss_required: self.iss_required,
            };
            let result = parse_redirect(query, &expected);
            if matches!(result, Err(RedirectError::WrongState | RedirectError::Duplicate("state"))) {
                continue;
            }
            if by_our_browser && !self.brings_cookie(request) {
                return stray();
            }
            *has_code = Some(result.is_ok());
            let _ = outcome.try_send((result, by_our_browser));
            let mut answer = redirect("/done");
            // It has done its work; other programs of this host need not see it.
            let ended =
                format!("{}=; HttpOnly; SameSite=Lax; Path={}; Max-Age=0", self.cookie_name, self.callback);
            if let Ok(ended) = HeaderValue::from_str(&ended) {
                answer.headers_mut().insert(header::SET_COOKIE, ended);
            }
            return answer;
        }
        stray()
    }

    fn brings_cookie(&self, request: &http::Request<Incoming>) -> bool {
        // As bytes: other programs of this host have cookies here, too, and not all of them are text.
        let cookies = request.headers().get_all(header::COOKIE).iter();
        let mut pairs = cookies.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
        let ours = format!("{}={}", self.cookie_name, self.cookie_value);
        pairs.any(|pair| same(pair.trim_ascii(), ours.as_bytes()))
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn not_found() -> Answer {
    page(StatusCode::NOT_FOUND, "Nothing here", "This address belongs to a sign-in.")
}

fn redirect(to: &str) -> Answer {
    let mut answer = page(StatusCode::SEE_OTHER, "Going on", "The browser should go on by itself.");
    if let Ok(to) = HeaderValue::from_str(to) {
        answer.headers_mut().insert(header::LOCATION, to);
    }
    answer
}

fn page(status: StatusCode, title: &str, text: &str) -> Answer {
    let mut answer = Answer::new(pages::page(title, text));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    let policy = HeaderValue::from_str(&pages::policy());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(policy) = policy {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}
