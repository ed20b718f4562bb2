//! A browser of this machine comes back to a port of it (RFC 8252, section 7.3).
//!
//! Anything on this machine can connect to that port, and anything in the browser can point it
//! there. So `state` is judged before all else, the browser that we open carries a cookie that
//! the one who comes back must bring, and whatever else arrives changes nothing.

use std::convert::Infallible;
use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::header;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use url::Url;

use super::Plan;
use super::pages;
use super::refused;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::authorize::AuthorizationRequest;
use crate::oauth::authorize::ExpectedRedirect;
use crate::oauth::authorize::RedirectError;
use crate::oauth::authorize::parse_redirect;
use crate::oauth::pkce;
use crate::oauth::token::Refusal;
use crate::secret::AuthorizationCode;
use crate::secret::CodeVerifier;
use crate::secret::Nonce;
use crate::secret::State;

/// Connections that are served at once.
const MAX_CONNECTIONS: usize = 8;

/// How long a connection may take to send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last page may take to be fetched after the sign-in has ended.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// Ports that are tried until one is free for both IPv4 and IPv6.
const MAX_PORTS: usize = 20;

/// One authorization request and what its answer must match.
#[derive(Clone, Debug)]
pub struct Attempt {
    redirect_uri: String,
    state: State,
    nonce: Nonce,
    verifier: CodeVerifier,
}

impl Attempt {
    /// Makes a request with fresh secrets.
    pub(crate) fn new(host: &Host, redirect_uri: &str) -> Self {
        Self {
            redirect_uri: redirect_uri.to_owned(),
            state: State::new(host.random.token()),
            nonce: Nonce::new(host.random.token()),
            verifier: pkce::verifier(host.random.bytes()),
        }
    }

    pub(crate) fn from_parts(
        redirect_uri: String,
        state: State,
        nonce: Nonce,
        verifier: CodeVerifier,
    ) -> Self {
        Self { redirect_uri, state, nonce, verifier }
    }

    /// Returns where the provider sends the browser back to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Returns what the answer's `state` must be.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Returns what the ID token's `nonce` must be.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Returns the proof key.
    pub fn verifier(&self) -> &CodeVerifier {
        &self.verifier
    }

    /// Returns the page to visit.
    pub fn url(&self, plan: &Plan) -> Result<Url> {
        let endpoint =
            plan.endpoint(plan.metadata.authorization_endpoint.as_ref(), "authorization endpoint")?;
        let request = AuthorizationRequest {
            endpoint,
            client_id: &plan.client.id,
            redirect_uri: &self.redirect_uri,
            scopes: &plan.scopes,
            state: &self.state,
            nonce: plan.checks_id_token.then_some(&self.nonce),
            verifier: &self.verifier,
            parameters: &plan.parameters,
        };
        Ok(request.url())
    }
}

/// A listener that waits for the browser to come back.
pub struct Listener {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Listener {
    /// Binds 127.0.0.1 and ::1 on one port. A port that is in use on either is not taken:
    /// somebody may be waiting there for what is meant for us.
    pub async fn bind(port: Option<u16>) -> Result<Self> {
        let tries = if port.is_some_and(|port| port != 0) { 1 } else { MAX_PORTS };
        let mut last = None;
        for _ in 0..tries {
            match Self::try_bind(port.unwrap_or(0)).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        let what = match port {
            Some(port) if port != 0 => format!("port {port} of this machine cannot be used"),
            _ => "no port of this machine can be used".to_owned(),
        };
        let error = Error::configuration(what)
            .hint("name another port, or none: `--flow loopback`, `--flow loopback:PORT`")
            .hint("or sign in without a port: `--flow paste`, `--flow device`");
        Err(match last {
            Some(cause) => error.caused_by(cause),
            None => error,
        })
    }

    async fn try_bind(port: u16) -> io::Result<Self> {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = v4.local_addr()?.port();
        let mut listeners = vec![v4];
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(v6) => listeners.push(v6),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // A host without IPv6: nobody else can be there either.
            Err(_) => {}
        }
        Ok(Self { listeners, port })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// What came back: a code, and the request that it answers.
pub struct Returned {
    /// The code.
    pub code: AuthorizationCode,
    /// The request.
    pub attempt: Attempt,
    // Serves the last page until it is dropped.
    server: Server,
}

impl Returned {
    /// Lets the browser fetch the last page.
    pub async fn last_page(mut self) {
        let _ = tokio::time::timeout(LAST_PAGE, self.server.last_page.recv()).await;
    }
}

/// Opens a browser and waits until it comes back.
pub async fn run(host: &Host, plan: &Plan, listener: Listener) -> Result<Returned> {
    let port = listener.port;
    let redirect_uri = format!("http://127.0.0.1:{port}/callback");
    let opened = Attempt::new(host, &redirect_uri);
    let printed = Attempt::new(host, &redirect_uri);
    let start = host.random.token();
    let doors = Arc::new(Doors {
        authority: format!("127.0.0.1:{port}"),
        start: Mutex::new(plan.opens_browser.then(|| start.clone())),
        authorize: opened.url(plan)?,
        cookie_name: format!("earthkey_{}", host.random.token()),
        cookie_value: host.random.token(),
        opened: opened.clone(),
        printed: printed.clone(),
        issuer: plan.metadata.issuer.clone(),
        iss_required: plan.metadata.authorization_response_iss_parameter_supported,
        outcome: Mutex::new(None),
    });
    let mut server = Server::start(listener, doors);
    plan.announce(host);
    let asked = plan.opens_browser && {
        // The address that a browser is started with can be read by others in the list of
        // processes; this one is good once and carries neither state nor challenge.
        let page = Url::parse(&format!("http://127.0.0.1:{port}/start/{start}"))
            .map_err(|error| Error::internal("our own address is none").caused_by(error))?;
        host.interaction.open_browser(&page).is_ok()
    };
    host.interaction.tell(&Notice::Visit { url: &printed.url(plan)?, opened: asked });
    let _spinner = host.interaction.waiting("waiting for the browser to come back");
    let answer = tokio::time::timeout(plan.timeout, server.outcome.recv()).await.map_err(|_| {
        Error::refused(format!("nobody signed in within {} seconds", plan.timeout.as_secs())).hint(format!(
            "try again: `earthkey login {0}`, or on another device: `earthkey login {0} --flow device`",
            plan.login
        ))
    })?;
    match answer {
        Some((Ok(code), true)) => Ok(Returned { code, attempt: opened, server }),
        Some((Ok(code), false)) => Ok(Returned { code, attempt: printed, server }),
        Some((Err(error), _)) => {
            let _ = tokio::time::timeout(LAST_PAGE, server.last_page.recv()).await;
            Err(redirect_error(plan, error))
        }
        None => Err(Error::internal("the listener ended by itself")),
    }
}

/// Makes a redirect that does not hold an error that says what to do.
pub(crate) fn redirect_error(plan: &Plan, error: RedirectError) -> Error {
    match error {
        RedirectError::Refused { error, description } => {
            refused(plan, &Refusal { status: 302, error, description })
        }
        error => Error::refused("the answer of the sign-in does not hold")
            .caused_by(error)
            .hint(format!("nothing was stored; sign in again: `earthkey login {}`", plan.login)),
    }
}

/// The code or the error, and whether it came by the browser that we opened.
type Outcome = (Result<AuthorizationCode, RedirectError>, bool);

struct Server {
    outcome: mpsc::Receiver<Outcome>,
    last_page: mpsc::Receiver<()>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Server {
    fn start(listener: Listener, doors: Arc<Doors>) -> Self {
        let (outcome_sender, outcome) = mpsc::channel(1);
        let (page_sender, last_page) = mpsc::channel(1);
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accept = |listener: TcpListener| {
            let (doors, connections) = (doors.clone(), connections.clone());
            let (outcome_sender, page_sender) = (outcome_sender.clone(), page_sender.clone());
            tokio::spawn(async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    // One too many is closed at once rather than kept waiting.
                    let Ok(place) = connections.clone().try_acquire_owned() else { continue };
                    let (doors, outcome, page) = (doors.clone(), outcome_sender.clone(), page_sender.clone());
                    tokio::spawn(async move {
                        let service = service_fn(move |request| {
                            let answer = doors.answer(&request, &outcome, &page);
                            async move { Ok::<_, Infallible>(answer) }
                        });
                        // A connection that breaks concerns nobody.
                        let _ = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(HEADER_TIMEOUT)
                            .max_buf_size(16 * 1024)
                            .keep_alive(false)
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                        drop(place);
                    });
                }
            })
        };
        let tasks = listener.listeners.into_iter().map(accept).collect();
        Self { outcome, last_page, tasks }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// The three ways in: the start page, the callback, the last page.
struct Doors {
    authority: String,
    /// The start page's name, until it has been used.
    start: Mutex<Option<String>>,
    authorize: Url,
    cookie_name: String,
    cookie_value: String,
    opened: Attempt,
    printed: Attempt,
    issuer: String,
    iss_required: bool,
    /// Whether the sign-in succeeded, once it has ended.
    outcome: Mutex<Option<bool>>,
}

type Answer = http::Response<String>;

impl Doors {
    fn answer(
        &self,
        request: &http::Request<Incoming>,
        outcome: &mpsc::Sender<Outcome>,
        last_page: &mpsc::Sender<()>,
    ) -> Answer {
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        if host != Some(self.authority.as_str()) {
            // Another name for this address: a page elsewhere that was rebound to it.
            return page(StatusCode::MISDIRECTED_REQUEST, "Not here", "This address belongs to a sign-in.");
        }
        if request.method() != Method::GET {
            return page(StatusCode::METHOD_NOT_ALLOWED, "Not so", "Only pages can be fetched here.");
        }
        match request.uri().path() {
            "/callback" => self.callback(request, outcome),
            "/done" => {
                let ended = *self.outcome.lock().expect("nothing panics while holding it");
                let answer = match ended {
                    Some(true) => page(
                        StatusCode::OK,
                        "Signed in",
                        "You can close this page and return to the terminal.",
                    ),
                    Some(false) => page(StatusCode::OK, "Not signed in", "The terminal says why."),
                    None => return not_found(),
                };
                let _ = last_page.try_send(());
                answer
            }
            path => match path.strip_prefix("/start/") {
                Some(name) => self.start(name),
                None => not_found(),
            },
        }
    }

    fn start(&self, name: &str) -> Answer {
        let mut start = self.start.lock().expect("nothing panics while holding it");
        if !start.as_ref().is_some_and(|expected| same(expected, name)) {
            return not_found();
        }
        *start = None;
        let mut answer = redirect(self.authorize.as_str());
        let cookie =
            format!("{}={}; HttpOnly; SameSite=Lax; Path=/callback", self.cookie_name, self.cookie_value);
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
        let mut ended = self.outcome.lock().expect("nothing panics while holding it");
        if ended.is_some() {
            return stray();
        }
        let query = request.uri().query().unwrap_or("");
        for (attempt, by_our_browser) in [(&self.opened, true), (&self.printed, false)] {
            let expected = ExpectedRedirect {
                state: &attempt.state,
                issuer: &self.issuer,
                iss_required: self.iss_required,
            };
            let result = parse_redirect(query, &expected);
            if matches!(result, Err(RedirectError::WrongState | RedirectError::Duplicate(_))) {
                continue;
            }
            if by_our_browser && !self.brings_cookie(request) {
                return stray();
            }
            *ended = Some(result.is_ok());
            let _ = outcome.try_send((result, by_our_browser));
            return redirect("/done");
        }
        stray()
    }

    fn brings_cookie(&self, request: &http::Request<Incoming>) -> bool {
        let cookies = request.headers().get_all(header::COOKIE).iter();
        let pairs = cookies.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split("; "));
        pairs
            .filter_map(|pair| pair.split_once('='))
            .any(|(name, value)| name == self.cookie_name && same(value, &self.cookie_value))
    }
}

fn same(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
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

#[cfg(test)]
mod tests;
