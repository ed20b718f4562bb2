//! `earthkey sandbox`.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;
use earthkey::error::Error;
use earthkey_sandbox::Options;
use earthkey_sandbox::Rotation;
use earthkey_sandbox::Sandbox;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Run an identity provider with the fake ends of every system, on this machine alone
#[derive(Debug, Args)]
#[command(after_help = "\
The people are ada and grace, with the password `sandbox`. It runs until it is interrupted, and keeps
nothing.

Examples:
  earthkey sandbox --listen 127.0.0.1:8989
  earthkey --sandbox http://127.0.0.1:8989 login openeo")]
pub(crate) struct SandboxArguments {
    /// Where to listen; an address of this machine, port 0 for any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// What happens to a refresh token that is used
    #[arg(long, value_name = "HOW", default_value = "rotate")]
    rotation: RotationArgument,

    /// For how many seconds a replaced refresh token is still answered
    #[arg(long, value_name = "SEC", default_value_t = 0)]
    grace: u64,

    /// How many seconds an access token lives
    #[arg(long, value_name = "SEC", default_value_t = 3600)]
    lifetime: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RotationArgument {
    /// It stays good
    Never,
    /// It is replaced; its use after the grace period ends the login
    Rotate,
}

pub(crate) async fn run(arguments: SandboxArguments, output: &Output) -> Result<ExitCode, Failure> {
    let options = Options {
        listen: arguments.listen,
        rotation: match arguments.rotation {
            RotationArgument::Never => Rotation::Never,
            RotationArgument::Rotate => Rotation::Rotate { grace_seconds: arguments.grace },
        },
        access_token_lifetime: arguments.lifetime,
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.map_err(|error| {
        Error::configuration(format!("the sandbox cannot listen on {}", arguments.listen))
            .caused_by(error)
            .hint("name another address of this machine: `--listen 127.0.0.1:0`")
    })?;
    let url = sandbox.url().to_owned();
    if output.json {
        output.document(
            &json!({"url": url, "issuer": format!("{url}/oidc"), "openeo": format!("{url}/openeo")}),
        )?;
    } else {
        output.line(&format!(
            "The sandbox is at {url}; sign in as ada with the password `sandbox`\n\n  \
             earthkey --sandbox {url} login oidc\n  earthkey --sandbox {url} login openeo\n  \
             earthkey --sandbox {url} login earthscope\n\nIt runs until Ctrl-C."
        ))?;
    }
    sandbox.wait().await;
    Ok(ExitCode::SUCCESS)
}
