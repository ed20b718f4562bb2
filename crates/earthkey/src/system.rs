//! What each system keeps where, and how it wants to be asked.
//!
//! One room per system, all with the same doors: [`plan`] says how to sign in, [`resolve`] finds
//! the login that exists, [`list`] finds every login of the system, [`check`] calls a real
//! endpoint. Nothing here sends a grant or writes a home.

pub mod earthscope;
pub mod oidc;
pub mod openeo;

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use earthkey_record::record::Dependency;
use earthkey_record::record::Expected;
use url::Url;

use crate::config::Config;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::host::Host;
use crate::host::Notice;
use crate::host::fs::FileKind;
use crate::host::http::Request;
use crate::host::http::Response;
use crate::host::http::SendError;
use crate::host::http::is_confidential;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::metadata;
use crate::oauth::metadata::IssuerComparison;
use crate::oauth::metadata::Metadata;
use crate::oauth::metadata::MetadataError;
use crate::oauth::token;
use crate::refresh::Access;
use crate::secret::AccessToken;
use crate::secret::ClientSecret;
use crate::secret::Password;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;

/// Bytes of a system's configuration file that are read at most.
const MAX_FILE: u64 = 1024 * 1024;

/// What resolution works with; it remembers everything that it looked at.
pub struct Context<'a> {
    /// The world.
    pub host: &'a Host,
    /// What is remembered of logins.
    pub config: &'a Config,
    looked_at: RefCell<Vec<(PathBuf, Look)>>,
}

/// What was found at a path.
enum Look {
    Absent,
    File(zeroize::Zeroizing<Vec<u8>>),
    Directory,
}

impl<'a> Context<'a> {
    /// Begins a resolution.
    pub fn new(host: &'a Host, config: &'a Config) -> Self {
        let look = match config.bytes() {
            Some(bytes) => Look::File(zeroize::Zeroizing::new(bytes.to_vec())),
            None => Look::Absent,
        };
        Self { host, config, looked_at: RefCell::new(vec![(config.path().clone(), look)]) }
    }

    /// Returns the sandbox that every system is moved to, if there is one.
    pub fn sandbox(&self) -> Result<Option<Url>> {
        let Some(text) = self.host.env.raw("EARTHKEY_SANDBOX") else { return Ok(None) };
        // Set and empty is a mistake that must not lead to the real systems.
        let text = text.to_str().unwrap_or_default();
        let url = Url::parse(text).ok().filter(crate::host::http::is_loopback);
        url.map(Some).ok_or_else(|| {
            Error::configuration("the sandbox's address is not one of this machine")
                .caused_by(printable(text, 200))
                .hint("start one and name it as it prints itself: `earthkey sandbox`")
        })
    }

    /// Returns where an address leads: to the sandbox where there is one, unless the address is of
    /// this machine itself.
    pub(crate) fn moved(&self, text: &str, place: &str) -> Result<Option<String>> {
        let Some(sandbox) = self.sandbox()? else { return Ok(None) };
        let is_local = Url::parse(text).is_ok_and(|url| crate::host::http::is_loopback(&url));
        if is_local {
            return Ok(None);
        }
        Ok(Some(format!("{sandbox}{place}")))
    }

    /// Says that an address is played by the sandbox.
    pub(crate) fn tell_moved(&self, named: &str, to: &str) {
        if named.trim_end_matches('/') != to.trim_end_matches('/') {
            self.host.interaction.tell(&Notice::Line(&format!("`{named}` is played by the sandbox")));
        }
    }

    /// Reads a file that the answer depends on; `None` where there is none.
    pub fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match self.host.fs.read(path, MAX_FILE) {
            Ok(bytes) => {
                self.looked(path, Look::File(zeroize::Zeroizing::new(bytes.clone())));
                Ok(Some(bytes))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.looked(path, Look::Absent);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether there is a directory that the answer depends on.
    pub fn is_directory(&self, path: &Path) -> bool {
        let found = self.host.fs.stat(path).is_ok_and(|stat| stat.kind == FileKind::Directory);
        self.looked(path, if found { Look::Directory } else { Look::Absent });
        found
    }

    /// Returns everything that was looked at, as a record keeps it.
    pub fn dependencies(&self) -> Vec<Dependency> {
        let expected = |look: &Look| match look {
            Look::Absent => Some(Expected::Absent),
            Look::Directory => Some(Expected::Directory),
            Look::File(bytes) => self.host.records.digest(bytes).map(Expected::File),
        };
        let looks = self.looked_at.borrow();
        looks
            .iter()
            .filter_map(|(path, look)| Some(Dependency { path: path.clone(), expected: expected(look)? }))
            .collect()
    }

    fn looked(&self, path: &Path, look: Look) {
        self.looked_at.borrow_mut().push((path.to_owned(), look));
    }
}

/// What a person asked for when signing in.
#[derive(Default)]
pub struct LoginOptions {
    /// The address: an issuer, an openEO back-end, an EarthScope domain.
    pub url: Option<String>,
    /// The flow.
    pub flow: Option<Flow>,
    /// The openEO back-end's name for the OpenID provider.
    pub provider: Option<String>,
    /// The client's id.
    pub client_id: Option<String>,
    /// The client's secret.
    pub client_secret: Option<ClientSecret>,
    /// The person's name, for `Flow::Basic`.
    pub username: Option<String>,
    /// The person's password, for `Flow::Basic`.
    pub password: Option<Password>,
    /// The refresh token that `Flow::Refresh` proves.
    pub refresh_token: Option<RefreshToken>,
    /// The scopes.
    pub scopes: Option<Vec<String>>,
    /// The audience.
    pub audience: Option<String>,
    /// Whether no browser is to be opened.
    pub no_browser: bool,
    /// Whether another account's login may be replaced.
    pub force: bool,
    /// How long a person is waited for.
    pub timeout: Option<Duration>,
    /// Whether nobody is there: a flow that needs a person is an error at once.
    pub unattended: bool,
}

/// How to sign in: what the flow needs, and where the grant goes then.
pub struct Signing {
    /// What the flow needs.
    pub plan: Plan,
    /// The flow.
    pub flow: Flow,
    /// Where the grant goes.
    pub source: Source,
    /// What is remembered.
    pub profile: Profile,
    /// Where the system's own client must be told which client was chosen.
    pub companion: Option<Home>,
}

/// A login that was found, with everything that using it takes.
#[derive(Clone)]
pub struct Source {
    /// The login.
    pub login: Login,
    /// Where its grant lives.
    pub home: Home,
    /// What a variable or the configuration gives; it is in the home only once it was used.
    pub given: Option<Contents>,
    /// Who asks for tokens.
    pub client: Client,
    /// The issuer that the grant is bound to.
    pub issuer: String,
    /// Where its endpoints are.
    pub endpoints: Endpoints,
    /// The scopes that a refresh names; none is the scopes of the login.
    pub scopes: Vec<String>,
    /// For which resource, where the provider wants to know.
    pub audience: Option<String>,
    /// How a token is shown to the system.
    pub bearer: Bearer,
    /// The system's own API, where one is known.
    pub api: Option<Url>,
}

/// Where the endpoints of a provider are.
#[derive(Clone)]
pub enum Endpoints {
    /// Known.
    Known(Box<Metadata>),
    /// To be asked for at the issuer.
    Discover(IssuerComparison),
    /// To be asked for at an openEO back-end that takes a name and a password.
    BackEnd(Url),
}

/// How a token is shown to a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// `Bearer TOKEN` (RFC 6750, section 2.1).
    Plain,
    /// `Bearer oidc/PROVIDER/TOKEN` (openEO API, section "Bearer").
    Openeo(String),
    /// `Bearer basic//TOKEN` (openEO API, section "Bearer").
    OpeneoBasic,
    /// Not known: the token's issuer is known, but not for which back-end it is.
    Unknown,
}

impl Source {
    /// Returns the metadata of the provider, asking for it where that is needed.
    pub async fn metadata(&self, host: &Host) -> Result<Metadata> {
        match &self.endpoints {
            Endpoints::Known(metadata) => Ok((**metadata).clone()),
            Endpoints::Discover(comparison) => discover(host, &self.issuer, *comparison).await,
            Endpoints::BackEnd(url) => openeo::basic_metadata(host, url).await,
        }
    }

    /// Returns the request that obtains a token with a grant.
    pub fn token_request(
        &self,
        endpoint: &Url,
        grant: &Grant,
        scopes: Option<&[String]>,
        audience: Option<&str>,
    ) -> Request {
        let audience = audience.or(self.audience.as_deref());
        match grant {
            Grant::RefreshToken(token) if self.login.system == System::Earthscope => {
                earthscope::refresh_request(self, endpoint, token)
            }
            Grant::RefreshToken(token) => {
                let request = token::refresh_request(&self.client, endpoint, token, scopes);
                match audience {
                    Some(audience) => request.field("audience", audience),
                    None => request,
                }
            }
            Grant::ClientCredentials(_) => token::client_credentials_request(
                &self.client,
                endpoint,
                scopes.unwrap_or(&self.scopes),
                audience,
            ),
            Grant::Basic { username, password } => openeo::basic_request(endpoint, username, password),
        }
    }

    /// Returns the request that revokes a refresh token.
    pub fn revocation_request(&self, endpoint: &Url, token: &RefreshToken) -> Request {
        match self.login.system {
            System::Earthscope => earthscope::revocation_request(self, endpoint, token),
            _ => crate::oauth::revoke::request(
                &self.client,
                endpoint,
                token.expose(),
                crate::oauth::revoke::TokenTypeHint::RefreshToken,
            ),
        }
    }

    /// Returns the header lines that show a token to the system.
    pub fn header(&self, token: &AccessToken) -> Result<Vec<(&'static str, String)>> {
        let value = match &self.bearer {
            Bearer::Plain => format!("Bearer {}", token.expose()),
            Bearer::Openeo(provider) => format!("Bearer oidc/{provider}/{}", token.expose()),
            Bearer::OpeneoBasic => format!("Bearer basic//{}", token.expose()),
            Bearer::Unknown => return Err(openeo::no_back_end(&self.login)),
        };
        Ok(vec![("Authorization", value)])
    }

    /// Returns when the early window of a token begins: three quarters into its life, and before
    /// the thresholds of the SDK that owns the home.
    pub fn early_at(&self, obtained_at: u64, expires_at: u64) -> u64 {
        let life = expires_at.saturating_sub(obtained_at);
        let by_share = obtained_at + life / 4 * 3;
        match self.login.system {
            System::Earthscope => by_share.min(earthscope::early_at(obtained_at, expires_at)),
            _ => by_share,
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The account, as the system knows it.
    pub account: Option<String>,
    /// What was called.
    pub called: String,
}

/// Says how to sign in.
pub async fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    match login.system {
        System::Oidc => oidc::plan(cx, login, options).await,
        System::Earthscope => earthscope::plan(cx, login, options),
        System::Openeo => openeo::plan(cx, login, options).await,
    }
}

/// Finds the login that exists, or where it would be.
pub async fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    match login.system {
        System::Oidc => oidc::resolve(cx, login),
        System::Earthscope => earthscope::resolve(cx, login),
        System::Openeo => openeo::resolve(cx, login).await,
    }
}

/// Finds every login of a system, without the network.
pub fn list(cx: &Context<'_>, system: System) -> Result<Vec<Login>> {
    match system {
        System::Oidc => oidc::list(cx),
        System::Earthscope => earthscope::list(cx),
        System::Openeo => openeo::list(cx),
    }
}

/// Returns where each system's own files lie, by what they are.
pub fn homes(cx: &Context<'_>) -> Result<Vec<(String, PathBuf)>> {
    let mut homes = vec![
        ("earthscope".to_owned(), earthscope::directory(cx)?),
        ("oidc".to_owned(), oidc::directory(cx.host)?),
    ];
    homes.extend(openeo::files(cx)?);
    Ok(homes)
}

/// Calls a real endpoint of the system with a token.
pub async fn check(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    match source.login.system {
        System::Oidc => oidc::check(cx, source, access).await,
        System::Earthscope => earthscope::check(cx, source, access).await,
        System::Openeo => openeo::check(cx, source, access).await,
    }
}

/// Fetches a JSON document that no secret is needed for.
pub(crate) async fn fetch(host: &Host, url: Url, what: &str) -> Result<Response> {
    if !is_confidential(&url) {
        return Err(plain_http(&url));
    }
    let shown = crate::host::http::Loggable(&url).to_string();
    let sent = host.http.send(Request::get(url)).await;
    sent.map_err(|error| {
        Error::network(format!("{what} cannot be fetched from `{shown}`"))
            .caused_by(error)
            .hint("look at the address and at the network")
    })
}

/// Fetches a provider's metadata.
pub(crate) async fn discover(host: &Host, issuer: &str, comparison: IssuerComparison) -> Result<Metadata> {
    let url = address(issuer, "issuer")?;
    if !is_confidential(&url) {
        return Err(plain_http(&url));
    }
    let mut first = None;
    for candidate in metadata::candidates(&url) {
        let response = host.http.send(Request::get(candidate)).await.map_err(|error| {
            let what = match error {
                SendError::NotSent(_) => "cannot be reached",
                _ => "gives no usable answer",
            };
            Error::network(format!("`{issuer}` {what}"))
                .caused_by(error)
                .hint("look at the address and at the network")
        })?;
        match metadata::parse(issuer, comparison, &response) {
            Ok(metadata) => return Ok(metadata),
            Err(MetadataError::Status(status @ (429 | 500..))) => {
                return Err(Error::network(format!("`{issuer}` answers with status {status}"))
                    .hint("the provider has trouble; try again later"));
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    let error = Error::configuration(format!("`{issuer}` is no OpenID provider that can be used"))
        .hint("look at the address: it is the `issuer` in the provider's `.well-known/openid-configuration`");
    Err(match first {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// Reads an address that a person or a file gave; https where it has no scheme.
pub(crate) fn address(text: &str, what: &str) -> Result<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&with_scheme).ok().filter(|url| url.has_host() && url.username().is_empty());
    url.ok_or_else(|| {
        Error::configuration(format!("`{}` is no address of an {what}", printable(text, 200)))
            .hint("give it like `https://HOST/PATH`")
    })
}

pub(crate) fn plain_http(url: &Url) -> Error {
    Error::configuration(format!("`{url}` is not https")).hint(
        "use https; plain http is for `127.0.0.1` and `[::1]` alone, since anybody on the way can read it",
    )
}

/// Calls a GET endpoint with a token and reads the JSON object that it answers with.
pub(crate) async fn call(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    url: Url,
) -> Result<serde_json::Map<String, serde_json::Value>> {
    let shown = crate::host::http::Loggable(&url).to_string();
    let mut request = Request::get(url);
    for (_, value) in source.header(&access.token)? {
        request = request.authorization(&value);
    }
    let response = cx.host.http.send(request).await.map_err(|error| {
        Error::network(format!("`{shown}` gives no answer"))
            .caused_by(error)
            .hint("look at the network, and try again")
    })?;
    let said = String::from_utf8_lossy(&response.body);
    match response.status {
        200..300 => serde_json::from_slice(&response.body).map_err(|error| {
            // The error's own text quotes what it found, which may be the token.
            Error::network(format!("`{shown}` answers with no JSON object"))
                .caused_by(format!("line {}, column {}", error.line(), error.column()))
                .hint("look at the address; a proxy or a portal may stand between")
        }),
        401 | 403 => Err(Error::refused(format!("`{shown}` does not accept the token"))
            .caused_by(format!("status {}: {}", response.status, redacted(&said, &access.token)))
            .hint(format!("get a new one: `earthkey token {} --refresh`", source.login))
            .hint(format!("if that does not help, sign in: `earthkey login {}`", source.login))),
        status => Err(Error::network(format!("`{shown}` answers with status {status}"))
            .caused_by(redacted(&said, &access.token))
            .hint("try again later")),
    }
}

/// A server may echo what it was sent.
fn redacted(text: &str, token: &AccessToken) -> String {
    printable(&text.replace(token.expose(), "****"), 200)
}
