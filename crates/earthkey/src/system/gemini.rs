//! Google's Gemini API: Google's logins with other scopes, and a project in a header.
//!
//! No client of Google's keeps such a login; the file is ours, in the form of Application Default
//! Credentials, so that `GOOGLE_APPLICATION_CREDENTIALS` can name it.

use std::sync::Arc;

use serde_json::Value;

use super::Checked;
use super::Context;
use super::LoginOptions;
use super::Signing;
use super::Source;
use super::google;
use super::google::Adc;
use super::google::AuthorizedUser;
use super::google::AuthorizedUserSlot;
use super::google::NewLogin;
use super::google::Preset;
use super::google::QuotaProject;
use super::google::Whose;
use crate::error::Result;
use crate::flow::Redirect;
use crate::host::http::Request;
use crate::login::Login;
use crate::login::System;
use crate::refresh::Access;

const SCOPES: [&str; 2] =
    [google::CLOUD_PLATFORM, "https://www.googleapis.com/auth/generative-language.retriever"];

const PRESET: Preset = Preset {
    client: None,
    scopes: &SCOPES,
    needed_scope: SCOPES[1],
    account_scopes: &SCOPES,
    redirect: Redirect { host: "localhost", path: "/", port: None },
};

const MODELS: &str = "https://generativelanguage.googleapis.com/v1/models";

/// Bytes of a list of models that are read at most.
const MAX_MODELS: usize = 4 * 1024 * 1024;

/// Says how to sign in.
pub(super) fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    if let Some(signing) = google::plan_by_key(cx, login, options, &PRESET)? {
        return Ok(signing);
    }
    let path = google::own_path(cx, login)?;
    let known = google::read(cx, &path)?.and_then(|bytes| AuthorizedUser::parse(&bytes, Whose::Ours).ok());
    let known = known.map(|user| google::client_of(Some(&user))).transpose()?;
    let client = google::client(cx, login, options, &PRESET, known)?;
    let quota_project = match (&options.quota_project, &client.project) {
        // The project of the client is the one whose API it was made for.
        (QuotaProject::Keep, Some(project)) => {
            QuotaProject::Set(google::project_id(project, "the client's file")?)
        }
        (asked, _) => google::valid(asked)?,
    };
    let addresses = Some(client.addresses.clone());
    let new_login = NewLogin { client: client.client.clone(), quota_project, addresses };
    let slot = AuthorizedUserSlot { whose: Whose::Ours, login: Some(new_login) };
    let home = google::home(cx, path, Arc::new(slot))?;
    let source = google::source(cx, login, home, &client)?;
    google::plan_by_person(cx, options, &PRESET, client, source)
}

/// Finds the login that exists, or where it would be: our file, else Application Default Credentials,
/// which may have been made for this.
pub(super) fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    if let Some(source) = google::resolve_by_key(cx, login, &PRESET)? {
        return Ok(source);
    }
    let path = google::own_path(cx, login)?;
    let is_there = google::read(cx, &path)?.is_some();
    if !is_there
        && login.name.is_none()
        && let Some(adc) = Adc::find(cx)?
    {
        return adc.lend(cx, login, &PRESET, &path);
    }
    google::resolve_by_file(cx, login, path, Whose::Ours)
}

/// Finds every login.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let default = Login::of(System::Gemini);
    let is_there = cx.is_there(&google::own_path(cx, &default)?)? || google::has_key(cx, &default);
    let further = google::further(cx, System::Gemini)?;
    let further = further.into_iter().filter(|login| login.name.as_deref() != Some("default"));
    Ok(is_there.then_some(default).into_iter().chain(further).collect())
}

/// Lists the models.
pub(super) async fn check(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    project: Option<&str>,
) -> Result<Checked> {
    let named = project.map(|project| google::project_id(project, "`--project`")).transpose()?;
    let quota_project = named.or_else(|| source.quota_project.clone());
    let source = Source { quota_project: quota_project.clone(), ..source.clone() };
    let endpoint = google::moved(cx, MODELS)?;
    let request = Request::get(endpoint.clone()).max_body(MAX_MODELS);
    let answer = google::ask(cx, &source, access, request).await?;
    let count = answer.get("models").and_then(Value::as_array).map_or(0, Vec::len);
    let project = quota_project.map_or_else(String::new, |project| format!(", project {project}"));
    Ok(Checked {
        account: source.account.clone(),
        called: endpoint.to_string(),
        found: Some(google::counted(count, "model") + &project),
    })
}
