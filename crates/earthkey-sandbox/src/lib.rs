//! An identity provider to test against, with real pages, and the services behind it.
//!
//! A [`Sandbox`] serves, on one loopback port and over plain HTTP, what the real clients of these
//! systems need in order to sign in: unmodified `openeo`, `earthscope-sdk`, `earthengine-api`, or any
//! OpenID client. It keeps nothing: keys, tokens and clients are new at each start.
//! Google's hosts are played as well, each host `H` below `{url}/google/H`.
//!
//! | realm | issuer | clients |
//! |---|---|---|
//! | `oidc` | `{url}/oidc` | `sandbox-public`; `sandbox-confidential` |
//! | `openeo` | `{url}/openeo-id` | `sandbox-openeo`; `sandbox-openeo-service` |
//! | `earthscope` | `{url}/` | the public client of EarthScope's SDK; `sandbox-m2m` |
//! | `google` | `https://accounts.google.com` | those of `earthengine-api` and gcloud; a Desktop client, [`Control::client_file`] |
//!
//! Confidential clients have the secret `sandbox-secret`. The people are `ada` and `grace`, with
//! the password `sandbox`. Each issuer but Google's has its metadata in both places (OpenID Connect
//! Discovery and RFC 8414), which name all endpoints: authorization code with PKCE, device code, refresh
//! with rotation, client credentials, revocation, UserInfo, and in realm `oidc` dynamic registration.
//!
//! Beside them are an openEO back-end at `{url}/openeo`, `GET {url}/beta/user/profile` of the
//! EarthScope API, and the ends of Earth Engine and Gemini that tell whether somebody gets in. What
//! happens there depends on the project: `sandbox-disabled`, `sandbox-forbidden` and
//! `sandbox-unregistered` do not work.
//!
//! # Control
//!
//! [`Control`] tells what was asked and makes things go wrong. Over HTTP, in JSON:
//!
//! | request | does |
//! |---|---|
//! | `GET /_control/requests?path=` | lists the requests so far ([`Record`]) |
//! | `DELETE /_control/requests` | forgets them |
//! | `POST /_control/faults` | injects a [`Fault`] |
//! | `DELETE /_control/faults` | forgets the faults that wait |
//! | `POST /_control/expire` | `{"realm", "what"}`, see [`Expiring`] |
//! | `POST /_control/revoke` | `{"realm", "sub"}`: revokes refresh tokens |
//! | `POST /_control/settings` | `{"realm", …}`, see [`Change`] |
//! | `GET /_control/refresh-tokens?realm=` | counts them ([`RefreshTokens`]) |
//! | `GET /_control/client-file?kind=` | returns Google's client file of the Desktop client |
//! | `POST /_control/service-account-keys` | `{"email"}`: makes a key at Google, returns its file |
//!
//! # A person
//!
//! [`robot::Person`] signs in through the real pages over HTTP, for tests and demonstrations.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use crate::control::{BadFault, Control, Expiring};
pub use crate::fault::{Fault, When};
pub use crate::provider::Realm;
pub use crate::requests::Record;
pub use crate::settings::{Change, RotationKind, Settings};
pub use crate::state::RefreshTokens;

use crate::app::App;
use crate::google::documents::Documents;

pub mod robot;

mod account;
mod activate;
mod app;
mod authorize;
mod bounded;
mod client;
mod connect;
mod consent;
mod control;
mod device;
mod discovery;
mod earthscope;
mod error;
mod fault;
mod google;
mod keys;
mod openeo;
mod pages;
mod params;
mod pem;
mod provider;
mod register;
mod requests;
mod revoke;
mod scope;
mod secret;
mod server;
mod session;
mod settings;
mod sign_in;
mod state;
mod tls;
mod token;
mod userinfo;

/// A running sandbox; dropping it stops it.
pub struct Sandbox {
    app: Arc<App>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

/// How a sandbox starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: a loopback address; port 0 for any free one.
    pub listen: SocketAddr,
    /// What happens to a refresh token that is used.
    pub rotation: Rotation,
    /// Seconds an access token lives.
    pub access_token_lifetime: u64,
    /// Seconds a device code lives.
    pub device_lifetime: u64,
    /// Seconds a device must wait between polls.
    pub device_interval: u64,
    /// Whether the port takes TLS too, and CONNECT to Google's hosts: see [`Sandbox::ca_pem`].
    pub tls: bool,
    /// A folder with `cloud_api_discovery_document.json` and `algorithms.json`, such as `ee/tests` of
    /// Earth Engine's Python package; without it, Earth Engine has small documents of its own.
    pub earthengine_documents: Option<PathBuf>,
}

/// What happens to a refresh token that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "rotation", rename_all = "lowercase")]
pub enum Rotation {
    /// It stays good.
    Never,
    /// It is replaced. Used again within the grace period it is answered once more; after that,
    /// its use revokes the login (RFC 9700 section 4.14.2).
    Rotate {
        /// Seconds for which a replaced token is still answered.
        grace_seconds: u64,
    },
}

impl Sandbox {
    /// Starts a sandbox on the current runtime.
    pub async fn start(options: Options) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let text = format!("cannot listen on {}: a sandbox is for loopback only", options.listen);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let documents = match &options.earthengine_documents {
            Some(folder) => Documents::load(folder)?,
            None => Documents::built_in(),
        };
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let app = App::new(format!("http://{address}"), address.port(), &options, documents);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server::serve(listener, Arc::clone(&app), stopped));
        Ok(Self { app, stop: Some(stop), task })
    }

    /// Returns where the sandbox is, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.app.url
    }

    /// Returns the certificate of the authority that a client must trust, in PEM, if the sandbox speaks
    /// TLS.
    ///
    /// A client that uses the sandbox as its proxy for https, `HTTPS_PROXY={url}`, then finds Google
    /// at the usual addresses. So does one that finds those names at the port of the sandbox.
    pub fn ca_pem(&self) -> Option<&str> {
        self.app.tls.as_ref().map(|tls| tls.ca.as_str())
    }

    /// Returns a handle that controls the sandbox; it does not keep it running.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.app))
    }

    /// Stops the sandbox and waits until its port is free.
    pub async fn stop(mut self) {
        self.stop = None;
        // An error says that the task is over as well.
        let _ = (&mut self.task).await;
    }

    /// Waits for as long as the sandbox runs.
    pub async fn wait(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sandbox").field("url", &self.app.url).finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            rotation: Rotation::Rotate { grace_seconds: 0 },
            access_token_lifetime: 3_600,
            device_lifetime: 600,
            device_interval: 1,
            tls: false,
            earthengine_documents: None,
        }
    }
}
