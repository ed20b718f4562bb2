//! A provider that rotates without grace, and one login at it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use http::HeaderName;
use http::HeaderValue;
use serde_json::json;
use url::Url;

use crate::error::Error;
use crate::error::Result;
use crate::host::BoxFuture;
use crate::host::Host;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::scripted::World;
use crate::oauth::token::TokenResponse;
use crate::refresh;
use crate::refresh::Access;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::secret::AccessToken;
use crate::secret::Fingerprint;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;
use crate::store::Keep;
use crate::store::keep::Held;
use crate::store::ledger::Remembered;
use crate::store::tests::PATH;
use crate::store::tests::home;

/// How long access tokens live, in seconds.
pub(super) const LIFETIME: u64 = 3600;

/// A provider. Refresh token `r2.5` is the sixth generation of the second login.
#[derive(Clone, Default)]
pub(super) struct Bank(Arc<Mutex<State>>);

#[derive(Clone, Default)]
struct State {
    /// The present generation of each login; `None` is a login that was ended by reuse.
    logins: Vec<Option<usize>>,
    exchanges: usize,
    reused: Vec<String>,
    keeps_tokens: bool,
    /// Whether the token before the present one is accepted, too.
    has_grace: bool,
}

impl Bank {
    /// Makes a provider that never replaces a refresh token.
    pub(super) fn without_rotation() -> Self {
        let bank = Self::default();
        bank.state().keeps_tokens = true;
        bank
    }

    /// Makes a provider that accepts a token once more after it was replaced, as long as its
    /// successor was not.
    pub(super) fn with_grace() -> Self {
        let bank = Self::default();
        bank.state().has_grace = true;
        bank
    }

    /// Returns whether the token before the present one is accepted, too.
    pub(super) fn has_grace(&self) -> bool {
        self.state().has_grace
    }

    /// Makes a login and returns its first refresh token.
    pub(super) fn sign_in(&self) -> String {
        let mut state = self.state();
        state.logins.push(Some(0));
        format!("r{}.0", state.logins.len())
    }

    /// Answers a request to the token endpoint.
    pub(super) fn answer(&self, request: &Request) -> Response {
        let token = request.form_value("refresh_token").unwrap_or_default().to_owned();
        self.exchange(&token)
    }

    /// Exchanges a refresh token, whoever has it.
    pub(super) fn exchange(&self, token: &str) -> Response {
        let mut state = self.state();
        let (login, generation) = split(token);
        match state.logins[login - 1] {
            None => refusal("invalid_grant"),
            Some(present) if present == generation || (state.has_grace && present == generation + 1) => {
                state.exchanges += 1;
                let next = if state.keeps_tokens { present } else { present + 1 };
                state.logins[login - 1] = Some(next);
                let serial = state.exchanges;
                tokens(&format!("a{login}.{serial}"), &format!("r{login}.{next}"))
            }
            Some(_) => {
                state.logins[login - 1] = None;
                state.reused.push(token.to_owned());
                refusal("invalid_grant")
            }
        }
    }

    /// Returns how many refresh tokens were exchanged.
    pub(super) fn exchanges(&self) -> usize {
        self.state().exchanges
    }

    /// Returns the spent tokens that were sent.
    pub(super) fn reused(&self) -> Vec<String> {
        self.state().reused.clone()
    }

    /// Returns whether a refresh token is the present one of a login that lives.
    pub(super) fn accepts(&self, token: &str) -> bool {
        let (login, generation) = split(token);
        self.state().logins[login - 1] == Some(generation)
    }

    /// Returns the same provider at this moment, with a history of its own from now on.
    pub(super) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Returns a world with this provider as its network.
    pub(super) fn world(&self) -> World {
        let bank = self.clone();
        World::new(move |request| Ok(bank.answer(request)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Returns the number of the login and the generation of `r2.5`.
fn split(token: &str) -> (usize, usize) {
    let (login, generation) = token.strip_prefix('r').unwrap().split_once('.').unwrap();
    (login.parse().unwrap(), generation.parse().unwrap())
}

/// Returns a token response.
pub(super) fn tokens(access: &str, refresh: &str) -> Response {
    let body = json!({
        "access_token": access, "token_type": "Bearer", "expires_in": LIFETIME, "refresh_token": refresh
    });
    Response::new(200, body.to_string())
}

/// Returns a refusal.
pub(super) fn refusal(error: &str) -> Response {
    Response::new(400, json!({"error": error}).to_string())
}

/// Returns an answer with a header.
pub(super) fn with_header(status: u16, name: &'static str, value: &str) -> Response {
    let mut response = Response::new(status, "<html>");
    response.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    response
}

/// Access tokens by the grant they were obtained with, as the records keep them.
pub(super) type Cache = Arc<Mutex<BTreeMap<String, Access>>>;

/// One caller of one login.
pub(super) struct Caller {
    pub(super) host: Host,
    pub(super) home: Home,
    pub(super) cache: Cache,
    /// Told apart from other callers' in refusals and records.
    pub(super) scopes: &'static str,
    /// Whether its configuration names a wrong address.
    pub(super) is_misconfigured: bool,
}

impl Caller {
    /// Makes process `pid`, which shares nothing but files with others.
    pub(super) fn new(world: &World, pid: u32) -> Self {
        Self {
            host: world.host(pid),
            home: home(),
            cache: Cache::default(),
            scopes: "",
            is_misconfigured: false,
        }
    }

    /// Makes process `pid` on a host of its own making.
    pub(super) fn on(host: Host) -> Self {
        Self { host, home: home(), cache: Cache::default(), scopes: "", is_misconfigured: false }
    }

    /// Makes the caller share the records of others.
    pub(super) fn sharing(mut self, cache: &Cache) -> Self {
        self.cache = cache.clone();
        self
    }

    /// Asks for any token.
    pub(super) async fn token(&self) -> Result<Access> {
        self.want(Want::default()).await
    }

    /// Asks for a new token.
    pub(super) async fn forced(&self) -> Result<Access> {
        self.want(Want { force: true, ..Want::default() }).await
    }

    /// Asks for a token.
    pub(super) async fn want(&self, want: Want) -> Result<Access> {
        let keep = Keep::open(&self.host, &self.home)?.expect("the directory is there");
        refresh::token(&self.host, &keep, self, &want).await
    }

    fn key(&self, grant: Option<Fingerprint>) -> String {
        format!("{grant:?} {}", self.scopes)
    }
}

impl Provider for Caller {
    fn credential(&self) -> String {
        format!("`test` from {PATH}")
    }

    fn explain(&self, _: &Remembered, _: Option<&Grant>) -> Option<Error> {
        None
    }

    fn login_command(&self) -> String {
        "earthkey login test".into()
    }

    fn at_hand(&self, contents: &Contents) -> Option<Access> {
        self.cache.lock().unwrap().get(&self.key(contents.fingerprint())).cloned()
    }

    fn request<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Request>> {
        Box::pin(async move {
            // To find out where to send it may take a while.
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            if self.is_misconfigured {
                return Err(Error::configuration("the grant is not sent there"));
            }
            let request = Request::post(Url::parse("https://bank.test/token").unwrap());
            let request = if self.scopes.is_empty() { request } else { request.field("scope", self.scopes) };
            Ok(match grant {
                Grant::RefreshToken(token) => request.secret_field("refresh_token", token.expose()),
                _ => request,
            })
        })
    }

    fn refusal_key(&self, grant: &Grant) -> String {
        self.key(Some(grant.fingerprint()))
    }

    fn on_rotation(&self) -> Option<String> {
        Some("the refresh token was replaced".into())
    }

    fn record(&self, answer: &TokenResponse, landed: &Held) -> Result<Access> {
        let access = access(&self.host, answer.access_token.clone(), answer.expires_in.unwrap_or(60));
        let key = self.key(landed.contents.fingerprint());
        self.cache.lock().unwrap().insert(key, access.clone());
        Ok(access)
    }
}

/// Returns an access token that was obtained just now.
pub(super) fn access(host: &Host, token: AccessToken, lifetime: u64) -> Access {
    let now = host.clock.now();
    Access {
        token,
        token_type: "Bearer".into(),
        scopes: Vec::new(),
        client_id: None,
        obtained_at: now,
        expires_at: now + lifetime,
        lifetime,
        early_at: now + lifetime / 4 * 3,
        boot_id: host.clock.boot_id(),
        since_boot: host.clock.since_boot().as_secs(),
    }
}

/// Answers one after the other; more requests than answers are a failure of the test.
pub(super) struct Answers(Mutex<Vec<Result<Response, SendError>>>);

impl Answers {
    /// Returns a world whose network gives these answers.
    pub(super) fn world(answers: impl IntoIterator<Item = Result<Response, SendError>>) -> World {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        let answers = Self(Mutex::new(answers));
        World::new(move |_| answers.0.lock().unwrap().pop().expect("a request too many"))
    }
}

/// Returns every refresh token that was sent, in order.
pub(super) fn sent(world: &World) -> Vec<String> {
    let requests = world.http.requests();
    requests.iter().filter_map(|request| request.form_value("refresh_token").map(str::to_owned)).collect()
}

/// Returns whatever lies beside the home, besides it, its lock, its lease and its ledger.
pub(super) fn litter(world: &World) -> BTreeSet<String> {
    let names = world.fs.paths().into_iter().map(|path| path.display().to_string());
    names.filter(|name| name.ends_with(".earthkey-new")).collect()
}

/// Waits until this many requests are under way or answered.
pub(super) async fn requests_reach(world: &World, number: usize) {
    while world.http.requests().len() < number {
        tokio::task::yield_now().await;
    }
}
