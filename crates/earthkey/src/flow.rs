//! Flows with a person: each yields what the provider granted and stores nothing.

pub mod basic;
pub mod client_credentials;
pub mod device;
pub mod id;
pub mod loopback;
mod pages;
pub mod paste;
pub mod pending;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::Host;
use crate::host::Notice;
use crate::host::http::Request;
use crate::host::http::SendError;
use crate::login::Login;
use crate::oauth::client::Client;
use crate::oauth::metadata::Metadata;
use crate::oauth::token;
use crate::oauth::token::Refusal;
use crate::oauth::token::TokenError;
use crate::oauth::token::TokenResponse;

/// How a grant is obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// A browser of this machine comes back to a port of it (RFC 8252).
    Loopback(Option<u16>),
    /// A browser anywhere; the address it ends at is pasted back.
    Paste,
    /// A code is entered on another device (RFC 8628).
    Device,
    /// The client's own credentials (RFC 6749, section 4.4).
    ClientCredentials,
    /// A refresh token that the person has already.
    Refresh,
    /// A name and a password, for HTTP Basic (openEO).
    Basic,
    /// A key with which an account of a program signs for itself (RFC 7523; Google).
    ServiceAccount,
}

impl Flow {
    /// Every flow's name.
    pub const NAMES: [&'static str; 7] =
        ["loopback", "paste", "device", "client-credentials", "service-account", "refresh", "basic"];

    /// Returns the flow's name, without a port.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loopback(_) => "loopback",
            Self::Paste => "paste",
            Self::Device => "device",
            Self::ClientCredentials => "client-credentials",
            Self::Refresh => "refresh",
            Self::Basic => "basic",
            Self::ServiceAccount => "service-account",
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loopback(Some(port)) => write!(f, "loopback:{port}"),
            flow => f.write_str(flow.name()),
        }
    }
}

impl FromStr for Flow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let unknown = || {
            Error::usage(format!("there is no flow `{}`", printable(text, 40))).hint(format!(
                "the flows are {}; loopback takes a port: `loopback:8085`",
                Self::NAMES.join(", ")
            ))
        };
        match (name, port) {
            ("loopback", None) => Ok(Self::Loopback(None)),
            ("loopback", Some(port)) => Ok(Self::Loopback(Some(port.parse().map_err(|_| unknown())?))),
            ("paste", None) => Ok(Self::Paste),
            ("device", None) => Ok(Self::Device),
            ("client-credentials", None) => Ok(Self::ClientCredentials),
            ("refresh", None) => Ok(Self::Refresh),
            ("basic", None) => Ok(Self::Basic),
            ("service-account", None) => Ok(Self::ServiceAccount),
            _ => Err(unknown()),
        }
    }
}

/// How a native client writes the address that a browser comes back to (RFC 8252, section 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The host: the literal `127.0.0.1`, unless a provider knows the client by `localhost`.
    pub host: &'static str,
    /// The path as it is sent, which may be empty.
    pub path: &'static str,
    /// The port that is tried first; `None` for one that the system chooses.
    pub port: Option<u16>,
}

impl Redirect {
    /// The RFC's own: the literal address and any port.
    pub const NATIVE: Self = Self { host: "127.0.0.1", path: "/callback", port: None };

    /// Returns the address with a port, which browsers leave out where it is that of the scheme.
    pub(crate) fn uri(&self, port: u16) -> String {
        let Self { host, path, .. } = self;
        if port == 80 { format!("http://{host}{path}") } else { format!("http://{host}:{port}{path}") }
    }
}

/// Everything that a flow needs to know; no flow knows of systems.
#[derive(Clone)]
pub struct Plan {
    /// For whom it is, for messages.
    pub login: Login,
    /// The command that asks for the same once more, without its flow.
    pub again: String,
    /// Where to go.
    pub metadata: Metadata,
    /// Who asks.
    pub client: Client,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// For which resource, where the provider wants to know.
    pub audience: Option<String>,
    /// Further parameters of the authorization request that the provider asks for and may set.
    pub parameters: Vec<(String, String)>,
    /// Where the browser comes back to.
    pub redirect: Redirect,
    /// Whether the device flow carries a proof key.
    pub device_pkce: bool,
    /// Whether ID tokens are expected and can be checked.
    pub checks_id_token: bool,
    /// Whether a browser of this machine is opened.
    pub opens_browser: bool,
    /// How long a person is waited for.
    pub timeout: Duration,
}

impl Plan {
    /// Returns an endpoint, or says that the provider has none.
    pub(crate) fn endpoint<'a>(&self, endpoint: Option<&'a url::Url>, what: &str) -> Result<&'a url::Url> {
        endpoint.ok_or_else(|| {
            let error = Error::configuration(format!("`{}` has no {what}", self.metadata.issuer));
            match self.flows().as_slice() {
                [] => error.hint("look at the address; the provider offers no way to sign in"),
                flows => error.hint(format!("try another flow: `--flow {}`", flows.join("`, `--flow "))),
            }
        })
    }

    /// Returns the flows of a person that the provider offers.
    fn flows(&self) -> Vec<&'static str> {
        let Metadata { authorization_endpoint, device_authorization_endpoint, .. } = &self.metadata;
        let by_page = authorization_endpoint.iter().flat_map(|_| ["loopback", "paste"]);
        by_page.chain(device_authorization_endpoint.iter().map(|_| "device")).collect()
    }

    /// Returns the flow that needs no browser of this machine, as far as the provider offers one.
    pub(crate) fn elsewhere(&self) -> &'static str {
        if self.metadata.device_authorization_endpoint.is_some() { "device" } else { "paste" }
    }

    /// Returns the provider's further parameters but for those that the person decides, which a
    /// request must not have twice (RFC 6749, section 3.1).
    pub(crate) fn parameters_of_provider(&self) -> Vec<(String, String)> {
        let is_decided = |name: &str| name == "audience" && self.audience.is_some();
        self.parameters.iter().filter(|(name, _)| !is_decided(name)).cloned().collect()
    }

    /// Says how long a person was waited for.
    pub(crate) fn waited(&self) -> String {
        match self.timeout.as_secs() {
            1 => "1 second".to_owned(),
            seconds => format!("{seconds} seconds"),
        }
    }

    /// Tells the person who asks for what.
    pub(crate) fn announce(&self, host: &Host) {
        host.interaction.tell(&Notice::Request { client_id: &self.client.id, scopes: &self.scopes });
    }
}

/// Sends a request that a person's consent stands behind, and reads the token response.
pub(crate) async fn redeem(host: &Host, plan: &Plan, request: Request) -> Result<TokenResponse> {
    let response = host.http.send(request).await.map_err(|error| unreachable(plan, error))?;
    token::parse(&response).map_err(|error| token_error(plan, error))
}

/// Makes a missing answer an error that says what to do.
pub(crate) fn unreachable(plan: &Plan, cause: SendError) -> Error {
    Error::network(format!("`{}` cannot be reached", plan.metadata.issuer))
        .caused_by(cause)
        .hint(format!("when the network is back, sign in again: `{}`", plan.again))
}

/// Makes a token endpoint's error one that says what to do.
pub(crate) fn token_error(plan: &Plan, error: TokenError) -> Error {
    match error {
        TokenError::Refused(refusal) => refused(plan, &refusal),
        error => Error::network(format!("`{}` gave no usable answer", plan.metadata.issuer))
            .caused_by(error)
            .hint("see the exchange with `-vvv`"),
    }
}

/// Makes a provider's no an error that says what to do about its kind.
pub(crate) fn refused(plan: &Plan, refusal: &Refusal) -> Error {
    let again = &plan.again;
    let said = match &refusal.description {
        Some(description) => format!("{}: {description}", refusal.error),
        None => refusal.error.clone(),
    };
    let (message, hint) = match refusal.error.as_str() {
        "access_denied" => {
            ("the sign-in was denied", format!("if that was a mistake, sign in again: `{again}`"))
        }
        "expired_token" => {
            ("the code expired before it was entered", format!("ask for a new one: `{again}`"))
        }
        "invalid_scope" => (
            "the provider does not grant the scopes",
            format!("name the ones it grants: `{}`", with(again, "--scopes", " S,S")),
        ),
        "invalid_client" | "unauthorized_client" => (
            "the provider does not accept the client",
            format!(
                "look at its id and secret: `{}`",
                with(again, "--client-id", " ID --client-secret-stdin")
            ),
        ),
        _ => ("the provider refused", format!("sign in again: `{again}`")),
    };
    Error::refused(message).caused_by(said).hint(hint)
}

/// Adds an option to a command that does not have it yet.
fn with(command: &str, option: &str, value: &str) -> String {
    if command.contains(option) { command.to_owned() } else { format!("{command} {option}{value}") }
}

#[cfg(test)]
mod tests;
