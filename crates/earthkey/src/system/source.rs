//! A login that was found, with everything that using it takes.

use url::Url;

use super::earthscope;
use super::google;
use super::openeo;
use super::provider::discover;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::http::Request;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::jwt_bearer;
use crate::oauth::jwt_bearer::Assertion;
use crate::oauth::metadata::IssuerComparison;
use crate::oauth::metadata::Metadata;
use crate::oauth::token;
use crate::secret::AccessToken;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;
use crate::store::ledger::Remembered;

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
    /// The Google Cloud project that requests are counted for.
    pub quota_project: Option<String>,
    /// Where that project is from, for messages.
    pub project_from: Option<String>,
    /// Whose login it is, where its file says so.
    pub account: Option<String>,
    /// What a person's organisation has asked for beyond the grant (Google's reauthentication).
    pub rapt: Option<RefreshToken>,
    /// The client and the endpoint that the grant was issued to.
    pub issued_to: IssuedTo,
    /// What names the file: who signs out does not remove it, and who signs in would not be heard.
    pub named_by: Option<NamedBy>,
}

/// Where it is known from to which client a grant was issued, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuedTo {
    /// From elsewhere, whatever the home holds.
    Elsewhere,
    /// The home named them when it was resolved, or held no login. Only a grant of which it still says
    /// the same goes there.
    Home(Option<Fingerprint>),
}

/// What names a file that is not one of the system's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedBy {
    /// A variable.
    Variable(&'static str),
    /// A login by a key: its path is remembered in `config.toml`.
    Login,
    /// Another system, whose login is used where there is none of this one.
    Other(System),
}

impl NamedBy {
    /// Says that a file is used because a variable names it, and how to do without.
    pub fn or_without(variable: &str) -> String {
        format!("`{variable}` names this file; do without it: `unset {variable}`")
    }
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

    /// Returns where the grant goes: the token endpoint, the issuer where that is yet to be asked for.
    pub fn place(&self) -> Option<Url> {
        match &self.endpoints {
            Endpoints::Known(metadata) if metadata.token_endpoint.is_some() => {
                metadata.token_endpoint.clone()
            }
            _ => Url::parse(&self.issuer).ok(),
        }
    }

    /// Returns the request that obtains a token with a grant at `now`, in Unix seconds.
    pub fn token_request(
        &self,
        endpoint: &Url,
        grant: &Grant,
        scopes: Option<&[String]>,
        audience: Option<&str>,
        now: u64,
    ) -> Result<Request> {
        let audience = audience.or(self.audience.as_deref());
        Ok(match grant {
            Grant::RefreshToken(token) if self.login.system == System::Earthscope => {
                earthscope::refresh_request(self, endpoint, token)
            }
            Grant::RefreshToken(token) => {
                // Google's own files say which scopes their clients ask for at each refresh.
                let of_file = Some(self.scopes.as_slice())
                    .filter(|scopes| self.login.system.is_of_google() && !scopes.is_empty());
                let scopes = scopes.or(of_file);
                let request = token::refresh_request(&self.client, endpoint, token, scopes);
                let request = match &self.rapt {
                    Some(rapt) => request.secret_field("rapt", rapt.expose()),
                    None => request,
                };
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
            Grant::ServiceAccount(account) => {
                let assertion = Assertion {
                    issuer: &account.email,
                    audience: &account.audience,
                    scopes: scopes.unwrap_or(&self.scopes),
                    now,
                };
                let signed = assertion.sign(&account.key, account.key_id.as_deref()).map_err(|error| {
                    Error::store(format!("`{}` cannot be used to sign", self.home.path.display()))
                        .caused_by(error)
                        .hint("make a new key for the account and download it as JSON")
                })?;
                jwt_bearer::request(endpoint, &signed)
            }
        })
    }

    /// Returns an error that says what a refusal means at this system's provider, if it is known.
    pub fn explain(&self, refusal: &Remembered, grant: Option<&Grant>, now: u64) -> Option<Error> {
        if self.login.system.is_of_google() { google::explain(self, refusal, grant, now) } else { None }
    }

    /// Returns the request that revokes a refresh token.
    pub fn revocation_request(&self, endpoint: &Url, token: &RefreshToken) -> Request {
        match self.login.system {
            System::Earthscope => earthscope::revocation_request(self, endpoint, token),
            system if system.is_of_google() => google::revocation_request(endpoint, token),
            _ => crate::oauth::revoke::request(
                &self.client,
                endpoint,
                token.expose(),
                crate::oauth::revoke::TokenTypeHint::RefreshToken,
            ),
        }
    }

    /// Returns the headers that show a token to the system, by name and value.
    pub fn header(&self, token: &AccessToken) -> Result<Vec<(&'static str, String)>> {
        let value = match &self.bearer {
            Bearer::Plain => format!("Bearer {}", token.expose()),
            Bearer::Openeo(provider) => format!("Bearer oidc/{provider}/{}", token.expose()),
            Bearer::OpeneoBasic => format!("Bearer basic//{}", token.expose()),
            Bearer::Unknown => return Err(openeo::no_back_end(&self.login)),
        };
        let quota_project = self.quota_project.clone().map(|project| (google::QUOTA_HEADER, project));
        Ok([("Authorization", value)].into_iter().chain(quota_project).collect())
    }

    /// Returns when the early window of a token begins: three quarters into its life, and before
    /// the thresholds of the SDK that owns the home.
    pub fn early_at(&self, obtained_at: u64, expires_at: u64) -> u64 {
        let life = expires_at.saturating_sub(obtained_at);
        let by_share = obtained_at + life / 4 * 3;
        match self.login.system {
            System::Earthscope => by_share.min(earthscope::early_at(obtained_at, expires_at)),
            system if system.is_of_google() => by_share.min(google::early_at(obtained_at, expires_at)),
            _ => by_share,
        }
    }
}
