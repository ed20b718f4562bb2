//! openEO: the homes are the Python client's own `refresh-tokens.json`.
//!
//! A back-end names its OpenID providers and their default clients; the file is keyed by issuer
//! and client. So from a back-end to its token there is a question to ask, which is remembered
//! for logins that were made here.

mod auth_config;
mod back_end;
mod directories;
mod tokens;

use std::sync::Arc;

use url::Url;

use self::auth_config::AuthConfig;
use self::back_end::BackEnd;
use self::back_end::Provider;
use self::tokens::TokenSlot;
use super::Bearer;
use super::Checked;
use super::Context;
use super::Endpoints;
use super::LoginOptions;
use super::Signing;
use super::Source;
use super::address;
use super::call;
use super::discover;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::client::ClientAuthentication;
use crate::oauth::metadata::IssuerComparison;
use crate::refresh::Access;
use crate::secret::ClientSecret;
use crate::store::Home;
use crate::store::slot::Privacy;
use crate::store::slot::Rotation;

/// Names that stand for a public back-end.
const PRESETS: [(&str, &str); 4] = [
    ("cdse", "https://openeo.dataspace.copernicus.eu"),
    ("openeo-platform", "https://openeo.cloud"),
    ("terrascope", "https://openeo.vito.be"),
    ("vito", "https://openeo.vito.be"),
];

/// The name of a token whose back-end is not known begins so.
const BY_ISSUER: &str = "issuer:";

/// Says how to sign in.
pub(super) async fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    let url = url_of(cx, login, options.url.as_deref())?;
    let back_end = BackEnd::discover(cx, &url).await?;
    let providers = back_end.providers(cx).await?;
    let auth_config = AuthConfig::load(cx)?;
    let provider = choose_provider(cx, &url, &providers, options.provider.as_deref(), &auth_config)?;
    let client = choose_client(login, &url, provider, options, &auth_config)?;
    let flow = match (options.flow, &options.refresh_token) {
        (Some(flow @ (Flow::Device | Flow::Refresh)), _) => flow,
        (Some(flow), _) => {
            return Err(Error::usage(format!("openEO logins have no flow `{}` yet", flow.name()))
                .hint("their flows are device and refresh"));
        }
        (None, Some(_)) => Flow::Refresh,
        (None, None) => Flow::Device,
    };
    let metadata = discover(cx.host, &provider.issuer, IssuerComparison::IgnoringTrailingSlash).await?;
    let plan = Plan {
        login: login.clone(),
        metadata,
        device_pkce: client.authentication == ClientAuthentication::None && provider.device_pkce(&client.id),
        client: client.clone(),
        scopes: options.scopes.clone().unwrap_or_else(|| provider.scopes_with_offline_access()),
        audience: options.audience.clone(),
        parameters: provider.parameters.clone(),
        checks_id_token: true,
        opens_browser: !options.no_browser,
        timeout: options.timeout.unwrap_or(super::oidc::TIMEOUT),
    };
    let profile = Profile {
        url: Some(url.to_string()),
        client_id: Some(client.id.clone()),
        provider: Some(provider.id.clone()),
        issuer: Some(provider.issuer.clone()),
        flow: Some(flow.name().to_owned()),
    };
    let bearer = Bearer::Openeo(provider.id.clone());
    let source = source(cx, login, &provider.issuer, client, bearer, Some(back_end.root))?;
    Ok(Signing { plan, flow, source, profile })
}

/// Finds the login that exists.
pub(super) async fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    if let Some(host) = login.name.as_deref().and_then(|name| name.strip_prefix(BY_ISSUER)) {
        return resolve_by_issuer(cx, login, host);
    }
    let known = cx.config.profile(login);
    let asked_provider = cx.host.env.text("OPENEO_AUTH_PROVIDER_ID");
    if let Profile {
        url: Some(url), client_id: Some(id), provider: Some(provider), issuer: Some(issuer), ..
    } = known
        && asked_provider.is_none_or(|asked| asked == provider)
        && cx.sandbox()?.is_none_or(|sandbox| url.starts_with(sandbox.as_str()))
    {
        let url = address(&url, "openEO back-end")?;
        let client = with_configured_secret(cx, &url, &provider, id)?;
        return source(cx, login, &issuer, client, Bearer::Openeo(provider), Some(url));
    }
    let url = url_of(cx, login, None)?;
    let back_end = BackEnd::discover(cx, &url).await?;
    let providers = back_end.providers(cx).await?;
    let auth_config = AuthConfig::load(cx)?;
    let provider = choose_provider(cx, &url, &providers, None, &auth_config)?;
    let client = choose_client(login, &url, provider, &LoginOptions::default(), &auth_config)?;
    let bearer = Bearer::Openeo(provider.id.clone());
    source(cx, login, &provider.issuer, client, bearer, Some(back_end.root))
}

/// Finds every login that is remembered, and every token of the Python client besides.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let mut logins = Vec::new();
    let stored = tokens::stored(cx)?;
    let mut covered = Vec::new();
    for login in cx.config.logins(System::Openeo) {
        let profile = cx.config.profile(&login);
        let entry = (profile.issuer.map(|issuer| tokens::issuer_key(&issuer)), profile.client_id);
        if let (Some(issuer), Some(client)) = entry
            && stored.contains(&(issuer.clone(), client.clone()))
        {
            covered.push((issuer, client));
            logins.push(login);
        }
    }
    for entry in stored.iter().filter(|entry| !covered.contains(entry)) {
        let host = Url::parse(&entry.0).ok().and_then(|url| authority(&url));
        let login = host.map(|host| Login::named(System::Openeo, format!("{BY_ISSUER}{host}")));
        logins.extend(login.filter(|login| !logins.contains(login)));
    }
    Ok(logins)
}

/// Returns the Python client's files.
pub(super) fn files(cx: &Context<'_>) -> Result<Vec<(String, std::path::PathBuf)>> {
    Ok(vec![
        ("openeo".to_owned(), directories::data(cx)?.join("refresh-tokens.json")),
        ("openeo clients".to_owned(), directories::config(cx)?.join("auth-config.json")),
    ])
}

/// Asks the back-end who the token is of.
pub(super) async fn check(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    let Some(api) = &source.api else { return Err(no_back_end(&source.login)) };
    let root = BackEnd::discover(cx, api).await?.root;
    let endpoint = back_end::below(&root, "me")?;
    let me = call(cx, source, access, endpoint.clone()).await?;
    let text = |name: &str| me.get(name).and_then(serde_json::Value::as_str);
    let account = text("name").or(text("user_id"));
    Ok(Checked { account: account.map(|account| printable(account, 200)), called: endpoint.to_string() })
}

/// Says that a token's back-end is not known.
pub(crate) fn no_back_end(login: &Login) -> Error {
    Error::configuration(format!("it is not known which back-end the token of `{login}` is for"))
        .hint("name the back-end: `earthkey login openeo URL`")
}

fn resolve_by_issuer(cx: &Context<'_>, login: &Login, host: &str) -> Result<Source> {
    let stored = tokens::stored(cx)?;
    let of_host = |entry: &&(String, String)| {
        Url::parse(&entry.0).ok().and_then(|url| authority(&url)).as_deref() == Some(host)
    };
    let (issuer, client_id) = stored.iter().find(of_host).ok_or_else(|| {
        Error::login_required(format!("there is no openEO token of an issuer at `{}`", printable(host, 200)))
            .hint("see what there is: `earthkey status`")
    })?;
    source(cx, login, issuer, Client::public(client_id.clone()), Bearer::Unknown, None)
}

fn source(
    cx: &Context<'_>,
    login: &Login,
    issuer: &str,
    client: Client,
    bearer: Bearer,
    api: Option<Url>,
) -> Result<Source> {
    let path = directories::data(cx)?.join("refresh-tokens.json");
    // What is in the file decides what is served, so a record depends on it.
    cx.read(&path)
        .map_err(|error| Error::store(format!("cannot read `{}`", path.display())).caused_by(error))?;
    let slot = TokenSlot {
        issuer: tokens::issuer_key(issuer),
        client_id: client.id.clone(),
        now: cx.host.clock.now(),
    };
    Ok(Source {
        login: login.clone(),
        home: Home { path, slot: Arc::new(slot), privacy: Privacy::Required, rotation: Rotation::Possible },
        given: None,
        client,
        issuer: issuer.to_owned(),
        endpoints: Endpoints::Discover(IssuerComparison::IgnoringTrailingSlash),
        scopes: Vec::new(),
        audience: None,
        bearer,
        api,
    })
}

/// Returns the back-end that is meant: the one named now, the sandbox's, the one remembered, a
/// preset, a host.
fn url_of(cx: &Context<'_>, login: &Login, named: Option<&str>) -> Result<Url> {
    let url = named_url(cx, login, named)?;
    match cx.moved(url.as_str(), "openeo")? {
        Some(moved) => address(&moved, "openEO back-end"),
        None => Ok(url),
    }
}

fn named_url(cx: &Context<'_>, login: &Login, named: Option<&str>) -> Result<Url> {
    if let Some(url) = named {
        return address(url, "openEO back-end");
    }
    let Some(name) = &login.name else {
        if let Some(sandbox) = cx.sandbox()? {
            return back_end::below(&sandbox, "openeo");
        }
        if let Some(url) = cx.config.profile(login).url {
            return address(&url, "openEO back-end");
        }
        return Err(Error::configuration("no openEO back-end is named")
            .hint("name it: `earthkey login openeo URL`, or `openeo/HOST` in place of `openeo`"));
    };
    if let Some(url) = cx.config.profile(login).url {
        return address(&url, "openEO back-end");
    }
    if let Some((_, url)) = PRESETS.iter().find(|(preset, _)| preset == name) {
        return address(url, "openEO back-end");
    }
    let url = address(name, "openEO back-end")?;
    if crate::host::http::is_loopback(&url) {
        return address(&format!("http://{name}"), "openEO back-end");
    }
    if name.contains('.') || cx.sandbox()?.is_some() {
        return Ok(url);
    }
    Err(Error::configuration(format!("nothing is known of `{login}` yet"))
        .hint(format!("name its back-end: `earthkey login {login} URL`")))
}

/// Chooses as the Python client does: named, by variable, the only one, the only configured one,
/// the first.
fn choose_provider<'p>(
    cx: &Context<'_>,
    url: &Url,
    providers: &'p [Provider],
    named: Option<&str>,
    auth_config: &AuthConfig,
) -> Result<&'p Provider> {
    let listed = || providers.iter().map(|provider| provider.id.as_str()).collect::<Vec<_>>().join(", ");
    let by_id = |id: &str| providers.iter().find(|provider| provider.id == id);
    if let Some(id) = named {
        return by_id(id).ok_or_else(|| {
            Error::configuration(format!("`{url}` lists no OpenID provider `{}`", printable(id, 40)))
                .hint(format!("it lists {}", listed()))
        });
    }
    if let Some(id) = cx.host.env.text("OPENEO_AUTH_PROVIDER_ID") {
        match by_id(id) {
            Some(provider) => return Ok(provider),
            None => cx.host.interaction.tell(&crate::host::Notice::Warning(&format!(
                "`OPENEO_AUTH_PROVIDER_ID` is `{}`, which `{url}` does not list; it lists {}",
                printable(id, 40),
                listed()
            ))),
        }
    }
    let configured: Vec<&Provider> =
        providers.iter().filter(|provider| auth_config.provider(url, &provider.id).is_some()).collect();
    match (configured.as_slice(), providers) {
        ([only], _) => Ok(only),
        (_, [first, ..]) => Ok(first),
        _ => Err(Error::configuration(format!("`{url}` lists no OpenID provider"))
            .hint("it may offer basic authentication alone, which this version cannot use")),
    }
}

/// Chooses as the Python client does: named, configured, the first default client that fits.
fn choose_client(
    login: &Login,
    url: &Url,
    provider: &Provider,
    options: &LoginOptions,
    auth_config: &AuthConfig,
) -> Result<Client> {
    let with_secret = |id: String, secret: Option<ClientSecret>| Client {
        id,
        authentication: secret.map_or(ClientAuthentication::None, ClientAuthentication::SecretPost),
    };
    if let Some(id) = &options.client_id {
        return Ok(with_secret(id.clone(), options.client_secret.clone()));
    }
    if let Some((Some(id), secret)) = auth_config.provider(url, &provider.id) {
        return Ok(with_secret(id, secret.or_else(|| options.client_secret.clone())));
    }
    provider.default_client().map(Client::public).ok_or_else(|| {
        Error::configuration(format!(
            "the provider `{}` of `{url}` lists no default client for the device flow",
            provider.id
        ))
        .hint(format!("name a client of your own: `earthkey login {login} --client-id ID`"))
    })
}

fn with_configured_secret(cx: &Context<'_>, url: &Url, provider: &str, id: String) -> Result<Client> {
    let configured = AuthConfig::load(cx)?.provider(url, provider);
    let secret =
        configured.filter(|(configured, _)| configured.as_ref() == Some(&id)).and_then(|(_, secret)| secret);
    Ok(Client {
        id,
        authentication: secret.map_or(ClientAuthentication::None, ClientAuthentication::SecretPost),
    })
}

fn authority(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests;
