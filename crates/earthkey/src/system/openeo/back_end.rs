//! What a back-end says of itself: versions, capabilities, OpenID providers.

use serde_json::Map;
use serde_json::Value;
use url::Url;

use super::super::address;
use super::super::fetch;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::Host;
use crate::host::http::Response;
use crate::oauth::authorize::allowed_parameters;

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
const DEVICE_PKCE: &str = "urn:ietf:params:oauth:grant-type:device_code+pkce";
const REFRESH: &str = "refresh_token";

/// Providers that are read at most.
const MAX_PROVIDERS: usize = 50;

/// A back-end of a version that we speak.
pub(super) struct BackEnd {
    /// The root of its API, without a slash at the end.
    pub(super) root: Url,
}

/// An OpenID provider of a back-end.
pub(super) struct Provider {
    /// The back-end's name for it.
    pub(super) id: String,
    /// Its issuer, as the back-end writes it.
    pub(super) issuer: String,
    /// The parameters that the back-end wants sent along.
    pub(super) parameters: Vec<(String, String)>,
    scopes: Vec<String>,
    default_clients: Vec<DefaultClient>,
}

struct DefaultClient {
    id: String,
    grant_types: Vec<String>,
}

/// Tells a server that cannot answer now from one that answers otherwise than it should.
fn has_no_trouble(root: &Url, answer: &Response) -> Result<()> {
    match answer.status {
        status @ (429 | 500..) => {
            Err(Error::network(format!("the back-end `{root}` answers with status {status}"))
                .hint("it has trouble; try again later"))
        }
        _ => Ok(()),
    }
}

impl BackEnd {
    /// Finds the API of a back-end: by its version document, else at the address itself.
    pub(super) async fn discover(host: &Host, url: &Url) -> Result<Self> {
        let well_known = fetch(host, below(url, ".well-known/openeo")?, "the back-end's versions").await?;
        let root = match object(&well_known).as_ref().and_then(|document| newest(document)) {
            Some(version) => {
                let root = address(version, "openEO back-end")?;
                if root.origin() != url.origin() {
                    return Err(Error::configuration(format!("`{url}` leads to another place: `{root}`"))
                        .hint(format!(
                            "if that is right, name it yourself: `earthkey login openeo {root}`"
                        )));
                }
                root
            }
            None => url.clone(),
        };
        let capabilities = fetch(host, below(&root, "")?, "the back-end's capabilities").await?;
        has_no_trouble(&root, &capabilities)?;
        let version = object(&capabilities)
            .and_then(|document| Some(document.get("api_version")?.as_str()?.to_owned()))
            .filter(|version| numbers(version) >= [1, 0, 0]);
        match version {
            Some(_) => Ok(Self { root }),
            None => Err(Error::configuration(format!("`{url}` is no openEO back-end of version 1"))
                .caused_by(describe(&capabilities))
                .hint("look at the address; it is the one that `openeo.connect(…)` takes")),
        }
    }

    /// Fetches the OpenID providers; the first is the default.
    pub(super) async fn providers(&self, host: &Host) -> Result<Vec<Provider>> {
        let answer = fetch(host, below(&self.root, "credentials/oidc")?, "the back-end's providers").await?;
        has_no_trouble(&self.root, &answer)?;
        let unusable = |what: String| {
            Error::configuration(format!("`{}` lists no usable OpenID providers", self.root))
                .caused_by(what)
                .hint("tell the back-end; it may offer basic authentication alone")
        };
        let document = object(&answer).ok_or_else(|| unusable(describe(&answer)))?;
        let list = document.get("providers").and_then(Value::as_array);
        let list = list.ok_or_else(|| unusable("`providers` is missing".into()))?;
        list.iter().take(MAX_PROVIDERS).map(|entry| Provider::read(entry).map_err(unusable)).collect()
    }
}

impl Provider {
    fn read(entry: &Value) -> Result<Self, String> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = text("id").ok_or("a provider has no `id`")?;
        // It becomes part of a header.
        if id.is_empty()
            || id.len() > 64
            || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            return Err(format!("`{}` is no provider id", printable(&id, 40)));
        }
        let issuer = text("issuer").ok_or_else(|| format!("the provider `{id}` has no `issuer`"))?;
        let parameters = entry.get("authorization_parameters").and_then(Value::as_object);
        let parameters = parameters
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        let parameters = allowed_parameters(parameters).map_err(|error| error.to_string())?;
        let clients = entry.get("default_clients").and_then(Value::as_array);
        let default_clients = clients.into_iter().flatten().filter_map(|client| {
            Some(DefaultClient {
                id: client.get("id")?.as_str()?.to_owned(),
                grant_types: texts(client.get("grant_types")),
            })
        });
        Ok(Self {
            id,
            issuer,
            parameters,
            scopes: texts(entry.get("scopes")),
            default_clients: default_clients.collect(),
        })
    }

    /// Returns the scopes that every login asks for, as the Python client does.
    pub(super) fn scopes(&self) -> Vec<String> {
        let mut scopes = self.scopes.clone();
        scopes.push("openid".into());
        scopes.sort();
        scopes.dedup();
        scopes
    }

    /// Returns the scopes of a login that is to be refreshed, as the Python client asks for them.
    pub(super) fn scopes_with_offline_access(&self) -> Vec<String> {
        let mut scopes = self.scopes();
        // Google knows no such scope and refuses the whole request.
        if !self.issuer.starts_with("https://accounts.google.com") {
            scopes.push("offline_access".into());
        }
        scopes.sort();
        scopes
    }

    /// Returns the first default client that can sign in by a device, one that can refresh before
    /// one that cannot.
    pub(super) fn default_client(&self) -> Option<String> {
        let by_device = || {
            self.default_clients.iter().filter(|client| {
                client.grant_types.iter().any(|grant| grant == DEVICE || grant == DEVICE_PKCE)
            })
        };
        let refreshes = |client: &&DefaultClient| client.grant_types.iter().any(|grant| grant == REFRESH);
        by_device().find(refreshes).or_else(|| by_device().next()).map(|client| client.id.clone())
    }

    /// Returns whether a default client wants a proof key in the device flow.
    pub(super) fn device_pkce(&self, client_id: &str) -> bool {
        let clients = self.default_clients.iter().filter(|client| client.id == client_id);
        clients.flat_map(|client| &client.grant_types).any(|grant| grant == DEVICE_PKCE)
    }
}

/// Returns a path below an address, which keeps its own path.
pub(super) fn below(base: &Url, path: &str) -> Result<Url> {
    let joined = format!("{}/{path}", base.as_str().trim_end_matches('/'));
    address(&joined, "openEO back-end")
}

/// Returns the address of the newest version, a production one before others.
fn newest(document: &Map<String, Value>) -> Option<&str> {
    let versions = document.get("versions")?.as_array()?;
    let usable = versions.iter().filter_map(|version| {
        let number = numbers(version.get("api_version")?.as_str()?);
        let production = version.get("production").and_then(Value::as_bool).unwrap_or(true);
        // A next major version may be spoken differently.
        let known = ([1, 0, 0]..[2, 0, 0]).contains(&number);
        known.then_some(((production, number), version.get("url")?.as_str()?))
    });
    usable.max_by_key(|(rank, _)| *rank).map(|(_, url)| url)
}

/// Reads a version as numbers: `1.10.0` is newer than `1.9.0`.
fn numbers(version: &str) -> [u64; 3] {
    let mut numbers = [0; 3];
    let plain = version.split(['-', '+']).next().unwrap_or("");
    for (number, text) in numbers.iter_mut().zip(plain.split('.')) {
        *number = text.parse().unwrap_or(0);
    }
    numbers
}

fn object(response: &Response) -> Option<Map<String, Value>> {
    if response.is_success() { serde_json::from_slice(&response.body).ok() } else { None }
}

fn describe(response: &Response) -> String {
    let kind = response.header(http::header::CONTENT_TYPE).unwrap_or("no type");
    format!("status {}, {}", response.status, printable(kind, 80))
}

fn texts(list: Option<&Value>) -> Vec<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_production_version_is_taken_by_number() {
        let document = serde_json::json!({"versions": [
            {"url": "https://b.test/1.9", "api_version": "1.9.0"},
            {"url": "https://b.test/1.10", "api_version": "1.10.0"},
            {"url": "https://b.test/dev", "api_version": "1.11.0", "production": false},
            {"url": "https://b.test/2", "api_version": "2.0.0"},
            {"url": "https://b.test/0", "api_version": "0.4.2"},
        ]});
        assert_eq!(newest(document.as_object().unwrap()), Some("https://b.test/1.10"));
    }

    #[test]
    fn a_server_cannot_set_our_own_parameters() {
        let provider = |name: &str| serde_json::json!({"id": "p", "issuer": "https://i.test", "authorization_parameters": {name: "x"}});
        assert!(Provider::read(&provider("access_type")).is_ok());
        assert!(Provider::read(&provider("redirect_uri")).is_err());
        assert!(Provider::read(&serde_json::json!({"id": "a/b", "issuer": "https://i.test"})).is_err());
    }

    #[test]
    fn a_client_that_can_refresh_goes_before_one_that_cannot() {
        let provider = Provider::read(&serde_json::json!({
            "id": "p", "issuer": "https://i.test", "scopes": ["openid", "email"], "default_clients": [
                {"id": "editor", "grant_types": ["authorization_code+pkce"]},
                {"id": "device-only", "grant_types": [DEVICE]},
                {"id": "full", "grant_types": [DEVICE_PKCE, REFRESH]},
            ]
        }))
        .unwrap();
        assert_eq!(provider.default_client().as_deref(), Some("full"));
        assert!(provider.device_pkce("full") && !provider.device_pkce("device-only"));
        assert_eq!(provider.scopes_with_offline_access(), ["email", "offline_access", "openid"]);
    }
}
