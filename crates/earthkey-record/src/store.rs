//! Records on disk.
//!
//! The directory holds `NAME.record` for each record, the `key` that they are digested with, and
//! `CACHEDIR.TAG`. All of it may be deleted at any time. Records are not synced: one that a power loss
//! tore fails its checksum and is no record.

use std::error::Error;
use std::fmt;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::digest::Key;
use crate::file::{is_absence, is_regular, read_bounded};
use crate::name::{Name, SUFFIX};
use crate::record::{MAX_SIZE, Record};

/// The directory of one user's records, and their key.
#[derive(Debug)]
pub struct Cache {
    directory: OwnedFd,
    path: PathBuf,
    key: Key,
}

impl Cache {
    /// Opens a cache to read from, and creates nothing.
    ///
    /// Returns `None` if there is none yet, or if the directory or the key are not this user's alone: then
    /// there are no records, and that is no error.
    pub fn open(path: &Path) -> Option<Self> {
        let directory = open_directory(path).ok()?;
        let key = read_key(&directory).ok()??;
        Some(Self { directory, path: path.to_owned(), key })
    }

    /// Opens a cache to write to, and creates what is missing of it.
    pub fn create(path: &Path) -> Result<Self, CacheError> {
        let directory = DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .and_then(|()| open_directory(path))
            .map_err(|source| CacheError::new("cannot use the cache directory", path, source))?;
        tag(&directory)
            .and_then(|()| create_key(&directory))
            .map_err(|source| CacheError::new("cannot set up the cache directory", path, source))
            .map(|key| Self { directory, path: path.to_owned(), key })
    }

    /// Returns the key that this cache's digests are made with.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Returns a record, unless there is none or its file is not this user's alone.
    pub fn read(&self, name: &Name) -> Option<Record> {
        self.read_file(&name.file_name()).ok()?
    }

    /// Writes a record in the place of an earlier one.
    pub fn write(&self, name: &Name, record: &Record) -> Result<(), CacheError> {
        let file_name = name.file_name();
        record
            .encode(&self.key)
            .map_err(io::Error::other)
            .and_then(|bytes| {
                create_temporary(&self.directory, TEMPORARY, &bytes, |_, temporary| {
                    rustix::fs::renameat(&self.directory, temporary, &self.directory, &file_name)
                })
            })
            .map_err(|source| self.error("cannot write the record", &file_name, source))
    }

    /// Removes a record; it is no error if there is none.
    pub fn remove(&self, name: &Name) -> Result<(), CacheError> {
        let file_name = name.file_name();
        self.unlink(&file_name).map_err(|source| self.error("cannot remove the record", &file_name, source))
    }

    /// Removes all records of a login.
    ///
    /// What cannot be read as a record might be one of this login, and a cache loses nothing that matters: it
    /// goes too, as do the temporary files of writers that were killed. All are tried; the first failure
    /// is returned.
    pub fn remove_login(&self, login: &str) -> Result<(), CacheError> {
        let names = self
            .file_names()
            .map_err(|source| CacheError::new("cannot list the cache directory", &self.path, source))?;
        let mut result = Ok(());
        for name in names {
            let is_of_another =
                self.read_file(&name).is_ok_and(|found| found.is_some_and(|record| record.login != login));
            if !is_of_another && let Err(source) = self.unlink(&name) {
                result = result.and(Err(self.error("cannot remove the record", &name, source)));
            }
        }
        result
    }

    /// Reads a record's file; `None` if it is no record that may be used.
    fn read_file(&self, name: &str) -> io::Result<Option<Record>> {
        let Some((file, stat)) = open_private(&self.directory, name)? else { return Ok(None) };
        // A second link might lie where somebody else may write. No link is left of a record that was replaced
        // since it was opened: it is whole, and the check of its dependencies says whether it still holds.
        if stat.st_nlink > 1 {
            return Ok(None);
        }
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        let content = read_bounded(&file, size, MAX_SIZE)?;
        Ok(content.and_then(|bytes| Record::decode(&bytes, &self.key).ok()))
    }

    /// Returns the names of all records and temporary files.
    fn file_names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name().to_str().unwrap_or_default();
            if name.ends_with(SUFFIX) || name.starts_with(TEMPORARY) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()) {
            Err(error) if !is_absence(error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn error(&self, action: &'static str, name: &str, source: io::Error) -> CacheError {
        CacheError::new(action, &self.path.join(name), source)
    }
}

/// What could not be done in a cache. An answer never depends on it, so it is for reports alone.
#[derive(Debug)]
pub struct CacheError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl CacheError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.action, self.path.display())
    }
}

impl Error for CacheError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

const KEY: &str = "key";
const KEY_TEMPORARY: &str = "key-";
const TEMPORARY: &str = "tmp-";
const TAG: &str = "CACHEDIR.TAG";
/// The signature of the Cache Directory Tagging Specification, by which backups know to leave it out.
const TAG_CONTENT: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55\n\
    # This directory holds access tokens that earthkey can obtain again. It may be deleted at any time.\n";

/// Opens a directory that is this user's alone.
fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let directory =
        rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&directory)?;
    if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o777 != 0o700 {
        return Err(io::Error::other("it must belong to this user and have mode 0700"));
    }
    Ok(directory)
}

/// Opens a regular file without following links; `None` if there is none, or if it is not this user's alone.
fn open_private(directory: &OwnedFd, name: &str) -> io::Result<Option<(File, Stat)>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(error) if is_absence(error) || error == Errno::LOOP => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&file)?;
    let private = is_regular(&stat) && stat.st_uid == geteuid().as_raw() && stat.st_mode & 0o7777 == 0o600;
    Ok(private.then_some((file, stat)))
}

fn tag(directory: &OwnedFd) -> io::Result<()> {
    match create_file(directory, TAG) {
        Ok(mut file) => file.write_all(TAG_CONTENT),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Reads the key; `None` if there is none, an error if what is there must not be used.
///
/// Its links are not counted: it has two of them while it is made, for as long as its maker was
/// stopped in between.
fn read_key(directory: &OwnedFd) -> io::Result<Option<Key>> {
    if let Err(error) = rustix::fs::statat(directory, KEY, AtFlags::SYMLINK_NOFOLLOW) {
        return if is_absence(error) { Ok(None) } else { Err(error.into()) };
    }
    let unusable = || io::Error::other("its file `key` must be 16 bytes of this user with mode 0600");
    let (file, _) = open_private(directory, KEY)?.ok_or_else(unusable)?;
    let content = read_bounded(&file, Key::SIZE, Key::SIZE)?.ok_or_else(unusable)?;
    content.try_into().map(|bytes| Some(Key::from_bytes(bytes))).map_err(|_| unusable())
}

/// Returns the key, made now if there was none. Of several makers one wins, and all return its key.
fn create_key(directory: &OwnedFd) -> io::Result<Key> {
    if let Some(key) = read_key(directory)? {
        return Ok(key);
    }
    let bytes: [u8; Key::SIZE] = random()?;
    // A link, unlike a rename, leaves an existing key alone; and what it makes is complete from the start.
    let linked = create_temporary(directory, KEY_TEMPORARY, &bytes, |file, temporary| {
        // A key that a power loss tore, unlike a record, would never be replaced.
        rustix::fs::fsync(file)?;
        let linked = rustix::fs::linkat(directory, temporary, directory, KEY, AtFlags::empty());
        rustix::fs::unlinkat(directory, temporary, AtFlags::empty())?;
        linked
    });
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read_key(directory)?.ok_or_else(|| io::Error::other("its file `key` went while it was made")),
    }
}

/// Writes a temporary file and hands it to `place`, which takes it away; where that fails, it is removed.
fn create_temporary(
    directory: &OwnedFd,
    prefix: &str,
    content: &[u8],
    place: impl FnOnce(&File, &str) -> rustix::io::Result<()>,
) -> io::Result<()> {
    let name = format!("{prefix}{:016x}", u64::from_le_bytes(random()?));
    let mut file = create_file(directory, &name)?;
    let placed = file.write_all(content).and_then(|()| Ok(place(&file, &name)?));
    if placed.is_err() {
        // The failure that is told is the first one; a second one here changes nothing about it.
        let _ = rustix::fs::unlinkat(directory, &name, AtFlags::empty());
    }
    placed
}

/// Creates a file that was not there, private from its first byte.
fn create_file(directory: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?))
}

#[cfg(target_os = "linux")]
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::io::retry_on_intr(|| {
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
        })?;
    }
    Ok(bytes)
}

#[cfg(not(target_os = "linux"))]
fn random<const N: usize>() -> io::Result<[u8; N]> {
    use std::io::Read as _;

    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
