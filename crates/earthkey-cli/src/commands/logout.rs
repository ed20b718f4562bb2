//! `earthkey logout`.

use std::process::ExitCode;

use clap::Args;
use earthkey::earthkey::Earthkey;
use earthkey::error::Error;
use earthkey::host::Notice;
use earthkey::login::Login;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Sign out: remove this login, and nothing else
#[derive(Debug, Args)]
#[command(after_help = "\
The login is not listed any more. What is remembered for the next sign-in stays: its address, its
client, the flow, Earth Engine's project. A second logout forgets that, too.

Examples:
  earthkey logout earthscope
  earthkey logout oidc/work --revoke --yes")]
pub(crate) struct LogoutArguments {
    /// SYSTEM or SYSTEM/NAME
    login: String,

    /// Also have the provider revoke the grant
    #[arg(long)]
    revoke: bool,

    /// Do not ask before revoking
    #[arg(long)]
    yes: bool,
}

pub(crate) async fn run(
    earthkey: &Earthkey,
    arguments: LogoutArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let login: Login = arguments.login.parse()?;
    if arguments.revoke && !arguments.yes {
        agree(earthkey, &login).await?;
    }
    let ended = earthkey.logout(&login, arguments.revoke).await?;
    if output.json {
        output.document(&json!({
            "login": login.to_string(),
            "was_signed_in": ended.was_signed_in,
            "revoked": ended.revoked,
            "forgotten": ended.forgotten,
        }))?;
    } else {
        let text = match (ended.was_signed_in, ended.revoked) {
            (false, _) if ended.forgotten => {
                format!("`{login}` was not signed in; what was remembered of it is forgotten")
            }
            (false, _) => format!("`{login}` was not signed in"),
            (true, true) => format!("Signed out of {login}; the provider has revoked the grant"),
            (true, false) => format!("Signed out of {login}"),
        };
        earthkey.host().interaction.tell(&Notice::Line(&text));
    }
    Ok(ExitCode::SUCCESS)
}

async fn agree(earthkey: &Earthkey, login: &Login) -> Result<(), Failure> {
    let interaction = &earthkey.host().interaction;
    let text = if login.system.is_of_google() {
        "Revoking ends every login of this account that was made with the same client, on all machines"
    } else {
        "Revoking ends this login wherever it was copied to; some providers end every login of the same \
         account and client with it"
    };
    let refused = || {
        Error::login_required("nobody agreed to the revocation")
            .hint(format!("agree beforehand: `earthkey logout {login} --revoke --yes`"))
    };
    if !interaction.can_ask() {
        return Err(refused().into());
    }
    let answer = interaction.ask(&format!("{text}. Revoke? [y/N] ")).await;
    match answer {
        Ok(answer) if answer.trim().eq_ignore_ascii_case("y") => Ok(()),
        _ => Err(refused().into()),
    }
}
