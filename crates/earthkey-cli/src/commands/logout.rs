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
    if arguments.revoke {
        agree(earthkey, &login, arguments.yes).await?;
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

/// Says what else ends with a grant that is revoked, and asks about it unless that was agreed to beforehand.
async fn agree(earthkey: &Earthkey, login: &Login, is_agreed: bool) -> Result<(), Failure> {
    let interaction = &earthkey.host().interaction;
    let text = if login.system.is_of_google() {
        "revoking ends every login of this account that was made with the same client, on all machines"
    } else {
        "revoking ends this login wherever it was copied to; some providers end every login of the same \
         account and client with it"
    };
    if is_agreed {
        interaction.tell(&Notice::Line(text));
        return Ok(());
    }
    let refused = || {
        Error::login_required("nobody agreed to the revocation")
            .hint(format!("agree beforehand: `earthkey logout {login} --revoke --yes`"))
    };
    if !interaction.can_ask() {
        return Err(refused().caused_by(text).into());
    }
    let answer = interaction.ask(&format!("{text}\nRevoke it? [y/N] ")).await;
    match answer {
        Ok(answer) if answer.trim().eq_ignore_ascii_case("y") => Ok(()),
        _ => Err(refused().into()),
    }
}
