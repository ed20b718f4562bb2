//! Landing: replacing one slot of a file that others write without asking.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use zeroize::Zeroizing;

use super::lease::Lock;
use super::lease::try_lock;
use super::look::Seen;
use super::look::look;
use super::look::look_settled;
use super::look::read;
use super::places::Places;
use super::places::damaged;
use super::places::unusable;
use super::slot::Contents;
use super::slot::Home;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::host::fs::File;
use crate::secret::Fingerprint;

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
    Moved,
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
    fn admits(&self, contents: &Contents) -> bool {
        match self {
            Self::Anything => true,
            Self::Only(known) => contents.fingerprint().is_some_and(|found| known.contains(&found)),
        }
    }
}

/// Holds the file lock of a home: for one read-merge-write.
pub(crate) struct FileLock {
    _file: Box<dyn File>,
}

impl FileLock {
    pub(crate) async fn take(places: &Places, host: &Host) -> Result<Self> {
        let start = host.clock.since_boot();
        places
            .make_ledgers(host.fs.as_ref())
            .map_err(|error| unusable("cannot make", &places.ledgers, error))?;
        loop {
            let lock = try_lock(&places.lock, host.fs.as_ref())
                .map_err(|error| unusable("cannot lock", &places.lock, error))?;
            match lock {
                // Without locks the look at what was displaced is what remains.
                Lock::Held(file) | Lock::Unknown(file) => return Ok(Self { _file: file }),
                Lock::Taken => {}
            }
            if host.clock.since_boot().saturating_sub(start) > LOCK_WAIT {
                return Err(Error::store(format!("`{}` stays locked", places.lock.display()))
                    .hint("another program holds it; try again when it has ended"));
            }
            host.clock.sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Replaces a slot under the file lock.
///
/// The lock excludes our own kind only. Other tools rewrite the file whenever they like, so the
/// new file is exchanged with the old in one step and what came out is looked at: were its bytes
/// not the ones merged from, it goes back and the work starts again.
pub(crate) struct Swap<'a> {
    home: &'a Home,
    places: &'a Places,
    host: &'a Host,
    temporary: PathBuf,
    /// Whether a name or a file was changed, which has to be made durable then.
    has_changed: AtomicBool,
}

impl<'a> Swap<'a> {
    pub(crate) fn new(
        home: &'a Home,
        places: &'a Places,
        host: &'a Host,
        _lock: &'a FileLock,
        temporary: &str,
    ) -> Self {
        let temporary = places.temporary(temporary);
        Self { home, places, host, temporary, has_changed: AtomicBool::new(false) }
    }

    /// Puts `contents` into the slot if what is there may be replaced.
    pub(crate) async fn land(&self, replaceable: &Replaceable, contents: &Contents) -> Result<Landing> {
        let landing = self.merge(replaceable, contents).await?;
        self.done()?;
        Ok(landing)
    }

    /// Removes the slot, or the whole file where nothing else is in it; returns whether there was
    /// anything to remove.
    pub(crate) async fn clear(&self) -> Result<bool> {
        let has_cleared = self.take_out().await?;
        self.done()?;
        Ok(has_cleared)
    }

    async fn merge(&self, replaceable: &Replaceable, contents: &Contents) -> Result<Landing> {
        let slot = &self.home.slot;
        let damaged = |damage| damaged(&self.places.home, damage);
        for _ in 0..MAX_MERGES {
            let Seen { slot: found, file } = self.look(replaceable).await?;
            let Some(old) = file else {
                if !matches!(replaceable, Replaceable::Anything) {
                    return Ok(Landing::Gone);
                }
                let new = Zeroizing::new(slot.write(None, contents).map_err(damaged)?);
                if self.write(&new).and_then(|()| self.create()).map_err(self.failed())? {
                    return Ok(Landing::Landed(new));
                }
                continue;
            };
            match found {
                Err(_) if matches!(replaceable, Replaceable::Anything) => {
                    self.set_aside().map_err(self.failed())?;
                    continue;
                }
                Err(damage) => return Err(damaged(damage)),
                Ok(Some(found)) if !replaceable.admits(&found) => {
                    let is_ours = found.fingerprint() == contents.fingerprint();
                    return Ok(if is_ours { Landing::Landed(old) } else { Landing::Moved });
                }
                Ok(None) if !matches!(replaceable, Replaceable::Anything) => return Ok(Landing::Gone),
                Ok(_) => {}
            }
            let new = Zeroizing::new(slot.write(Some(&old), contents).map_err(damaged)?);
            if new == old
                || self.write(&new).and_then(|()| self.exchange(&old, &new)).map_err(self.failed())?
            {
                return Ok(Landing::Landed(new));
            }
        }
        Err(self.keeps_changing())
    }

    async fn take_out(&self) -> Result<bool> {
        for _ in 0..MAX_MERGES {
            // That there is nothing decides here: somebody may be making the home anew.
            let Seen { slot: found, file } = self.look(&Replaceable::Only(Vec::new())).await?;
            let Some(old) = file else { return Ok(false) };
            found.map_err(|damage| damaged(&self.places.home, damage))?;
            let left = self.home.slot.clear(&old).map_err(|damage| damaged(&self.places.home, damage))?;
            let is_out = match left.map(Zeroizing::new) {
                None => self.withdraw(&old),
                Some(new) if new == old => return Ok(false),
                Some(new) => self.write(&new).and_then(|()| self.exchange(&old, &new)),
            };
            if is_out.map_err(self.failed())? {
                return Ok(true);
            }
        }
        Err(self.keeps_changing())
    }

    /// Looks at the home, again if it is torn, or if its absence would decide.
    async fn look(&self, replaceable: &Replaceable) -> Result<Seen> {
        let (home, path) = (self.home, &self.places.home);
        let failed = |error| unusable("cannot read", path, error);
        let seen = look(home, path, self.host).map_err(failed)?;
        match (&seen.slot, replaceable) {
            (Ok(Some(_)), _) | (Ok(None), Replaceable::Anything) => Ok(seen),
            _ => look_settled(home, path, self.host).await.map_err(failed),
        }
    }

    /// Puts the temporary file in the place of the home if that is still `old`.
    fn exchange(&self, old: &[u8], new: &[u8]) -> io::Result<bool> {
        let home = &self.places.home;
        match self.host.fs.exchange(&self.temporary, home) {
            Ok(()) => {
                if *self.displaced()? == *old {
                    return Ok(true);
                }
                // Somebody wrote between our look and the exchange. What they wrote goes back, and
                // decides what happens next.
                self.put_back(new)?;
                Ok(false)
            }
            // The home is gone; whether for good is seen at the next look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                // The best that can be had: compare just before the replacement, look just after.
                if read(home, self.host)?.as_deref().map(Vec::as_slice) != Some(old) {
                    return Ok(false);
                }
                self.host.fs.rename(&self.temporary, home)?;
                Ok(read(home, self.host)?.as_deref().map(Vec::as_slice) == Some(new))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts what was displaced back. Each exchange must bring out what the one before put in; where
    /// it brings out something else, somebody wrote that just now, and it goes back in turn.
    fn put_back(&self, ours: &[u8]) -> io::Result<()> {
        let mut last_put = Zeroizing::new(ours.to_vec());
        for _ in 0..MAX_MERGES {
            let next = self.displaced()?;
            match self.host.fs.exchange(&self.temporary, &self.places.home) {
                Ok(()) => {}
                // A logout in between: what was displaced is older than that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            }
            if *self.displaced()? == *last_put {
                return Ok(());
            }
            last_put = next;
        }
        Err(io::Error::other("another program writes it all the time"))
    }

    /// Reads what an exchange left in the temporary file's place.
    fn displaced(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        read(&self.temporary, self.host)?
            .ok_or_else(|| io::Error::other("the temporary file was removed by somebody else"))
    }

    /// Makes a home where there is none.
    fn create(&self) -> io::Result<bool> {
        let home = &self.places.home;
        let has_neither = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported)
        };
        let mut made = self.host.fs.link(&self.temporary, home);
        if made.as_ref().is_err_and(has_neither) {
            made = self.host.fs.rename_new(&self.temporary, home);
        }
        if made.as_ref().is_err_and(has_neither) {
            if read(home, self.host)?.is_some() {
                return Ok(false);
            }
            made = self.host.fs.rename(&self.temporary, home);
        }
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|()| true),
        }
    }

    /// Takes the whole home away if it is still `old`.
    fn withdraw(&self, old: &[u8]) -> io::Result<bool> {
        self.has_changed.store(true, Ordering::Relaxed);
        match self.host.fs.rename(&self.places.home, &self.temporary) {
            Ok(()) if *self.displaced()? == *old => Ok(true),
            // Somebody wrote just before; that goes back, unless they wrote again.
            Ok(()) => {
                self.create()?;
                remove(&self.temporary, self.host).map(|()| false)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps a damaged home under another name, for a person to look at.
    fn set_aside(&self) -> io::Result<()> {
        self.has_changed.store(true, Ordering::Relaxed);
        let home = &self.places.home;
        let aside = self.places.damaged();
        self.host.fs.rename(home, &aside)?;
        self.host.interaction.tell(&Notice::Warning(&format!(
            "`{}` was damaged and is kept as `{}`",
            home.display(),
            aside.display()
        )));
        Ok(())
    }

    /// Writes the temporary file, durably, over what is in it: the room that was set aside for it
    /// is not given back first.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.has_changed.store(true, Ordering::Relaxed);
        let file = self.host.fs.open(&self.temporary, true)?;
        file.write_at(0, bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync()
    }

    /// Makes the new names durable; what is left in the temporary file has been judged by then.
    fn done(&self) -> Result<()> {
        // The folder of a key is its owner's, and need not be ours to open.
        if self.has_changed.load(Ordering::Relaxed) {
            self.host.fs.sync_directory(&self.places.directory).map_err(self.failed())?;
        }
        // Where nothing was to be changed there is none, and a directory that cannot be written
        // refuses to remove even what is not there.
        match self.host.fs.stat_link(&self.temporary) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => remove(&self.temporary, self.host).map_err(self.failed()),
        }
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error {
        |error| unusable("cannot write", &self.places.home, error)
    }

    fn keeps_changing(&self) -> Error {
        Error::store(format!("`{}` keeps changing", self.places.home.display()))
            .hint("another program writes it all the time; stop that program and try again")
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &std::path::Path, host: &Host) -> io::Result<()> {
    match host.fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
