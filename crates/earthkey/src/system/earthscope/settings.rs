//! The SDK's settings: variables over `config.toml` over presets, key by key.

use serde_json::Map;
use serde_json::Value;
use toml_edit::DocumentMut;
use toml_edit::Item;
use url::Url;

use super::super::Context;
use super::super::plain_http;
use super::slug;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::error::word;
use crate::host::http::is_confidential;
use crate::login::Login;
use crate::secret::AccessToken;
use crate::secret::ClientSecret;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;

/// The domain of the public tenant.
pub const PRODUCTION: &str = "https://login.earthscope.org/";
const API: &str = "https://api.earthscope.org/";
const AUDIENCE: &str = "https://api.earthscope.org";
const CLIENT_ID: &str = "b9DtAFBd6QvMg761vI3YhYquNZbJX5G0";
const SCOPE: &str = "offline_access";

/// What the SDK would work with.
pub(super) struct Settings {
    pub(super) domain: Url,
    /// The domain as a person named it, to be remembered.
    pub(super) named_domain: Option<String>,
    pub(super) api: Url,
    pub(super) audience: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<ClientSecret>,
    pub(super) scopes: Vec<String>,
    access_token: Option<AccessToken>,
    refresh_token: Option<RefreshToken>,
}

impl Settings {
    /// Reads the settings of a login's profile; a domain named on the command line goes first.
    pub(super) fn load(cx: &Context<'_>, login: &Login, domain: Option<&str>) -> Result<Self> {
        let layers = Layers::load(cx, &profile(cx, login))?;
        let sandbox = cx.sandbox()?;
        let named_domain = domain.map(str::to_owned).or_else(|| cx.config.profile(login).url);
        let domain = domain
            .filter(|_| sandbox.is_none())
            .map(str::to_owned)
            .or_else(|| sandbox.as_ref().map(Url::to_string))
            .or_else(|| layers.text("oauth2", "domain"))
            .or_else(|| named_domain.clone())
            .unwrap_or_else(|| PRODUCTION.to_owned());
        let api = sandbox
            .as_ref()
            .map(Url::to_string)
            .or_else(|| layers.text("resources", "api_url"))
            .unwrap_or_else(|| API.to_owned());
        let text = |key: &str| {
            let text = layers.text("oauth2", key).map(|text| text.trim().to_owned());
            text.filter(|text| !text.is_empty())
        };
        Ok(Self {
            domain: base_url(&domain, "domain of EarthScope")?,
            named_domain,
            api: base_url(&api, "API of EarthScope")?,
            audience: text("audience").unwrap_or_else(|| AUDIENCE.to_owned()),
            client_id: text("client_id")
                .or_else(|| cx.config.profile(login).client_id)
                .unwrap_or_else(|| CLIENT_ID.to_owned()),
            client_secret: text("client_secret").map(ClientSecret::new),
            scopes: text("scope")
                .unwrap_or_else(|| SCOPE.into())
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            access_token: text("access_token").map(AccessToken::new),
            refresh_token: text("refresh_token").map(RefreshToken::new),
        })
    }

    /// Returns whether a grant is given by a variable or the configuration, above any file of tokens.
    pub(super) fn is_given(&self) -> bool {
        self.given().is_some()
    }

    /// Returns what is given by a variable or the configuration.
    pub(super) fn given(&self) -> Option<Contents> {
        let grant = match (&self.client_secret, &self.refresh_token) {
            (Some(secret), _) => Some(Grant::ClientCredentials(secret.clone())),
            (None, Some(token)) => Some(Grant::RefreshToken(token.clone())),
            (None, None) => None,
        };
        let access_token = self.access_token.clone().filter(|_| self.client_secret.is_none());
        let any = grant.is_some() || access_token.is_some();
        any.then_some(Contents { grant, access_token, ..Contents::default() })
    }
}

/// Returns the names of the profiles that `config.toml` declares.
pub(super) fn declared_profiles(cx: &Context<'_>) -> Result<Vec<String>> {
    let config = read_config(cx)?;
    let profiles = config.get("profile").and_then(Item::as_table_like);
    Ok(profiles.into_iter().flat_map(|table| table.iter().map(|(name, _)| name.to_owned())).collect())
}

/// Returns the SDK's profile of a login: its name, else `ES_PROFILE`, else `default`.
pub(super) fn profile(cx: &Context<'_>, login: &Login) -> String {
    match &login.name {
        // A login is named by the profile's folder where the profile's own name has blanks.
        Some(name) => {
            let declared = declared_profiles(cx).unwrap_or_default();
            let meant = |profile: &String| slug(profile) == *name;
            declared
                .into_iter()
                .find(|profile| profile != name && meant(profile))
                .unwrap_or_else(|| name.clone())
        }
        None => cx.host.env.text("ES_PROFILE").unwrap_or("default").to_owned(),
    }
}

fn base_url(text: &str, what: &str) -> Result<Url> {
    let mut url = Url::parse(text).ok().filter(Url::has_host).ok_or_else(|| {
        Error::configuration(format!("`{}` is no address of the {what}", printable(text, 200)))
            .hint("give it like `https://login.earthscope.org`")
    })?;
    if !is_confidential(&url) {
        return Err(plain_http(&url));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// Variables, `config.toml` and the bootstrap variable, high to low.
struct Layers<'a> {
    cx: &'a Context<'a>,
    profile: String,
    config: DocumentMut,
    bootstrap: Map<String, Value>,
}

impl<'a> Layers<'a> {
    fn load(cx: &'a Context<'a>, profile: &str) -> Result<Self> {
        let config = read_config(cx)?;
        let bootstrap = cx.host.env.text("ES_BOOTSTRAP_SETTINGS").map(serde_json::from_str);
        Ok(Self {
            cx,
            profile: profile.to_owned(),
            config,
            // The SDK warns of broken JSON and goes on without it.
            bootstrap: bootstrap.and_then(Result::ok).unwrap_or_default(),
        })
    }

    fn text(&self, section: &str, key: &str) -> Option<String> {
        let variable = format!("ES_{}__{}", section.to_uppercase(), key.to_uppercase());
        if let Some(value) = self.cx.host.env.raw(&variable) {
            // An empty variable counts as set, and hides what is below it.
            return value.to_str().map(str::to_owned);
        }
        let whole = self.cx.host.env.text(&format!("ES_{}", section.to_uppercase()));
        let object = whole.and_then(|json| serde_json::from_str::<Map<String, Value>>(json).ok());
        if let Some(value) = object.as_ref().and_then(|object| object.get(key)) {
            return plain(value);
        }
        let profile = self.config.get("profile").and_then(|profiles| profiles.get(&self.profile));
        let default = self.config.get("default");
        [profile, default]
            .into_iter()
            .flatten()
            .find_map(|table| toml_text(table.get(section)?.get(key)?))
            .or_else(|| plain(self.bootstrap.get(section)?.get(key)?))
    }
}

fn read_config(cx: &Context<'_>) -> Result<DocumentMut> {
    let path = cx.host.env.home()?.join(".earthscope").join("config.toml");
    let shown = path.display();
    let unusable = |what: String| {
        let (from, to) = (word(&shown), word(format_args!("{shown}.damaged")));
        Error::configuration(what).hint(format!("mend it, or move it away: `mv {from} {to}`"))
    };
    let bytes =
        cx.read(&path).map_err(|error| crate::store::places::unusable("cannot read", &path, error))?;
    let text = String::from_utf8(bytes.unwrap_or_default())
        .map_err(|_| unusable(format!("`{shown}` is not text")))?;
    text.parse().map_err(|error: toml_edit::TomlError| {
        // The parser's own words quote the line, which may hold a token.
        let line = error.span().map_or(0, |span| text[..span.start].lines().count());
        unusable(format!("`{shown}` is not valid TOML near line {line}"))
            .caused_by(error.message().to_owned())
    })
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
}

fn toml_text(item: &Item) -> Option<String> {
    match item.as_array() {
        Some(list) => Some(list.iter().filter_map(toml_edit::Value::as_str).collect::<Vec<_>>().join(" ")),
        None => item.as_str().map(str::to_owned),
    }
}
