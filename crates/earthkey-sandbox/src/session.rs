//! Sessions of browsers at a provider, and the requests that wait in them.

use std::collections::VecDeque;

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use crate::params::Params;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::secret::{self, Digest};
use crate::state::{Authorization, DeviceRequest, unix_time};

/// How many requests wait in one session; the oldest goes first.
const MAX_WAITING: usize = 16;

/// How many decisions are remembered for `prompt=none`.
const MAX_CONSENTS: usize = 64;

/// What a provider knows of a browser.
pub(crate) struct Session {
    /// The token that every form of this session carries.
    pub(crate) csrf: String,
    pub(crate) signed_in: Option<SignedIn>,
    waiting: VecDeque<(String, Interaction)>,
    consents: VecDeque<(String, String, Scope)>,
}

/// Who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) sub: &'static str,
    pub(crate) auth_time: u64,
}

/// A request that waits for a person.
#[derive(Clone, Debug)]
pub(crate) enum Interaction {
    /// An authorization request; the authorization lacks its subject yet.
    Authorization {
        authorization: Authorization,
        redirect_uri: String,
        state: Option<String>,
        login_hint: Option<String>,
        /// Whether being signed in already is not enough.
        fresh_sign_in: bool,
    },
    /// A device that waits.
    Device { device: Digest, user_code: String, request: DeviceRequest },
}

impl Session {
    /// Returns the session of `headers`, or a new one, by its secret.
    pub(crate) fn open(provider: &Provider, headers: &HeaderMap) -> String {
        provider.session_of(headers).unwrap_or_else(|| {
            let id = secret::random("");
            provider.state().sessions.insert(Digest::of(&id), Self::new());
            id
        })
    }

    /// Signs a person in, and returns the secret of the session that follows.
    ///
    /// The session gets another secret and another form token, so that whoever planted the old
    /// ones is not signed in with it.
    pub(crate) fn sign_in(provider: &Provider, id: &str, sub: &'static str) -> Option<String> {
        let mut state = provider.state();
        let old = state.sessions.remove(&Digest::of(id))?;
        let mut session = Self { waiting: old.waiting, consents: old.consents, ..Self::new() };
        session.signed_in = Some(SignedIn { sub, auth_time: unix_time() });
        for (_, interaction) in &mut session.waiting {
            if let Interaction::Authorization { fresh_sign_in, .. } = interaction {
                *fresh_sign_in = false;
            }
        }
        let id = secret::random("");
        state.sessions.insert(Digest::of(&id), session);
        Some(id)
    }

    /// Runs `act` on the session of `headers`, if its form token is the one in `params`.
    pub(crate) fn checked<T>(
        provider: &Provider,
        headers: &HeaderMap,
        params: &Params,
        act: impl FnOnce(&mut Self) -> T,
    ) -> Option<(String, T)> {
        let id = Self::cookie(headers, &provider.cookie)?;
        let mut state = provider.state();
        let session = state.sessions.get_mut(&Digest::of(&id))?;
        let genuine = Digest::of(&session.csrf).matches(params.get("csrf")?);
        genuine.then(|| (id, act(session)))
    }

    /// Returns the value of the cookie `name`.
    pub(crate) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
        headers
            .get_all(COOKIE)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    }

    /// Returns the header that sets the session cookie.
    pub(crate) fn set_cookie(provider: &Provider, id: &str) -> HeaderValue {
        let path = provider.endpoints.cookie;
        let cookie = format!("{}={id}; Path={path}; HttpOnly; SameSite=Lax", provider.cookie);
        cookie.parse().expect("names and secrets of sessions are plain ASCII")
    }

    /// Lets a request wait, and returns the name under which it does.
    pub(crate) fn wait(&mut self, interaction: Interaction) -> String {
        while self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        let name = secret::random("");
        self.waiting.push_back((name.clone(), interaction));
        name
    }

    /// Returns the request that waits under `name`.
    pub(crate) fn waiting(&self, name: &str) -> Option<&Interaction> {
        self.waiting.iter().find(|(own, _)| own == name).map(|(_, interaction)| interaction)
    }

    /// Takes the request that waits under `name`.
    pub(crate) fn take(&mut self, name: &str) -> Option<Interaction> {
        let index = self.waiting.iter().position(|(own, _)| own == name)?;
        self.waiting.remove(index).map(|(_, interaction)| interaction)
    }

    /// Returns who is signed in, if that is enough for `interaction`.
    pub(crate) fn person_for(&self, interaction: &Interaction) -> Option<SignedIn> {
        let fresh = matches!(interaction, Interaction::Authorization { fresh_sign_in: true, .. });
        self.signed_in.clone().filter(|_| !fresh)
    }

    /// Remembers that a person allowed something.
    pub(crate) fn remember(&mut self, authorization: &Authorization) {
        while self.consents.len() >= MAX_CONSENTS {
            self.consents.pop_front();
        }
        let Authorization { sub, client, scope, .. } = authorization;
        self.consents.push_back((sub.clone(), client.id.clone(), scope.clone()));
    }

    /// Returns whether a person allowed this before.
    pub(crate) fn remembers(&self, authorization: &Authorization) -> bool {
        let Authorization { sub, client, scope, .. } = authorization;
        self.consents.iter().any(|(who, id, allowed)| who == sub && *id == client.id && allowed.covers(scope))
    }

    fn new() -> Self {
        Self {
            csrf: secret::random(""),
            signed_in: None,
            waiting: VecDeque::new(),
            consents: VecDeque::new(),
        }
    }
}

impl Interaction {
    /// Returns the name of the client that asks.
    pub(crate) fn client_name(&self) -> &str {
        match self {
            Self::Authorization { authorization, .. } => &authorization.client.name,
            Self::Device { request, .. } => &request.client.name,
        }
    }
}
