//! Any OpenID provider: the homes are our own files.

mod home;

use std::path::PathBuf;
use std::sync::Arc;

use self::home::GoneSlot;
use self::home::OidcSlot;
use self::home::Settings;
use super::Bearer;
use super::Checked;
use super::Context;
use super::Endpoints;
use super::IssuedTo;
use super::LoginOptions;
use super::Signing;
use super::Source;
use super::call;
use super::choose_flow;
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
use crate::host::env::display;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::metadata::IssuerComparison;
use crate::oauth::metadata::Metadata;
use crate::oauth::register;
use crate::oauth::register::Registration;
use crate::oauth::token::TokenError;
use crate::refresh::Access;
use crate::store::Home;
use crate::store::Slot;
use crate::store::places::damaged;
use crate::store::places::unusable;
use crate::store::slot::Privacy;
use crate::store::slot::Rotation;

/// The name of the login that `oidc` alone means.
const DEFAULT_NAME: &str = "default";

/// The client that the sandbox knows.
const SANDBOX_CLIENT: &str = "sandbox-public";

/// Says how to sign in.
pub(super) async fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    let known = cx.config.profile(login);
    let sandbox = cx.sandbox()?;
    let issuer = options
        .url
        .clone()
        .or_else(|| sandbox.as_ref().map(|url| format!("{}oidc", url.as_str())))
        .or(known.url)
        .ok_or_else(|| {
            Error::configuration(format!("nothing is known of `{login}` yet"))
                .hint(format!("name the provider: `earthkey login {login} https://ISSUER`"))
        })?;
    // The issuer is compared as it is written, so what is asked is what was typed.
    let issuer = if issuer.contains("://") { issuer } else { format!("https://{issuer}") };
    // Remembered is what was named, so that a sandbox leaves no trace in it.
    let named = issuer.clone();
    let issuer = cx.moved(&issuer, "oidc")?.unwrap_or(issuer);
    cx.tell_moved(&named, &issuer);
    let metadata = discover(cx.host, &issuer, IssuerComparison::Exact).await?;
    let flow = choose_flow(cx.host, &metadata, options, known.flow.as_deref())?;
    let scopes = options.scopes.clone().unwrap_or_else(|| default_scopes(&metadata, flow));
    let same_provider = known.issuer.as_deref().is_none_or(|known| known == metadata.issuer);
    let client_id = options
        .client_id
        .clone()
        .or_else(|| known.client_id.filter(|_| same_provider))
        .or_else(|| sandbox.map(|_| SANDBOX_CLIENT.to_owned()));
    let client = match (client_id, &options.client_secret) {
        (Some(id), Some(secret)) => {
            let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
            Client::with_secret(id, secret.clone(), methods)
        }
        (Some(id), None) => Client::public(id),
        (None, _) => register(cx.host, login, &metadata, &scopes).await?,
    };
    let settings = Settings {
        issued_to: None,
        issuer: metadata.issuer.clone(),
        client: client.clone(),
        flow: flow.name().to_owned(),
        scopes: scopes.clone(),
        audience: options.audience.clone(),
        metadata: metadata.clone(),
    };
    let profile = Profile {
        url: Some(named),
        client_id: Some(client.id.clone()),
        issuer: Some(metadata.issuer.clone()),
        flow: Some(flow.to_string()),
        ..Profile::default()
    };
    let plan = Plan {
        login: login.clone(),
        again: options.command(login),
        metadata,
        client,
        scopes,
        audience: options.audience.clone(),
        parameters: Vec::new(),
        redirect: Redirect::NATIVE,
        device_pkce: false,
        checks_id_token: true,
        opens_browser: opens_browser(cx.host, options),
        timeout: options.timeout.unwrap_or(super::TIMEOUT),
    };
    let source = source(cx, login, settings)?;
    Ok(Signing { plan, flow, source, profile, companion: None, needed_scope: None, remark: None })
}

/// Finds the login that exists.
pub(super) async fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    let path = path(cx.host, login)?;
    let read = || cx.read(&path).map_err(|error| unusable("cannot read", &path, error));
    let mut bytes = read()?;
    if bytes.as_deref().is_some_and(|bytes| Settings::read(bytes).is_err()) {
        // Somebody may be writing it.
        cx.host.clock.sleep(super::SETTLE).await;
        bytes = read()?;
    }
    let Some(bytes) = bytes else {
        return Err(Error::login_required(format!("`{login}` is not signed in"))
            .with_credential(format!("none: there is no {}", display(&path, &cx.host.env)))
            .hint(sign_in_hint(cx, login)));
    };
    let settings = Settings::read(&bytes).map_err(|damage| damaged(&path, damage))?;
    source(cx, login, settings)
}

/// Finds every login.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let paths = cx.list(&directory(cx.host)?)?;
    let name = |path: &PathBuf| {
        let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
        if stem == DEFAULT_NAME {
            return Some(Login::of(System::Oidc));
        }
        format!("oidc/{stem}").parse::<Login>().ok()
    };
    Ok(paths.iter().filter_map(name).collect())
}

/// Asks the provider who the token is of (OpenID Connect Core, section 5.3).
pub(super) async fn check(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    let metadata = source.metadata(cx.host).await?;
    let Some(endpoint) = metadata.userinfo_endpoint else {
        return Err(Error::configuration(format!("`{}` has no userinfo endpoint to call", source.issuer))
            .hint(format!("see what is known of the login: `earthkey status {}`", source.login)));
    };
    let claims = call(cx, source, access, endpoint.clone()).await?;
    let text = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
    let account = text("email").or(text("preferred_username")).or(text("name")).or(text("sub"));
    Ok(Checked {
        account: account.map(|account| printable(account, 200)),
        called: endpoint.to_string(),
        found: None,
    })
}

fn source(cx: &Context<'_>, login: &Login, settings: Settings) -> Result<Source> {
    let home = home(cx, login, Arc::new(OidcSlot { settings: settings.clone() }))?;
    Ok(Source {
        login: login.clone(),
        home,
        given: None,
        client: settings.client,
        issuer: settings.issuer,
        endpoints: Endpoints::Known(Box::new(settings.metadata)),
        scopes: settings.scopes,
        audience: settings.audience,
        bearer: Bearer::Plain,
        api: None,
        quota_project: None,
        project_from: None,
        account: None,
        rapt: None,
        issued_to: settings.issued_to.map_or(IssuedTo::Elsewhere, |known| IssuedTo::Home(Some(known))),
        named_by: None,
    })
}

fn home(cx: &Context<'_>, login: &Login, slot: Arc<dyn Slot>) -> Result<Home> {
    Ok(Home {
        path: path(cx.host, login)?,
        slot,
        privacy: Privacy::Expected,
        rotation: Rotation::Possible,
        ledgers: None,
    })
}

/// Returns where a login was whose file is gone: it alone says what the login is.
pub(super) fn gone(cx: &Context<'_>, login: &Login) -> Result<Home> {
    home(cx, login, Arc::new(GoneSlot))
}

/// Returns the folder of the files.
pub(super) fn directory(host: &Host) -> Result<PathBuf> {
    Ok(host.env.state_directory()?.join("oidc"))
}

fn path(host: &Host, login: &Login) -> Result<PathBuf> {
    let name = login.name_or(DEFAULT_NAME);
    Ok(directory(host)?.join(format!("{name}.json")))
}

fn sign_in_hint(cx: &Context<'_>, login: &Login) -> String {
    match cx.config.profile(login).url {
        Some(_) => format!("sign in: `earthkey login {login}`"),
        None => format!("sign in: `earthkey login {login} https://ISSUER`"),
    }
}

fn default_scopes(metadata: &Metadata, flow: Flow) -> Vec<String> {
    if flow == Flow::ClientCredentials {
        return Vec::new();
    }
    let offers = |scope: &str| {
        metadata.scopes_supported.as_ref().is_none_or(|scopes| scopes.iter().any(|offered| offered == scope))
    };
    ["openid", "profile", "email", "offline_access"]
        .into_iter()
        .filter(|scope| *scope == "openid" || offers(scope))
        .map(str::to_owned)
        .collect()
}

/// Registers a client of our own where the provider offers that (RFC 7591).
async fn register(host: &Host, login: &Login, metadata: &Metadata, scopes: &[String]) -> Result<Client> {
    let named = format!("name a client: `earthkey login {login} --client-id ID`");
    let Some(endpoint) = &metadata.registration_endpoint else {
        return Err(Error::configuration(format!("`{}` needs a client id", metadata.issuer))
            .caused_by("it offers no registration of clients")
            .hint(format!(
                "register a native (desktop) application with the provider; redirect address \
                 http://127.0.0.1/callback; then {named}"
            )));
    };
    let redirect_uris = ["http://127.0.0.1/callback".to_owned()];
    let mut grant_types = vec!["authorization_code", "refresh_token"];
    if metadata.device_authorization_endpoint.is_some() {
        grant_types.push("urn:ietf:params:oauth:grant-type:device_code");
    }
    let registration = Registration {
        client_name: "earthkey",
        redirect_uris: &redirect_uris,
        grant_types: &grant_types,
        scope: scopes,
    };
    let response = host.http.send(register::request(endpoint, &registration)).await.map_err(|error| {
        Error::network(format!("`{}` cannot be reached", metadata.issuer)).caused_by(error)
    })?;
    register::parse(&response).map_err(|error| {
        let error = match error {
            TokenError::Refused(refusal) => Error::configuration(format!(
                "`{}` registers no client for us: {}",
                metadata.issuer,
                refusal.description.unwrap_or(refusal.error)
            )),
            error => Error::configuration(format!("`{}` registers no client for us", metadata.issuer))
                .caused_by(error),
        };
        error.hint(named)
    })
}
