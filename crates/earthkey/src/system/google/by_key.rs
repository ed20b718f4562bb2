//! Programs that sign in with the key of a service account.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use super::AUTHORIZATION_ENDPOINT;
use super::Addresses;
use super::Key;
use super::PersonsClient;
use super::Preset;
use super::adc;
use super::googles;
use super::home;
use super::key::KeySlot;
use super::kind::Kind;
use super::members;
use super::project_id;
use super::quota_project;
use super::read;
use super::source;
use super::usable_project;
use super::valid;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::secret::Fingerprint;
use crate::system::Context;
use crate::system::Endpoints;
use crate::system::IssuedTo;
use crate::system::LoginOptions;
use crate::system::NamedBy;
use crate::system::QuotaProject;
use crate::system::Signing;
use crate::system::Source;
use crate::system::TIMEOUT;

/// Returns whether a login is by a key.
pub(in super::super) fn has_key(cx: &Context<'_>, login: &Login) -> bool {
    key_of(cx, login).is_some()
}

fn key_of(cx: &Context<'_>, login: &Login) -> Option<PathBuf> {
    let profile = cx.config.profile(login);
    let is_by_key = profile.flow.as_deref() == Some(Flow::ServiceAccount.name());
    profile.key.filter(|_| is_by_key).map(PathBuf::from)
}

/// Says how to sign in by a key, if that is what is asked for.
pub(in super::super) fn plan_by_key(
    cx: &Context<'_>,
    login: &Login,
    options: &LoginOptions,
    preset: &Preset,
) -> Result<Option<Signing>> {
    let names_client =
        options.client_id.is_some() || options.client_id_file.is_some() || options.client_secret.is_some();
    let known = key_of(cx, login).filter(|_| options.flow.is_none() && !names_client);
    let is_asked = options.key.is_some() || options.flow == Some(Flow::ServiceAccount);
    if !is_asked && known.is_none() {
        return Ok(None);
    }
    if options.flow.is_some_and(|flow| flow != Flow::ServiceAccount) {
        return Err(Error::usage("a key is for the flow `service-account` alone")
            .hint(format!("earthkey login {login} --flow service-account --key FILE")));
    }
    let path = options.key.clone().or(known).or_else(|| key_of(cx, login)).ok_or_else(|| {
        Error::usage("the flow `service-account` needs the account's key")
            .hint(format!("earthkey login {login} --flow service-account --key FILE"))
    })?;
    if names_client {
        return Err(Error::usage("a key needs no client").hint(format!("earthkey login {login} --key FILE")));
    }
    let path = cx.absolute(&path)?;
    let Some(shown) = path.to_str().map(str::to_owned) else {
        return Err(Error::usage(format!("`{}` is no path that can be remembered", path.display()))
            .hint("give the file a name of UTF-8"));
    };
    if options.scopes.is_some() {
        return Err(Error::usage("the scopes of a key are not kept")
            .hint(format!("name them when you ask for a token: `earthkey token {login} --scopes S,S`")));
    }
    let project = match (&options.project, valid(&options.quota_project)?) {
        (Some(project), _) => Some(project_id(project, "`--project`")?),
        (None, QuotaProject::Set(project)) => Some(project),
        (None, QuotaProject::Remove) => None,
        (None, QuotaProject::Keep) => remembered_project(cx, login).map(|(project, _)| project),
    };
    let mut source = key_source(cx, login, &path, preset)?;
    source.named_by = adc::named_by(cx)?
        .filter(|_| login.name.is_none() && login.system == System::Google)
        .map(NamedBy::Variable);
    let Endpoints::Known(metadata) = &source.endpoints else {
        return Err(Error::internal("Google's endpoints are always known"));
    };
    let plan = Plan {
        login: login.clone(),
        again: options.command(login),
        metadata: (**metadata).clone(),
        client: source.client.clone(),
        scopes: source.scopes.clone(),
        audience: None,
        parameters: Vec::new(),
        redirect: preset.redirect,
        device_pkce: false,
        checks_id_token: false,
        opens_browser: false,
        timeout: options.timeout.unwrap_or(TIMEOUT),
    };
    let profile = Profile {
        flow: Some(Flow::ServiceAccount.name().to_owned()),
        key: Some(shown),
        project,
        ..Profile::default()
    };
    let flow = Flow::ServiceAccount;
    Ok(Some(Signing { plan, flow, source, profile, companion: None, needed_scope: None, remark: None }))
}

/// Finds the login by a key that is remembered.
pub(in super::super) fn resolve_by_key(
    cx: &Context<'_>,
    login: &Login,
    preset: &Preset,
) -> Result<Option<Source>> {
    let Some(path) = key_of(cx, login) else { return Ok(None) };
    if !path.is_absolute() {
        // It would be another key in each directory.
        return Err(Error::configuration(format!("the key of `{login}` has no absolute path"))
            .caused_by(format!("{}: `{}`", cx.config.origin(login, "key"), path.display()))
            .hint(format!("name it again: `earthkey login {login} --flow service-account --key FILE`")));
    }
    let source = key_source(cx, login, &path, preset)?;
    let source = Source { named_by: Some(NamedBy::Login), ..source };
    Ok(Some(match remembered_project(cx, login) {
        Some((project, origin)) => {
            Source { quota_project: Some(project), project_from: Some(origin), ..source }
        }
        None => source,
    }))
}

/// Returns the project that is remembered with a key, and where, unless no header could hold it.
fn remembered_project(cx: &Context<'_>, login: &Login) -> Option<(String, String)> {
    let project = cx.config.profile(login).project?;
    usable_project(cx, &project, &cx.config.origin(login, "project").to_string())
}

/// Returns the login of the account whose key is at `path`.
pub(super) fn key_source(cx: &Context<'_>, login: &Login, path: &Path, preset: &Preset) -> Result<Source> {
    let bytes = read(cx, path)?.ok_or_else(|| {
        Error::configuration(format!("the key of `{login}` is not there"))
            .caused_by(format!("there is no {}", path.display()))
            .hint(format!("look at the path, or name another: `earthkey login {login} --key FILE`"))
    })?;
    let key = Key::parse(&bytes).map_err(|damage| {
        Error::store(format!("`{}` is no key of a service account that can be used", path.display()))
            .caused_by(damage)
            .hint(match Kind::of(&members(&bytes)) {
                Some(kind @ (Kind::Client | Kind::Person)) => kind.hint(login, path).unwrap_or_default(),
                _ => "make a new key for the account and download it as JSON".to_owned(),
            })
    })?;
    let client = PersonsClient {
        client: Client::public(key.account.email.clone()),
        addresses: Addresses {
            authorization: googles(AUTHORIZATION_ENDPOINT)?,
            token: key.token_uri.clone(),
        },
        project: key.project.clone(),
    };
    let home = home(cx, path.to_owned(), Arc::new(KeySlot))?;
    let source = source(cx, login, home.clone(), &client)?;
    let (quota_project, project_from) = quota_project(cx, None, "").unzip();
    Ok(Source {
        // No server replaces a key, and nothing is to be left beside it.
        home,
        scopes: preset.account_scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        quota_project,
        project_from,
        issued_to: IssuedTo::Home(Some(Fingerprint::of(key.token_uri.as_str()))),
        account: Some(key.account.email),
        ..source
    })
}
