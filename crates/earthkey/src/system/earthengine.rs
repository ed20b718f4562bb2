//! Google Earth Engine: the home is the file of its own client, `~/.config/earthengine/credentials`.
//!
//! Without a refresh token in it, Application Default Credentials count, as for that client.

mod file;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use url::Url;

use self::file::EarthEngineSlot;
use self::file::NewLogin;
use super::Checked;
use super::Context;
use super::IssuedTo;
use super::LoginOptions;
use super::Signing;
use super::Source;
use super::google;
use super::google::Adc;
use super::google::PersonsClient;
use super::google::Preset;
use crate::error::Error;
use crate::error::Result;
use crate::flow::Redirect;
use crate::host::env::display;
use crate::host::http::Request;
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::Client;
use crate::refresh::Access;

/// What the client asks for, in its own order.
const SCOPES: [&str; 4] = [
    "https://www.googleapis.com/auth/earthengine",
    google::CLOUD_PLATFORM,
    "https://www.googleapis.com/auth/drive",
    "https://www.googleapis.com/auth/devstorage.full_control",
];

const PRESET: Preset = Preset {
    client: Some((file::CLIENT_ID, file::CLIENT_SECRET)),
    scopes: &SCOPES,
    needed_scope: SCOPES[0],
    account_scopes: &SCOPES,
    // As the client registered it: by name, and without a slash.
    redirect: Redirect { host: "localhost", path: "", port: Some(8085) },
};

const API: &str = "https://earthengine.googleapis.com";

/// Projects of Google's own clients, which nobody may use.
const PROJECTS_OF_CLIENTS: [&str; 7] = [
    "517222506229",
    "764086051850",
    "618104708054",
    "32555940559",
    "522309567947",
    "1014160490159",
    "1057398310658",
];

/// Bytes of a list of algorithms that are read at most; it has some two million.
const MAX_ALGORITHMS: usize = 32 * 1024 * 1024;

/// Says how to sign in.
pub(super) fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    if let Some(signing) = google::plan_by_key(cx, login, options, &PRESET)? {
        return Ok(signing);
    }
    let path = path(cx, login)?;
    let known = google::read(cx, &path)?.and_then(|bytes| file::EarthEngineFile::parse(&bytes).ok());
    let known = google::known_client(cx, login, known.map(|file| file.client()))?;
    let client = google::googles_own(google::client(cx, login, options, &PRESET, known)?)?;
    let project = options.project.as_deref().map(|project| google::project_id(project, "`--project`"));
    let slot = EarthEngineSlot {
        login: Some(NewLogin { client: client.client.clone(), project: project.transpose()? }),
        is_ours: login.name.is_some(),
    };
    let home = google::home(cx, path.clone(), Arc::new(slot))?;
    let source = google::source(cx, login, home, &client)?;
    let has_project = options.project.is_some()
        || with_project(cx, source.clone(), project_of_file(cx, &path)?.as_deref(), By::Person)?
            .quota_project
            .is_some();
    let remark = format!("Earth Engine wants a project, too; {}", keep_one(login));
    let remark = Some(remark).filter(|_| !has_project);
    Ok(Signing { remark, ..google::plan_by_person(cx, options, &PRESET, client, source)? })
}

/// Finds the login that exists, or where it would be.
pub(super) async fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    let path = path(cx, login)?;
    if let Some(source) = google::resolve_by_key(cx, login, &PRESET)? {
        return with_project(cx, source, project_of_file(cx, &path)?.as_deref(), By::RememberedKey);
    }
    let (source, has_login) = by_file(cx, login, &path)?;
    if has_login || login.name.is_some() {
        return Ok(source);
    }
    let Some(adc) = Adc::find(cx)? else { return Ok(source) };
    // The client removes its file before it writes it anew: in between, another login must not
    // take its place.
    if path.parent().is_some_and(|directory| cx.host.fs.stat(directory).is_ok()) {
        cx.host.clock.sleep(super::SETTLE).await;
        let (source, has_login) = by_file(cx, login, &path)?;
        if has_login {
            return Ok(source);
        }
    }
    with_project(cx, adc.lend(cx, login, &PRESET, &path)?, project_of_file(cx, &path)?.as_deref(), By::Adc)
}

/// Finds every login.
pub(super) fn list(cx: &Context<'_>) -> Result<Vec<Login>> {
    let default = Login::of(System::Earthengine);
    // A file that cannot be read is shown, with the reason; one that keeps a project alone is no login.
    let has_login = |login: &Login| {
        let by_file = || path(cx, login).and_then(|path| by_file(cx, login, &path));
        google::has_key(cx, login) || by_file().map_or(true, |(_, has_login)| has_login)
    };
    let further = google::further(cx, System::Earthengine)?;
    Ok([default].into_iter().chain(further).filter(has_login).collect())
}

/// Fetches the list of algorithms, as every client does first.
pub(super) async fn check(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    project: Option<&str>,
) -> Result<Checked> {
    let named = project.map(|project| google::project_id(project, "`--project`")).transpose()?;
    let project = named.or_else(|| source.quota_project.clone()).ok_or_else(|| no_project(&source.login))?;
    if PROJECTS_OF_CLIENTS.contains(&project.as_str()) {
        return Err(Error::configuration(format!(
            "`{project}` is the project of one of Google's own clients"
        ))
        .caused_by("nobody may use it; the client takes it where no other is known")
        .hint(format!("keep one of yours with the login: `earthkey login {} --project P`", source.login)));
    }
    let source = Source { quota_project: Some(project.clone()), ..source.clone() };
    let endpoint = algorithms(cx, &project)?;
    let request = Request::get(endpoint.clone()).max_body(MAX_ALGORITHMS);
    let answer = google::ask(cx, &source, access, request).await?;
    let count = answer.get("algorithms").and_then(Value::as_array).map_or(0, Vec::len);
    Ok(Checked {
        account: source.account.clone(),
        called: endpoint.to_string(),
        found: Some(format!("{}, project {project}", google::counted(count, "algorithm"))),
    })
}

fn algorithms(cx: &Context<'_>, project: &str) -> Result<Url> {
    google::moved(cx, &format!("{API}/v1/projects/{project}/algorithms"))
}

fn no_project(login: &Login) -> Error {
    Error::configuration("no project is known for Earth Engine")
        .caused_by("neither the login's file nor Application Default Credentials name one")
        .hint(keep_one(login))
        .hint(format!("or name it now: `earthkey check {login} --project P`"))
}

/// Says how a login comes by a project. In its own file the client puts one there without a sign-in.
pub(crate) fn keep_one(login: &Login) -> String {
    let by_client = match login.name {
        None => ", or without signing in again by its own client: `earthengine set_project P`",
        Some(_) => "",
    };
    format!("keep one with the login: `earthkey login {login} --project P`{by_client}")
}

/// Returns the login of the client's own file, and whether there is one in it. A file that cannot be
/// read as it is may be whole at the next look, which whoever uses it takes; it is this login's.
fn by_file(cx: &Context<'_>, login: &Login, path: &std::path::Path) -> Result<(Source, bool)> {
    let bytes = google::read(cx, path)?;
    let file = bytes.as_deref().map(file::EarthEngineFile::parse);
    let has_login = file.as_ref().is_some_and(|file| file.as_ref().map_or(true, |file| file.has_login));
    let file = file.and_then(std::result::Result::ok);
    let issued_to = IssuedTo::Home(
        file.as_ref().filter(|file| file.has_login).map(|file| google::issued_to(&file.client(), None)),
    );
    let file = file.unwrap_or_default();
    let client = PersonsClient { client: file.client(), ..google::client_of(None)? };
    let slot = EarthEngineSlot { login: None, is_ours: login.name.is_some() };
    let home = google::home(cx, path.to_owned(), Arc::new(slot))?;
    let source = google::source(cx, login, home, &client)?;
    let source = Source { scopes: file.scopes, issued_to, ..source };
    Ok((with_project(cx, source, file.project.as_deref(), By::Person)?, has_login))
}

fn project_of_file(cx: &Context<'_>, path: &std::path::Path) -> Result<Option<String>> {
    Ok(google::read(cx, path)?.and_then(|bytes| file::EarthEngineFile::parse(&bytes).ok()?.project))
}

/// How a login was found, which decides where its project is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A person, in the client's own file.
    Person,
    /// Application Default Credentials, a person's or a key.
    Adc,
    /// A key that a person named to earthkey, of which no client knows.
    RememberedKey,
}

/// Finds the project as the client does: its file's; else the quota project of `gcloud`'s file, whatever
/// credentials are in use; else that of the credentials or of the variable; else the one that the OAuth
/// client is of. For a key that is remembered, the one that was named with it goes first and `gcloud`'s
/// does not count. A key's own is last.
fn with_project(cx: &Context<'_>, source: Source, of_file: Option<&str>, by: By) -> Result<Source> {
    let own = source.quota_project.clone().zip(source.project_from.clone());
    let usable = |project: &str, place: &str| google::usable_project(cx, project, place);
    let file = display(&path(cx, &source.login)?, &cx.host.env);
    let of_file = || of_file.and_then(|project| usable(project, &file));
    let project = match by {
        By::RememberedKey => own.or_else(of_file),
        By::Person | By::Adc => {
            if let Some(project) = of_file() {
                Some(project)
            } else {
                let of_gcloud =
                    google::read(cx, &google::well_known(cx)?)?.map(|bytes| google::members(&bytes));
                let of_gcloud = of_gcloud.as_ref().and_then(|file| file.get("quota_project_id")?.as_str());
                of_gcloud.and_then(|project| usable(project, "gcloud's file")).or(own)
            }
        }
    };
    let project = project.or_else(|| match key_of(cx, &source) {
        // An account's address may begin with a number, too.
        Some(key) => usable(&key.project?, "the key"),
        None => Some((project_of_client(&source.client)?, "the client's id".to_owned())),
    });
    let (quota_project, project_from) = project.unzip();
    Ok(Source { quota_project, project_from, ..source })
}

/// Returns the number of the project that a client is of, unless it is of Google's own.
fn project_of_client(client: &Client) -> Option<String> {
    let (number, _) = client.id.split_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !PROJECTS_OF_CLIENTS.contains(&number)).then(|| number.to_owned())
}

/// Returns the key that a login is by, if it is by one.
fn key_of(cx: &Context<'_>, source: &Source) -> Option<google::Key> {
    let bytes = cx.read(&source.home.path).ok()??;
    google::Key::parse(&bytes).ok()
}

/// Returns the file of a login: the client knows one alone, further ones are ours.
fn path(cx: &Context<'_>, login: &Login) -> Result<PathBuf> {
    match login.name {
        Some(_) => google::own_path(cx, login),
        None => Ok(cx.host.env.home()?.join(".config").join("earthengine").join("credentials")),
    }
}

/// Returns the client's file.
pub(super) fn home_path(cx: &Context<'_>) -> Result<PathBuf> {
    path(cx, &Login::of(System::Earthengine))
}

#[cfg(test)]
mod tests;
