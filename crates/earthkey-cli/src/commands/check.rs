//! `earthkey check` and `earthkey whoami`.

use std::process::ExitCode;

use clap::Args;
use earthkey::earthkey::Earthkey;
use serde_json::json;

use super::named;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  earthkey check openeo/cdse
  earthkey check earthengine --project my-project")]
pub(crate) struct CheckArguments {
    /// SYSTEM or SYSTEM/NAME; the only login, or the configured default, where left out
    login: Option<String>,

    /// The project that is asked for, in place of the login's own (earthengine, gemini)
    #[arg(long, value_name = "P")]
    project: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  earthkey whoami oidc/work")]
pub(crate) struct WhoamiArguments {
    /// SYSTEM or SYSTEM/NAME; the only login, or the configured default, where left out
    login: Option<String>,
}

pub(crate) async fn check(
    earthkey: &Earthkey,
    arguments: CheckArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let login = named(earthkey, arguments.login.as_deref())?;
    let checked = earthkey.check(&login, arguments.project.as_deref()).await?;
    if output.json {
        output.document(&json!({
            "login": login.to_string(),
            "ok": true,
            "account": checked.account,
            "called": checked.called,
            "found": checked.found,
        }))?;
    } else {
        let account = checked.account.map_or_else(String::new, |account| format!(" as {account}"));
        let found = checked.found.map_or_else(String::new, |found| format!(" ({found})"));
        output.line(&format!("{login} works{account}: {}{found}", checked.called))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn whoami(
    earthkey: &Earthkey,
    arguments: WhoamiArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let login = named(earthkey, arguments.login.as_deref())?;
    let account = earthkey.whoami(&login).await?;
    if output.json {
        output.document(&json!({"login": login.to_string(), "account": account}))?;
    } else {
        output.line(&account)?;
    }
    Ok(ExitCode::SUCCESS)
}
