//! `earthkey login`.

use std::io;
use std::io::IsTerminal;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use earthkey::earthkey::Earthkey;
use earthkey::earthkey::SignedIn;
use earthkey::error::Error;
use earthkey::flow::Flow;
use earthkey::host::Notice;
use earthkey::login::Login;
use earthkey::login::System;
use earthkey::secret::ClientSecret;
use earthkey::secret::Password;
use earthkey::secret::RefreshToken;
use earthkey::system::LoginOptions;
use earthkey::system::QuotaProject;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;
use crate::output::duration;

/// Bytes of a secret on standard input that are read at most.
const MAX_SECRET: u64 = 64 * 1024;

/// Sign in
#[derive(Debug, Args)]
#[command(after_help = "\
Flows:
  loopback[:PORT]     a browser of this machine
  paste               a browser anywhere; the address it ends at is pasted back
  device              a code, entered on any device
  client-credentials  the client's own credentials, no person
  refresh             a refresh token that you have, on standard input
  basic               a name and a password (openEO)
  service-account     the key of an account of a program (Google)

Examples:
  earthkey login earthengine --project my-project
  earthkey login google --quota-project my-project
  earthkey login gemini --client-id-file client_secret.json
  earthkey login earthengine --flow service-account --key key.json
  earthkey login earthscope
  earthkey login earthscope/work --no-browser
  earthkey login google --quiet; earthkey login google --finish <address.txt
  earthkey login openeo https://openeo.dataspace.copernicus.eu
  earthkey login openeo/openeo.cloud --provider egi
  earthkey login oidc/work https://login.example.org --client-id my-app
  earthkey login oidc/job https://login.example.org --flow client-credentials \\
      --client-id job --client-secret-stdin <secret.txt
  earthkey login earthscope --flow refresh <token.txt")]
pub(crate) struct LoginArguments {
    /// SYSTEM or SYSTEM/NAME
    login: String,

    /// The provider: an issuer, an openEO back-end, an EarthScope domain; none for Google
    url: Option<String>,

    /// How to sign in; what fits the provider and this machine where left out
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,

    /// The openEO back-end's name for the OpenID provider
    #[arg(long, value_name = "ID")]
    provider: Option<String>,

    /// The client's id
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// Read the client's secret from standard input
    #[arg(long, conflicts_with_all = ["quiet", "finish"])]
    client_secret_stdin: bool,

    /// The file of a client of your own, as Google's console hands it out
    #[arg(long, value_name = "FILE", conflicts_with_all = ["client_id", "client_secret_stdin"])]
    client_id_file: Option<PathBuf>,

    /// The file of a service account's key, which stays where it is
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// The project that an Earth Engine login keeps
    #[arg(long, value_name = "P")]
    project: Option<String>,

    /// The project that requests are counted for (google, gemini)
    #[arg(long, value_name = "P")]
    quota_project: Option<String>,

    /// Keep no project for requests, not even the one of an earlier login
    #[arg(long, conflicts_with = "quota_project")]
    no_quota_project: bool,

    /// The name for the flow `basic`
    #[arg(long, value_name = "NAME")]
    username: Option<String>,

    /// Read the password for the flow `basic` from standard input
    #[arg(long, conflicts_with = "client_secret_stdin")]
    password_stdin: bool,

    /// The scopes to ask for, apart by commas and spelt as the provider spells them (Google's in full,
    /// as `https://www.googleapis.com/auth/drive`); those of the system's own client where left out
    #[arg(long, value_name = "S,S", value_delimiter = ',')]
    scopes: Option<Vec<String>>,

    /// The API that the token is for (EarthScope and OpenID providers that ask for it)
    #[arg(long, value_name = "A")]
    audience: Option<String>,

    /// Replace the login of another account without asking
    #[arg(long)]
    force: bool,

    /// Open no browser
    #[arg(long)]
    no_browser: bool,

    /// Print the page to visit, and the command that ends the sign-in
    #[arg(long, conflicts_with = "finish")]
    quiet: bool,

    /// End a sign-in that `--quiet` began, with the address that the browser ended at
    #[arg(long, conflicts_with_all = ["flow", "provider", "client_id", "client_id_file", "scopes", "audience", "username"])]
    finish: bool,

    /// How long a person is waited for; 600 where left out
    #[arg(long, value_name = "SEC")]
    timeout: Option<u64>,
}

pub(crate) async fn run(
    earthkey: &Earthkey,
    arguments: LoginArguments,
    no_input: bool,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let login: Login = arguments.login.parse()?;
    let flow = arguments.flow.as_deref().map(str::parse).transpose()?;
    if arguments.key.as_deref() == Some(Path::new("-")) {
        return Err(Error::usage("a key is used where it lies, so that it needs a file")
            .hint(format!("earthkey login {login} --flow service-account --key FILE"))
            .into());
    }
    if arguments.key.is_some() && (arguments.quiet || arguments.finish) {
        return Err(Error::usage("a key signs in at once, without a page")
            .hint(format!("leave `--quiet` out: `earthkey login {login} --key FILE`"))
            .into());
    }
    let mut options = LoginOptions {
        url: arguments.url,
        flow,
        provider: arguments.provider,
        client_id: arguments.client_id,
        client_secret: None,
        client_id_file: arguments.client_id_file.as_deref().map(absolute).transpose()?,
        key: arguments.key.as_deref().map(absolute).transpose()?,
        project: arguments.project,
        quota_project: match (arguments.quota_project, arguments.no_quota_project) {
            (Some(project), _) => QuotaProject::Set(project),
            (None, true) => QuotaProject::Remove,
            (None, false) => QuotaProject::Keep,
        },
        username: arguments.username,
        password: None,
        refresh_token: None,
        scopes: arguments.scopes,
        audience: arguments.audience,
        no_browser: arguments.no_browser,
        force: arguments.force,
        timeout: arguments.timeout.map(Duration::from_secs),
        unattended: no_input,
    };
    if arguments.client_secret_stdin {
        let secret = secret(earthkey, "client secret", &login).await?;
        options.client_secret = Some(ClientSecret::new(secret));
    }
    if arguments.password_stdin || flow == Some(Flow::Basic) {
        options.password = Some(Password::new(secret(earthkey, "password", &login).await?));
    }
    if flow == Some(Flow::Refresh) {
        let token = secret(earthkey, "refresh token", &login).await?;
        options.refresh_token = Some(RefreshToken::new(token.trim()));
    }
    if arguments.quiet {
        // A page that is printed to be visited anywhere is what pasting is for.
        if options.flow.is_none() && (login.system == System::Oidc || login.system.is_of_google()) {
            options.flow = Some(Flow::Paste);
        }
        let begun = earthkey.begin_login(&login, &options).await?;
        if output.json {
            output.document(&json!({"url": begun.url.as_str(), "finish": begun.finish}))?;
        } else {
            output.line(begun.url.as_str())?;
            output.line(&begun.finish)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let signed_in = if arguments.finish {
        let pasted = secret(earthkey, "address that the browser ended at", &login).await?;
        earthkey.finish_login(&login, &pasted, options).await?
    } else {
        earthkey.login(&login, &options).await?
    };
    report(earthkey, &signed_in, output)
}

/// Makes a path one that means the same in another directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| {
        Error::usage(format!("`{}` is no path", path.display())).caused_by(error).hint("name a file").into()
    })
}

fn report(earthkey: &Earthkey, signed_in: &SignedIn, output: &Output) -> Result<ExitCode, Failure> {
    if output.json {
        output.document(&json!({
            "login": signed_in.login.to_string(),
            "account": signed_in.account,
            "flow": signed_in.flow,
            "home": signed_in.home,
            "scopes": signed_in.scopes,
            "expires_at": signed_in.expires_at,
            "refreshable": signed_in.refreshable,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let account = signed_in.account.as_ref().map_or_else(String::new, |account| format!(" as {account}"));
    let left = signed_in.expires_at.saturating_sub(earthkey.host().clock.now());
    let renewal = if signed_in.refreshable { ", then refreshed by itself" } else { "" };
    let text = format!(
        "{} Signed in to {}{account}\n  {} keeps the login; the access token lasts {}{renewal}",
        output.stderr.green("✓"),
        signed_in.login,
        signed_in.home,
        duration(left)
    );
    earthkey.host().interaction.tell(&Notice::Line(&text));
    if let Some(remark) = &signed_in.remark {
        earthkey.host().interaction.tell(&Notice::Line(&format!("  {remark}")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a secret from standard input, or from a hidden prompt where that is a terminal.
async fn secret(earthkey: &Earthkey, what: &str, login: &Login) -> Result<String, Failure> {
    let missing = || {
        Error::login_required(format!("no {what} came on standard input")).hint(format!(
            "put it in a file and add `<FILE` to `earthkey login {login} …`, or run it in a terminal"
        ))
    };
    let text = if io::stdin().is_terminal() {
        if !earthkey.host().interaction.can_ask() {
            return Err(missing().into());
        }
        let asked = earthkey.host().interaction.ask_hidden(&format!("The {what}: ")).await;
        asked.map_err(|error| missing().caused_by(error))?
    } else {
        let read = || {
            let mut text = String::new();
            io::stdin().lock().take(MAX_SECRET).read_to_string(&mut text).map(|_| text)
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(io::Error::other);
        read.and_then(|read| read).map_err(|error| missing().caused_by(error))?
    };
    // A password may begin or end with a space; what ends the line is not of it.
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() { Err(missing().into()) } else { Ok(secret.to_owned()) }
}
