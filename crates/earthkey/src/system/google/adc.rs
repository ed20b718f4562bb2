//! Application Default Credentials: where Google's libraries look, in their order.

use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

use super::Preset;
use super::Whose;
use super::authorized_user;
use super::key;
use super::key_source;
use super::kind::Kind;
use super::members;
use super::read;
use super::resolve_by_file;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::env::display;
use crate::login::Login;
use crate::login::System;
use crate::system::Context;
use crate::system::NamedBy;
use crate::system::Source;
use crate::system::first_login;

const VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const FILE: &str = "application_default_credentials.json";

/// The file that Google's libraries would use.
pub(in super::super) struct Adc {
    pub(in super::super) path: PathBuf,
    bytes: Vec<u8>,
    named_by: Option<&'static str>,
}

/// Returns the file that `gcloud` writes.
pub(super) fn well_known(cx: &Context<'_>) -> Result<PathBuf> {
    // The libraries take even an empty value, and with it a path in the current directory.
    let directory = match cx.host.env.raw("CLOUDSDK_CONFIG") {
        Some(directory) => cx.absolute(directory.as_ref())?,
        None => cx.host.env.home()?.join(".config").join("gcloud"),
    };
    Ok(directory.join(FILE))
}

/// Returns the variable that names another file than the one that `gcloud` writes.
pub(super) fn named_by(cx: &Context<'_>) -> Result<Option<&'static str>> {
    let Some(named) = cx.host.env.path(VARIABLE) else { return Ok(None) };
    Ok((cx.absolute(&named)? != well_known(cx)?).then_some(VARIABLE))
}

impl Adc {
    /// Finds the file: the one that the variable names, else the one that `gcloud` writes. A variable
    /// that leads nowhere is an error, as for the libraries: falling through would be another account.
    pub(in super::super) fn find(cx: &Context<'_>) -> Result<Option<Self>> {
        let named_by = named_by(cx)?;
        let path = match (named_by, cx.host.env.path(VARIABLE)) {
            (Some(_), Some(named)) => cx.absolute(&named)?,
            _ => well_known(cx)?,
        };
        match read(cx, &path).map_err(|error| or_without(named_by, error))? {
            Some(bytes) => Ok(Some(Self { path, bytes, named_by })),
            None => match named_by {
                None => Ok(None),
                Some(variable) => {
                    Err(Error::configuration(format!("`{variable}` names a file that is not there"))
                        .caused_by(format!("there is no {}", path.display()))
                        .hint(format!("correct the path, or do without it: `unset {variable}`")))
                }
            },
        }
    }

    /// Returns the login of the file for a system that has none of its own, and says so.
    pub(in super::super) fn lend(
        &self,
        cx: &Context<'_>,
        login: &Login,
        preset: &Preset,
        empty: &Path,
    ) -> Result<Source> {
        cx.tell_borrowing(&format!(
            "there is no login in {}; `{login}` uses {}",
            display(empty, &cx.host.env),
            display(&self.path, &cx.host.env)
        ));
        self.source(cx, login, preset)
    }

    /// Returns the login of the file.
    pub(in super::super) fn source(
        &self,
        cx: &Context<'_>,
        login: &Login,
        preset: &Preset,
    ) -> Result<Source> {
        let source =
            self.source_of_file(cx, login, preset).map_err(|error| or_without(self.named_by, error))?;
        let other = Some(NamedBy::Other(System::Google)).filter(|_| login.system != System::Google);
        Ok(Source { named_by: self.named_by.map(NamedBy::Variable).or(other), ..source })
    }

    fn source_of_file(&self, cx: &Context<'_>, login: &Login, preset: &Preset) -> Result<Source> {
        let file = members(&self.bytes);
        let kind = file.get("type").and_then(Value::as_str);
        match (kind, Kind::of(&file)) {
            (Some(key::TYPE), _) => key_source(cx, login, &self.path, preset),
            (None, Some(client)) => {
                let error = Error::configuration(format!("`{}` is no login by itself", self.path.display()))
                    .caused_by(client.text());
                Err(match client.hint(login, &self.path) {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
            // A file that is torn or empty may be whole at the next look; whoever uses it looks again.
            (Some(authorized_user::TYPE) | None, _) => {
                resolve_by_file(cx, login, self.path.clone(), Whose::Googles)
            }
            (Some(kind), _) => {
                let kind = printable(kind, 60);
                Err(Error::configuration(format!("credentials of type `{kind}` cannot be used yet"))
                    .with_credential(format!("`{login}` from {}", self.path.display()))
                    .hint(format!(
                        "use a service account's key, or a login of a person: `{}`",
                        first_login(login)
                    )))
            }
        }
    }
}

/// Adds that the file was named by a variable, without which another one counts.
fn or_without(named_by: Option<&str>, error: Error) -> Error {
    match named_by.map(NamedBy::or_without) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
