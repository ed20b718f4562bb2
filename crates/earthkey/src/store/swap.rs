//! Landing: replacing one slot of a file that others write without asking.

use std::io;
use std::time::Duration;

use zeroize::Zeroizing;

use super::places::Places;
use super::places::damaged;
use super::places::unusable;
use super::slot::Contents;
use super::slot::Home;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::fs::File;
use crate::secret::Fingerprint;

/// Bytes of a home that are read at most.
pub(crate) const MAX_HOME: u64 = 4 * 1024 * 1024;

/// How often a file that others keep changing is merged again.
const MAX_MERGES: usize = 16;

/// How long the file lock is waited for; it is never held over the network.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How landing ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The slot holds what was to be landed, in a file of these bytes.
    Landed(Zeroizing<Vec<u8>>),
    /// Somebody else put something else there; that stands.
    Adopted(Contents, Zeroizing<Vec<u8>>),
    /// The home or its slot is gone: a logout, which is not undone.
    Gone,
}

/// What may be replaced in the slot.
pub(crate) enum Replaceable {
    /// Only a grant with one of these fingerprints.
    Only(Vec<Fingerprint>),
    /// Whatever is there, also nothing: a person's own login.
    Anything,
}

impl Replaceable {
    fn admits(&self, contents: Option<&Contents>) -> bool {
        match self {
            Self::Anything => true,
            Self::Only(fingerprints) => contents
                .and_then(Contents::fingerprint)
                .is_some_and(|fingerprint| fingerprints.contains(&fingerprint)),
        }
    }
}

/// Holds the file lock of a home: for one read-merge-write.
pub(crate) struct FileLock {
    _file: Box<dyn File>,
}

impl FileLock {
    pub(crate) async fn take(places: &Places, host: &Host) -> Result<Self> {
        let failed = |error| unusable("cannot lock", &places.lock, error);
        let file = host.fs.open(&places.lock, true).map_err(failed)?;
        let start = host.clock.since_boot();
        while !file.try_lock().map_err(failed)? {
            if host.clock.since_boot().saturating_sub(start) > LOCK_WAIT {
                return Err(Error::store(format!("`{}` stays locked", places.lock.display()))
                    .hint("another program holds it; try again when it has ended"));
            }
            host.clock.sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { _file: file })
    }
}

/// Puts `contents` into the slot if what is there may be replaced.
///
/// The file lock excludes our own kind only. Other tools rewrite the file whenever they like, so
/// the new file is exchanged with the old in one step and what came out is looked at: were its
/// bytes not the ones merged from, the work starts again or is taken back.
pub(crate) async fn land(
    home: &Home,
    places: &Places,
    host: &Host,
    _lock: &FileLock,
    temporary: &str,
    replaceable: &Replaceable,
    contents: &Contents,
) -> Result<Landing> {
    let temporary = places.temporary(temporary);
    let failed = |error| unusable("cannot write", &places.home, error);
    let damaged = |damage| damaged(&places.home, damage);
    let mut base = match read(&places.home, host).map_err(failed)? {
        Some(bytes) => Some(bytes),
        None if matches!(replaceable, Replaceable::Anything) => None,
        None => return Ok(Landing::Gone),
    };
    for _ in 0..MAX_MERGES {
        let Some(old) = base else {
            let new = Zeroizing::new(home.slot.write(None, contents).map_err(damaged)?);
            write(&temporary, &new, host).map_err(failed)?;
            match host.fs.link(&temporary, &places.home) {
                Ok(()) => {
                    remove(&temporary, host).map_err(failed)?;
                    host.fs.sync_directory(&places.directory).map_err(failed)?;
                    return Ok(Landing::Landed(new));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    base = read(&places.home, host).map_err(failed)?;
                    continue;
                }
                Err(error) => return Err(failed(error)),
            }
        };
        let found = home.slot.read(&old).map_err(damaged)?;
        if !replaceable.admits(found.as_ref()) {
            remove(&temporary, host).map_err(failed)?;
            return Ok(found.map_or(Landing::Gone, |contents| Landing::Adopted(contents, old)));
        }
        let new = Zeroizing::new(home.slot.write(Some(&old), contents).map_err(damaged)?);
        if *new == *old {
            remove(&temporary, host).map_err(failed)?;
            return Ok(Landing::Landed(new));
        }
        write(&temporary, &new, host).map_err(failed)?;
        match exchange(&temporary, places, host, &old).map_err(failed)? {
            Exchanged::Displaced(displaced) if *displaced == *old => {
                host.fs.sync_directory(&places.directory).map_err(failed)?;
                remove(&temporary, host).map_err(failed)?;
                return Ok(Landing::Landed(new));
            }
            Exchanged::Displaced(displaced) => {
                // Somebody wrote between our reading and the exchange. What they wrote is in
                // the temporary file's place now; it goes back, and decides what happens next.
                put_back(&temporary, places, host, &new).map_err(failed)?;
                base = Some(displaced);
            }
            Exchanged::Changed(found) => base = found,
            Exchanged::Gone => {
                remove(&temporary, host).map_err(failed)?;
                if !matches!(replaceable, Replaceable::Anything) {
                    return Ok(Landing::Gone);
                }
                base = None;
            }
        }
    }
    Err(Error::store(format!("`{}` keeps changing", places.home.display()))
        .hint("another program writes it all the time; stop that program and try again"))
}

enum Exchanged {
    /// These bytes came out.
    Displaced(Zeroizing<Vec<u8>>),
    /// Nothing was exchanged: these bytes are there now.
    Changed(Option<Zeroizing<Vec<u8>>>),
    /// Nothing was exchanged: the home is gone.
    Gone,
}

fn exchange(
    temporary: &std::path::Path,
    places: &Places,
    host: &Host,
    expected: &[u8],
) -> io::Result<Exchanged> {
    match host.fs.exchange(temporary, &places.home) {
        Ok(()) => match read(temporary, host)? {
            Some(displaced) => Ok(Exchanged::Displaced(displaced)),
            None => Err(io::Error::other("the temporary file was removed by somebody else")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Exchanged::Gone),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            // The best that can be had: compare just before the replacement.
            let found = read(&places.home, host)?;
            match found {
                Some(found) if *found == *expected => {
                    host.fs.rename(temporary, &places.home)?;
                    Ok(Exchanged::Displaced(found))
                }
                found => Ok(Exchanged::Changed(found)),
            }
        }
        Err(error) => Err(error),
    }
}

/// Puts what was displaced back. Each exchange must bring out what the one before put in; where
/// it brings out something else, somebody wrote that just now, and it goes back in turn.
fn put_back(temporary: &std::path::Path, places: &Places, host: &Host, ours: &[u8]) -> io::Result<()> {
    let mut last_put = Zeroizing::new(ours.to_vec());
    for _ in 0..MAX_MERGES {
        let Some(next) = read(temporary, host)? else {
            return Err(io::Error::other("the temporary file was removed by somebody else"));
        };
        match host.fs.exchange(temporary, &places.home) {
            Ok(()) => {}
            // A logout in between: what was displaced is older than that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        if read(temporary, host)?.is_some_and(|bytes| *bytes == *last_put) {
            return Ok(());
        }
        last_put = next;
    }
    Err(io::Error::other("another program writes it all the time"))
}

/// Removes the slot, or the whole file where nothing else is in it.
pub(crate) fn clear(
    home: &Home,
    places: &Places,
    host: &Host,
    _lock: &FileLock,
    temporary: &str,
) -> Result<bool> {
    let failed = |error| unusable("cannot change", &places.home, error);
    let temporary = places.temporary(temporary);
    for _ in 0..MAX_MERGES {
        let Some(old) = read(&places.home, host).map_err(failed)? else { return Ok(false) };
        let left = home.slot.clear(&old).map_err(|damage| damaged(&places.home, damage))?;
        let left = left.map(Zeroizing::new);
        match left {
            None => remove(&places.home, host).map_err(failed)?,
            Some(new) if *new == *old => return Ok(false),
            Some(new) => {
                write(&temporary, &new, host).map_err(failed)?;
                match exchange(&temporary, places, host, &old).map_err(failed)? {
                    Exchanged::Displaced(displaced) if *displaced == *old => {
                        remove(&temporary, host).map_err(failed)?;
                    }
                    Exchanged::Displaced(_) => {
                        put_back(&temporary, places, host, &new).map_err(failed)?;
                        continue;
                    }
                    Exchanged::Changed(_) => continue,
                    Exchanged::Gone => {
                        remove(&temporary, host).map_err(failed)?;
                        return Ok(false);
                    }
                }
            }
        }
        host.fs.sync_directory(&places.directory).map_err(failed)?;
        return Ok(true);
    }
    Err(Error::store(format!("`{}` keeps changing", places.home.display()))
        .hint("another program writes it all the time; stop that program and try again"))
}

/// Reads a home's bytes, `None` where there is no file.
pub(crate) fn read(path: &std::path::Path, host: &Host) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    match host.fs.read(path, MAX_HOME) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes the temporary file, durably, over what an earlier round left in it.
pub(crate) fn write(path: &std::path::Path, bytes: &[u8], host: &Host) -> io::Result<()> {
    let file = host.fs.open(path, true)?;
    file.set_len(0)?;
    file.write_at(0, bytes)?;
    file.sync()
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &std::path::Path, host: &Host) -> io::Result<()> {
    match host.fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
