//! The grammar of the command line.

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;

use crate::commands::check::CheckArguments;
use crate::commands::check::WhoamiArguments;
use crate::commands::completions::CompletionsArguments;
use crate::commands::login::LoginArguments;
use crate::commands::logout::LogoutArguments;
use crate::commands::sandbox::SandboxArguments;
use crate::commands::status::StatusArguments;
use crate::commands::token::HEADER_EXAMPLES;
use crate::commands::token::TOKEN_EXAMPLES;
use crate::commands::token::TokenArguments;
use crate::output::Color;

const EXAMPLES: &str = "\
A LOGIN is SYSTEM or SYSTEM/NAME.
Systems: earthengine, google, gemini, openeo, earthscope, oidc.

Examples:
  earthkey login earthengine --project P        sign in to Google Earth Engine
  earthkey login earthscope                     sign in to EarthScope
  earthkey login openeo/openeo.dataspace.copernicus.eu
  earthkey login oidc/work https://login.example.org
  earthkey token earthscope                     print an access token, refreshed if due
  curl -H @<(earthkey header openeo/cdse) https://…/me
  earthkey status                               every login on this machine
  earthkey demo                                 try all of it against a sandbox, offline

Exit codes: 0 ok, 1 internal, 2 usage, 3 login required, 4 refused, 5 network or server,
6 configuration, 7 store, 130 interrupted.";

/// One sign-in tool for the clouds where Earth science is done
#[derive(Debug, Parser)]
#[command(name = "earthkey", bin_name = "earthkey", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Never ask: what would need a person is an error at once
    #[arg(long, global = true)]
    pub(crate) no_input: bool,

    /// Tell more on standard error: -v the story, -vvv every request without its secrets
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Move every system to a sandbox, as printed by `earthkey sandbox`
    #[arg(long, global = true, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) sandbox: Option<String>,

    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Login(Box<LoginArguments>),
    /// Print an access token, refreshed if it is due
    #[command(after_help = TOKEN_EXAMPLES)]
    Token(TokenArguments),
    /// Print the header lines that show a token to the system
    #[command(after_help = HEADER_EXAMPLES)]
    Header(TokenArguments),
    Status(StatusArguments),
    /// Print whose login it is
    Whoami(WhoamiArguments),
    /// Call a real endpoint of the system with the login
    Check(CheckArguments),
    Logout(LogoutArguments),
    /// Print where logins, configuration and records lie
    Paths,
    Sandbox(SandboxArguments),
    /// Sign in to every system, offline: a sandbox, a private home, a robot at the browser
    Demo,
    Completions(CompletionsArguments),
}
