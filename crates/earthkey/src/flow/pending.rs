//! A sign-in that `--quiet` began and `--finish` ends: its verifier waits in a file of 0600 that
//! expires.

use std::io;
use std::path::Path;
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
    /// The issuer that was found there: a code goes to no other.
    pub issuer: Option<String>,
    /// The client's id.
    pub client_id: Option<String>,
    /// The openEO provider.
    pub provider: Option<String>,
    /// The scopes that the page asks for.
    pub scopes: Option<Vec<String>>,
    /// Whether the person named them: what nobody named must not widen a login unasked.
    pub scopes_are_named: bool,
    /// The audience.
    pub audience: Option<String>,
    /// The file of the client.
    pub client_id_file: Option<PathBuf>,
    /// The project that the login keeps.
    pub project: Option<String>,
    /// The project that requests are counted for, empty where none is to be kept.
    pub quota_project: Option<String>,
    /// Whether another account's login may be replaced.
    pub force: bool,
    /// The command that begins the same once more.
    pub again: String,
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

impl Pending {
    fn into_attempt(self) -> (Attempt, Asked) {
        let attempt = Attempt::from_parts(
            self.redirect_uri,
            State::new(self.state.as_str()),
            Nonce::new(self.nonce.as_str()),
            CodeVerifier::new(self.verifier.as_str()),
        );
        (attempt, self.asked)
    }
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
    let failed = |error| {
        Error::store(format!("cannot write `{}`", path.display()))
            .caused_by(error)
            .hint(format!("sign in without a file that waits: `earthkey login {login}`"))
    };
    host.fs.create_directory(path.parent().unwrap_or(&path)).map_err(failed)?;
    match host.fs.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    host.fs.create_new(&path, &bytes).map_err(failed)
}

/// Looks at the attempt that is to be finished, and leaves it to be taken.
pub fn look(host: &Host, login: &Login) -> Result<(Attempt, Asked)> {
    read(host, login).map(Pending::into_attempt)
}

/// Takes the attempt that is to be finished; it can be finished once.
pub fn take(host: &Host, login: &Login) -> Result<(Attempt, Asked)> {
    let path = path(host, login)?;
    let pending = read(host, login);
    // Of several who finish at once, the one who removes it has it; one that cannot be used goes too.
    host.fs.remove(&path).map_err(|error| failed("remove", login, &path, error))?;
    pending.map(Pending::into_attempt)
}

fn read(host: &Host, login: &Login) -> Result<Pending> {
    let path = path(host, login)?;
    let bytes = host.fs.read(&path, MAX_PENDING).map_err(|error| failed("read", login, &path, error))?;
    let bytes = Zeroizing::new(bytes);
    let pending: Pending = serde_json::from_slice(&bytes).map_err(|error| {
        // The error's own text quotes what it found, which may be a secret.
        Error::store(format!("`{}` is damaged", path.display()))
            .caused_by(format!("line {}, column {}", error.line(), error.column()))
            .hint(anew(login))
    })?;
    if pending.login != login.to_string() {
        return Err(none(login));
    }
    if host.clock.now() >= pending.expires_at {
        return Err(Error::refused("the page was printed too long ago").hint(anew(login)));
    }
    Ok(pending)
}

fn none(login: &Login) -> Error {
    Error::usage(format!("there is no sign-in of `{login}` to finish"))
        .hint(format!("begin one: `earthkey login {login} --quiet`"))
}

fn anew(login: &Login) -> String {
    format!("begin anew: `earthkey login {login} --quiet`")
}

fn failed(what: &str, login: &Login, path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => none(login),
        _ => Error::store(format!("cannot {what} `{}`", path.display())).caused_by(error).hint(anew(login)),
    }
}

#[cfg(test)]
mod tests;
