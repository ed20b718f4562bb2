//! How requests reach the hosts that are played: through a tunnel (RFC 9110 section 9.3.6), or over
//! TLS by their own name.

use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::google::hosts;

/// What a connection came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Plain,
    Tls,
}

/// The tunnel that a connection turns into, if a request asks for that.
#[derive(Clone, Default)]
pub(crate) struct Tunnel(Arc<Mutex<Option<OnUpgrade>>>);

impl Tunnel {
    /// Answers CONNECT: a host that is played is here already, and nothing else is dialled.
    pub(crate) fn open(&self, request: &mut Request<Incoming>) -> Response {
        let played = request.uri().authority().and_then(|authority| hosts::played(authority.as_str()));
        if played.is_none() {
            return (StatusCode::FORBIDDEN, "a sandbox leads to the hosts that it plays").into_response();
        }
        let upgrade = hyper::upgrade::on(request);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgrade);
        StatusCode::OK.into_response()
    }

    /// Takes the tunnel, once the connection was answered.
    pub(crate) fn take(&self) -> Option<OnUpgrade> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Returns whether a request is meant for this server, after naming the path of the host it is for.
///
/// A host that is played counts over TLS alone: there the client has checked a certificate, while
/// over plain HTTP a name may have been made to point here (DNS rebinding).
pub(crate) fn admit(channel: Channel, head: &mut Parts, port: u16) -> bool {
    let host = host(&head.headers);
    match (channel, hosts::played(host)) {
        (Channel::Tls, Some(host)) => match rewritten(host, &head.uri) {
            Some(uri) => {
                head.uri = uri;
                true
            }
            None => false,
        },
        (Channel::Tls, None) => names_us(host, port) || (port == 443 && is_own(host)),
        (Channel::Plain, _) => names_us(host, port),
    }
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn rewritten(host: &str, uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query()?.as_str();
    if !path.starts_with('/') {
        return None;
    }
    if hosts::is_ours(path) {
        return path.parse().ok();
    }
    hosts::path(host, path).parse().ok()
}

fn names_us(host: &str, port: u16) -> bool {
    host.strip_suffix(&format!(":{port}")).is_some_and(is_own)
}

fn is_own(name: &str) -> bool {
    ["127.0.0.1", "[::1]"].contains(&name) || name.eq_ignore_ascii_case("localhost")
}
