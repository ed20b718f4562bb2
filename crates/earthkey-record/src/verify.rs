//! The dependency check: does a record still hold?
//!
//! It resolves nothing. Any difference, and anything that cannot be read, hands the question over to who can.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::clock::{Clock, UNKNOWN_BOOT};
use crate::digest::{Digest, Key};
use crate::environment::Environment;
use crate::file::{is_absence, is_directory, open_regular};
use crate::ledger::{HEADER_SIZE, SLOT_SIZE, newest};
use crate::record::{Dependency, Expected, Record};

/// How far the wall clock may stand before the moment at which a token was obtained, in seconds.
pub const CLOCK_TOLERANCE: u64 = 60;

/// The size of the largest file that is read to compare it, in bytes.
pub const FILE_MAX: u64 = 1024 * 1024;

/// How fresh a token is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Freshness {
    /// For how many seconds the token must still be valid.
    pub min_ttl: u64,
}

/// Whether a record may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The record's token may be served.
    Valid,
    /// It is for the library to resolve anew.
    HandOver(Reason),
}

/// Why a record may not be served as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The token has expired.
    Expired,
    /// The token's early window has begun.
    Early,
    /// The token is valid, but not for as long as is wanted.
    MinTtl,
    /// The wall clock stands before the moment at which the token was obtained.
    ClockBack,
    /// By the boot-time clock the token has outlived its life, or that clock is another one.
    BootClock,
    /// `HOME` is not set, so home directories come from where the check does not look.
    HomeUnset,
    /// A variable was added, changed or removed.
    Environment,
    /// What is at a path is not what was there.
    Changed(PathBuf),
    /// What is at a path cannot be compared: it is unreadable, too large or no regular file.
    Unreadable(PathBuf),
    /// An exchange is under way or its answer has not landed.
    LedgerPending(PathBuf),
    /// A ledger is damaged or of another version.
    LedgerUnreadable(PathBuf),
}

/// Returns whether a record still holds and is as fresh as wanted.
pub fn check(
    record: &Record,
    key: &Key,
    environment: &Environment,
    clock: &Clock,
    want: Freshness,
) -> Verdict {
    let checked = check_clocks(record, clock, want)
        .and_then(|()| check_environment(record, key, environment))
        .and_then(|()| {
            record.dependencies.iter().try_for_each(|dependency| check_dependency(dependency, key))
        });
    match checked {
        Ok(()) => Verdict::Valid,
        Err(reason) => Verdict::HandOver(reason),
    }
}

fn check_clocks(record: &Record, clock: &Clock, want: Freshness) -> Result<(), Reason> {
    if clock.now.saturating_add(CLOCK_TOLERANCE) < record.obtained_at {
        return Err(Reason::ClockBack);
    }
    let mut now = clock.now;
    let mut remaining = u64::MAX;
    if clock.boot_id == record.boot_id && clock.boot_id != UNKNOWN_BOOT {
        // A boot-time clock that has gone back is that of another time namespace.
        let elapsed_ms = clock.boottime_ms.checked_sub(record.boottime_ms).ok_or(Reason::BootClock)?;
        if elapsed_ms >= record.lifetime.saturating_mul(1000) {
            return Err(Reason::BootClock);
        }
        // Where the wall clock was set back since, the boot-time clock knows how late it really is.
        now = now.max(record.obtained_at.saturating_add(elapsed_ms / 1000));
        remaining = record.lifetime - elapsed_ms / 1000;
    }
    if now >= record.expires_at {
        return Err(Reason::Expired);
    }
    if now >= record.early_at {
        return Err(Reason::Early);
    }
    if remaining.min(record.expires_at - now) < want.min_ttl {
        return Err(Reason::MinTtl);
    }
    Ok(())
}

fn check_environment(record: &Record, key: &Key, environment: &Environment) -> Result<(), Reason> {
    if environment.non_empty("HOME").is_none() {
        return Err(Reason::HomeUnset);
    }
    if environment.digest(key) != record.environment {
        return Err(Reason::Environment);
    }
    Ok(())
}

fn check_dependency(dependency: &Dependency, key: &Key) -> Result<(), Reason> {
    let path = &dependency.path;
    let holds = match dependency.expected {
        Expected::Directory => is_directory(path),
        Expected::Ledger => return check_ledger(path),
        Expected::Absent => match rustix::fs::stat(path) {
            Ok(_) => false,
            Err(error) if is_absence(error) => true,
            Err(_) => return Err(Reason::Unreadable(path.clone())),
        },
        Expected::File(expected) => match digest_of(path, key) {
            Ok(found) => found == Some(expected),
            Err(_) => return Err(Reason::Unreadable(path.clone())),
        },
    };
    if holds { Ok(()) } else { Err(Reason::Changed(path.clone())) }
}

/// Returns the digest of a file's content; `None` if there is no file.
fn digest_of(path: &Path, key: &Key) -> io::Result<Option<Digest>> {
    let Some(file) = open_regular(path)? else { return Ok(None) };
    let mut hasher = key.file_hasher();
    // Small, since the front pays for every page that it touches; homes are smaller still.
    let mut buffer = [0; 4096];
    let mut bounded = (&file).take(FILE_MAX + 1);
    loop {
        match bounded.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => hasher.raw(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if bounded.limit() == 0 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(hasher.finish()))
}

/// A ledger that is not there has nothing pending.
fn check_ledger(path: &Path) -> Result<(), Reason> {
    let unreadable = |_| Reason::Unreadable(path.to_owned());
    let Some(file) = open_regular(path).map_err(unreadable)? else { return Ok(()) };
    let slot_a = read_header(&file, 0).map_err(unreadable)?;
    let slot_b = read_header(&file, SLOT_SIZE as u64).map_err(unreadable)?;
    match newest(&slot_a, &slot_b) {
        Ok(header) if header.is_none_or(|header| header.is_quiet()) => Ok(()),
        Ok(_) => Err(Reason::LedgerPending(path.to_owned())),
        Err(_) => Err(Reason::LedgerUnreadable(path.to_owned())),
    }
}

/// Reads a header; what lies beyond the end of the file is zero.
fn read_header(file: &File, offset: u64) -> io::Result<[u8; HEADER_SIZE]> {
    let mut bytes = [0; HEADER_SIZE];
    let mut filled = 0;
    while filled < HEADER_SIZE {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
