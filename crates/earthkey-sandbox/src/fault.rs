//! Faults: answers that are late, wrong, endless or missing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};

use crate::requests::Record;

/// A fault for the next requests to a path.
///
/// Without `status`, `body`, `endless`, `body_size`, `stall` and `drop` the request is answered as
/// ever, `delay_ms` later and with `headers` on top. With any of the first five the answer is this
/// one and nothing else happens, unless `act` says so.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The path, exactly.
    pub path: String,
    /// Only requests of this method.
    #[serde(default)]
    pub method: Option<String>,
    /// Only requests with this grant type.
    #[serde(default)]
    pub grant_type: Option<String>,
    /// How many requests are concerned; absent for one.
    #[serde(default)]
    pub times: Option<u64>,
    /// The status of the answer, 200 if there is a body and no status.
    #[serde(default)]
    pub status: Option<u16>,
    /// The body of the answer.
    #[serde(default)]
    pub body: Option<String>,
    /// The media type of the answer, `application/json` if absent.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long the answer, or the end of the connection, is held back; what the request does has
    /// happened by then.
    #[serde(default)]
    pub delay_ms: u64,
    /// Whether the connection ends without an answer.
    #[serde(default)]
    pub drop: Option<When>,
    /// Whether the request takes effect although its answer is replaced.
    #[serde(default)]
    pub act: bool,
    /// Whether the body, after `body`, goes on without end.
    #[serde(default)]
    pub endless: bool,
    /// How many more bytes the body has after `body`.
    #[serde(default)]
    pub body_size: Option<u64>,
    /// Whether the body, after `body`, neither goes on nor ends.
    #[serde(default)]
    pub stall: bool,
}

/// When a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the request takes effect.
    Before,
    /// After the request took effect: only the answer is lost.
    After,
}

/// The faults that wait.
#[derive(Default)]
pub(crate) struct Faults {
    waiting: Mutex<Vec<Fault>>,
}

impl Fault {
    /// Returns a fault for the next request to `path` that changes nothing yet.
    pub fn at(path: impl Into<String>) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    /// Returns whether the request takes effect.
    pub(crate) fn acts(&self) -> bool {
        self.act || self.drop == Some(When::After) || (self.drop.is_none() && !self.replaces())
    }

    /// Returns how long the answer is held back.
    pub(crate) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    /// Returns what is sent in place of `real`, the answer of the request if it took effect.
    pub(crate) fn answer(&self, real: Option<Response>) -> Response {
        let mut response = match real {
            Some(response) if !self.replaces() => response,
            _ => self.replacement(),
        };
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    /// Returns what is wrong with the fault itself.
    pub(crate) fn defect(&self) -> Option<&'static str> {
        let bad_status = self.status.is_some_and(|status| !(200..=599).contains(&status));
        let bad_header = self.headers.iter().any(|(name, value)| {
            name.parse::<HeaderName>().is_err() || value.parse::<HeaderValue>().is_err()
        });
        let bad_type = self.content_type.as_ref().is_some_and(|value| value.parse::<HeaderValue>().is_err());
        if !self.path.starts_with('/') {
            Some("path does not begin with /")
        } else if bad_status {
            Some("status is not between 200 and 599")
        } else if bad_header || bad_type {
            Some("headers or content_type hold what no header can")
        } else {
            None
        }
    }

    fn replaces(&self) -> bool {
        self.status.is_some() || self.body.is_some() || self.has_tail()
    }

    fn has_tail(&self) -> bool {
        self.endless || self.body_size.is_some() || self.stall
    }

    fn replacement(&self) -> Response {
        let status = self.status.and_then(|status| StatusCode::from_u16(status).ok());
        let content_type = self.content_type.as_deref().unwrap_or("application/json").to_owned();
        let start = Bytes::from(self.body.clone().unwrap_or_default());
        let body = if self.has_tail() {
            let left = self.body_size.unwrap_or(if self.endless { u64::MAX } else { 0 });
            Body::new(Tail { start: Some(start), left, stall: self.stall })
        } else {
            Body::from(start)
        };
        (status.unwrap_or_default(), [(CONTENT_TYPE, content_type)], body).into_response()
    }

    fn concerns(&self, record: &Record) -> bool {
        let fits = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        self.path == record.path
            && fits(&self.method, Some(&record.method))
            && fits(&self.grant_type, record.grant_type.as_deref())
    }
}

impl Faults {
    /// Adds a fault behind those that wait.
    pub(crate) fn add(&self, fault: Fault) {
        self.with(|waiting| waiting.push(fault));
    }

    /// Forgets all faults.
    pub(crate) fn clear(&self) {
        self.with(Vec::clear);
    }

    /// Takes the first fault that concerns a request.
    pub(crate) fn take(&self, record: &Record) -> Option<Fault> {
        self.with(|waiting| {
            let index = waiting.iter().position(|fault| fault.concerns(record))?;
            let left = waiting[index].times.unwrap_or(1);
            if left > 1 {
                waiting[index].times = Some(left - 1);
                return Some(waiting[index].clone());
            }
            let last = waiting.remove(index);
            (left > 0).then_some(last)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Fault>) -> T) -> T {
        act(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A body that is too long, or never over.
struct Tail {
    start: Option<Bytes>,
    left: u64,
    stall: bool,
}

impl hyper::body::Body for Tail {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const BLANKS: [u8; 8_192] = [b' '; 8_192];
        if let Some(start) = self.start.take().filter(|start| !start.is_empty()) {
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        if self.left > 0 {
            let length = usize::try_from(self.left).map_or(BLANKS.len(), |left| left.min(BLANKS.len()));
            if self.left != u64::MAX {
                self.left -= length as u64;
            }
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLANKS[..length])))));
        }
        // The client gives up, or the sandbox stops: nothing else wakes this up.
        if self.stall { Poll::Pending } else { Poll::Ready(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &str) -> Record {
        Record {
            seq: 0,
            method: "POST".to_owned(),
            path: path.to_owned(),
            realm: None,
            grant_type: Some("refresh_token".to_owned()),
            client_id: None,
            quota_project: None,
            status: None,
            form_keys: Vec::new(),
            at: 0,
        }
    }

    #[test]
    fn faults_are_used_up_one_request_at_a_time() {
        let faults = Faults::default();
        faults.add(Fault { times: Some(2), ..Fault::at("/a") });
        assert!(faults.take(&record("/b")).is_none());
        assert!(faults.take(&record("/a")).is_some());
        assert!(faults.take(&record("/a")).is_some());
        assert!(faults.take(&record("/a")).is_none());
    }

    #[test]
    fn faults_may_ask_for_method_and_grant() {
        let other = Fault { grant_type: Some("authorization_code".to_owned()), ..Fault::at("/a") };
        assert!(!other.concerns(&record("/a")));
        assert!(!Fault { method: Some("GET".to_owned()), ..Fault::at("/a") }.concerns(&record("/a")));
    }

    #[test]
    fn only_some_faults_let_the_request_take_effect() {
        assert!(Fault { delay_ms: 5, ..Fault::at("/a") }.acts());
        assert!(Fault { drop: Some(When::After), ..Fault::at("/a") }.acts());
        assert!(Fault { status: Some(500), act: true, ..Fault::at("/a") }.acts());
        assert!(!Fault { drop: Some(When::Before), ..Fault::at("/a") }.acts());
        assert!(!Fault { status: Some(500), ..Fault::at("/a") }.acts());
    }
}
