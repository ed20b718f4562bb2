//! Clients of a provider: the built-in ones, and how a client proves itself.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;
use url::{Host, Url, form_urlencoded};

use crate::error::{OAuthError, Why};
use crate::google;
use crate::params::Params;
use crate::provider::Realm;
use crate::secret::Digest;
use crate::state::State;

/// The client identifier of EarthScope's own SDK and command line.
const EARTHSCOPE_CLIENT: &str = "b9DtAFBd6QvMg761vI3YhYquNZbJX5G0";

/// The secret of the confidential built-in clients.
const SECRET: &str = "sandbox-secret";

/// A registered client (RFC 6749 section 2).
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) authentication: Authentication,
    pub(crate) grants: Vec<GrantType>,
    pub(crate) redirects: Redirects,
    /// Whether the device flow needs a code challenge, as openEO's `device_code+pkce` says.
    pub(crate) device_pkce: bool,
    pub(crate) id_token_algorithm: Algorithm,
}

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authentication {
    /// A public client.
    None,
    /// `client_secret_basic` or `client_secret_post`.
    Any(Digest),
    /// `client_secret_basic` alone.
    Basic(Digest),
    /// `client_secret_post` alone.
    Post(Digest),
}

/// A grant type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GrantType {
    AuthorizationCode,
    ClientCredentials,
    DeviceCode,
    /// A signed assertion of a service account (RFC 7523 section 2.1).
    JwtBearer,
    RefreshToken,
}

/// The redirect URIs a client may use.
#[derive(Clone, Debug)]
pub(crate) enum Redirects {
    /// Any on loopback (RFC 8252 section 7.3).
    Loopback,
    /// Those registered, the port of a loopback one being free.
    Registered(Vec<Url>),
}

impl Client {
    /// Returns the clients that a realm starts with.
    pub(crate) fn built_in(realm: Realm) -> Vec<Arc<Self>> {
        use GrantType::{AuthorizationCode, ClientCredentials, DeviceCode, RefreshToken};
        let interactive = vec![AuthorizationCode, DeviceCode, RefreshToken];
        let secret = Authentication::Any(Digest::of(SECRET));
        let clients = match realm {
            Realm::Oidc => vec![
                Self::new("sandbox-public", "Sandbox application", Authentication::None, interactive.clone()),
                Self::new(
                    "sandbox-confidential",
                    "Sandbox web service",
                    secret,
                    [vec![ClientCredentials], interactive].concat(),
                ),
            ],
            Realm::Openeo => vec![
                Self {
                    device_pkce: true,
                    ..Self::new("sandbox-openeo", "openEO clients", Authentication::None, interactive)
                },
                Self::new("sandbox-openeo-service", "openEO service", secret, vec![ClientCredentials]),
            ],
            Realm::Earthscope => vec![
                Self::new(
                    EARTHSCOPE_CLIENT,
                    "EarthScope CLI and SDK",
                    Authentication::None,
                    vec![DeviceCode, RefreshToken],
                ),
                Self::new("sandbox-m2m", "EarthScope machine client", secret, vec![ClientCredentials]),
            ],
            Realm::Google => google::clients(),
        };
        clients.into_iter().map(Arc::new).collect()
    }

    /// Returns a client that may be redirected to loopback.
    pub(crate) fn new(id: &str, name: &str, authentication: Authentication, grants: Vec<GrantType>) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            authentication,
            grants,
            redirects: Redirects::Loopback,
            device_pkce: false,
            id_token_algorithm: Algorithm::RS256,
        }
    }

    /// Returns the client that sent a request to an endpoint at which clients authenticate
    /// (RFC 6749 section 2.3).
    pub(crate) fn authenticate(
        state: &State,
        headers: &HeaderMap,
        params: &Params,
    ) -> Result<Arc<Self>, OAuthError> {
        let by_header = headers.contains_key(AUTHORIZATION);
        let basic = http_basic(headers).map(|(id, secret)| (decode(&id), decode(&secret)));
        if by_header && basic.is_none() {
            return Err(OAuthError::invalid_client("the Authorization header is not HTTP Basic", true));
        }
        let (id, secret) = match (basic, params.get("client_id"), params.get("client_secret")) {
            (Some(_), _, Some(_)) => {
                return Err(OAuthError::invalid_request("the client authenticates in two ways"));
            }
            (Some((id, _)), Some(other), _) if id != other => {
                return Err(OAuthError::invalid_request("client_id and the Authorization header differ"));
            }
            (Some((id, secret)), _, None) => (id, Some(secret)),
            (None, Some(id), secret) => (id.to_owned(), secret.map(str::to_owned)),
            (None, None, _) => {
                return Err(OAuthError::invalid_client("client_id is missing", false).because(Why::NoClient));
            }
        };
        let refused = |why| OAuthError::invalid_client(why, by_header);
        let unknown = || refused("unknown client").because(Why::UnknownClient);
        let client = state.client(&id).ok_or_else(unknown)?;
        let (expected, header_only, body_only) = match client.authentication {
            Authentication::None if secret.is_none() => return Ok(client),
            Authentication::None => return Err(refused("a public client has no secret")),
            Authentication::Any(expected) => (expected, state.settings.require_basic_auth, false),
            Authentication::Basic(expected) => (expected, true, false),
            Authentication::Post(expected) => (expected, false, true),
        };
        if (header_only && !by_header) || (body_only && by_header) {
            return Err(refused("another authentication method is registered for this client"));
        }
        let reason = if secret.is_some() { Why::WrongSecret } else { Why::NoSecret };
        if !secret.is_some_and(|secret| expected.matches(&secret)) {
            return Err(refused("the client secret is missing or wrong").because(reason));
        }
        Ok(client)
    }

    /// Returns whether the client has no secret.
    pub(crate) fn is_public(&self) -> bool {
        self.authentication == Authentication::None
    }

    /// Returns whether the client may use a grant type.
    pub(crate) fn may(&self, grant: GrantType) -> bool {
        self.grants.contains(&grant)
    }

    /// Returns `uri` if the client may be redirected there.
    pub(crate) fn redirect_uri(&self, uri: &str) -> Option<Url> {
        let url = Url::parse(uri).ok().filter(|url| !has_forbidden_parts(url))?;
        let allowed = match &self.redirects {
            Redirects::Loopback => is_loopback(&url),
            Redirects::Registered(registered) => registered.iter().any(|own| {
                *own == url || (is_loopback(own) && is_loopback(&url) && same_but_port(own, &url))
            }),
        };
        allowed.then_some(url)
    }
}

impl GrantType {
    /// Every grant type.
    const ALL: [Self; 5] = [
        Self::AuthorizationCode,
        Self::ClientCredentials,
        Self::DeviceCode,
        Self::JwtBearer,
        Self::RefreshToken,
    ];

    /// Returns the name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
            Self::RefreshToken => "refresh_token",
        }
    }

    /// Returns the grant type of this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant| grant.as_str() == name)
    }

    /// Returns the names of what a realm offers.
    pub(crate) fn offered(realm: Realm) -> Vec<&'static str> {
        Self::ALL.into_iter().filter(|grant| grant.is_of(realm)).map(Self::as_str).collect()
    }

    /// Returns whether a realm knows the grant type at all.
    pub(crate) fn is_of(self, realm: Realm) -> bool {
        match realm {
            Realm::Google => matches!(self, Self::AuthorizationCode | Self::JwtBearer | Self::RefreshToken),
            Realm::Oidc | Realm::Openeo | Realm::Earthscope => self != Self::JwtBearer,
        }
    }
}

/// Returns name and password of an HTTP Basic header (RFC 7617).
pub(crate) fn http_basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let bytes = STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(bytes).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    pair.split_once(':').map(|(name, password)| (name.to_owned(), password.to_owned()))
}

/// Returns whether a URI is plain HTTP on loopback (RFC 8252 sections 7.3 and 8.3).
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http"
        && match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
}

/// Returns whether a URI has parts that no redirect URI may have (RFC 6749 section 3.1.2).
pub(crate) fn has_forbidden_parts(url: &Url) -> bool {
    url.fragment().is_some() || !url.username().is_empty() || url.password().is_some()
}

fn same_but_port(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.path() == other.path() && one.query() == other.query()
}

/// Undoes the form encoding below HTTP Basic, leaving alone what was never encoded.
fn decode(encoded: &str) -> String {
    let pair = format!("value={}", encoded.replace('&', "%26"));
    let mut pairs = form_urlencoded::parse(pair.as_bytes());
    pairs.next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(client: &Client, uri: &str) -> bool {
        client.redirect_uri(uri).is_some()
    }

    #[test]
    fn native_clients_may_use_any_loopback_port_and_nothing_else() {
        let client = &Client::built_in(Realm::Oidc)[0];
        for uri in ["http://127.0.0.1:1/cb", "http://[::1]:2/", "http://localhost:3/callback?x=1"] {
            assert!(allowed(client, uri), "{uri}");
        }
        for uri in [
            "https://127.0.0.1/cb",
            "http://example.org/",
            "http://localhost.example.org/",
            "http://127.0.0.1@example.org/",
            "http://user@127.0.0.1/",
            "http://127.0.0.1/#fragment",
            "urn:ietf:wg:oauth:2.0:oob",
            "not a uri",
        ] {
            assert!(!allowed(client, uri), "{uri}");
        }
    }

    #[test]
    fn basic_credentials_are_form_encoded_below() {
        assert_eq!(decode("a%3Ab+c"), "a:b c");
        assert_eq!(decode("a=b&c"), "a=b&c");
    }

    #[test]
    fn registered_uris_are_exact_but_for_a_loopback_port() {
        let registered = ["http://127.0.0.1/cb", "https://app.example/cb"];
        let registered = registered.iter().map(|uri| Url::parse(uri).unwrap()).collect();
        let client = Client {
            redirects: Redirects::Registered(registered),
            ..Client::clone(&Client::built_in(Realm::Oidc)[0])
        };
        assert!(allowed(&client, "http://127.0.0.1:5/cb"));
        assert!(allowed(&client, "https://app.example/cb"));
        assert!(!allowed(&client, "http://127.0.0.1:5/other"));
        assert!(!allowed(&client, "http://localhost:5/cb"));
        assert!(!allowed(&client, "https://app.example:444/cb"));
        assert!(!allowed(&client, "https://app.example/cb?x=1"));
    }
}
