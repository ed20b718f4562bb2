//! A browser of this machine comes back to a port of it (RFC 8252, section 7.3).
//!
//! Anything on this machine can connect to that port, and anything in the browser can point it
//! there. So `state` is judged before all else, the browser that we open carries a cookie that
//! the one who comes back must bring, and whatever else arrives changes nothing.

mod doors;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::future::ready;
use std::io;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use rustix::io::Errno;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::task::JoinHandle;
use tokio::task::JoinSet;
use url::Url;

use self::doors::Doors;
use self::doors::Ends;
use super::Plan;
use super::refused;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::authorize::AuthorizationRequest;
use crate::oauth::authorize::RedirectError;
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

/// How long nothing is taken after a connection could not be, so that a lack of file descriptors
/// does not become a lack of everything.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
        let mut parameters = plan.parameters_of_provider();
        parameters.extend(plan.audience.iter().map(|audience| ("audience".to_owned(), audience.clone())));
        let wants_refresh = plan.scopes.iter().any(|scope| scope == "offline_access");
        if wants_refresh && !parameters.iter().any(|(name, _)| name == "prompt") {
            // Without it a provider is to ignore the scope (OpenID Connect Core, section 11).
            parameters.push(("prompt".to_owned(), "consent".to_owned()));
        }
        let request = AuthorizationRequest {
            endpoint,
            client_id: &plan.client.id,
            redirect_uri: &self.redirect_uri,
            scopes: &plan.scopes,
            state: &self.state,
            nonce: plan.checks_id_token.then_some(&self.nonce),
            verifier: &self.verifier,
            parameters: &parameters,
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
    /// Binds 127.0.0.1 and ::1 on one port: the one that a person named (0 for any), else the first
    /// free one from `first` on. A port that is in use on either is not taken: somebody may be
    /// waiting there for what is meant for us.
    pub async fn bind(port: Option<u16>, first: Option<u16>) -> Result<Self> {
        let named = port.filter(|port| *port != 0);
        let bound = match (named, first.filter(|_| port.is_none())) {
            (Some(port), _) => Self::bind_first([port]).await,
            (None, Some(first)) => Self::bind_first((first..=u16::MAX).take(MAX_PORTS)).await,
            (None, None) => Self::bind_first([0; MAX_PORTS]).await,
        };
        bound.map_err(|error| {
            let what = match (named, first) {
                (Some(port), _) => format!("port {port} of this machine cannot be used"),
                (None, Some(first)) if port.is_none() => {
                    format!("no port of this machine from {first} on can be used")
                }
                (None, _) => "no port of this machine can be used".to_owned(),
            };
            Error::configuration(what)
                .caused_by(error)
                .hint("name another port, or none: `--flow loopback:PORT`, `--flow loopback`")
                .hint("or sign in without a port: `--flow paste`")
        })
    }

    /// Binds the first port that is free; 0 stands for one that the system chooses.
    async fn bind_first(ports: impl IntoIterator<Item = u16>) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for port in ports {
            match Self::bind_both(port).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn bind_both(port: u16) -> io::Result<Self> {
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let port = v4.local_addr()?.port();
        let mut listeners = vec![v4];
        match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
            Ok(v6) => listeners.push(v6),
            Err(error) if is_without_ipv6(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(Self { listeners, port })
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Whether this host has no `::1`, so that nobody else can be there either.
fn is_without_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
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
    let redirect_uri = plan.redirect.uri(listener.port);
    let opened = Attempt::new(host, &redirect_uri);
    let printed = Attempt::new(host, &redirect_uri);
    let redirect_uri = Url::parse(&redirect_uri)
        .map_err(|error| Error::internal("our own address is none").caused_by(error))?;
    let start = host.random.token();
    let has_start = plan.opens_browser.then(|| start.clone());
    let doors = Doors::new(host, plan, &redirect_uri, has_start, &opened, &printed)?;
    let page = printed.url(plan)?;
    let mut server = Server::start(listener, doors);
    plan.announce(host);
    // The address that a browser is started with can be read by others in the list of processes;
    // this one is good once and carries neither state nor challenge.
    let asked = plan.opens_browser
        && redirect_uri
            .join(&format!("/start/{start}"))
            .is_ok_and(|url| host.interaction.open_browser(&url).is_ok());
    host.interaction.tell(&Notice::Visit { url: &page, opened: asked });
    let _spinner = host.interaction.waiting("waiting for the browser to come back");
    let answer = tokio::time::timeout(plan.timeout, server.outcome.recv()).await.map_err(|_| {
        Error::refused(format!("nobody signed in within {}", plan.waited())).hint(format!(
            "try again: `{0}`, or with a browser elsewhere: `{0} --flow {1}`",
            plan.again,
            plan.elsewhere()
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
            refused(plan, &Refusal { status: 302, error, description, date: None })
        }
        error => Error::refused("the answer of the sign-in does not hold")
            .caused_by(error)
            .hint(format!("nothing was stored; sign in again: `{}`", plan.again)),
    }
}

/// The code or the error, and whether it came by the browser that we opened.
type Outcome = (Result<AuthorizationCode, RedirectError>, bool);

struct Server {
    outcome: mpsc::Receiver<Outcome>,
    last_page: mpsc::Receiver<()>,
    task: JoinHandle<()>,
}

impl Server {
    fn start(listener: Listener, doors: Doors) -> Self {
        let (outcome_sender, outcome) = mpsc::channel(1);
        let (page_sender, last_page) = mpsc::channel(1);
        let task = tokio::spawn(serve(listener.listeners, Arc::new(doors), outcome_sender, page_sender));
        Self { outcome, last_page, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves until it is aborted, and every connection with it.
async fn serve(
    listeners: Vec<TcpListener>,
    doors: Arc<Doors>,
    outcome: mpsc::Sender<Outcome>,
    last_page: mpsc::Sender<()>,
) {
    let mut connections = JoinSet::new();
    let mut oldest_first: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok(stream) = accept(&listeners).await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        oldest_first.retain(|connection| !connection.is_finished());
        // Whoever asks is answered at once, so that the oldest is one that does not ask: it must not
        // keep out the browser that comes back.
        if oldest_first.len() >= MAX_CONNECTIONS
            && let Some(oldest) = oldest_first.pop_front()
        {
            oldest.abort();
        }
        let connection = connection(stream, doors.clone(), outcome.clone(), last_page.clone());
        oldest_first.push_back(connections.spawn(connection));
    }
}

/// Takes the next connection of any listener.
async fn accept(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    poll_fn(|cx| {
        let mut accepted = listeners.iter().map(|listener| listener.poll_accept(cx));
        accepted.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
    .map(|(stream, _)| stream)
}

/// Serves one request.
async fn connection(
    stream: TcpStream,
    doors: Arc<Doors>,
    outcome: mpsc::Sender<Outcome>,
    last_page: mpsc::Sender<()>,
) {
    let (Ok(peer), Ok(here)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let is_last = AtomicBool::new(false);
    let service = service_fn(|request| {
        let (answer, last) = doors.answer(&request, Ends { peer, here }, &outcome);
        is_last.store(last, Ordering::Relaxed);
        ready(Ok::<_, Infallible>(answer))
    });
    // A connection that breaks concerns nobody.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // Only now has the page left.
    if is_last.load(Ordering::Relaxed) {
        let _ = last_page.try_send(());
    }
}

#[cfg(test)]
mod tests;
