//! The file of an `oidc` login: a JSON object of our own.
//!
//! ```json
//! {"version": 1, "issuer": "https://…", "client_id": "…", "client_secret": "…",
//!  "client_authentication": "none", "flow": "device", "scopes": ["openid"], "audience": null,
//!  "endpoints": {"token": "https://…", "revocation": "…", "userinfo": "…"},
//!  "refresh_token": "…", "id_token": "…"}
//! ```

use serde::Deserialize;
use serde::Serialize;
use url::Url;
use zeroize::Zeroizing;

use crate::host::http::is_confidential;
use crate::oauth::client::Client;
use crate::oauth::client::ClientAuthentication;
use crate::oauth::metadata::Metadata;
use crate::secret::ClientSecret;
use crate::secret::Fingerprint;
use crate::secret::IdToken;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Slot;
use crate::store::slot::Damage;

const VERSION: u32 = 1;

/// What the file says besides tokens.
#[derive(Clone)]
pub(super) struct Settings {
    /// Names the client and the endpoint, in settings that were read.
    pub(super) issued_to: Option<Fingerprint>,
    pub(super) issuer: String,
    pub(super) client: Client,
    pub(super) flow: String,
    pub(super) scopes: Vec<String>,
    pub(super) audience: Option<String>,
    pub(super) metadata: Metadata,
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    issuer: String,
    client_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<Zeroizing<String>>,
    client_authentication: Authentication,
    flow: String,
    scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audience: Option<String>,
    endpoints: Endpoints,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refresh_token: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_token: Option<Zeroizing<String>>,
    /// What another version of earthkey keeps here.
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Authentication {
    None,
    ClientSecretBasic,
    ClientSecretPost,
}

#[derive(Serialize, Deserialize)]
struct Endpoints {
    token: Url,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revocation: Option<Url>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    userinfo: Option<Url>,
}

impl Settings {
    /// Reads the settings of a file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let file = parse(bytes)?;
        let issued_to = issued_to(&file);
        let Endpoints { token, revocation, userinfo } = file.endpoints;
        for endpoint in [Some(&token), revocation.as_ref(), userinfo.as_ref()].into_iter().flatten() {
            if !is_confidential(endpoint) {
                return Err(Damage(format!("the endpoint `{endpoint}` is not https")));
            }
        }
        let secret = || {
            let secret = file.client_secret.as_ref().map(|secret| ClientSecret::new(secret.as_str()));
            secret.ok_or_else(|| Damage("`client_secret` is missing".into()))
        };
        let authentication = match file.client_authentication {
            Authentication::None => ClientAuthentication::None,
            Authentication::ClientSecretBasic => ClientAuthentication::SecretBasic(secret()?),
            Authentication::ClientSecretPost => ClientAuthentication::SecretPost(secret()?),
        };
        Ok(Self {
            issuer: file.issuer.clone(),
            client: Client { id: file.client_id, authentication },
            issued_to: Some(issued_to),
            flow: file.flow,
            scopes: file.scopes,
            audience: file.audience,
            metadata: Metadata {
                issuer: file.issuer,
                token_endpoint: Some(token),
                revocation_endpoint: revocation,
                userinfo_endpoint: userinfo,
                ..Metadata::default()
            },
        })
    }
}

/// Reads what the file holds.
fn contents(file: &[u8]) -> Result<Contents, Damage> {
    let file = parse(file)?;
    let secret = |text: &Zeroizing<String>| text.as_str().to_owned();
    let grant = match (file.flow.as_str(), &file.refresh_token, &file.client_secret) {
        ("client-credentials", _, Some(client_secret)) => {
            Some(Grant::ClientCredentials(ClientSecret::new(secret(client_secret))))
        }
        (_, Some(token), _) => Some(Grant::RefreshToken(RefreshToken::new(secret(token)))),
        _ => None,
    };
    let id_token = file.id_token.as_ref().map(|token| IdToken::new(secret(token)));
    let issued_to = Some(issued_to(&file));
    Ok(Contents { grant, id_token, issued_to, ..Contents::default() })
}

/// The place of a login whose file is gone.
pub(super) struct GoneSlot;

impl Slot for GoneSlot {
    fn name(&self) -> String {
        String::new()
    }

    /// Somebody may have signed in meanwhile.
    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        contents(file).map(Some)
    }

    fn write(&self, _: Option<&[u8]>, _: &Contents) -> Result<Vec<u8>, Damage> {
        Err(Damage("there is no login to write".into()))
    }

    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        Ok(Some(file.to_vec()))
    }
}

/// The whole file is one login's.
pub(super) struct OidcSlot {
    pub(super) settings: Settings,
}

impl Slot for OidcSlot {
    fn name(&self) -> String {
        String::new()
    }

    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage> {
        contents(file).map(Some)
    }

    fn write(&self, old: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage> {
        let others = match old {
            Some(old) => parse(old)?.others,
            None => serde_json::Map::new(),
        };
        let settings = &self.settings;
        let (client_authentication, client_secret) = match &settings.client.authentication {
            ClientAuthentication::None => (Authentication::None, None),
            ClientAuthentication::SecretBasic(secret) => (Authentication::ClientSecretBasic, Some(secret)),
            ClientAuthentication::SecretPost(secret) => (Authentication::ClientSecretPost, Some(secret)),
        };
        let token = settings.metadata.token_endpoint.clone();
        let refresh_token = match &contents.grant {
            Some(Grant::RefreshToken(token)) => Some(Zeroizing::new(token.expose().to_owned())),
            _ => None,
        };
        let file = File {
            version: VERSION,
            issuer: settings.issuer.clone(),
            client_id: settings.client.id.clone(),
            client_secret: client_secret.map(|secret| Zeroizing::new(secret.expose().to_owned())),
            client_authentication,
            flow: settings.flow.clone(),
            scopes: settings.scopes.clone(),
            audience: settings.audience.clone(),
            endpoints: Endpoints {
                token: token.ok_or_else(|| Damage("there is no token endpoint to keep".into()))?,
                revocation: settings.metadata.revocation_endpoint.clone(),
                userinfo: settings.metadata.userinfo_endpoint.clone(),
            },
            refresh_token,
            id_token: contents.id_token.as_ref().map(|token| Zeroizing::new(token.expose().to_owned())),
            others,
        };
        let mut bytes = serde_json::to_vec_pretty(&file).map_err(|error| Damage(error.to_string()))?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn clear(&self, _: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
        Ok(None)
    }
}

/// Names the client, with its secret, and the token endpoint.
fn issued_to(file: &File) -> Fingerprint {
    let secret = file.client_secret.as_ref().map_or("", |secret| secret.as_str());
    Fingerprint::of(&format!("{}\n{secret}\n{}", file.client_id, file.endpoints.token))
}

fn parse(bytes: &[u8]) -> Result<File, Damage> {
    // serde's own words may quote a value, and with it a token.
    let file: File = serde_json::from_slice(bytes).map_err(|error| {
        Damage(format!("it is not what earthkey wrote (line {}, column {})", error.line(), error.column()))
    })?;
    if file.version == VERSION {
        Ok(file)
    } else {
        Err(Damage(format!("version {} is of a newer earthkey", file.version)))
    }
}
