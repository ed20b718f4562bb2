//! `earthkey demo`: every system by its real flow, against a sandbox, in a private home.

mod robot;

use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use earthkey::earthkey::Earthkey;
use earthkey::earthkey::SignedIn;
use earthkey::error::Error;
use earthkey::flow::Flow;
use earthkey::host::Env;
use earthkey::host::FileSystem;
use earthkey::host::Host;
use earthkey::host::real::RealClock;
use earthkey::host::real::RealFileSystem;
use earthkey::host::real::RealHttp;
use earthkey::host::real::RealProcess;
use earthkey::host::real::RealRandom;
use earthkey::host::records::RealRecords;
use earthkey::login::Login;
use earthkey::login::System;
use earthkey::refresh::Want;
use earthkey::secret::AccessToken;
use earthkey::secret::ClientSecret;
use earthkey::system::LoginOptions;
use earthkey_sandbox::Control;
use earthkey_sandbox::Options;
use earthkey_sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;

use self::robot::Robot;
use super::status::shown;
use crate::failure::Failure;
use crate::output::Output;

/// How long the sandbox's access tokens live, in seconds: long enough to be used, short enough to
/// be waited for.
const LIFETIME: u64 = 4;

/// The logins of the demo, and the flow of each.
const LOGINS: [(&str, Flow); 10] = [
    ("earthengine", Flow::Loopback(None)),
    ("earthengine/robot", Flow::ServiceAccount),
    ("google", Flow::Paste),
    ("gemini", Flow::Loopback(None)),
    ("openeo", Flow::Device),
    ("earthscope", Flow::Device),
    ("oidc", Flow::Loopback(None)),
    ("oidc/pasted", Flow::Paste),
    ("oidc/device", Flow::Device),
    ("oidc/service", Flow::ClientCredentials),
];

/// One login and what became of it.
struct Act {
    login: Login,
    signed_in: SignedIn,
    token: AccessToken,
    check_ok: bool,
    refreshed: bool,
    took: Duration,
}

pub(crate) async fn run(output: &Output) -> Result<ExitCode, Failure> {
    let options = Options { access_token_lifetime: LIFETIME, ..Options::default() };
    let sandbox = Sandbox::start(options)
        .await
        .map_err(|error| Error::configuration("the sandbox cannot be started").caused_by(error))?;
    let home = tempfile::Builder::new()
        .prefix("earthkey-demo-")
        .tempdir()
        .map_err(|error| Error::store("no private home can be made").caused_by(error))?;
    let downloads = Downloads::new(home.path(), &sandbox.control())?;
    let earthkey = Earthkey::in_foreground(host(home.path(), sandbox.url()));
    say(output, &format!("A sandbox at {}, a private home, a robot at the browser\n", sandbox.url()))?;

    let mut acts = Vec::new();
    for (login, flow) in LOGINS {
        acts.push(sign_in(&earthkey, login, flow, &downloads, output).await?);
    }
    let last = acts.iter().map(|act| act.signed_in.expires_at).max().unwrap_or(0);
    let wait = last.saturating_sub(earthkey.host().clock.now()) + 1;
    say(output, &format!("\nEvery access token expires within {wait} s; then each is refreshed"))?;
    tokio::time::sleep(Duration::from_secs(wait)).await;
    for act in &mut acts {
        refresh(&earthkey, act, output).await?;
    }
    let all = earthkey.status_of_all().await?;
    let now = earthkey.host().clock.now();
    say(output, &format!("\n{}", shown(&all, now, &earthkey.host().env, output.stdout)))?;

    let ok = acts.iter().all(|act| act.check_ok && act.refreshed);
    if output.json {
        output.document(&Value::Array(acts.iter().map(document).collect()))?;
    }
    sandbox.stop().await;
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn host(home: &Path, sandbox: &str) -> Host {
    let variables = [
        ("HOME", home.as_os_str().to_owned()),
        ("EARTHKEY_SANDBOX", sandbox.into()),
        // The robot is a browser wherever it runs.
        ("BROWSER", "robot".into()),
    ];
    let env = Env::new(variables);
    let robot = Arc::new(Robot::default());
    Host {
        clock: Arc::new(RealClock),
        fs: Arc::new(RealFileSystem),
        http: Arc::new(RealHttp::new(robot.clone())),
        interaction: robot,
        process: Arc::new(RealProcess::default()),
        records: Arc::new(RealRecords::new(env.cache_directory().ok())),
        random: Arc::new(RealRandom),
        env: Arc::new(env),
    }
}

/// What a person gets from Google's console beforehand.
struct Downloads {
    client_file: PathBuf,
    key: PathBuf,
}

impl Downloads {
    fn new(home: &Path, sandbox: &Control) -> Result<Self, Failure> {
        let write = |name: &str, content: &Value| -> Result<PathBuf, Failure> {
            let path = home.join(name);
            let failed = |error| Error::store(format!("cannot write `{}`", path.display())).caused_by(error);
            RealFileSystem.create_new(&path, content.to_string().as_bytes()).map_err(failed)?;
            Ok(path)
        };
        Ok(Self {
            client_file: write("client_secret.json", &sandbox.client_file())?,
            key: write("key.json", &sandbox.service_account_key(None))?,
        })
    }
}

async fn sign_in(
    earthkey: &Earthkey,
    login: &str,
    flow: Flow,
    downloads: &Downloads,
    output: &Output,
) -> Result<Act, Failure> {
    let login: Login = login.parse()?;
    let start = Instant::now();
    let own = flow == Flow::ClientCredentials;
    let options = LoginOptions {
        flow: Some(flow),
        client_id: own.then(|| "sandbox-confidential".to_owned()),
        client_secret: own.then(|| ClientSecret::new("sandbox-secret")),
        client_id_file: (login.system == System::Gemini).then(|| downloads.client_file.clone()),
        key: (flow == Flow::ServiceAccount).then(|| downloads.key.clone()),
        project: (login.system == System::Earthengine && flow != Flow::ServiceAccount)
            .then(|| "sandbox-project".to_owned()),
        no_browser: !matches!(flow, Flow::Loopback(_)),
        timeout: Some(Duration::from_secs(30)),
        ..LoginOptions::default()
    };
    let signed_in = earthkey.login(&login, &options).await?;
    let account = signed_in.account.clone().map_or_else(String::new, |account| format!(" as {account}"));
    say(
        output,
        &format!(
            "{} {login} by {}{account}: {}",
            output.stdout.green("✓"),
            signed_in.flow,
            output.stdout.dim(&signed_in.home)
        ),
    )?;
    let token = earthkey.token(&login, &Want::default()).await?.access.token;
    say(output, &format!("  token  {}", shortened(&token)))?;
    let checked = earthkey.check(&login, None).await;
    let check_ok = match checked {
        Ok(checked) => {
            let said = checked.found.or(checked.account).unwrap_or_else(|| "nobody named".into());
            say(output, &format!("  check  {} says {said}", checked.called))?;
            true
        }
        Err(error) => {
            say(output, &format!("  check  {} {error}", output.stdout.red("failed:")))?;
            false
        }
    };
    Ok(Act { login, signed_in, token, check_ok, refreshed: false, took: start.elapsed() })
}

async fn refresh(earthkey: &Earthkey, act: &mut Act, output: &Output) -> Result<(), Failure> {
    let start = Instant::now();
    let token = earthkey.token(&act.login, &Want::default()).await?.access.token;
    act.refreshed = token != act.token;
    let took = start.elapsed();
    act.took += took;
    say(
        output,
        &format!(
            "{} {}: {} → {} in {} ms",
            if act.refreshed { output.stdout.green("✓") } else { output.stdout.red("✗") },
            act.login,
            shortened(&act.token),
            shortened(&token),
            took.as_millis()
        ),
    )
}

fn document(act: &Act) -> Value {
    json!({
        "login": act.login.to_string(),
        "flow": act.signed_in.flow,
        "token_ok": !act.token.expose().is_empty(),
        "check_ok": act.check_ok,
        "refreshed": act.refreshed,
        "ms": act.took.as_millis(),
    })
}

/// Shows enough of a token to tell it from another: its end, which is of the signature.
fn shortened(token: &AccessToken) -> String {
    let text = token.expose();
    format!("…{}", &text[text.len().saturating_sub(6)..])
}

/// People's words, which JSON has no place for.
fn say(output: &Output, text: &str) -> Result<(), Failure> {
    if output.json { Ok(()) } else { output.line(text) }
}
