//! A sign-in that `--quiet` began and `--finish` ends: its verifier waits in a file of 0600 that
//! expires.

use std::io;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use super::loopback::Attempt;
use super::paste::PENDING_FOR;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::login::Login;
use crate::secret::CodeVerifier;
use crate::secret::Fingerprint;
use crate::secret::Nonce;
use crate::secret::State;

/// Bytes of a pending sign-in that are read at most.
const MAX_PENDING: u64 = 64 * 1024;

/// What was asked for, so that the end asks for the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The address.
    pub url: Option<String>,
    /// The client's id.
    pub client_id: Option<String>,
    /// The openEO provider.
    pub provider: Option<String>,
    /// The scopes.
    pub scopes: Option<Vec<String>>,
    /// The audience.
    pub audience: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    login: String,
    expires_at: u64,
    redirect_uri: String,
    state: Zeroizing<String>,
    nonce: Zeroizing<String>,
    verifier: Zeroizing<String>,
    asked: Asked,
}

fn path(host: &Host, login: &Login) -> Result<PathBuf> {
    let name = Fingerprint::of(&login.to_string()).to_string();
    Ok(host.env.state_directory()?.join("pending").join(format!("{}.json", &name[..16])))
}

/// Keeps an attempt until it is finished or expires.
pub fn keep(host: &Host, login: &Login, attempt: &Attempt, asked: &Asked) -> Result<()> {
    let path = path(host, login)?;
    let pending = Pending {
        login: login.to_string(),
        expires_at: host.clock.now() + PENDING_FOR.as_secs(),
        redirect_uri: attempt.redirect_uri().to_owned(),
        state: Zeroizing::new(attempt.state().expose().to_owned()),
        nonce: Zeroizing::new(attempt.nonce().expose().to_owned()),
        verifier: Zeroizing::new(attempt.verifier().expose().to_owned()),
        asked: asked.clone(),
    };
    let bytes = Zeroizing::new(
        serde_json::to_vec(&pending)
            .map_err(|error| Error::internal("a pending sign-in cannot be written").caused_by(error))?,
    );
    let failed = |error| Error::store(format!("cannot write `{}`", path.display())).caused_by(error);
    host.fs.create_directory(path.parent().unwrap_or(&path)).map_err(failed)?;
    forget(host, login)?;
    host.fs.create_new(&path, &bytes).map_err(failed)
}

/// Takes the attempt that is to be finished; it can be finished once.
pub fn take(host: &Host, login: &Login) -> Result<(Attempt, Asked)> {
    let path = path(host, login)?;
    let none = || {
        Error::usage(format!("there is no sign-in of `{login}` to finish"))
            .hint(format!("begin one: `earthkey login {login} --quiet`"))
    };
    let bytes = match host.fs.read(&path, MAX_PENDING) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(none()),
        Err(error) => return Err(Error::store(format!("cannot read `{}`", path.display())).caused_by(error)),
    };
    forget(host, login)?;
    let pending: Pending = serde_json::from_slice(&bytes)
        .map_err(|error| Error::store(format!("`{}` is damaged", path.display())).caused_by(error))?;
    if pending.login != login.to_string() || host.clock.now() >= pending.expires_at {
        return Err(Error::refused("the page was printed too long ago")
            .hint(format!("begin anew: `earthkey login {login} --quiet`")));
    }
    let attempt = Attempt::from_parts(
        pending.redirect_uri,
        State::new(pending.state.as_str()),
        Nonce::new(pending.nonce.as_str()),
        CodeVerifier::new(pending.verifier.as_str()),
    );
    Ok((attempt, pending.asked))
}

fn forget(host: &Host, login: &Login) -> Result<()> {
    let path = path(host, login)?;
    match host.fs.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::store(format!("cannot remove `{}`", path.display())).caused_by(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
