//! The lease: one user of a grant at a time.

use std::io;

use super::places::Places;
use crate::host::FileSystem;
use crate::host::fs::File;

/// Held while a grant is used; ends with this value, or with the process.
///
/// Carries the process that took it: a forked child inherits the open file and with it the
/// system's lock, but must never act on it.
pub struct Lease {
    _file: Box<dyn File>,
    pid: u32,
}

impl Lease {
    /// Takes the lease if nobody holds it.
    pub(crate) fn try_take(places: &Places, fs: &dyn FileSystem, pid: u32) -> io::Result<Option<Self>> {
        // Somebody may have removed the file between opening and locking it; a lock on a file
        // that has no name excludes nobody.
        for _ in 0..8 {
            let file = fs.open(&places.lease, true)?;
            if !file.try_lock()? {
                return Ok(None);
            }
            match fs.stat_link(&places.lease) {
                Ok(stat) if stat.identity == file.stat()?.identity => {
                    return Ok(Some(Self { _file: file, pid }));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("the lease file is being removed again and again"))
    }

    /// Returns whether the process `pid` took the lease, rather than inherited it.
    pub(crate) fn is_own(&self, pid: u32) -> bool {
        self.pid == pid
    }
}
