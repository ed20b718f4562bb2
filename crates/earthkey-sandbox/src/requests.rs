//! The log of requests: enough to tell what a client did, and no secret.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{GrantType, http_basic};
use crate::google;
use crate::params::{Params, is_form, is_json};
use crate::provider::{Provider, Realm};

/// How many requests are kept.
const CAPACITY: usize = 20_000;

/// A request that reached the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    /// The place in the order of arrival, from 1.
    pub seq: u64,
    /// The HTTP method.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The realm that the path belongs to.
    pub realm: Option<Realm>,
    /// The grant type, `other` for one that is not known.
    pub grant_type: Option<String>,
    /// The client, `other` for one that is not registered.
    pub client_id: Option<String>,
    /// The project to be billed, Google's `x-goog-user-project`, if it is a plain project identifier.
    pub quota_project: Option<String>,
    /// The status of the answer; absent until there is one, and for good if none was sent.
    pub status: Option<u16>,
    /// The names of the members of the body, or of the query if there is no body.
    pub form_keys: Vec<String>,
    /// Milliseconds since 1970 at the arrival.
    pub at: u64,
}

/// The requests so far.
#[derive(Default)]
pub(crate) struct Requests {
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    records: VecDeque<Record>,
    count: u64,
}

impl Requests {
    /// Adds a request and returns its number.
    pub(crate) fn arrived(&self, mut record: Record) -> u64 {
        let mut log = self.log();
        log.count += 1;
        record.seq = log.count;
        while log.records.len() >= CAPACITY {
            log.records.pop_front();
        }
        log.records.push_back(record);
        log.count
    }

    /// Notes the status of the answer to a request.
    pub(crate) fn answered(&self, seq: u64, status: u16) {
        let mut log = self.log();
        if let Some(record) = log.records.iter_mut().rev().find(|record| record.seq == seq) {
            record.status = Some(status);
        }
    }

    /// Returns the requests, or those for one path.
    pub(crate) fn list(&self, path: Option<&str>) -> Vec<Record> {
        let log = self.log();
        let wanted = |record: &&Record| path.is_none_or(|path| record.path == path);
        log.records.iter().filter(wanted).cloned().collect()
    }

    /// Forgets all requests; the numbers go on.
    pub(crate) fn clear(&self) {
        self.log().records.clear();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    /// Returns what may be known of a request.
    ///
    /// Values are taken over only when they are one of ours: a client that puts a token where its
    /// identifier belongs must not find it in a log.
    pub(crate) fn of(head: &Parts, body: &[u8], providers: &[std::sync::Arc<Provider>]) -> Self {
        let path: String = head.uri.path().chars().take(200).collect();
        let realm = Realm::of_path(&path);
        let json = is_json(&head.headers).then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
        let params = if is_form(&head.headers) {
            Params::parse(body)
        } else {
            Params::parse(head.uri.query().unwrap_or_default().as_bytes())
        };
        let member = |name: &str| match &json {
            Some(json) => json.get(name).and_then(Value::as_str).map(str::to_owned),
            None => params.get(name).map(str::to_owned),
        };
        let names: Vec<&str> = match &json {
            Some(Value::Object(members)) => members.keys().map(String::as_str).collect(),
            Some(_) => Vec::new(),
            None => params.names().collect(),
        };
        let client_id = member("client_id").or_else(|| http_basic(&head.headers).map(|(id, _)| id));
        let provider = providers.iter().find(|provider| Some(provider.realm) == realm);
        let known = |id: &String| provider.is_some_and(|own| own.state().client(id).is_some());
        let other = || "other".to_owned();
        Self {
            seq: 0,
            method: head.method.to_string(),
            realm,
            grant_type: member("grant_type")
                .map(|name| GrantType::parse(&name).map_or_else(other, |grant| grant.as_str().to_owned())),
            client_id: client_id.map(|id| if known(&id) { id } else { other() }),
            quota_project: google::project::of_header(&head.headers).map(str::to_owned),
            status: None,
            form_keys: names.into_iter().take(32).map(|name| name.chars().take(40).collect()).collect(),
            path,
            at: milliseconds(),
        }
    }
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
