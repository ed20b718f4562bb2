//! The lease: one user of a grant at a time.

use std::io;
use std::path::Path;

use super::places::Places;
use crate::host::FileSystem;
use crate::host::fs::File;

/// Held while a grant is used; ends with this value, or with the process.
///
/// Carries the process that took it: a forked child inherits the open file and with it the
/// system's lock, but must never act on it.
pub struct Lease {
    file: Box<dyn File>,
    pid: u32,
}

impl Lease {
    /// Takes the lease if nobody holds it.
    pub(crate) fn try_take(places: &Places, fs: &dyn FileSystem, pid: u32) -> io::Result<Option<Self>> {
        Ok(try_lock(&places.lease, fs)?.map(|file| Self { file, pid }))
    }

    /// Returns whether the process `pid` took the lease, rather than inherited it.
    pub(crate) fn is_own(&self, pid: u32) -> bool {
        self.pid == pid
    }

    /// Returns whether the lease still excludes others, which it does while its file has its name.
    pub(crate) fn excludes_others(&self, places: &Places, fs: &dyn FileSystem) -> io::Result<bool> {
        has_name(self.file.as_ref(), &places.lease, fs)
    }
}

/// Locks the file at `path`, making it where it is missing; `None` while somebody else holds it.
pub(super) fn try_lock(path: &Path, fs: &dyn FileSystem) -> io::Result<Option<Box<dyn File>>> {
    // Somebody may have removed the file between opening and locking it; a lock on a file that
    // has no name excludes nobody.
    for _ in 0..8 {
        let file = fs.open(path, true)?;
        if !file.try_lock()? {
            return Ok(None);
        }
        if has_name(file.as_ref(), path, fs)? {
            return Ok(Some(file));
        }
    }
    Err(io::Error::other("the file is being removed again and again"))
}

fn has_name(file: &dyn File, path: &Path, fs: &dyn FileSystem) -> io::Result<bool> {
    match fs.stat_link(path) {
        Ok(stat) => Ok(stat.identity == file.stat()?.identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
