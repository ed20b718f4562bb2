//! `earthkey token` and `earthkey header`.

use std::process::ExitCode;

use clap::Args;
use earthkey::earthkey::Earthkey;
use earthkey::earthkey::Token;
use earthkey::refresh::Want;
use serde_json::Value;
use serde_json::json;

use super::named;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) const TOKEN_EXAMPLES: &str = "\
Examples:
  earthkey token earthscope
  earthkey token openeo/cdse --min-ttl 600
  earthkey token google --scopes https://www.googleapis.com/auth/drive.readonly
  earthkey token oidc/work --refresh --json";

pub(crate) const HEADER_EXAMPLES: &str = "\
One `Name: value` a line: the authorization as the system wants it, and Google's project.

Examples:
  curl -H @<(earthkey header oidc/work) https://api.example.org/
  curl -H @<(earthkey header openeo/cdse) https://openeo.dataspace.copernicus.eu/openeo/1.2/me
  earthkey header earthengine --min-ttl 600
  earthkey header google --json";

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    /// SYSTEM or SYSTEM/NAME; the only login, or the configured default, where left out
    login: Option<String>,

    /// Refresh a token that is valid for less than this many seconds
    #[arg(long, value_name = "SEC", default_value_t = 0)]
    min_ttl: u64,

    /// Refresh whatever is at hand, also after a refusal
    #[arg(long)]
    refresh: bool,

    /// These scopes exactly, in place of the login's own, apart by commas and spelt as the provider
    /// spells them: Google's in full, as `https://www.googleapis.com/auth/drive`
    #[arg(long, value_name = "S,S", value_delimiter = ',')]
    scopes: Option<Vec<String>>,

    /// For this audience, in place of the login's own
    #[arg(long, value_name = "A")]
    audience: Option<String>,
}

impl TokenArguments {
    fn want(&self) -> Want {
        Want {
            min_ttl: self.min_ttl,
            scopes: self.scopes.clone(),
            audience: self.audience.clone(),
            force: self.refresh,
            insists: self.refresh,
            ..Want::default()
        }
    }
}

pub(crate) async fn token(
    earthkey: &Earthkey,
    arguments: TokenArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let login = named(earthkey, arguments.login.as_deref())?;
    let token = earthkey.token(&login, &arguments.want()).await?;
    if output.json {
        output.document(&document(earthkey, &token))?;
    } else {
        output.line(token.access.token.expose())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn header(
    earthkey: &Earthkey,
    arguments: TokenArguments,
    output: &Output,
) -> Result<ExitCode, Failure> {
    let login = named(earthkey, arguments.login.as_deref())?;
    let (token, lines) = earthkey.header(&login, &arguments.want()).await?;
    if output.json {
        let headers: serde_json::Map<String, Value> = lines
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let mut document = document(earthkey, &token);
        document["headers"] = Value::Object(headers);
        output.document(&document)?;
    } else {
        for line in lines {
            output.line(&line)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn document(earthkey: &Earthkey, token: &Token) -> Value {
    let access = &token.access;
    let expires_in = access.expires_at.saturating_sub(earthkey.host().clock.now());
    json!({
        "login": token.login.to_string(),
        "access_token": access.token.expose(),
        "token_type": access.token_type,
        "client_id": access.client_id,
        "scopes": access.scopes,
        "expires_at": access.expires_at,
        "expires_in": expires_in,
    })
}
