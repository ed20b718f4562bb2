//! The server: connections, limits, and what every request passes through.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::SERVER;
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::app::App;
use crate::connect::{self, Channel, Tunnel};
use crate::fault::{Fault, When};
use crate::google;
use crate::provider::Realm;
use crate::requests::Record;
use crate::tls::{self, Tls};

/// What the sandbox says of itself in every answer; the robot knows it by that.
pub(crate) const NAME: &str = "earthkey-sandbox";

/// How many connections are served at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 2_048;

/// How large the head of a request may be.
const MAX_HEAD: usize = 64 * 1_024;

/// How large the body of a request may be.
const MAX_BODY: usize = 64 * 1_024;

/// How much of a body that is too large is read before the connection is closed.
const MAX_DISCARDED: usize = 1_024 * 1_024;

/// How long a head, and then a body, may take; a connection may be idle as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a tunnel may take to come about, and then a TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
struct Dropped;

/// Serves connections until `stop` is used or dropped.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, mut stop: oneshot::Receiver<()>) {
    let router = app.routes();
    // Dropping the set ends the connections that are still open.
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            _ = &mut stop => return,
            // Without this the set would keep every connection that ever was.
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&app), router.clone()));
                }
                // Out of file descriptors, or the peer is gone: neither lasts.
                Err(_) => sleep(Duration::from_millis(20)).await,
            },
        }
    }
}

async fn connection(stream: TcpStream, app: Arc<App>, router: Router) {
    // Small answers on loopback: waiting to fill a segment only costs time.
    let _ = stream.set_nodelay(true);
    let Some(tls) = &app.tls else {
        serve_http(Channel::Plain, stream, Arc::clone(&app), router).await;
        return;
    };
    // One port for both: the first byte tells them apart. Who sends none is not waited for longer
    // than for a head.
    let mut first = [0];
    match timeout(PATIENCE, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [tls::HANDSHAKE] => serve_tls(tls, stream, &app, router).await,
        Ok(Ok(1)) => {
            let tunnel = serve_http(Channel::Plain, stream, Arc::clone(&app), router.clone()).await;
            if let Some(tunnel) = tunnel
                && let Ok(Ok(stream)) = timeout(HANDSHAKE_PATIENCE, tunnel).await
            {
                serve_tls(tls, TokioIo::new(stream), &app, router).await;
            }
        }
        _ => {}
    }
}

async fn serve_tls<S>(tls: &Tls, stream: S, app: &Arc<App>, router: Router)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    // A client that does not know the authority, or one that is idle: neither gets an answer.
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_PATIENCE, tls.acceptor.accept(stream)).await {
        serve_http(Channel::Tls, stream, Arc::clone(app), router).await;
    }
}

/// Serves HTTP until a connection ends, and returns the tunnel it turned into.
async fn serve_http<S>(channel: Channel, stream: S, app: Arc<App>, router: Router) -> Option<OnUpgrade>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let tunnel = Tunnel::default();
    let service = service_fn(|mut request: Request<Incoming>| {
        let connect = channel == Channel::Plain && app.tls.is_some() && request.method() == Method::CONNECT;
        let opened = connect.then(|| tunnel.open(&mut request));
        let (app, router) = (Arc::clone(&app), router.clone());
        async move {
            match opened {
                Some(response) => Ok(response),
                None => respond(channel, app, router, request).await,
            }
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    // A client that went away, or one that was dropped on purpose.
    drop(served);
    tunnel.take()
}

async fn respond(
    channel: Channel,
    app: Arc<App>,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Dropped> {
    let mut response = receive(channel, &app, router, request).await?;
    response.headers_mut().insert(SERVER, HeaderValue::from_static(NAME));
    Ok(response)
}

async fn receive(
    channel: Channel,
    app: &App,
    router: Router,
    request: Request<Incoming>,
) -> Result<Response, Dropped> {
    let (mut head, body) = request.into_parts();
    if !connect::admit(channel, &mut head, app.port) {
        return Ok(StatusCode::MISDIRECTED_REQUEST.into_response());
    }
    let body = match timeout(PATIENCE, collect(body)).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Ok(StatusCode::PAYLOAD_TOO_LARGE.into_response()),
        Ok(Err(_)) => return Err(Dropped),
        Err(_) => return Ok(StatusCode::REQUEST_TIMEOUT.into_response()),
    };
    if head.uri.path().starts_with("/_control/") {
        return Ok(route(router, Request::from_parts(head, body)).await);
    }
    let record = Record::of(&head, &body, &app.providers);
    let fault = app.faults.take(&record);
    let realm = record.realm;
    let seq = app.requests.arrived(record);
    let request = Request::from_parts(head, body);
    let mut response = match fault {
        Some(fault) => faulty(router, request, &fault).await?,
        None => route(router, request).await,
    };
    if realm == Some(Realm::Google) {
        google::stamp(app.provider(Realm::Google), &mut response);
    }
    app.requests.answered(seq, response.status().as_u16());
    Ok(response)
}

/// Returns the body of a request, unless it is too large.
///
/// What is too much is read within reason and thrown away: a connection that is closed with data
/// unread takes the answer along.
async fn collect(mut body: Incoming) -> hyper::Result<Option<Bytes>> {
    let mut collected = Vec::new();
    let mut size = 0;
    while size <= MAX_DISCARDED {
        let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await else {
            break;
        };
        if let Ok(data) = frame?.into_data() {
            size += data.len();
            if size <= MAX_BODY {
                collected.extend_from_slice(&data);
            }
        }
    }
    Ok((size <= MAX_BODY).then(|| collected.into()))
}

async fn faulty(router: Router, request: Request<Bytes>, fault: &Fault) -> Result<Response, Dropped> {
    let real = if fault.acts() { Some(route(router, request).await) } else { None };
    sleep(fault.delay()).await;
    match fault.drop {
        Some(When::Before | When::After) => Err(Dropped),
        None => Ok(fault.answer(real)),
    }
}

async fn route(router: Router, request: Request<Bytes>) -> Response {
    match TowerToHyperService::new(router).call(request.map(Body::from)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
