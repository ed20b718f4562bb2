//! A provider: one issuer with its endpoints, keys and state.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;
use crate::session::Session;
use crate::settings::Settings;
use crate::state::State;
use crate::{
    activate, authorize, consent, device, discovery, google, register, revoke, sign_in, token, userinfo,
};

/// The identity providers of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Realm {
    /// A generic OpenID provider.
    Oidc,
    /// The provider of the openEO back-end.
    Openeo,
    /// The tenant of EarthScope, shaped like Auth0.
    Earthscope,
    /// Google, with all its hosts below one path.
    Google,
}

/// The paths of a provider.
pub(crate) struct Endpoints {
    /// The issuer: a path of the sandbox, or a URL that is known by heart.
    pub(crate) issuer: &'static str,
    /// The path that session cookies are for.
    pub(crate) cookie: &'static str,
    pub(crate) authorize: &'static str,
    pub(crate) token: &'static str,
    /// Where the device flow starts; without it, nothing serves `activate` and `done`.
    pub(crate) device: Option<&'static str>,
    pub(crate) revoke: &'static str,
    pub(crate) userinfo: &'static str,
    pub(crate) jwks: &'static str,
    pub(crate) register: Option<&'static str>,
    pub(crate) sign_in: &'static str,
    pub(crate) consent: &'static str,
    pub(crate) activate: &'static str,
    pub(crate) done: &'static str,
    pub(crate) openid_configuration: Option<&'static str>,
    pub(crate) authorization_server: Option<&'static str>,
}

/// One issuer.
pub(crate) struct Provider {
    pub(crate) realm: Realm,
    pub(crate) endpoints: &'static Endpoints,
    /// The origin of the sandbox, without a slash at the end.
    pub(crate) url: String,
    /// The name of the session cookie. It carries the port, because browsers keep cookies by host
    /// alone and several sandboxes may run.
    pub(crate) cookie: String,
    keys: OnceLock<Keys>,
    state: Mutex<State>,
}

impl Realm {
    /// Every realm.
    pub const ALL: [Self; 4] = [Self::Oidc, Self::Openeo, Self::Earthscope, Self::Google];

    /// Returns the name in paths and in the control interface.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oidc => "oidc",
            Self::Openeo => "openeo",
            Self::Earthscope => "earthscope",
            Self::Google => "google",
        }
    }

    /// Returns the title for people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Oidc => "Sandbox ID",
            Self::Openeo => "openEO Sandbox",
            Self::Earthscope => "EarthScope Sandbox",
            Self::Google => "Google Sandbox",
        }
    }

    /// Returns the realm that a path belongs to.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        let within = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let own = |endpoints: &Endpoints| {
            let paths = [
                endpoints.authorize,
                endpoints.token,
                endpoints.revoke,
                endpoints.userinfo,
                endpoints.jwks,
                endpoints.sign_in,
                endpoints.consent,
                endpoints.activate,
                endpoints.done,
            ];
            let optional = [endpoints.device, endpoints.openid_configuration, endpoints.authorization_server];
            paths.contains(&path) || optional.contains(&Some(path))
        };
        if within("/oidc") || OIDC.authorization_server == Some(path) {
            Some(Self::Oidc)
        } else if within("/openeo-id") || within("/openeo") || OPENEO.authorization_server == Some(path) {
            Some(Self::Openeo)
        } else if within("/google") {
            Some(Self::Google)
        } else if own(&EARTHSCOPE) || within("/beta") {
            Some(Self::Earthscope)
        } else {
            None
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Provider {
    /// Returns a provider for the sandbox at `url`, which listens on `port`.
    pub(crate) fn new(realm: Realm, url: &str, port: u16, settings: Settings) -> Arc<Self> {
        let endpoints = match realm {
            Realm::Oidc => &OIDC,
            Realm::Openeo => &OPENEO,
            Realm::Earthscope => &EARTHSCOPE,
            Realm::Google => &google::ENDPOINTS,
        };
        Arc::new(Self {
            realm,
            endpoints,
            url: url.to_owned(),
            cookie: format!("sandbox-{realm}-{port}"),
            keys: OnceLock::new(),
            state: Mutex::new(State::new(realm, settings)),
        })
    }

    /// Returns the routes of the provider.
    pub(crate) fn routes(self: &Arc<Self>) -> Router {
        let endpoints = self.endpoints;
        let revoke = match self.realm {
            Realm::Google => post(google::revoke::revoke),
            Realm::Oidc | Realm::Openeo | Realm::Earthscope => post(revoke::revoke),
        };
        let mut router = Router::new()
            .route(endpoints.jwks, get(discovery::jwks))
            .route(endpoints.authorize, get(authorize::by_query).post(authorize::by_form))
            .route(endpoints.token, post(token::token))
            .route(endpoints.revoke, revoke)
            .route(endpoints.userinfo, get(userinfo::userinfo).post(userinfo::userinfo))
            .route(endpoints.sign_in, get(sign_in::show).post(sign_in::submit))
            .route(endpoints.consent, get(consent::show).post(consent::submit));
        for path in [endpoints.openid_configuration, endpoints.authorization_server].into_iter().flatten() {
            router = router.route(path, get(discovery::metadata));
        }
        if let Some(path) = endpoints.device {
            router = router
                .route(path, post(device::authorize))
                .route(endpoints.activate, get(activate::show).post(activate::submit))
                .route(endpoints.done, get(activate::done));
        }
        if let Some(path) = endpoints.register {
            router = router.route(path, post(register::register));
        }
        router.with_state(Arc::clone(self))
    }

    /// Returns the issuer identifier.
    pub(crate) fn issuer(&self) -> String {
        match self.endpoints.issuer {
            path if path.starts_with('/') => self.at(path),
            url => url.to_owned(),
        }
    }

    /// Returns the URL of a path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Returns the signing keys, made when they are first needed: that takes a tenth of a second.
    pub(crate) fn keys(&self) -> &Keys {
        self.keys.get_or_init(Keys::generate)
    }

    /// Returns the state, to be held only for a moment.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a defect of one request; the others go on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the secret of the session cookie in `headers`, if that session is known.
    pub(crate) fn session_of(&self, headers: &HeaderMap) -> Option<String> {
        Session::cookie(headers, &self.cookie)
            .filter(|id| self.state().sessions.get(&crate::secret::Digest::of(id)).is_some())
    }
}

const OIDC: Endpoints = Endpoints {
    issuer: "/oidc",
    cookie: "/oidc",
    authorize: "/oidc/authorize",
    token: "/oidc/token",
    device: Some("/oidc/device_authorization"),
    revoke: "/oidc/revoke",
    userinfo: "/oidc/userinfo",
    jwks: "/oidc/jwks",
    register: Some("/oidc/register"),
    sign_in: "/oidc/sign-in",
    consent: "/oidc/consent",
    activate: "/oidc/activate",
    done: "/oidc/done",
    openid_configuration: Some("/oidc/.well-known/openid-configuration"),
    authorization_server: Some("/.well-known/oauth-authorization-server/oidc"),
};

const OPENEO: Endpoints = Endpoints {
    issuer: "/openeo-id",
    cookie: "/openeo-id",
    authorize: "/openeo-id/authorize",
    token: "/openeo-id/token",
    device: Some("/openeo-id/device_authorization"),
    revoke: "/openeo-id/revoke",
    userinfo: "/openeo-id/userinfo",
    jwks: "/openeo-id/jwks",
    register: None,
    sign_in: "/openeo-id/sign-in",
    consent: "/openeo-id/consent",
    activate: "/openeo-id/activate",
    done: "/openeo-id/done",
    openid_configuration: Some("/openeo-id/.well-known/openid-configuration"),
    authorization_server: Some("/.well-known/oauth-authorization-server/openeo-id"),
};

const EARTHSCOPE: Endpoints = Endpoints {
    issuer: "/",
    cookie: "/",
    authorize: "/authorize",
    token: "/oauth/token",
    device: Some("/oauth/device/code"),
    revoke: "/oauth/revoke",
    userinfo: "/userinfo",
    jwks: "/.well-known/jwks.json",
    register: None,
    sign_in: "/sign-in",
    consent: "/consent",
    activate: "/activate",
    done: "/done",
    openid_configuration: Some("/.well-known/openid-configuration"),
    authorization_server: Some("/.well-known/oauth-authorization-server"),
};
