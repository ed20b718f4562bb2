//! `earthkey status`.

use std::process::ExitCode;

use clap::Args;
use earthkey::earthkey::Earthkey;
use earthkey::earthkey::State;
use earthkey::earthkey::Status;
use earthkey::host::Env;
use earthkey::host::Notice;
use earthkey::host::env::display;
use earthkey::login::Login;
use serde_json::Value;
use serde_json::json;

use crate::failure::Failure;
use crate::failure::exit_code;
use crate::output::Output;
use crate::output::Paint;
use crate::output::duration;
use crate::output::table;

/// Show every login on this machine, ours and the SDKs' own
#[derive(Debug, Args)]
#[command(after_help = "\
States:
  valid           a live access token
  expired         its token has ended; refreshed when it is needed
  ready           no token was fetched yet; fetched when it is needed
  login_required  a person has to sign in
  refused         the provider said no, and is not asked again yet
  damaged         the file holds what nobody can make sense of
  unreadable      the file cannot be read: permissions, a variable that leads nowhere

`earthkey status LOGIN` exits by the state of that login: 0, 3, 4, or 7 for the last two.

Examples:
  earthkey status
  earthkey status earthscope && echo signed in")]
pub(crate) struct StatusArguments {
    /// Only this login
    login: Option<String>,
}

pub(crate) async fn run(
    earthkey: &Earthkey,
    arguments: StatusArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let all = match &arguments.login {
        Some(login) => vec![earthkey.status(&login.parse::<Login>()?).await?],
        None => earthkey.status_of_all().await?,
    };
    let now = earthkey.host().clock.now();
    if output.json {
        output.document(&Value::Array(all.iter().map(document).collect()))?;
    } else if all.is_empty() {
        earthkey.host().interaction.tell(&Notice::Line(
            "There is no login yet. Sign in: `earthkey login SYSTEM`; see `earthkey login --help`",
        ));
    } else {
        output.line(&shown(&all, now, &earthkey.host().env, output.stdout))?;
    }
    let worst = arguments.login.and_then(|_| all[0].state.error_kind());
    Ok(worst.map_or(ExitCode::SUCCESS, |kind| ExitCode::from(exit_code(kind))))
}

/// Lays logins out as a table.
pub(crate) fn shown(all: &[Status], now: u64, env: &Env, paint: Paint) -> String {
    let plain = |text: String| (text, None);
    let rows: Vec<_> = all
        .iter()
        .map(|status| {
            let style: fn(Paint, &str) -> String = match status.state {
                State::Valid => Paint::green,
                State::Expired | State::Ready => Paint::yellow,
                _ => Paint::red,
            };
            let expires = status.expires_at.map_or_else(
                || match status.state {
                    State::Expired | State::Ready => "when used".into(),
                    _ => "-".into(),
                },
                |at| format!("in {}", duration(at.saturating_sub(now))),
            );
            let home = status.home.as_ref().map_or_else(String::new, |home| display(home, env));
            let place = match (&status.reason, home.is_empty()) {
                (Some(reason), true) => reason.clone(),
                (Some(reason), false) => format!("{home} ({reason})"),
                (None, _) => home,
            };
            vec![
                plain(status.login.to_string()),
                (status.state.to_string(), Some(style)),
                plain(expires),
                plain(status.account.clone().unwrap_or_else(|| "-".into())),
                plain(status.flow.clone().unwrap_or_else(|| "-".into())),
                plain(place),
            ]
        })
        .collect();
    table(&["LOGIN", "STATE", "EXPIRES", "ACCOUNT", "FLOW", "HOME"], &rows, paint)
}

fn document(status: &Status) -> Value {
    json!({
        "login": status.login.to_string(),
        "system": status.login.system.as_str(),
        "state": status.state.as_str(),
        "reason": status.reason,
        "account": status.account,
        "home": status.home,
        "flow": status.flow,
        "scopes": status.scopes,
        "expires_at": status.expires_at,
        "grant_age_s": status.grant_age,
        "grant_expires_at": Value::Null,
        "project": status.project,
        "project_from": status.project_from,
    })
}
