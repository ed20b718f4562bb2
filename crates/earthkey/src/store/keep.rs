//! One grant in its home: read it, judge what others did to it, replace it, end it.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use earthkey_record::ledger::State;
use zeroize::Zeroizing;

use super::lease::Lease;
use super::ledger::Arriving;
use super::ledger::Binding;
use super::ledger::Entries;
use super::ledger::Ledger;
use super::ledger::LedgerFile;
use super::ledger::Outcome;
use super::ledger::OutcomeKind;
use super::ledger::Temporary;
use super::look::look;
use super::look::look_settled;
use super::places::Places;
use super::places::damaged;
use super::places::unusable;
use super::slot::Contents;
use super::slot::Damage;
use super::slot::Home;
use super::slot::Privacy;
use super::slot::Rotation;
use super::swap::FileLock;
use super::swap::Landing;
use super::swap::Replaceable;
use super::swap::Swap;
use super::swap::remove;
use crate::error::Error;
use crate::error::Result;
use crate::error::word;
use crate::host::Host;
use crate::host::Notice;
use crate::host::fs::Medium;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;

/// Bytes by which a home may grow when an answer lands.
const GROWTH: u64 = 64 * 1024;

/// How long after its deadline an attempt whose owner is dead is waited for, in seconds: clocks
/// of hosts that share a home may differ.
const GRACE: u64 = 30;

/// How long what somebody writes may be in use by them, in seconds: an attempt, and what may follow it.
const IN_USE: u64 = 90;

/// One grant in its home.
pub struct Keep<'a> {
    pub(super) host: &'a Host,
    pub(super) home: &'a Home,
    pub(super) places: Places,
    has_warned: AtomicBool,
}

/// What is in the home at one moment, without waiting for anybody.
pub struct Reading {
    /// The slot; `None` when the home is absent or the slot empty.
    pub slot: Result<Option<Contents>, Damage>,
    /// The file's bytes as they were read, `None` when there is no file.
    pub file: Option<Zeroizing<Vec<u8>>>,
    /// The ledger.
    pub ledger: Ledger,
}

/// What a home holds, and the bytes that say so: later looks at the path may find others.
pub struct Held {
    /// The slot.
    pub contents: Contents,
    /// The file.
    pub file: Zeroizing<Vec<u8>>,
}

/// Where an answer ended up.
pub enum Landed {
    /// In the home.
    Ours(Held),
    /// Nowhere: another login stands in the home, or none.
    Moved,
    /// Nowhere: it is for somebody else, as this says.
    Stranger(String),
}

impl<'a> Keep<'a> {
    /// Opens a home; `None` when not even its directory exists.
    pub fn open(host: &'a Host, home: &'a Home) -> Result<Option<Self>> {
        match Places::of(home, host.fs.as_ref()) {
            Ok(places) => Ok(Some(Self { host, home, places, has_warned: AtomicBool::new(false) })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable("cannot use", &home.path, error)),
        }
    }

    /// Opens a home, making its directory (0700) where it is missing.
    pub fn create(host: &'a Host, home: &'a Home) -> Result<Self> {
        let places = Places::create(home, host.fs.as_ref())?;
        Ok(Self { host, home, places, has_warned: AtomicBool::new(false) })
    }

    /// Returns the files of this grant.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Returns what names the grant among those of its file.
    pub fn slot_name(&self) -> String {
        self.home.slot.name()
    }

    /// Returns whether there is a ledger, or a temporary file: a logout that comes to its end leaves none.
    pub fn has_left_anything(&self) -> bool {
        let fs = self.host.fs.as_ref();
        fs.stat_link(&self.places.ledger).is_ok()
            || self.places.temporaries(fs).is_ok_and(|left| !left.is_empty())
    }

    /// Reads the home and the ledger as they are now.
    pub fn read(&self) -> Result<Reading> {
        let path = &self.places.home;
        let seen = look(self.home, path, self.host).map_err(|error| unusable("cannot read", path, error))?;
        if seen.file.is_some() {
            self.check_privacy()?;
        }
        Ok(Reading { slot: seen.slot, file: seen.file, ledger: self.ledger()? })
    }

    /// Returns what the home holds now; a damaged home is an error.
    pub fn contents(&self) -> Result<Option<Contents>> {
        self.sound(self.read()?.slot)
    }

    /// Makes a damaged home an error that names it.
    pub fn sound<T>(&self, slot: Result<T, Damage>) -> Result<T> {
        slot.map_err(|damage| damaged(&self.places.home, damage))
    }

    /// Reads the ledger as it is now.
    pub fn ledger(&self) -> Result<Ledger> {
        LedgerFile::read(&self.places.ledger, self.host.fs.as_ref())
    }

    /// Makes sure that the home's directory can be written.
    pub async fn check_writable(&self) -> Result<()> {
        let _lock = FileLock::take(&self.places, self.host).await?;
        // The lock may be there already; a new file is what a login needs.
        let made =
            self.make_temporary().map_err(|error| unusable("cannot write", &self.places.home, error))?;
        self.remove_temporary(Some(&made))
    }

    /// Returns what the home holds once two looks agree: other programs remove it before they make
    /// it anew, and truncate it before they write.
    pub async fn settled(&self) -> Result<Option<Contents>> {
        let path = &self.places.home;
        let seen = look_settled(self.home, path, self.host).await;
        self.sound(seen.map_err(|error| unusable("cannot read", path, error))?.slot)
    }

    /// Takes the lease if nobody holds it.
    pub fn try_lease(&self) -> Result<Option<Lease>> {
        self.places
            .make_ledgers(self.host.fs.as_ref())
            .and_then(|()| Lease::try_take(&self.places, self.host))
            .map_err(|error| unusable("cannot use", &self.places.lease, error))
    }

    /// Returns which file the lease is now; one that took its place is another.
    pub fn lease_file(&self) -> Option<(u64, u64)> {
        self.host.fs.stat_link(&self.places.lease).ok().map(|stat| stat.identity)
    }

    /// Frees the lease if it can only be a child's: the attempt is over, or its owner dead and its
    /// deadline past, and still somebody has the file open. Such a child never acts on the lease,
    /// and never ends it either. The caller has watched this very file, and the ledger at rest, for
    /// longer than anybody holds the lease before the intent.
    pub async fn free_inherited_lease(&self, watched: Option<(u64, u64)>) -> Result<()> {
        let _lock = FileLock::take(&self.places, self.host).await?;
        let Ledger { state, entries, .. } = self.ledger()?;
        let is_under_way = matches!(state, State::Intent | State::Answered) && entries.outcome.is_none();
        let is_past = entries.deadline + GRACE < self.host.clock.now();
        let is_dead = entries.owner.is_some_and(|owner| self.host.process.is_dead(&owner));
        let is_inherited = !is_under_way || (is_past && is_dead);
        if is_inherited && self.lease_file() == watched && self.try_lease()?.is_none() {
            remove(&self.places.lease, self.host)
                .map_err(|error| unusable("cannot remove", &self.places.lease, error))?;
        }
        Ok(())
    }

    /// Puts a new grant into the home: a person's login.
    pub async fn put(&self, contents: &Contents, binding: Binding) -> Result<Held> {
        // Where no newest token is kept to tell by, the binding names what it is of.
        let grant = contents.fingerprint().filter(|_| self.successor_to_keep(contents).is_none());
        let binding = Binding { grant: grant.map(|grant| grant.to_string()), ..binding };
        let lock = FileLock::take(&self.places, self.host).await?;
        let arriving = contents
            .fingerprint()
            .map(|grant| Arriving { grant: grant.to_string(), binding: binding.clone() });
        self.update(|ledger| {
            ledger.entries.arriving = arriving;
            ledger.entries.outcome = None;
        })
        .await?;
        self.sync_directory()?;
        let swap = Swap::new(self.home, &self.places, self.host, &lock, &self.host.random.token());
        let Landing::Landed(file) = swap.land(&Replaceable::Anything, contents).await? else {
            return Err(Error::internal("a login was not written though anything might be replaced"));
        };
        // A refresh of the former grant may be under way elsewhere; it will find another grant
        // in the home and adopt it. What the ledger says of it is worth nothing any more.
        let mut ledger_file = self.open_ledger().await?;
        ledger_file.ledger.start_anew();
        let entries = &mut ledger_file.ledger.entries;
        entries.forget_apart();
        entries.refusals.clear();
        entries.set_newest(self.successor_to_keep(contents));
        entries.binding = Some(binding);
        entries.arriving = None;
        // What was known of the former login is wiped with the state before this one.
        self.save(&mut ledger_file)?;
        Ok(Held { contents: contents.clone(), file })
    }

    /// Binds the grant in the home, if it is bound to nobody yet, to the issuer and the origin of the
    /// endpoint that accepted it.
    pub async fn bind(&self, issuer: &str, origin: &str) -> Result<()> {
        self.update(|ledger| match &mut ledger.entries.binding {
            Some(binding) if binding.origin.is_empty() => {
                issuer.clone_into(&mut binding.issuer);
                origin.clone_into(&mut binding.origin);
            }
            _ => {}
        })
        .await
    }

    /// Writes a slot that no grant of ours is in: what a system's own client is to know.
    pub async fn write(&self, contents: &Contents) -> Result<()> {
        let lock = FileLock::take(&self.places, self.host).await?;
        let swap = Swap::new(self.home, &self.places, self.host, &lock, &self.host.random.token());
        swap.land(&Replaceable::Anything, contents).await.map(drop)
    }

    /// Removes the grant from the home: a logout. Never waits for a refresh under way; that one
    /// finds the home gone and drops its answer. Returns whether there was a grant.
    pub async fn clear(&self) -> Result<bool> {
        let lock = FileLock::take(&self.places, self.host).await?;
        let swap = Swap::new(self.home, &self.places, self.host, &lock, &self.host.random.token());
        let has_cleared = swap.clear().await?;
        if let Some(_lease) = self.try_lease()? {
            if self.holds_what_is_in(&self.ledger()?)? {
                return Ok(has_cleared);
            }
            self.sweep();
            remove(&self.places.ledger, self.host)
                .map_err(|error| unusable("cannot remove", &self.places.ledger, error))?;
            self.sync_directory()?;
        } else {
            let mut file = self.open_ledger().await?;
            if self.holds_what_is_in(&file.ledger)? {
                return Ok(has_cleared);
            }
            file.ledger.state = State::Idle;
            // Should the attempt under way be cut short, its file is found by this name.
            let Entries { temporary, .. } = std::mem::take(&mut file.ledger.entries);
            file.ledger.entries.temporary = temporary;
            self.save(&mut file)?;
        }
        Ok(has_cleared)
    }

    /// Returns whether the home holds the login that the ledger is about: after a logout, one that
    /// somebody else has put there and used since.
    fn holds_what_is_in(&self, ledger: &Ledger) -> Result<bool> {
        let path = &self.places.home;
        let seen = look(self.home, path, self.host).map_err(|error| unusable("cannot read", path, error))?;
        let found = seen.slot.ok().flatten().and_then(|contents| contents.fingerprint());
        let Ledger { entries, .. } = ledger;
        let own = [entries.newest(), entries.successor()];
        let is_own = own.into_iter().flatten().any(|token| Some(token.fingerprint()) == found);
        Ok(is_own || entries.is_base(found))
    }

    /// Lands `contents` over `base`, or over any token that is known to be spent.
    pub(super) async fn land(
        &self,
        lease: &Lease,
        temporary: &str,
        base: Option<Fingerprint>,
        contents: &Contents,
    ) -> Result<Landed> {
        if !lease.is_own(self.host.process.owner().pid) {
            return Err(inherited());
        }
        let lock = FileLock::take(&self.places, self.host).await?;
        let replaceable = Replaceable::Only(self.ledger()?.entries.spent().chain(base).collect());
        let swap = Swap::new(self.home, &self.places, self.host, &lock, temporary);
        let landing = swap.land(&replaceable, contents).await?;
        self.sweep_but_what_may_be_in_use();
        Ok(match landing {
            Landing::Landed(file) => Landed::Ours(Held { contents: contents.clone(), file }),
            Landing::Moved | Landing::Gone => Landed::Moved,
        })
    }

    /// Keeps an answer to `base` that is for somebody else, unless the ledger is another login's by now.
    pub(super) async fn set_apart(
        &self,
        base: Option<Fingerprint>,
        body: &[u8],
        failure: Outcome,
    ) -> Result<()> {
        let mut file = self.open_ledger().await?;
        if file.ledger.entries.base() == base {
            self.remove_temporary(file.ledger.entries.temporary.as_ref())?;
            file.ledger.start_anew();
            let entries = &mut file.ledger.entries;
            entries.set_base(base);
            entries.set_apart(base, body);
            entries.outcome = Some(failure);
            self.save(&mut file)?;
        }
        Ok(())
    }

    /// Marks the answer to `base` as landed, unless the ledger is another login's by now.
    /// `failure` tells why it cannot be served.
    pub(super) async fn mark_landed(
        &self,
        base: Option<Fingerprint>,
        answer: Option<Zeroizing<Vec<u8>>>,
        failure: Option<Outcome>,
    ) -> Result<()> {
        let landed = Outcome::new(OutcomeKind::Landed, "", self.host.clock.now());
        let mut file = self.open_ledger().await?;
        if file.ledger.entries.base() == base {
            let entries = &mut file.ledger.entries;
            entries.set_answer(answer.as_deref().map(Vec::as_slice));
            entries.exchange_base();
            if self.keeps_no_successors() {
                entries.set_newest(None);
            }
            self.remove_temporary(entries.temporary.as_ref())?;
            file.ledger.start_anew();
            file.ledger.entries.forget_apart();
            file.ledger.state = State::Landed;
            file.ledger.entries.refusals.clear();
            file.ledger.entries.outcome = Some(failure.unwrap_or(landed));
            self.save(&mut file)?;
        }
        Ok(())
    }

    /// Returns whether refresh tokens stay what they are: then the home alone keeps them, and a ledger
    /// that lies elsewhere holds nothing that would outlive a logout.
    fn keeps_no_successors(&self) -> bool {
        self.home.rotation == Rotation::Never
    }

    /// Returns the refresh token that the ledger keeps in case an old copy is put over it.
    pub(super) fn successor_to_keep<'c>(&self, contents: &'c Contents) -> Option<&'c RefreshToken> {
        contents.refresh_token().filter(|_| !self.keeps_no_successors())
    }

    /// Changes the ledger, durably.
    pub(super) async fn update(&self, change: impl FnOnce(&mut Ledger)) -> Result<()> {
        let mut file = self.open_ledger().await?;
        change(&mut file.ledger);
        file.save().map_err(|error| unusable("cannot write", &self.places.ledger, error))
    }

    pub(super) async fn open_ledger(&self) -> Result<LedgerFile> {
        LedgerFile::open(&self.places.ledger, self.host).await
    }

    /// Writes the state with which an attempt ends; it needs no room any more.
    pub(super) fn save(&self, file: &mut LedgerFile) -> Result<()> {
        file.save().map_err(|error| unusable("cannot write", &self.places.ledger, error))?;
        file.give_room_back();
        Ok(())
    }

    /// Makes the temporary file: an empty one that takes as much room as the home will.
    pub(super) fn make_temporary(&self) -> io::Result<Temporary> {
        let name = self.host.random.token();
        let path = self.places.temporary(&name);
        self.host.fs.create_new(&path, b"")?;
        let len = self.host.fs.stat(&self.places.home).map_or(0, |stat| stat.len);
        let file = self.host.fs.open(&path, false)?;
        file.allocate(0, len + GROWTH)?;
        file.sync()?;
        Ok(Temporary { name, inode: file.stat()?.identity.1 })
    }

    pub(super) fn remove_temporary(&self, temporary: Option<&Temporary>) -> Result<()> {
        let Some(temporary) = temporary else { return Ok(()) };
        let path = self.places.temporary(&temporary.name);
        remove(&path, self.host).map_err(|error| unusable("cannot remove", &path, error))
    }

    /// Removes temporary files that a crash left and no ledger names. Whoever calls this holds
    /// lease and file lock, without which nobody makes one, and ends the login.
    fn sweep(&self) {
        for path in self.left_over() {
            // What cannot be removed now is there at the next landing.
            let _ = self.host.fs.remove(&path);
        }
    }

    fn left_over(&self) -> Vec<PathBuf> {
        self.places.temporaries(self.host.fs.as_ref()).unwrap_or_default()
    }

    /// Where the lock of the home excludes nobody, somebody may have displaced another program's writing
    /// into such a file just now, and not have looked at it yet.
    fn sweep_but_what_may_be_in_use(&self) {
        let fs = self.host.fs.as_ref();
        let left = self.left_over();
        if left.is_empty() {
            return;
        }
        if fs.medium(&self.places.directory).is_ok_and(Medium::locks_exclude) {
            return self.sweep();
        }
        // The ledger was written in this attempt, by the same server's clock.
        let now = fs.stat_link(&self.places.ledger).map_or(0, |stat| stat.modified);
        let is_old = |path: &&PathBuf| fs.stat_link(path).is_ok_and(|stat| stat.modified + IN_USE < now);
        for path in left.iter().filter(is_old) {
            let _ = fs.remove(path);
        }
    }

    /// Makes the names of lease and ledger durable.
    pub(super) fn sync_directory(&self) -> Result<()> {
        let directory = &self.places.ledgers;
        self.host.fs.sync_directory(directory).map_err(|error| unusable("cannot write", directory, error))
    }

    /// Looks whether others can read the home, and says so once.
    pub(super) fn check_privacy(&self) -> Result<()> {
        let path = &self.places.home;
        let Ok(stat) = self.host.fs.stat(path) else { return Ok(()) };
        let is_open = stat.mode & 0o077 != 0;
        if !is_open {
            return Ok(());
        }
        let text = format!("`{}` can be read by others (mode {:04o})", path.display(), stat.mode);
        let remedy = format!("chmod 600 {}", word(path.display()));
        if self.home.privacy == Privacy::Required {
            return Err(Error::store(text)
                .caused_by("the system's own client refuses such a file, too")
                .hint(format!("let nobody else read it: `{remedy}`")));
        }
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            self.host.interaction.tell(&Notice::Warning(&format!("{text}; run `{remedy}`")));
        }
        Ok(())
    }

    pub(super) fn check_lease(&self, lease: &Lease) -> Result<()> {
        if !lease.is_own(self.host.process.owner().pid) {
            return Err(inherited());
        }
        let path = &self.places.lease;
        let excludes_others = lease
            .excludes_others(&self.places, self.host.fs.as_ref())
            .map_err(|error| unusable("cannot use", path, error))?;
        if excludes_others {
            return Ok(());
        }
        Err(Error::store(format!("the lease `{}` was lost while it was in use", path.display())).hint(
            "try again; leave that file where it is: it keeps two programs from using one login at once",
        ))
    }

    pub(super) fn tell(&self, story: &str) {
        self.host.interaction.tell(&Notice::Story(story));
    }
}

fn inherited() -> Error {
    Error::internal("a lease was used by another process than took it")
}
