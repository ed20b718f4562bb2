//! Where a home really lies, and the files beside it.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use super::slot::Damage;
use super::slot::Home;
use crate::error::Error;
use crate::error::Result;
use crate::error::word;
use crate::host::FileSystem;
pub(crate) use crate::host::fs::unusable;
use crate::secret::Fingerprint;

/// The files of one grant, all in the home's real directory, so that everybody who shares the
/// home shares them, under whatever path and with whatever variables. Where nothing is lost by two
/// who do not know of each other, they lie in a folder of our own: a key belongs to whoever put it
/// where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The real directory.
    pub directory: PathBuf,
    /// The directory of lease, ledger and lock.
    pub ledgers: PathBuf,
    /// The home, links resolved.
    pub home: PathBuf,
    /// Locked by who uses the grant. Unlinked only where its lock can be no more than a forked child's.
    pub lease: PathBuf,
    /// Made by who uses the grant, where locks cannot be trusted.
    pub claim: PathBuf,
    /// What is under way.
    pub ledger: PathBuf,
    /// Locked for one read-merge-write of the home, never across the network. Never unlinked.
    pub lock: PathBuf,
    stem: OsString,
}

impl Places {
    /// Finds the files of `home`; its directory must exist.
    pub fn of(home: &Home, fs: &dyn FileSystem) -> io::Result<Self> {
        let real = match fs.real_path(&home.path) {
            Ok(real) => real,
            // Not there yet: where it would be made.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = fs.real_path(parent(&home.path))?;
                directory.join(home.path.file_name().unwrap_or_default())
            }
            Err(error) => return Err(error),
        };
        let directory = parent(&real).to_owned();
        let mut stem = OsString::from(".");
        stem.push(real.file_name().unwrap_or_default());
        let ledgers = match &home.ledgers {
            None => directory.clone(),
            Some(apart) => {
                // Files of one name in several directories are several homes.
                let both = format!("{}\n{}", directory.display(), apart.display());
                stem.push(format!(".{}", &Fingerprint::of(&both).to_string()[..12]));
                apart.clone()
            }
        };
        let lock = ledgers.join(with(&stem, ".earthkey-lock"));
        let slot = home.slot.name();
        if !slot.is_empty() {
            // Two grants in one file have two leases.
            stem.push(format!(".{}", &Fingerprint::of(&slot).to_string()[..12]));
        }
        Ok(Self {
            lease: ledgers.join(with(&stem, ".earthkey-lease")),
            claim: ledgers.join(with(&stem, ".earthkey-claim")),
            ledger: ledgers.join(with(&stem, ".earthkey-ledger")),
            lock,
            home: real,
            directory,
            ledgers,
            stem,
        })
    }

    /// Makes the home's directory where it is missing, then finds the files.
    pub fn create(home: &Home, fs: &dyn FileSystem) -> Result<Self> {
        let directory = parent(&home.path);
        fs.create_directory(directory)
            .and_then(|()| Self::of(home, fs))
            .map_err(|error| unusable("cannot make", directory, error))
    }

    /// Makes the folder of lease and ledger where it is one of our own.
    pub fn make_ledgers(&self, fs: &dyn FileSystem) -> io::Result<()> {
        if self.ledgers == self.directory { Ok(()) } else { fs.create_directory(&self.ledgers) }
    }

    /// Returns the path of a temporary file in the home's directory.
    pub fn temporary(&self, name: &str) -> PathBuf {
        self.directory.join(with(&self.stem, &format!(".{name}{TEMPORARY}")))
    }

    /// Returns every temporary file of this grant that is there.
    pub fn temporaries(&self, fs: &dyn FileSystem) -> io::Result<Vec<PathBuf>> {
        let stem = with(&self.stem, ".");
        let mut paths = fs.list(&self.directory)?;
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            let own = name.strip_prefix(stem.as_encoded_bytes());
            let own = own.and_then(|name| name.strip_suffix(TEMPORARY.as_bytes()));
            // With a dot in it, it is another slot's or another home's.
            own.is_some_and(|name| !name.contains(&b'.'))
        });
        Ok(paths)
    }

    /// Returns where a damaged home is kept when a login replaces it.
    pub fn damaged(&self) -> PathBuf {
        let name = self.home.file_name().unwrap_or_default().to_owned();
        self.directory.join(with(&name, ".damaged"))
    }
}

/// What the names of temporary files end with.
const TEMPORARY: &str = ".earthkey-new";

/// Makes an error for a home that cannot be what it should be.
pub(crate) fn damaged(path: &Path, damage: Damage) -> Error {
    let path = path.display();
    Error::store(format!("`{path}` is damaged")).caused_by(damage).hint(format!(
        "look at the file; to sign in anew, move it away first: `mv {} {}`",
        word(&path),
        word(format_args!("{path}.damaged"))
    ))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

fn with(stem: &OsString, ending: &str) -> OsString {
    let mut name = stem.clone();
    name.push(ending);
    name
}
