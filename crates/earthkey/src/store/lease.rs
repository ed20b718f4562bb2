//! The lease: one user of a grant at a time.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::claim::Claim;
use super::places::Places;
use crate::host::FileSystem;
use crate::host::Host;
use crate::host::Process;
use crate::host::fs::File;

/// Held while a grant is used; ends with this value, or with the process.
///
/// Carries the process that took it: a forked child inherits the open file and with it the
/// system's lock, but must never act on it.
pub struct Lease {
    file: Box<dyn File>,
    /// Where the file system's locks cannot be trusted.
    claim: Option<Claim>,
    pid: u32,
    process: Arc<dyn Process>,
}

impl Lease {
    /// Takes the lease if nobody holds it.
    pub(crate) fn try_take(places: &Places, host: &Host) -> io::Result<Option<Self>> {
        let (file, is_locked) = match try_lock(&places.lease, host.fs.as_ref())? {
            Lock::Taken => return Ok(None),
            Lock::Held(file) => (file, true),
            Lock::Unknown(file) => (file, false),
        };
        let claim = if is_locked && host.fs.medium(&places.ledgers)?.locks_exclude() {
            None
        } else {
            match Claim::try_take(&places.claim, host)? {
                Some(claim) => Some(claim),
                None => return Ok(None),
            }
        };
        let pid = host.process.owner().pid;
        Ok(Some(Self { file, claim, pid, process: host.process.clone() }))
    }

    /// Returns whether the process `pid` took the lease, rather than inherited it.
    pub(crate) fn is_own(&self, pid: u32) -> bool {
        self.pid == pid
    }

    /// Returns whether the lease still excludes others, which it does while its files have their
    /// names.
    pub(crate) fn excludes_others(&self, places: &Places, fs: &dyn FileSystem) -> io::Result<bool> {
        let has_claim = self.claim.as_ref().map_or(Ok(true), Claim::holds)?;
        Ok(has_claim && has_name(self.file.as_ref(), &places.lease, fs)?)
    }

    /// Makes the lease good for a whole attempt.
    pub(crate) fn renew(&mut self) -> io::Result<()> {
        self.claim.as_mut().map_or(Ok(()), Claim::renew)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.as_ref().filter(|_| self.is_own(self.process.owner().pid)) {
            claim.end();
        }
    }
}

/// What became of a try to lock a file.
pub(super) enum Lock {
    /// Nobody else holds it.
    Held(Box<dyn File>),
    /// Somebody else holds it.
    Taken,
    /// The file system knows no locks.
    Unknown(Box<dyn File>),
}

/// Locks the file at `path`, making it where it is missing.
pub(super) fn try_lock(path: &Path, fs: &dyn FileSystem) -> io::Result<Lock> {
    // Somebody may have removed the file between opening and locking it; a lock on a file that
    // has no name excludes nobody.
    for _ in 0..8 {
        let file = fs.open(path, true)?;
        let is_known = match file.try_lock() {
            Ok(true) => true,
            Ok(false) => return Ok(Lock::Taken),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(error) => return Err(error),
        };
        if has_name(file.as_ref(), path, fs)? {
            return Ok(if is_known { Lock::Held(file) } else { Lock::Unknown(file) });
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
