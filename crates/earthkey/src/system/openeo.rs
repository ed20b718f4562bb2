//! openEO: the homes are the Python client's own `refresh-tokens.json`.
//!
//! A back-end names its OpenID providers and their default clients; the file is keyed by issuer
//! and client. So from a back-end to its token there is a question to ask, which is remembered
//! for logins that were made here.

mod auth_config;
mod back_end;
mod directories;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;
use zeroize::Zeroizing;

use self::auth_config::AuthConfig;
use self::auth_config::AuthConfigSlot;
use self::auth_config::Entry;
use self::back_end::BackEnd;
use self::back_end::Provider;
use self::tokens::TokenSlot;
use super::Bearer;
use super::Checked;
use super::Context;
use super::Endpoints;
use super::IssuedTo;
use super::LoginOptions;
use super::Signing;
use super::Source;
use super::address;
use super::call;
use super::discover;
use super::opens_browser;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::flow::Redirect;
use crate::host::Host;
use crate::host::http::Request;
use crate::host::http::is_loopback;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::client::ClientAuthentication;
use crate::oauth::metadata::IssuerComparison;
use crate::oauth::metadata::Metadata;
use crate::oauth::token::MAX_TOKEN_BODY;
use crate::refresh::Access;
use crate::secret::ClientSecret;
use crate::secret::Password;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;
use crate::store::Slot;
use crate::store::places::unusable;
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
    let named = named_url(cx, login, options.url.as_deref())?;
    let url = url_of(cx, login, options.url.as_deref())?;
    cx.tell_moved(named.as_str(), url.as_str());
    let flow = choose_flow(options)?;
    if flow == Flow::Basic {
        return plan_basic(cx, login, (&named, url), options).await;
    }
    let back_end = BackEnd::discover(cx.host, &url).await?;
    let providers = back_end.providers(cx.host).await?;
    let auth_config = AuthConfig::load(cx)?;
    let provider = choose_provider(cx, &url, &providers, options.provider.as_deref(), &auth_config)?;
    let client = choose_client(cx, login, &url, provider, options, &auth_config)?;
    let metadata = discover(cx.host, &provider.issuer, IssuerComparison::IgnoringTrailingSlash).await?;
    let plan = Plan {
        login: login.clone(),
        again: options.command(login),
        metadata,
        redirect: Redirect::NATIVE,
        device_pkce: client.secret().is_none() && provider.device_pkce(&client.id),
        client: client.clone(),
        scopes: options.scopes.clone().unwrap_or_else(|| match flow {
            // The client itself is nobody whose login could outlast it.
            Flow::ClientCredentials => provider.scopes(),
            _ => provider.scopes_with_offline_access(),
        }),
        audience: options.audience.clone(),
        parameters: provider.parameters.clone(),
        checks_id_token: true,
        opens_browser: opens_browser(cx.host, options),
        timeout: options.timeout.unwrap_or(super::TIMEOUT),
    };
    let profile = Profile {
        url: Some(named.to_string()),
        client_id: Some(client.id.clone()),
        provider: Some(provider.id.clone()),
        issuer: Some(provider.issuer.clone()),
        flow: Some(flow.name().to_owned()),
        ..Profile::default()
    };
    // The Python client would choose by itself what is first in every list; of another choice its
    // configuration must tell it.
    let is_first = providers.first().is_some_and(|first| first.id == provider.id)
        && provider.default_client().as_ref() == Some(&client.id);
    let entry = || configured_home(cx, &url, provider_entry(provider, &client.id));
    let companion = if is_first || flow == Flow::ClientCredentials { None } else { Some(entry()?) };
    let found = Found { url: &url, provider: &provider.id, issuer: &provider.issuer };
    let source = source(cx, login, &found, client, flow == Flow::ClientCredentials)?;
    Ok(Signing { plan, flow, source, profile, companion, needed_scope: None, remark: None })
}

/// Signs in with a name and a password.
async fn plan_basic(
    cx: &Context<'_>,
    login: &Login,
    (named, url): (&Url, Url),
    options: &LoginOptions,
) -> Result<Signing> {
    let missing = |what: &str| {
        Error::usage(format!("the flow `basic` needs {what}"))
            .hint(format!("earthkey login {login} --flow basic --username NAME --password-stdin <FILE"))
    };
    let username = options.username.clone().ok_or_else(|| missing("a name"))?;
    if options.password.is_none() {
        return Err(missing("a password"));
    }
    let metadata = basic_metadata(cx.host, &url).await?;
    let source = basic_source(cx, login, &url)?;
    let plan = Plan {
        login: login.clone(),
        again: options.command(login),
        metadata,
        redirect: Redirect::NATIVE,
        device_pkce: false,
        client: Client::public(username),
        scopes: Vec::new(),
        audience: None,
        parameters: Vec::new(),
        checks_id_token: false,
        opens_browser: false,
        timeout: options.timeout.unwrap_or(super::TIMEOUT),
    };
    let profile = Profile {
        url: Some(named.to_string()),
        flow: Some(Flow::Basic.name().to_owned()),
        ..Profile::default()
    };
    Ok(Signing {
        plan,
        flow: Flow::Basic,
        source,
        profile,
        companion: None,
        needed_scope: None,
        remark: None,
    })
}

/// Returns where a back-end hands out tokens for a name and a password.
pub(super) async fn basic_metadata(host: &Host, url: &Url) -> Result<Metadata> {
    let root = BackEnd::discover(host, url).await?.root;
    Ok(Metadata {
        issuer: auth_config::key_of(url),
        token_endpoint: Some(back_end::below(&root, "credentials/basic")?),
        ..Metadata::default()
    })
}

/// Builds the request for a token by a name and a password (RFC 7617).
pub(super) fn basic_request(endpoint: &Url, username: &str, password: &Password) -> Request {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
    let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
    Request::get(endpoint.clone()).max_body(MAX_TOKEN_BODY).authorization(&format!("Basic {}", *encoded))
}

fn choose_flow(options: &LoginOptions) -> Result<Flow> {
    match (options.flow, &options.refresh_token) {
        (Some(flow @ (Flow::Device | Flow::Refresh | Flow::ClientCredentials | Flow::Basic)), _) => Ok(flow),
        (Some(flow), _) => Err(Error::usage(format!("openEO logins have no flow `{}`", flow.name()))
            .hint("their flows are device, client-credentials, basic and refresh")),
        (None, Some(_)) => Ok(Flow::Refresh),
        (None, None) if options.password.is_some() => Ok(Flow::Basic),
        (None, None) => Ok(Flow::Device),
    }
}

/// Finds the login that exists.
pub(super) async fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    if let Some(host) = login.name.as_deref().and_then(|name| name.strip_prefix(BY_ISSUER)) {
        return resolve_by_issuer(cx, login, host);
    }
    let known = cx.config.profile(login);
    let is_own = known.flow.as_deref() == Some(Flow::ClientCredentials.name());
    let asked_provider = cx.host.env.text("OPENEO_AUTH_PROVIDER_ID");
    let by_variable = cx.host.env.text("OPENEO_AUTH_METHOD") == Some("client_credentials");
    if known.flow.as_deref() == Some(Flow::Basic.name()) {
        return basic_source(cx, login, &url_of(cx, login, None)?);
    }
    if let Profile {
        url: Some(_), client_id: Some(id), provider: Some(provider), issuer: Some(issuer), ..
    } = &known
        && asked_provider.is_none_or(|asked| asked == provider)
        && !by_variable
        && is_same_world(&url_of(cx, login, None)?, issuer)
    {
        let url = url_of(cx, login, None)?;
        let client = with_configured_secret(cx, &url, (provider, issuer), id.clone())?;
        let found = Found { url: &url, provider, issuer };
        return source(cx, login, &found, client, is_own);
    }
    let url = url_of(cx, login, None)?;
    let back_end = BackEnd::discover(cx.host, &url).await?;
    let providers = back_end.providers(cx.host).await?;
    let auth_config = AuthConfig::load(cx)?;
    let provider = choose_provider(cx, &url, &providers, None, &auth_config)?;
    let client = choose_client(cx, login, &url, provider, &LoginOptions::default(), &auth_config)?;
    let found = Found { url: &url, provider: &provider.id, issuer: &provider.issuer };
    let mut source = source(cx, login, &found, client, by_variable)?;
    if by_variable {
        source.scopes = provider.scopes();
    }
    Ok(source)
}

/// Returns whether a back-end and a remembered issuer are both of this machine or both not: a
/// sandbox's issuer says nothing of the back-end that the sandbox played.
fn is_same_world(url: &Url, issuer: &str) -> bool {
    let issuer = Url::parse(issuer).ok();
    issuer.is_some_and(|issuer| {
        let both_here = is_loopback(url) && is_loopback(&issuer);
        if both_here { url.origin() == issuer.origin() } else { is_loopback(url) == is_loopback(&issuer) }
    })
}

/// Finds every login that is remembered, and every token of the Python client besides.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let mut logins = Vec::new();
    let stored = tokens::stored(cx)?;
    let auth_config = AuthConfig::load(cx)?;
    let mut covered = Vec::new();
    for login in cx.config.logins(System::Openeo) {
        let profile = cx.config.profile(&login);
        if url_of(cx, &login, None).is_ok_and(|url| auth_config.holds(&url, &profile)) {
            logins.push(login);
            continue;
        }
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
pub(super) fn files(cx: &Context<'_>) -> Result<Vec<(String, PathBuf)>> {
    Ok(vec![
        ("openeo".to_owned(), directories::data(cx)?.join("refresh-tokens.json")),
        ("openeo clients".to_owned(), directories::config(cx)?.join("auth-config.json")),
    ])
}

/// Asks the back-end who the token is of.
pub(super) async fn check(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    let Some(api) = &source.api else { return Err(no_back_end(&source.login)) };
    let root = BackEnd::discover(cx.host, api).await?.root;
    let endpoint = back_end::below(&root, "me")?;
    let me = call(cx, source, access, endpoint.clone()).await?;
    let text = |name: &str| me.get(name).and_then(serde_json::Value::as_str);
    let account = text("name").or(text("user_id"));
    Ok(Checked {
        account: account.map(|account| printable(account, 200)),
        called: endpoint.to_string(),
        found: None,
    })
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
    let home = tokens_home(cx, issuer, client_id)?;
    Ok(of(login, home, issuer, Client::public(client_id.clone()), Bearer::Unknown, None))
}

/// A provider of a back-end, as it was found or is remembered.
struct Found<'a> {
    url: &'a Url,
    provider: &'a str,
    issuer: &'a str,
}

fn source(
    cx: &Context<'_>,
    login: &Login,
    found: &Found<'_>,
    client: Client,
    is_own: bool,
) -> Result<Source> {
    let bearer = Bearer::Openeo(found.provider.to_owned());
    let api = Some(found.url.clone());
    if !is_own {
        let home = tokens_home(cx, found.issuer, &client.id)?;
        return Ok(of(login, home, found.issuer, client, bearer, api));
    }
    let given = given_credentials(cx, &client);
    let entry = || Entry::Provider {
        id: found.provider.to_owned(),
        client_id: client.id.clone(),
        issuer: found.issuer.to_owned(),
    };
    let mut home = configured_home(cx, found.url, entry())?;
    if let Some(fingerprint) = given.as_ref().and_then(Contents::fingerprint) {
        let name = format!("openeo-{fingerprint}.json");
        home.slot = Arc::new(AuthConfigSlot {
            // What a variable gives is not written down.
            own_grant: given.as_ref().and_then(|given| given.grant.clone()),
            ..entry_slot(cx, found.url, entry())
        });
        home.path = cx.host.env.state_directory()?.join("given").join(name);
    }
    Ok(Source { given, ..of(login, home, found.issuer, client, bearer, api) })
}

fn basic_source(cx: &Context<'_>, login: &Login, url: &Url) -> Result<Source> {
    let home = configured_home(cx, url, Entry::Basic)?;
    let issuer = auth_config::key_of(url);
    let source = of(login, home, &issuer, Client::public(""), Bearer::OpeneoBasic, Some(url.clone()));
    Ok(Source { endpoints: Endpoints::BackEnd(url.clone()), ..source })
}

fn of(login: &Login, home: Home, issuer: &str, client: Client, bearer: Bearer, api: Option<Url>) -> Source {
    Source {
        login: login.clone(),
        home,
        given: None,
        client,
        issuer: issuer.to_owned(),
        endpoints: Endpoints::Discover(IssuerComparison::IgnoringTrailingSlash),
        scopes: Vec::new(),
        audience: None,
        bearer,
        api,
        quota_project: None,
        project_from: None,
        account: None,
        rapt: None,
        issued_to: IssuedTo::Elsewhere,
        named_by: None,
    }
}

fn tokens_home(cx: &Context<'_>, issuer: &str, client_id: &str) -> Result<Home> {
    let path = directories::data(cx)?.join("refresh-tokens.json");
    let slot = TokenSlot {
        issuer: tokens::issuer_key(issuer),
        client_id: client_id.to_owned(),
        now: cx.host.clock.now(),
    };
    private_home(cx, path, Arc::new(slot))
}

fn configured_home(cx: &Context<'_>, url: &Url, entry: Entry) -> Result<Home> {
    let path = directories::config(cx)?.join(auth_config::FILE);
    private_home(cx, path, Arc::new(entry_slot(cx, url, entry)))
}

fn entry_slot(cx: &Context<'_>, url: &Url, entry: Entry) -> AuthConfigSlot {
    AuthConfigSlot { back_end: auth_config::key_of(url), entry, own_grant: None, now: cx.host.clock.now() }
}

fn private_home(cx: &Context<'_>, path: PathBuf, slot: Arc<dyn Slot>) -> Result<Home> {
    // What is in the file decides what is served, so a record depends on it.
    cx.read(&path).map_err(|error| unusable("cannot read", &path, error))?;
    Ok(Home { path, slot, privacy: Privacy::Required, rotation: Rotation::Possible, ledgers: None })
}

fn provider_entry(provider: &Provider, client_id: &str) -> Entry {
    Entry::Provider {
        id: provider.id.clone(),
        client_id: client_id.to_owned(),
        issuer: provider.issuer.clone(),
    }
}

/// Returns what the variables give: id and secret count together only, as in the Python client.
fn given_credentials(cx: &Context<'_>, client: &Client) -> Option<Contents> {
    let env = &cx.host.env;
    let id = env.text("OPENEO_AUTH_CLIENT_ID")?;
    let secret = env.text("OPENEO_AUTH_CLIENT_SECRET")?;
    let is_asked = env.text("OPENEO_AUTH_METHOD") == Some("client_credentials") && id == client.id;
    let grant = Grant::ClientCredentials(ClientSecret::new(secret));
    is_asked.then(|| Contents { grant: Some(grant), ..Contents::default() })
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
    if is_loopback(&url) {
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
    let configured: Vec<&Provider> = providers
        .iter()
        .filter(|provider| auth_config.provider(url, &provider.id, &provider.issuer).is_some())
        .collect();
    match (configured.as_slice(), providers) {
        ([only], _) => Ok(only),
        (_, [first, ..]) => Ok(first),
        _ => Err(Error::configuration(format!("`{url}` lists no OpenID provider"))
            .hint("it may offer basic authentication alone, which this version cannot use")),
    }
}

/// Chooses as the Python client does: named, configured, the first default client that fits.
fn choose_client(
    cx: &Context<'_>,
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
    let env = &cx.host.env;
    if env.text("OPENEO_AUTH_METHOD") == Some("client_credentials")
        && let Some((id, secret)) =
            env.text("OPENEO_AUTH_CLIENT_ID").zip(env.text("OPENEO_AUTH_CLIENT_SECRET"))
    {
        return Ok(with_secret(id.to_owned(), Some(ClientSecret::new(secret))));
    }
    if let Some((Some(id), secret)) = auth_config.provider(url, &provider.id, &provider.issuer) {
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

fn with_configured_secret(
    cx: &Context<'_>,
    url: &Url,
    (provider, issuer): (&str, &str),
    id: String,
) -> Result<Client> {
    let configured = AuthConfig::load(cx)?.provider(url, provider, issuer);
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
