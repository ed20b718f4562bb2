//! One grant in its home: read it, use it for one exchange, replace it, end it.

use std::io;
use std::time::Duration;

use earthkey_record::ledger::State;
use zeroize::Zeroizing;

use super::lease::Lease;
use super::ledger::Binding;
use super::ledger::Ledger;
use super::ledger::LedgerFile;
use super::ledger::Outcome;
use super::ledger::OutcomeKind;
use super::ledger::Remembered;
use super::places::Places;
use super::places::damaged;
use super::places::unusable;
use super::slot::Contents;
use super::slot::Damage;
use super::slot::Grant;
use super::slot::Home;
use super::slot::Privacy;
use super::slot::Rotation;
use super::swap;
use super::swap::FileLock;
use super::swap::Landing;
use super::swap::Replaceable;
use crate::error::Error;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::token;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;

/// How long a file that is absent or torn is given to be whole: real clients remove before they
/// create, and truncate before they write.
const SETTLE: Duration = Duration::from_millis(250);

/// Bytes by which a home may grow when an answer lands.
const GROWTH: u64 = 64 * 1024;

/// One grant in its home.
pub struct Keep<'a> {
    host: &'a Host,
    home: &'a Home,
    places: Places,
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

impl<'a> Keep<'a> {
    /// Opens a home; `None` when not even its directory exists.
    pub fn open(host: &'a Host, home: &'a Home) -> Result<Option<Self>> {
        match Places::of(home, host.fs.as_ref()) {
            Ok(places) => Ok(Some(Self { host, home, places })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable("cannot use", &home.path, error)),
        }
    }

    /// Opens a home, making its directory (0700) where it is missing.
    pub fn create(host: &'a Host, home: &'a Home) -> Result<Self> {
        let places = Places::create(home, host.fs.as_ref())?;
        Ok(Self { host, home, places })
    }

    /// Returns the files of this grant.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// Reads the home and the ledger as they are now.
    pub fn read(&self) -> Result<Reading> {
        let file = self.read_file()?;
        let slot = file.as_deref().map_or(Ok(None), |bytes| self.home.slot.read(bytes));
        Ok(Reading { slot, file, ledger: self.ledger()? })
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
        FileLock::take(&self.places, self.host).await.map(drop)
    }

    /// Takes the lease if nobody holds it.
    pub fn try_lease(&self) -> Result<Option<Lease>> {
        let pid = self.host.process.owner().pid;
        Lease::try_take(&self.places, self.host.fs.as_ref(), pid)
            .map_err(|error| unusable("cannot use", &self.places.lease, error))
    }

    /// Returns what the grant is now, after landing or dropping what an earlier attempt left
    /// and judging what others wrote; `None` is a logout.
    pub async fn adopt(&self, lease: &Lease) -> Result<Option<Held>> {
        self.check_lease(lease)?;
        let reading = self.read_settled().await?;
        let Reading { slot, file, mut ledger } = reading;
        let (Some(contents), Some(file)) = (self.sound(slot)?, file) else {
            if ledger.state != State::Idle || ledger.entries.newest().is_some() {
                self.reset(&mut ledger)?;
            }
            return Ok(None);
        };
        let held = Held { contents, file };
        let Some(found) = held.contents.fingerprint() else { return Ok(Some(held)) };
        if ledger.is_answered() {
            return self.finish_answer(lease, held, found, ledger).await;
        }
        if let Some(newest) = ledger.entries.newest() {
            if newest.fingerprint() == found {
                return Ok(Some(held));
            }
            if ledger.entries.is_spent(found) {
                return self.restore_newest(lease, &held.contents, found, &newest, ledger).await;
            }
            // Somebody signed in or refreshed: that stands.
            self.reset(&mut ledger)?;
        }
        Ok(Some(held))
    }

    /// Makes everything ready that the answer will need, then makes the intent durable.
    pub fn reserve(&self, lease: Lease, base: &Contents, deadline: u64) -> Result<Attempt<'_>> {
        self.check_lease(&lease)?;
        let file = LedgerFile::create(&self.places.ledger, self.host.fs.as_ref())?;
        let mut ledger = file.load(&self.places.ledger)?;
        let may_rotate =
            self.home.rotation == Rotation::Possible && matches!(base.grant, Some(Grant::RefreshToken(_)));
        if may_rotate {
            self.check_replaceable()?;
            file.make_room().map_err(|error| self.not_spent(error))?;
            ledger.entries.temporary = Some(self.make_temporary().map_err(|error| self.not_spent(error))?);
        }
        ledger.state = State::Intent;
        ledger.entries.set_base(base.fingerprint());
        ledger.entries.owner = Some(self.host.process.owner());
        ledger.entries.deadline = deadline;
        ledger.entries.outcome = None;
        file.save(&mut ledger).map_err(|error| self.not_spent(error))?;
        self.host.fs.sync_directory(&self.places.directory).map_err(|error| self.not_spent(error))?;
        Ok(Attempt { keep: self, lease, file, ledger, base: base.clone() })
    }

    /// Puts a new grant into the home: a person's login.
    pub async fn put(&self, contents: &Contents, binding: Binding) -> Result<Held> {
        let lock = FileLock::take(&self.places, self.host).await?;
        let temporary = self.host.random.token();
        let anything = Replaceable::Anything;
        let landing =
            swap::land(self.home, &self.places, self.host, &lock, &temporary, &anything, contents).await?;
        let Landing::Landed(bytes) = landing else {
            return Err(Error::internal("a login was not written though anything might be replaced"));
        };
        // A refresh of the former grant may be under way elsewhere; it will find another grant
        // in the home and adopt it. Its ledger entry is worth nothing any more.
        let file = LedgerFile::create(&self.places.ledger, self.host.fs.as_ref())?;
        let mut ledger = file.load(&self.places.ledger)?;
        ledger.entries.binding = Some(binding);
        self.start_anew(&mut ledger);
        file.save(&mut ledger).map_err(|error| unusable("cannot write", &self.places.ledger, error))?;
        self.host
            .fs
            .sync_directory(&self.places.directory)
            .map_err(|error| unusable("cannot write", &self.places.directory, error))?;
        Ok(Held { contents: contents.clone(), file: bytes })
    }

    /// Removes the grant from the home: a logout. Never waits for a refresh under way; that one
    /// finds the home gone and drops its answer. Returns whether there was a grant.
    pub async fn clear(&self) -> Result<bool> {
        let removed = {
            let lock = FileLock::take(&self.places, self.host).await?;
            swap::clear(self.home, &self.places, self.host, &lock, &self.host.random.token())?
        };
        if let Some(_lease) = self.try_lease()? {
            let failed = |error| unusable("cannot remove", &self.places.ledger, error);
            swap::remove(&self.places.ledger, self.host).map_err(failed)?;
            self.host.fs.sync_directory(&self.places.directory).map_err(failed)?;
        }
        Ok(removed)
    }

    fn read_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let path = &self.places.home;
        let bytes = swap::read(path, self.host).map_err(|error| unusable("cannot read", path, error))?;
        if bytes.is_some()
            && let Ok(stat) = self.host.fs.stat(path)
            && stat.mode & 0o077 != 0
        {
            let text = format!("`{}` can be read by others (mode {:04o})", path.display(), stat.mode);
            let remedy = format!("chmod 600 {}", path.display());
            match self.home.privacy {
                Privacy::Required => {
                    return Err(Error::store(text)
                        .caused_by("the system's own client refuses such a file, too")
                        .hint(remedy));
                }
                Privacy::Expected => {
                    self.host.interaction.tell(&Notice::Warning(&format!("{text}; run `{remedy}`")));
                }
            }
        }
        Ok(bytes)
    }

    /// Reads the home twice where the first look finds it absent or torn.
    async fn read_settled(&self) -> Result<Reading> {
        let reading = self.read()?;
        if matches!(reading.slot, Ok(Some(_))) {
            return Ok(reading);
        }
        self.host.clock.sleep(SETTLE).await;
        self.read()
    }

    /// Lands an answer that an earlier attempt left, or drops it where the home has moved on.
    async fn finish_answer(
        &self,
        lease: &Lease,
        held: Held,
        found: Fingerprint,
        mut ledger: Ledger,
    ) -> Result<Option<Held>> {
        let answer = ledger.entries.answer().and_then(|body| token::parse_body(&body).ok());
        let Some(answer) = answer else {
            self.reset(&mut ledger)?;
            return Ok(Some(held));
        };
        let base = ledger.entries.base();
        let successor = answer.refresh_token.as_ref().map(RefreshToken::fingerprint);
        if successor == Some(found) && base != Some(found) {
            // Landed, but not yet marked.
            self.mark_landed(&mut ledger, answer.refresh_token.as_ref())?;
            return Ok(Some(held));
        }
        if base != Some(found) && !ledger.entries.is_spent(found) {
            self.reset(&mut ledger)?;
            return Ok(Some(held));
        }
        self.host.interaction.tell(&Notice::Story("landing the answer of an attempt that was cut short"));
        let landed = self.land(lease, &mut ledger, &held.contents.after(&answer), vec![found]).await?;
        if landed.is_some() {
            self.mark_landed(&mut ledger, answer.refresh_token.as_ref())?;
        } else {
            self.reset(&mut ledger)?;
        }
        Ok(landed)
    }

    /// Writes the newest token back over an old copy.
    async fn restore_newest(
        &self,
        lease: &Lease,
        contents: &Contents,
        found: Fingerprint,
        newest: &RefreshToken,
        mut ledger: Ledger,
    ) -> Result<Option<Held>> {
        self.host.interaction.tell(&Notice::Warning(&format!(
            "`{}` held a refresh token that was replaced before, written back by another program or \
             from a backup; the newest one is put back",
            self.places.home.display()
        )));
        let restored = Contents {
            grant: Some(Grant::RefreshToken(newest.clone())),
            access_token: None,
            ..contents.clone()
        };
        self.land(lease, &mut ledger, &restored, vec![found]).await
    }

    async fn land(
        &self,
        lease: &Lease,
        ledger: &mut Ledger,
        contents: &Contents,
        replaceable: Vec<Fingerprint>,
    ) -> Result<Option<Held>> {
        self.check_lease(lease)?;
        let temporary = match &ledger.entries.temporary {
            Some(name) => name.clone(),
            None => self.host.random.token(),
        };
        let lock = FileLock::take(&self.places, self.host).await?;
        let replaceable = Replaceable::Only(replaceable);
        let landing =
            swap::land(self.home, &self.places, self.host, &lock, &temporary, &replaceable, contents).await?;
        Ok(match landing {
            Landing::Landed(file) => Some(Held { contents: contents.clone(), file }),
            Landing::Adopted(contents, file) => Some(Held { contents, file }),
            Landing::Gone => None,
        })
    }

    fn mark_landed(&self, ledger: &mut Ledger, successor: Option<&RefreshToken>) -> Result<()> {
        let file = LedgerFile::create(&self.places.ledger, self.host.fs.as_ref())?;
        let entries = &mut ledger.entries;
        if let Some(successor) = successor {
            if let Some(base) = entries.base()
                && base != successor.fingerprint()
            {
                entries.add_spent(base);
            }
            entries.set_newest(Some(successor));
        }
        entries.set_answer(None);
        entries.set_base(None);
        entries.temporary = None;
        entries.refusals.clear();
        entries.outcome =
            Some(Outcome { kind: OutcomeKind::Landed, message: String::new(), at: self.host.clock.now() });
        ledger.state = State::Landed;
        file.save(ledger).map_err(|error| unusable("cannot write", &self.places.ledger, error))?;
        file.give_room_back(ledger);
        Ok(())
    }

    /// Forgets an attempt and its answer; spent tokens and the binding stay.
    fn reset(&self, ledger: &mut Ledger) -> Result<()> {
        let file = LedgerFile::create(&self.places.ledger, self.host.fs.as_ref())?;
        if let Some(name) = &ledger.entries.temporary {
            let temporary = self.places.temporary(name);
            swap::remove(&temporary, self.host)
                .map_err(|error| unusable("cannot remove", &temporary, error))?;
        }
        self.start_anew(ledger);
        file.save(ledger).map_err(|error| unusable("cannot write", &self.places.ledger, error))?;
        file.give_room_back(ledger);
        Ok(())
    }

    fn start_anew(&self, ledger: &mut Ledger) {
        ledger.state = State::Idle;
        ledger.entries.set_answer(None);
        ledger.entries.set_base(None);
        ledger.entries.set_newest(None);
        ledger.entries.temporary = None;
        ledger.entries.outcome = None;
        ledger.entries.refusals.clear();
    }

    fn make_temporary(&self) -> io::Result<String> {
        let name = self.host.random.token();
        let path = self.places.temporary(&name);
        self.host.fs.create_new(&path, b"")?;
        let len = self.host.fs.stat(&self.places.home).map_or(0, |stat| stat.len);
        let file = self.host.fs.open(&path, false)?;
        file.allocate(0, len + GROWTH)?;
        file.sync()?;
        Ok(name)
    }

    /// Checks that the home can be replaced and that nobody else can replace it.
    fn check_replaceable(&self) -> Result<()> {
        let home = &self.places.home;
        let failed = |error| unusable("cannot look at", home, error);
        let unspent = |reason: String, hint: String| {
            Err(Error::store(format!("the refresh token is not used, since `{}` {reason}", home.display()))
                .hint(hint))
        };
        if self.host.fs.is_mount_point(home).map_err(failed)? {
            return unspent(
                "is a mount point and cannot be replaced in one step".into(),
                "mount the directory that holds it instead of the file".into(),
            );
        }
        if self.host.fs.stat(home).map_err(failed)?.owner != self.host.process.user_id() {
            return unspent(
                "belongs to somebody else".into(),
                format!("look at `ls -l {}`; sign in as yourself", home.display()),
            );
        }
        for directory in self.places.directory.ancestors() {
            let mode = self.host.fs.stat(directory).map_err(failed)?.mode;
            if mode & 0o002 != 0 && mode & 0o1000 == 0 {
                return unspent(
                    format!("lies in `{}`, where anybody may replace files", directory.display()),
                    format!("chmod o-w {}", directory.display()),
                );
            }
        }
        Ok(())
    }

    fn check_lease(&self, lease: &Lease) -> Result<()> {
        if lease.is_own(self.host.process.owner().pid) {
            Ok(())
        } else {
            Err(Error::internal("a lease was used by another process than took it"))
        }
    }

    fn not_spent(&self, error: io::Error) -> Error {
        unusable(
            "the refresh token is not used, since its successor could not be kept beside",
            &self.places.home,
            error,
        )
    }
}

/// One use of a grant: the intent is durable, and dropping this leaves it so.
pub struct Attempt<'k> {
    keep: &'k Keep<'k>,
    lease: Lease,
    file: LedgerFile,
    ledger: Ledger,
    base: Contents,
}

impl Attempt<'_> {
    /// Returns whether the home still holds what this attempt is about to send.
    pub fn is_current(&self) -> Result<bool> {
        self.keep.check_lease(&self.lease)?;
        let contents = self.keep.contents()?;
        Ok(contents.and_then(|contents| contents.fingerprint()) == self.base.fingerprint())
    }

    /// Makes the provider's answer durable, before anybody looks at it.
    pub fn answer(&mut self, body: &[u8]) -> Result<()> {
        self.ledger.state = State::Answered;
        self.ledger.entries.set_answer(Some(body));
        self.file
            .save(&mut self.ledger)
            .map_err(|error| unusable("cannot keep the answer in", &self.keep.places.ledger, error))
    }

    /// Lands the answer in the home; `None` when somebody logged out meanwhile. What is
    /// returned is what the home holds now, which may be somebody else's.
    pub async fn land(&mut self) -> Result<Option<Held>> {
        let answer = self.ledger.entries.answer().and_then(|body| token::parse_body(&body).ok());
        let Some(answer) = answer else {
            return Err(Error::internal("an answer that was kept cannot be read"));
        };
        let replaceable = self.base.fingerprint().into_iter().collect();
        let contents = self.base.after(&answer);
        self.keep.land(&self.lease, &mut self.ledger, &contents, replaceable).await
    }

    /// Marks the answer as landed, once everything that depends on it is written.
    pub fn finish(mut self) -> Result<()> {
        let answer = self.ledger.entries.answer().and_then(|body| token::parse_body(&body).ok());
        let successor = answer.and_then(|answer| answer.refresh_token);
        self.keep.mark_landed(&mut self.ledger, successor.as_ref())
    }

    /// Drops the answer of a grant that was logged out meanwhile.
    pub fn abandon(mut self) -> Result<()> {
        self.keep.reset(&mut self.ledger)
    }

    /// Ends the attempt with the provider's no.
    pub fn refuse(self, refusal: Remembered, message: &str) -> Result<()> {
        self.end(State::Idle, OutcomeKind::Refused, message, Some(refusal))
    }

    /// Ends the attempt with nothing; whoever comes later may try again with the same token.
    /// Where something was sent the intent stays: the token may be spent.
    pub fn fail(self, message: &str, sent: bool) -> Result<()> {
        let state = if sent { State::Intent } else { State::Idle };
        self.end(state, OutcomeKind::Failed, message, None)
    }

    /// Returns the refusal remembered under `key`.
    pub fn refusal(&self, key: &str) -> Option<&Remembered> {
        self.ledger.entries.refusal(key)
    }

    fn end(
        mut self,
        state: State,
        kind: OutcomeKind,
        message: &str,
        refusal: Option<Remembered>,
    ) -> Result<()> {
        if let Some(name) = self.ledger.entries.temporary.take() {
            let temporary = self.keep.places.temporary(&name);
            swap::remove(&temporary, self.keep.host)
                .map_err(|error| unusable("cannot remove", &temporary, error))?;
        }
        self.ledger.state = state;
        if let Some(refusal) = refusal {
            self.ledger.entries.remember(refusal);
        }
        self.ledger.entries.outcome =
            Some(Outcome { kind, message: message.to_owned(), at: self.keep.host.clock.now() });
        self.file
            .save(&mut self.ledger)
            .map_err(|error| unusable("cannot write", &self.keep.places.ledger, error))?;
        self.file.give_room_back(&self.ledger);
        Ok(())
    }
}
