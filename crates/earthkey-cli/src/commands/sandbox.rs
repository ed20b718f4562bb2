//! `earthkey sandbox`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use clap::ValueEnum;
use earthkey::error::Error;
use earthkey_sandbox::Options;
use earthkey_sandbox::Rotation;
use earthkey_sandbox::Sandbox;
use serde_json::Value;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Output;

/// Run an identity provider with the fake ends of every system, on this machine alone
#[derive(Debug, Args)]
#[command(after_help = "\
The people are ada and grace, with the password `sandbox`. It runs until it is interrupted, and
keeps nothing.

Examples:
  earthkey sandbox --listen 127.0.0.1:8989
  earthkey --sandbox http://127.0.0.1:8989 login openeo
  earthkey sandbox --tls --ca-out ca.pem")]
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

    /// Speak TLS as well, so that unchanged Google clients come here through a proxy for https
    #[arg(long)]
    tls: bool,

    /// Where to write the certificate that clients must trust then
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_out: Option<PathBuf>,

    /// A folder with `cloud_api_discovery_document.json` and `algorithms.json` for Earth Engine
    #[arg(long, value_name = "DIR")]
    earthengine_documents: Option<PathBuf>,
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
        tls: arguments.tls,
        earthengine_documents: arguments.earthengine_documents.clone(),
        ..Options::default()
    };
    let sandbox = Sandbox::start(options).await.map_err(|error| not_started(&arguments, error))?;
    if let (Some(path), Some(certificate)) = (&arguments.ca_out, sandbox.ca_pem()) {
        fs::write(path, certificate).map_err(|error| {
            Error::configuration(format!("cannot write the certificate to `{}`", path.display()))
                .caused_by(error)
                .hint("name another file: `--ca-out FILE`")
        })?;
    }
    let url = sandbox.url().to_owned();
    if output.json {
        output.document(&document(&arguments, &url))?;
    } else {
        output.line(&text(&arguments, &url))?;
    }
    sandbox.wait().await;
    Ok(ExitCode::SUCCESS)
}

fn not_started(arguments: &SandboxArguments, error: io::Error) -> Error {
    // The documents are read before anything listens, and what is wrong with them names the file.
    if let Some(folder) = &arguments.earthengine_documents
        && error.to_string().contains(&folder.display().to_string())
    {
        return Error::configuration("the sandbox has no documents for Earth Engine")
            .caused_by(error)
            .hint("name a folder with both files, such as `ee/tests` of the Python package");
    }
    Error::configuration(format!("the sandbox cannot listen on {}", arguments.listen))
        .caused_by(error)
        .hint("name another address of this machine: `--listen 127.0.0.1:0`")
}

fn document(arguments: &SandboxArguments, url: &str) -> Value {
    let mut document = json!({
        "url": url,
        "issuer": format!("{url}/oidc"),
        "openeo": format!("{url}/openeo"),
        "google": format!("{url}/google"),
    });
    if arguments.tls {
        document["ca"] = json!(arguments.ca_out.as_ref().map(|path| path.display().to_string()));
    }
    document
}

fn text(arguments: &SandboxArguments, url: &str) -> String {
    let mut text = format!("The sandbox is at {url}; sign in as ada with the password `sandbox`\n\n");
    // Writing to a string does not fail.
    for login in ["oidc", "openeo", "earthscope", "earthengine", "google", "gemini"] {
        let _ = writeln!(text, "  earthkey --sandbox {url} login {login}");
    }
    if arguments.tls {
        let file = arguments.ca_out.as_ref().map_or("CA".to_owned(), |path| path.display().to_string());
        let _ = write!(
            text,
            "\nUnchanged Google clients come here with\n\n  HTTPS_PROXY={url}\n  SSL_CERT_FILE={file}\n  \
             REQUESTS_CA_BUNDLE={file}\n"
        );
        if arguments.ca_out.is_none() {
            text.push_str(
                "\nwhere CA is a file with the certificate: start with `--ca-out FILE` to have it.\n",
            );
        }
    }
    text.push_str("\nIt runs until Ctrl-C.");
    text
}
