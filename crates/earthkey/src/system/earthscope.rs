//! EarthScope: the homes are the SDK's own `~/.earthscope/<profile>/tokens.json`.
//!
//! Endpoints are the domain with `oauth/…` behind it, as in the SDK; there is no discovery.

mod settings;
mod tokens;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

pub use self::settings::PRODUCTION;
use self::settings::Settings;
use self::tokens::TokensSlot;
use super::Bearer;
use super::Checked;
use super::Context;
use super::Endpoints;
use super::IssuedTo;
use super::LoginOptions;
use super::Signing;
use super::Source;
use super::call;
use super::opens_browser;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::flow::Redirect;
use crate::host::http::Request;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::oauth::client::ClientAuthentication;
use crate::oauth::metadata::Metadata;
use crate::oauth::token::MAX_TOKEN_BODY;
use crate::refresh::Access;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Home;
use crate::store::slot::Privacy;
use crate::store::slot::Rotation;

/// The SDK's command line refreshes a token that lives for less than this, in seconds; ours is
/// fresh before that.
const CLI_THRESHOLD: u64 = 660;

/// Says how to sign in.
pub(super) fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    let mut settings = Settings::load(cx, login, options.url.as_deref())?;
    if let Some(id) = &options.client_id {
        settings.client_id.clone_from(id);
    }
    if options.client_secret.is_some() {
        return Err(Error::usage("EarthScope's files have no place for a client's secret")
            .hint("give it as the SDK wants it: `ES_OAUTH2__CLIENT_SECRET`, or `oauth2.client_secret` in ~/.earthscope/config.toml"));
    }
    if let Some(scopes) = &options.scopes {
        settings.scopes.clone_from(scopes);
    }
    if let Some(audience) = &options.audience {
        settings.audience.clone_from(audience);
    }
    let flow = match (options.flow, &options.refresh_token, &settings.client_secret) {
        (Some(flow @ (Flow::Device | Flow::Refresh | Flow::ClientCredentials)), _, _) => flow,
        (Some(flow), _, _) => {
            return Err(Error::usage(format!("EarthScope has no flow `{}`", flow.name()))
                .hint("its flows are device, client-credentials and refresh"));
        }
        (None, Some(_), _) => Flow::Refresh,
        (None, None, Some(_)) => Flow::ClientCredentials,
        (None, None, None) => Flow::Device,
    };
    let source = source(cx, login, &settings, flow == Flow::ClientCredentials)?;
    let Endpoints::Known(metadata) = &source.endpoints else {
        return Err(Error::internal("EarthScope's endpoints are always known"));
    };
    let plan = Plan {
        login: login.clone(),
        again: options.command(login),
        metadata: (**metadata).clone(),
        client: source.client.clone(),
        scopes: settings.scopes.clone(),
        audience: Some(settings.audience.clone()),
        parameters: Vec::new(),
        redirect: Redirect::NATIVE,
        device_pkce: false,
        checks_id_token: false,
        opens_browser: opens_browser(cx.host, options),
        timeout: options.timeout.unwrap_or(super::TIMEOUT),
    };
    let profile = Profile {
        url: settings.named_domain,
        client_id: options.client_id.clone().or_else(|| cx.config.profile(login).client_id),
        flow: Some(flow.name().into()),
        ..Profile::default()
    };
    Ok(Signing { plan, flow, source, profile, companion: None, needed_scope: None, remark: None })
}

/// Finds the login that exists.
pub(super) fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    let settings = Settings::load(cx, login, None)?;
    source(cx, login, &settings, settings.client_secret.is_some())
}

/// Finds every profile that has tokens or is configured.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let mut logins: Vec<Login> = Vec::new();
    let declared = settings::declared_profiles(cx)?;
    for path in cx.list(&directory(cx)?)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name else { continue };
        if !cx.is_there(&path.join("tokens.json"))? {
            continue;
        }
        // The folder is made from the name; the SDK knows the name alone.
        let profile = declared.iter().find(|profile| slug(profile) == name);
        logins.extend(profile.and_then(|profile| login_of(profile)).or_else(|| login_of(name)));
    }
    if logins.is_empty() && Settings::load(cx, &Login::of(System::Earthscope), None)?.is_given() {
        logins.push(Login::of(System::Earthscope));
    }
    Ok(logins)
}

/// Fetches the profile of the account.
pub(super) async fn check(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    let api = source.api.as_ref().ok_or_else(|| Error::internal("EarthScope's API is always known"))?;
    let endpoint = api
        .join("beta/user/profile")
        .map_err(|error| Error::configuration(format!("`{api}` is no address of an API")).caused_by(error))?;
    let profile = call(cx, source, access, endpoint.clone()).await?;
    let text = |name: &str| profile.get(name).and_then(serde_json::Value::as_str);
    let account = text("primary_email").or(text("email")).or(text("user_id"));
    Ok(Checked {
        account: account.map(|account| printable(account, 200)),
        called: endpoint.to_string(),
        found: None,
    })
}

/// Builds a refresh as the SDK sends it: with `scopes`, not the standard's `scope`.
pub(super) fn refresh_request(source: &Source, endpoint: &Url, token: &RefreshToken) -> Request {
    let request = Request::post(endpoint.clone())
        .field("grant_type", "refresh_token")
        .field("client_id", &source.client.id)
        .secret_field("refresh_token", token.expose())
        .field("scopes", &source.scopes.join(" "))
        .max_body(MAX_TOKEN_BODY);
    match source.client.secret() {
        Some(secret) => request.secret_field("client_secret", secret.expose()),
        None => request,
    }
}

/// Builds a revocation as the SDK sends it: JSON, not a form.
pub(super) fn revocation_request(source: &Source, endpoint: &Url, token: &RefreshToken) -> Request {
    let body = json!({ "client_id": source.client.id, "token": token.expose() });
    let mut request = Request::post(endpoint.clone()).max_body(MAX_TOKEN_BODY);
    request.json = Some(Zeroizing::new(body.to_string().into_bytes()));
    request
}

/// Returns when a token should be refreshed, so that the SDK's command line finds it fresh.
pub(super) fn early_at(obtained_at: u64, expires_at: u64) -> u64 {
    let half_life = obtained_at + expires_at.saturating_sub(obtained_at) / 2;
    expires_at.saturating_sub(CLI_THRESHOLD).max(half_life)
}

fn source(cx: &Context<'_>, login: &Login, settings: &Settings, own_credentials: bool) -> Result<Source> {
    let endpoint = |path: &str| {
        let url = settings.domain.join(path);
        url.map_err(|error| Error::configuration("EarthScope's domain is no address").caused_by(error))
    };
    let metadata = Metadata {
        issuer: settings.domain.to_string(),
        token_endpoint: Some(endpoint("oauth/token")?),
        device_authorization_endpoint: Some(endpoint("oauth/device/code")?),
        revocation_endpoint: Some(endpoint("oauth/revoke")?),
        ..Metadata::default()
    };
    let client = match settings.client_secret.as_ref().filter(|_| own_credentials) {
        Some(secret) => Client {
            id: settings.client_id.clone(),
            authentication: ClientAuthentication::SecretPost(secret.clone()),
        },
        None => Client::public(settings.client_id.clone()),
    };
    Ok(Source {
        login: login.clone(),
        home: home(cx, login, settings)?,
        given: settings.given(),
        client,
        issuer: settings.domain.to_string(),
        endpoints: Endpoints::Known(Box::new(metadata)),
        scopes: settings.scopes.clone(),
        audience: Some(settings.audience.clone()),
        bearer: Bearer::Plain,
        api: Some(settings.api.clone()),
        quota_project: None,
        project_from: None,
        account: None,
        rapt: None,
        issued_to: IssuedTo::Elsewhere,
        named_by: None,
    })
}

/// The SDK's file; for what a variable or the configuration gives, a file of our own, since a
/// successor cannot be written back to where it was given.
fn home(cx: &Context<'_>, login: &Login, settings: &Settings) -> Result<Home> {
    const TOKEN: &str = "ES_OAUTH2__REFRESH_TOKEN";
    if cx.host.env.raw(TOKEN).is_some_and(OsStr::is_empty) {
        return Err(Error::login_required(format!(
            "`{TOKEN}` is set and empty, which hides the stored login"
        ))
        .caused_by("the SDK takes an empty variable as a value, too")
        .hint(format!("unset it: `unset {TOKEN}`")));
    }
    let path = match settings.given().as_ref().and_then(Contents::fingerprint) {
        Some(fingerprint) => {
            cx.host.env.state_directory()?.join("given").join(format!("earthscope-{fingerprint}.json"))
        }
        None => tokens_path(cx, login)?,
    };
    let client_secret = settings.client_secret.clone().filter(|_| settings.is_given());
    let slot = Arc::new(TokensSlot { own_grant: client_secret.map(Grant::ClientCredentials) });
    Ok(Home { path, slot, privacy: Privacy::Expected, rotation: Rotation::Possible, ledgers: None })
}

/// Returns the SDK's folder.
pub(super) fn directory(cx: &Context<'_>) -> Result<PathBuf> {
    Ok(cx.host.env.home()?.join(".earthscope"))
}

fn tokens_path(cx: &Context<'_>, login: &Login) -> Result<PathBuf> {
    let slug = slug(&settings::profile(cx, login));
    Ok(directory(cx)?.join(slug).join("tokens.json"))
}

/// Returns a profile's folder as the SDK names it.
fn slug(profile: &str) -> String {
    profile.split_whitespace().collect::<Vec<_>>().join("-").to_lowercase()
}

fn login_of(slug: &str) -> Option<Login> {
    if slug == "default" {
        return Some(Login::of(System::Earthscope));
    }
    format!("earthscope/{slug}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_folders_as_in_the_sdk() {
        assert_eq!(slug("My  Prof"), "my-prof");
        assert_eq!(slug("default"), "default");
    }

    #[test]
    fn a_token_is_fresh_before_the_command_line_of_the_sdk_asks_for_another() {
        assert_eq!(early_at(0, 86_400), 86_400 - CLI_THRESHOLD);
        assert_eq!(early_at(0, 600), 300);
    }
}
