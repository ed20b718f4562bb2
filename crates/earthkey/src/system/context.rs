//! What resolution works with: the world, and a memory of everything that it looked at.

use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use earthkey_record::record::Dependency;
use earthkey_record::record::Expected;
use url::Url;

use crate::config::Config;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::Host;
use crate::host::Notice;
use crate::host::fs::FileKind;
use crate::host::fs::unusable;

/// Bytes of a system's configuration file that are read at most.
const MAX_FILE: u64 = 1024 * 1024;

/// What resolution works with; it remembers everything that it looked at.
pub struct Context<'a> {
    /// The world.
    pub host: &'a Host,
    /// What is remembered of logins.
    pub config: &'a Config,
    /// Whether it is told that a system borrows another's login.
    tells_of_borrowing: bool,
    looks: Mutex<Looks>,
}

struct Looks {
    at: Vec<(PathBuf, Look)>,
    /// Whether a relative path was followed, which leads elsewhere from another directory.
    is_of_directory: bool,
}

/// What was found at a path.
enum Look {
    Absent,
    File(zeroize::Zeroizing<Vec<u8>>),
    Directory,
}

impl<'a> Context<'a> {
    /// Begins a resolution.
    pub fn new(host: &'a Host, config: &'a Config) -> Self {
        let look = match config.bytes() {
            Some(bytes) => Look::File(zeroize::Zeroizing::new(bytes.to_vec())),
            None => Look::Absent,
        };
        let looks = Looks { at: vec![(config.path().clone(), look)], is_of_directory: false };
        Self { host, config, tells_of_borrowing: true, looks: Mutex::new(looks) }
    }

    /// Does not tell that a system borrows another's login: it is about to have one of its own.
    pub fn before_sign_in(self) -> Self {
        Self { tells_of_borrowing: false, ..self }
    }

    /// Tells that a system borrows another's login.
    pub(crate) fn tell_borrowing(&self, text: &str) {
        if self.tells_of_borrowing {
            self.host.interaction.tell(&Notice::Line(text));
        }
    }

    /// Returns the sandbox that every system is moved to, if there is one.
    pub fn sandbox(&self) -> Result<Option<Url>> {
        let Some(text) = self.host.env.raw("EARTHKEY_SANDBOX") else { return Ok(None) };
        // Set and empty is a mistake that must not lead to the real systems.
        let text = text.to_str().unwrap_or_default();
        let url = Url::parse(text).ok().filter(crate::host::http::is_loopback);
        url.map(Some).ok_or_else(|| {
            let cause = match text {
                "" => "`EARTHKEY_SANDBOX` is set and empty".to_owned(),
                text => format!("it is `{}`, and not `http://127.0.0.1` with a port", printable(text, 200)),
            };
            Error::configuration("the sandbox's address is not one of this machine")
                .caused_by(cause)
                .hint("start one and name it as it prints itself: `earthkey sandbox`")
                .hint("or do without: `unset EARTHKEY_SANDBOX`")
        })
    }

    /// Returns where an address leads: to the sandbox where there is one, unless the address is of
    /// this machine itself.
    pub(crate) fn moved(&self, text: &str, place: &str) -> Result<Option<String>> {
        let Some(sandbox) = self.sandbox()? else { return Ok(None) };
        let is_local = Url::parse(text).is_ok_and(|url| crate::host::http::is_loopback(&url));
        if is_local {
            return Ok(None);
        }
        Ok(Some(format!("{sandbox}{place}")))
    }

    /// Says that an address is played by the sandbox.
    pub(crate) fn tell_moved(&self, named: &str, to: &str) {
        if named.trim_end_matches('/') != to.trim_end_matches('/') {
            self.host.interaction.tell(&Notice::Line(&format!("`{named}` is played by the sandbox")));
        }
    }

    /// Reads a file that the answer depends on; `None` where there is none.
    pub fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match self.host.fs.read(path, MAX_FILE) {
            Ok(bytes) => {
                self.looked(path, Look::File(zeroize::Zeroizing::new(bytes.clone())));
                Ok(Some(bytes))
            }
            Err(error) if is_absent(&error) => {
                self.looked(path, Look::Absent);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns whether a file was read as it is now, `None` where it was not read at all.
    pub fn has_read(&self, path: &Path, now: &[u8]) -> Option<bool> {
        let looks = self.looks();
        let mut reads = looks.at.iter().filter(|(looked, _)| looked == path).map(|(_, look)| look);
        reads.next_back().map(|look| matches!(look, Look::File(bytes) if bytes.as_slice() == now))
    }

    /// Returns whether something is at a path. What cannot be looked at is not taken for absent.
    pub(crate) fn is_there(&self, path: &Path) -> Result<bool> {
        match self.host.fs.stat(path) {
            Ok(_) => Ok(true),
            Err(error) if is_absent(&error) => Ok(false),
            Err(error) => Err(unusable("cannot look at", path, error)),
        }
    }

    /// Lists a directory; an absent one is empty.
    pub(crate) fn list(&self, directory: &Path) -> Result<Vec<PathBuf>> {
        match self.host.fs.list(directory) {
            Ok(paths) => Ok(paths),
            Err(error) if is_absent(&error) => Ok(Vec::new()),
            Err(error) => Err(unusable("cannot list", directory, error)),
        }
    }

    /// Returns whether there is a directory that the answer depends on.
    pub fn is_directory(&self, path: &Path) -> bool {
        let found = self.host.fs.stat(path).is_ok_and(|stat| stat.kind == FileKind::Directory);
        self.looked(path, if found { Look::Directory } else { Look::Absent });
        found
    }

    /// Returns the path that a variable or an option means, which may begin at the process's
    /// directory.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        if path.is_absolute() {
            return Ok(path.to_owned());
        }
        self.looks().is_of_directory = true;
        let directory = self.host.process.current_directory().map_err(|error| {
            Error::configuration(format!("`{}` is relative to a directory that is gone", path.display()))
                .caused_by(error)
                .hint("change to another directory, or name the whole path")
        })?;
        Ok(directory.join(path))
    }

    /// Returns everything that was looked at, as a record keeps it; `None` where the answer depends
    /// on the directory of the process, of which no record knows.
    pub fn dependencies(&self) -> Option<Vec<Dependency>> {
        let looks = self.looks();
        if looks.is_of_directory {
            return None;
        }
        let expected = |look: &Look| match look {
            Look::Absent => Some(Expected::Absent),
            Look::Directory => Some(Expected::Directory),
            Look::File(bytes) => self.host.records.digest(bytes).map(Expected::File),
        };
        let dependencies = looks
            .at
            .iter()
            .filter_map(|(path, look)| Some(Dependency { path: path.clone(), expected: expected(look)? }));
        Some(dependencies.collect())
    }

    fn looked(&self, path: &Path, look: Look) {
        self.looks().at.push((path.to_owned(), look));
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
