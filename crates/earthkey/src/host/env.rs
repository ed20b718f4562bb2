//! The seam to environment variables and the directories they name.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::path::Path;
use std::path::PathBuf;

use earthkey_record::directories;
use earthkey_record::environment::Environment;

use crate::error::Error;
use crate::error::Result;

/// The registered environment variables, as plain data.
#[derive(Clone)]
pub struct Env {
    environment: Environment,
}

impl Env {
    /// Makes a set from pairs; names that are not in the registry are left out.
    pub fn new<N: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let pairs = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self { environment: Environment::new(pairs) }
    }

    /// Takes the variables of this process.
    pub fn of_process() -> Self {
        Self { environment: Environment::of_process() }
    }

    /// Returns the variables as the record crate sees them.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Sets a variable, for an option that stands for one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.set(name, value);
    }

    /// Returns a variable as it is set, also when it is empty.
    pub fn raw(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(name)
    }

    /// Returns a variable that is set, not empty and text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.environment.non_empty(name)?.to_str()
    }

    /// Returns a variable's path if it is set and not empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.environment.non_empty(name).map(PathBuf::from)
    }

    /// Returns the home directory.
    pub fn home(&self) -> Result<PathBuf> {
        match self.path("HOME") {
            Some(home) if home.is_absolute() => Ok(home),
            Some(_) => Err(Error::configuration("`HOME` is not an absolute path")
                .hint("set `HOME` to your home directory")),
            None if self.path("EARTHKEY_HOME").is_some() => {
                Err(Error::configuration("`HOME` is not set, so the files of the system's own client are not found")
                    .caused_by("`EARTHKEY_HOME` is for earthkey's own files alone")
                    .hint("set `HOME` to your home directory: `export HOME=…`"))
            }
            None => Err(Error::configuration("`HOME` is not set, so no login can be found or kept")
                .hint("set `HOME` to your home directory: `export HOME=…`")
                .hint("for earthkey's own files alone, which are those of `oidc` and `gemini`, `EARTHKEY_HOME` will do")),
        }
    }

    /// Returns the directory of our configuration.
    pub fn config_directory(&self) -> Result<PathBuf> {
        self.own(directories::config_dir)
    }

    /// Returns the directory of homes and ledgers of our own.
    pub fn state_directory(&self) -> Result<PathBuf> {
        self.own(directories::state_dir)
    }

    /// Returns the directory of records.
    pub fn cache_directory(&self) -> Result<PathBuf> {
        self.own(directories::cache_dir)
    }

    fn own(&self, directory: fn(&Environment) -> Option<PathBuf>) -> Result<PathBuf> {
        match directory(&self.environment) {
            Some(path) if path.is_absolute() => Ok(path),
            Some(path) => Err(Error::configuration(format!("`{}` is not an absolute path", path.display()))
                .hint("set `EARTHKEY_HOME` and `HOME` to absolute paths")),
            None => self.home(),
        }
    }
}

/// Shortens a path for people: `~` for the home directory.
pub fn display(path: &Path, env: &Env) -> String {
    match env.home().ok().and_then(|home| path.strip_prefix(home).ok().map(Path::to_path_buf)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_their_variables() {
        let env = Env::new([("HOME", "/h")]);
        assert_eq!(env.config_directory().unwrap(), Path::new("/h/.config/earthkey"));
        assert_eq!(env.state_directory().unwrap(), Path::new("/h/.local/state/earthkey"));
        let env = Env::new([("HOME", "/h"), ("XDG_CACHE_HOME", "/c"), ("XDG_STATE_HOME", "relative")]);
        assert_eq!(env.cache_directory().unwrap(), Path::new("/c/earthkey"));
        assert_eq!(env.state_directory().unwrap(), Path::new("/h/.local/state/earthkey"));
        let env = Env::new([("EARTHKEY_HOME", "/e")]);
        assert_eq!(env.state_directory().unwrap(), Path::new("/e/state"));
    }

    #[test]
    fn no_home_says_so() {
        let error = Env::new([("TERM", "dumb")]).home().unwrap_err();
        assert!(error.to_string().contains("`HOME` is not set"), "{error}");
    }
}
