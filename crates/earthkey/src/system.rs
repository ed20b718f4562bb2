//! What each system keeps where, and how it wants to be asked.
//!
//! One room per system, all with the same doors: [`plan`] says how to sign in, [`resolve`] finds
//! the login that exists, [`list`] finds every login of the system, [`check`] calls a real
//! endpoint. Nothing here sends a grant or writes a home.

mod context;
pub mod earthengine;
pub mod earthscope;
pub mod gemini;
pub mod google;
pub mod oidc;
pub mod openeo;
mod options;
mod provider;
mod source;

use std::path::PathBuf;
use std::time::Duration;

pub use self::context::Context;
pub use self::google::QuotaProject;
pub use self::options::LoginOptions;
use self::provider::address;
use self::provider::call;
use self::provider::discover;
use self::provider::fetch;
use self::provider::plain_http;
pub use self::source::Bearer;
pub use self::source::Endpoints;
pub use self::source::IssuedTo;
pub use self::source::NamedBy;
pub use self::source::Source;
use crate::config::Profile;
use crate::error::Error;
use crate::error::Result;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::host::Host;
use crate::host::Notice;
use crate::login::Login;
use crate::login::System;
use crate::oauth::metadata::Metadata;
use crate::refresh::Access;
use crate::store::Home;

/// How long a file that is absent or torn is given to come back: other programs remove it before they
/// write, and truncate it.
const SETTLE: Duration = Duration::from_millis(250);

/// How long a person is waited for unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(600);

/// How to sign in: what the flow needs, and where the grant goes then.
pub struct Signing {
    /// What the flow needs.
    pub plan: Plan,
    /// The flow.
    pub flow: Flow,
    /// Where the grant goes.
    pub source: Source,
    /// What is remembered.
    pub profile: Profile,
    /// Where the system's own client must be told which client was chosen.
    pub companion: Option<Home>,
    /// The scope without which the login would be good for nothing.
    pub needed_scope: Option<&'static str>,
    /// What a person should know who has signed in.
    pub remark: Option<String>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The account, as the system knows it.
    pub account: Option<String>,
    /// What was called.
    pub called: String,
    /// What came back, in a few words.
    pub found: Option<String>,
}

/// Says how to sign in.
pub async fn plan(cx: &Context<'_>, login: &Login, options: &LoginOptions) -> Result<Signing> {
    refuse_what_is_not_its(login, options)?;
    match login.system {
        System::Earthengine => earthengine::plan(cx, login, options),
        System::Google => google::plan(cx, login, options),
        System::Gemini => gemini::plan(cx, login, options),
        System::Oidc => oidc::plan(cx, login, options).await,
        System::Earthscope => earthscope::plan(cx, login, options),
        System::Openeo => openeo::plan(cx, login, options).await,
    }
}

/// Finds the login that exists, or where it would be.
pub async fn resolve(cx: &Context<'_>, login: &Login) -> Result<Source> {
    match login.system {
        System::Earthengine => earthengine::resolve(cx, login).await,
        System::Google => google::resolve(cx, login),
        System::Gemini => gemini::resolve(cx, login),
        System::Oidc => oidc::resolve(cx, login).await,
        System::Earthscope => earthscope::resolve(cx, login),
        System::Openeo => openeo::resolve(cx, login).await,
    }
}

/// Returns where a login was that cannot be found without its file, if it is of that kind.
pub fn gone(cx: &Context<'_>, login: &Login) -> Result<Option<Home>> {
    match login.system {
        System::Oidc => oidc::gone(cx, login).map(Some),
        _ => Ok(None),
    }
}

/// Finds the login that a new one would replace, by what its own file says, where that may be of another
/// server than the new one.
pub fn in_place(cx: &Context<'_>, new: &Source) -> Result<Option<Source>> {
    let (login, path) = (&new.login, new.home.path.clone());
    if login.system != System::Gemini {
        return Ok(None);
    }
    google::resolve_by_file(cx, login, path, google::Whose::Ours).map(Some)
}

/// Returns whether a login is by a key whose place is remembered.
pub fn is_by_key(cx: &Context<'_>, login: &Login) -> bool {
    login.system.is_of_google() && google::has_key(cx, login)
}

/// Finds every login of a system, without the network.
pub fn list(cx: &Context<'_>, system: System) -> Result<Vec<Login>> {
    match system {
        System::Earthengine => earthengine::list(cx),
        System::Google => google::list(cx),
        System::Gemini => gemini::list(cx),
        System::Oidc => oidc::list(cx),
        System::Earthscope => earthscope::list(cx),
        System::Openeo => openeo::list(cx),
    }
}

/// Returns where each system's own files lie, by what they are.
pub fn homes(cx: &Context<'_>) -> Result<Vec<(String, PathBuf)>> {
    let mut homes = vec![
        ("earthengine".to_owned(), earthengine::home_path(cx)?),
        ("google".to_owned(), google::well_known(cx)?),
        ("gemini".to_owned(), google::own_directory(cx, System::Gemini)?),
        ("earthscope".to_owned(), earthscope::directory(cx)?),
        ("oidc".to_owned(), oidc::directory(cx.host)?),
    ];
    homes.extend(openeo::files(cx)?);
    Ok(homes)
}

/// Calls a real endpoint of the system with a token, of Google's for `project` if one is named.
pub async fn check(
    cx: &Context<'_>,
    source: &Source,
    access: &Access,
    project: Option<&str>,
) -> Result<Checked> {
    if source.login.system.is_of_google() {
        google::refuse_strangers(cx, source)?;
    }
    match source.login.system {
        System::Earthengine => earthengine::check(cx, source, access, project).await,
        System::Gemini => gemini::check(cx, source, access, project).await,
        System::Google => google::check(cx, source, access).await,
        System::Oidc => oidc::check(cx, source, access).await,
        System::Earthscope => earthscope::check(cx, source, access).await,
        System::Openeo => openeo::check(cx, source, access).await,
    }
}

/// Refuses a project where a system is asked for nothing that belongs to one.
pub fn refuse_project(login: &Login, project: Option<&str>) -> Result<()> {
    if project.is_none() || matches!(login.system, System::Earthengine | System::Gemini) {
        return Ok(());
    }
    Err(Error::usage(format!("`check {}` asks for nothing of a project", login.system))
        .hint(format!("leave it out: `earthkey check {login}`")))
}

/// Returns the command that signs in where nothing is known of a login yet.
pub fn first_login(login: &Login) -> String {
    match login.system {
        System::Gemini => format!("earthkey login {login} --client-id-file client_secret.json"),
        _ => format!("earthkey login {login}"),
    }
}

/// Asks whose a token is.
pub async fn whose(cx: &Context<'_>, source: &Source, access: &Access) -> Result<Checked> {
    // Google's systems know projects; whose a token is, Google itself knows.
    if source.login.system.is_of_google() {
        google::refuse_strangers(cx, source)?;
        return google::check(cx, source, access).await;
    }
    check(cx, source, access, None).await
}

/// Refuses options that mean nothing to a system: whoever gives one expects something of it.
fn refuse_what_is_not_its(login: &Login, options: &LoginOptions) -> Result<()> {
    let system = login.system;
    let is_of_google = system.is_of_google();
    let given = [
        ("an address", options.url.is_some(), !is_of_google),
        ("--provider", options.provider.is_some(), system == System::Openeo),
        ("--client-id-file", options.client_id_file.is_some(), is_of_google),
        ("--key", options.key.is_some(), is_of_google),
        ("--project", options.project.is_some(), system == System::Earthengine),
        (
            "--quota-project",
            options.quota_project != QuotaProject::Keep,
            matches!(system, System::Google | System::Gemini),
        ),
        ("--audience", options.audience.is_some(), !is_of_google),
    ];
    match given.into_iter().find(|(_, is_given, has_meaning)| *is_given && !has_meaning) {
        None => Ok(()),
        Some(("--project", ..)) if is_of_google => Err(Error::usage(format!("{system} keeps no project"))
            .hint(format!(
                "name the one that requests are counted for: `earthkey login {login} --quota-project P`"
            ))),
        Some(("--quota-project", ..)) if is_of_google => Err(Error::usage("Earth Engine has one project")
            .hint(format!("name it so: `earthkey login {login} --project P`"))),
        Some((option, ..)) => Err(Error::usage(format!("{option} means nothing to {system}"))
            .hint("see what there is: `earthkey login --help`")),
    }
}

/// Takes the flow that was asked for, or was used before, or fits this machine and the provider.
fn choose_flow(
    host: &Host,
    metadata: &Metadata,
    options: &LoginOptions,
    known: Option<&str>,
) -> Result<Flow> {
    if let Some(flow) = options.flow {
        return Ok(flow);
    }
    if options.refresh_token.is_some() {
        return Ok(Flow::Refresh);
    }
    let is_remote = host.env.text("SSH_CONNECTION").is_some();
    let can_open = !options.no_browser && has_screen(host) && !is_remote;
    let has_page = metadata.authorization_endpoint.is_some();
    let has_device = metadata.device_authorization_endpoint.is_some();
    // Whoever wants no browser opened has one at hand, if the machine is at hand.
    let can_come_back = has_page && (can_open || (options.no_browser && !is_remote));
    let fitting = match (can_open && has_page, has_device) {
        (true, _) => Flow::Loopback(None),
        (false, true) => Flow::Device,
        (false, false) if can_come_back => Flow::Loopback(None),
        (false, false) => Flow::Paste,
    };
    // A refresh token at hand is no way to sign in again.
    match known.filter(|known| *known != Flow::Refresh.name()).map(str::parse).transpose()? {
        None => Ok(fitting),
        // It was remembered elsewhere, or of another day: nobody could come back to this machine.
        Some(Flow::Loopback(_)) if !can_come_back => {
            let (fitting, known) = (fitting.name(), Flow::Loopback(None));
            host.interaction.tell(&Notice::Line(&format!(
                "no browser can be opened here, so this is the flow `{fitting}` and not `{known}` as last time; \
                 where a port of this machine is forwarded to yours: `--flow loopback:PORT`"
            )));
            Ok(fitting.parse()?)
        }
        Some(known) => Ok(known),
    }
}

/// Returns whether a sign-in opens a browser: one that nobody can see is not said to come up.
fn opens_browser(host: &Host, options: &LoginOptions) -> bool {
    !options.no_browser && has_screen(host)
}

/// Returns whether this machine can show a browser.
fn has_screen(host: &Host) -> bool {
    ["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"].iter().any(|name| host.env.text(name).is_some())
        || cfg!(target_os = "macos")
}
