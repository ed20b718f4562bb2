//! One use of a grant: reserve, intent, answer, land.

use earthkey_record::ledger::State;
use zeroize::Zeroizing;

use super::keep::Keep;
use super::keep::Landed;
use super::lease::Lease;
use super::ledger::Binding;
use super::ledger::Ledger;
use super::ledger::Outcome;
use super::ledger::OutcomeKind;
use super::ledger::Remembered;
use super::ledger::Temporary;
use super::look::look_settled;
use super::places::unusable;
use super::slot::Contents;
use super::slot::Rotation;
use super::stranger;
use crate::error::Error;
use crate::error::Result;
use crate::error::word;
use crate::oauth::token;

/// One use of a grant: the intent is durable, and dropping this leaves it so.
pub struct Attempt<'k> {
    keep: &'k Keep<'k>,
    lease: Lease,
    base: Contents,
    /// Whose the base is, as far as recorded: somebody else may sign in before the answer comes.
    identity: Option<Binding>,
    temporary: Option<Temporary>,
    /// Whether an earlier attempt may have sent this very grant and got no answer.
    may_be_spent: bool,
    /// Whether a token of this login has been replaced before, as far as the ledger knows.
    has_rotated: bool,
    /// Failures in a row before this attempt.
    failures: u32,
    refusals: Vec<Remembered>,
    answer: Option<Zeroizing<Vec<u8>>>,
    /// Held from before the grant is sent until its answer is in its place, or nothing is outstanding.
    signals: Option<Box<dyn Send + Sync>>,
}

impl Keep<'_> {
    /// Makes everything ready that the answer will need, then makes the intent durable.
    pub async fn reserve(&self, mut lease: Lease, base: &Contents, deadline: u64) -> Result<Attempt<'_>> {
        self.check_lease(&lease)?;
        lease.renew().map_err(|error| unusable("cannot use", &self.places.lease, error))?;
        let not_spent = |error| {
            unusable(
                "the refresh token is not used, since its successor could not be kept beside",
                &self.places.home,
                error,
            )
        };
        let mut file = self.open_ledger().await?;
        let grant = base.fingerprint();
        let may_be_spent = file.ledger.state == State::Intent && file.ledger.entries.is_base(grant);
        let identity = file.ledger.entries.identity_of(grant).cloned();
        let has_rotated = file.ledger.entries.spent().next().is_some();
        let failures = file.ledger.failure_of(grant).map_or(0, |failure| failure.failures);
        self.remove_temporary(file.ledger.entries.temporary.as_ref())?;
        let may_rotate = self.home.rotation == Rotation::Possible && base.refresh_token().is_some();
        let temporary = if may_rotate {
            self.check_replaceable()?;
            file.make_room().map_err(not_spent)?;
            Some(self.make_temporary().map_err(not_spent)?)
        } else {
            None
        };
        file.ledger.start_anew();
        file.ledger.state = State::Intent;
        let entries = &mut file.ledger.entries;
        entries.set_base(grant);
        entries.set_newest(self.successor_to_keep(base));
        entries.temporary.clone_from(&temporary);
        entries.owner = Some(self.host.process.owner());
        entries.deadline = deadline;
        let refusals = entries.refusals.clone();
        file.save().map_err(not_spent)?;
        self.host.fs.sync_directory(&self.places.ledgers).map_err(not_spent)?;
        let base = base.clone();
        let keep = self;
        Ok(Attempt {
            keep,
            lease,
            base,
            identity,
            temporary,
            may_be_spent,
            has_rotated,
            failures,
            refusals,
            answer: None,
            signals: None,
        })
    }

    /// Checks that the home can be replaced and that nobody else can replace it.
    fn check_replaceable(&self) -> Result<()> {
        let home = &self.places.home;
        let failed = |error| unusable("cannot look at", home, error);
        let unspent = |reason: String, hint: String| {
            Err(Error::store(format!("the refresh token is not used, since `{}` {reason}", home.display()))
                .hint(hint))
        };
        // One that is gone at this moment is looked for again before anything is sent.
        if let Ok(stat) = self.host.fs.stat(home) {
            if self.host.fs.is_mount_point(home).map_err(failed)? {
                return unspent(
                    "is a mount point and cannot be replaced in one step".into(),
                    "mount the directory that holds it instead of the file".into(),
                );
            }
            if stat.owner != self.host.process.user_id() {
                return unspent(
                    "belongs to somebody else".into(),
                    format!("look at `ls -l {}`; sign in as yourself", word(home.display())),
                );
            }
        }
        for directory in self.places.directory.ancestors() {
            let mode = self.host.fs.stat(directory).map_err(failed)?.mode;
            if mode & 0o002 != 0 && mode & 0o1000 == 0 {
                return unspent(
                    format!("lies in `{}`, where anybody may replace files", directory.display()),
                    format!("let nobody else write there: `chmod o-w {}`", word(directory.display())),
                );
            }
        }
        Ok(())
    }
}

impl Attempt<'_> {
    /// Returns whether the home still holds what this attempt is about to send.
    pub async fn is_current(&self) -> Result<bool> {
        self.keep.check_lease(&self.lease)?;
        let path = &self.keep.places.home;
        let seen = look_settled(self.keep.home, path, self.keep.host)
            .await
            .map_err(|error| unusable("cannot read", path, error))?;
        let contents = self.keep.sound(seen.slot)?;
        Ok(contents.and_then(|contents| contents.fingerprint()) == self.base.fingerprint())
    }

    /// Makes signals wait: the grant is on its way from now on.
    pub fn hold_signals(&mut self) {
        self.signals = Some(self.keep.host.process.hold_signals());
    }

    /// Lets signals through: there is no answer that could be lost.
    pub fn release_signals(&mut self) {
        self.signals = None;
    }

    /// Returns whether an earlier attempt may have sent this very grant and got no answer.
    pub fn may_be_spent(&self) -> bool {
        self.may_be_spent
    }

    /// Returns whether the answer is the first that replaces a refresh token of this login.
    pub fn is_first_rotation(&self) -> bool {
        let answer = self.answer.as_deref().map(Vec::as_slice).unwrap_or_default();
        let successor = token::refresh_token_in(answer);
        !self.has_rotated
            && self.base.refresh_token().is_some_and(|base| successor.is_some_and(|new| new != *base))
    }

    /// Returns the failures in a row before this attempt.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns the refusal remembered under `key`.
    pub fn refusal(&self, key: &str) -> Option<&Remembered> {
        self.refusals.iter().find(|refusal| refusal.key == key)
    }

    /// Makes the provider's answer durable, before anybody looks at it. Where that fails, the
    /// answer can still be landed.
    pub async fn answer(&mut self, body: &[u8]) -> Result<()> {
        self.answer = Some(Zeroizing::new(body.to_vec()));
        let keep = self.keep;
        let mut file = keep.open_ledger().await?;
        file.ledger.state = State::Answered;
        let entries = &mut file.ledger.entries;
        entries.set_base(self.base.fingerprint());
        entries.temporary.clone_from(&self.temporary);
        entries.set_answer(self.kept_answer());
        file.save().map_err(|error| unusable("cannot keep the answer in", &keep.places.ledger, error))
    }

    /// Lands the answer in the home, unless somebody else put another login there, or logged out.
    pub async fn land(&self) -> Result<Landed> {
        let body = self.answer.as_ref().ok_or_else(|| Error::internal("there is no answer to land"))?;
        if let Some(who) = stranger::in_answer(body, self.identity.as_ref()) {
            return Ok(Landed::Stranger(who));
        }
        let contents = self.base.after_body(body);
        let named = self.temporary.as_ref().map(|temporary| temporary.name.clone());
        let temporary = named.unwrap_or_else(|| self.keep.host.random.token());
        self.keep.land(&self.lease, &temporary, self.base.fingerprint(), &contents).await
    }

    /// Marks the answer as landed, once everything that depends on it is written; `failure` tells
    /// why it cannot be served, and when to try again.
    pub async fn finish(self, failure: Option<(&str, u64)>) -> Result<()> {
        let failure = failure.map(|(message, retry_in)| self.failure(message, retry_in));
        let answer = self.kept_answer().map(|body| Zeroizing::new(body.to_vec()));
        self.keep.mark_landed(self.base.fingerprint(), answer, failure).await
    }

    /// Keeps the answer apart, which is for somebody else; `message` tells those who wait for it.
    pub async fn set_apart(self, message: &str, retry_in: u64) -> Result<()> {
        let failure = Outcome { kind: OutcomeKind::Stranger, ..self.failure(message, retry_in) };
        let body = self.answer.as_deref().map(Vec::as_slice).unwrap_or_default();
        self.keep.set_apart(self.base.fingerprint(), body, failure).await
    }

    /// Returns whether the provider may replace the grant when it is used.
    pub fn may_rotate(&self) -> bool {
        self.keep.home.rotation == Rotation::Possible && self.base.refresh_token().is_some()
    }

    /// Returns whether the answer may bring a grant that replaces the one that was sent.
    pub fn is_kept(&self) -> bool {
        self.base.is_replaceable()
    }

    /// Returns the answer, as far as anybody has to know of it later: one to a key, a secret or a
    /// password replaces none of these, whatever the provider puts into it.
    fn kept_answer(&self) -> Option<&[u8]> {
        self.answer.as_deref().map(Vec::as_slice).filter(|_| self.is_kept())
    }

    /// Gives the lease back to judge what the home holds now; an answer stays in the ledger.
    pub fn into_lease(self) -> Lease {
        self.lease
    }

    /// Ends the attempt without an outcome and gives the lease back; `is_spent` when the provider
    /// does not accept the grant and somebody else has put another into the home.
    pub async fn withdraw(self, is_spent: bool) -> Result<Lease> {
        let base = self.base.fingerprint().filter(|_| is_spent);
        self.end(|ledger| {
            ledger.start_anew();
            if let Some(base) = base {
                ledger.entries.add_spent(base);
                ledger.entries.set_newest(None);
            }
        })
        .await?;
        Ok(self.lease)
    }

    /// Ends the attempt with the provider's no.
    pub async fn refuse(self, refusal: Remembered, message: &str) -> Result<()> {
        let outcome = Outcome::new(OutcomeKind::Refused, message, refusal.at);
        self.end(|ledger| {
            ledger.state = State::Idle;
            ledger.entries.remember(refusal);
            ledger.entries.outcome = Some(outcome);
        })
        .await
    }

    /// Ends the attempt with the provider's no to something that may be right at any moment: those who
    /// wait take it for theirs, and whoever comes later asks again.
    pub async fn refuse_once(self, refusal: Remembered, message: &str) -> Result<()> {
        let until = refusal.at;
        self.refuse(Remembered { until, ..refusal }, message).await
    }

    /// Ends the attempt with nothing; whoever comes after `retry_in` seconds may try again with
    /// the same token. Where something was sent the intent stays: the token may be spent.
    pub async fn fail(self, message: &str, sent: bool, retry_in: u64) -> Result<()> {
        let outcome = self.failure(message, retry_in);
        let state = if sent || self.may_be_spent { State::Intent } else { State::Idle };
        self.end(|ledger| {
            ledger.state = state;
            ledger.entries.outcome = Some(outcome);
        })
        .await
    }

    fn failure(&self, message: &str, retry_in: u64) -> Outcome {
        let now = self.keep.host.clock.now();
        Outcome {
            retry_at: now.saturating_add(retry_in),
            failures: self.failures.saturating_add(1),
            ..Outcome::new(OutcomeKind::Failed, message, now)
        }
    }

    /// Writes the end of the attempt, unless the ledger is another login's by now.
    async fn end(&self, change: impl FnOnce(&mut Ledger)) -> Result<()> {
        self.keep.remove_temporary(self.temporary.as_ref())?;
        let mut file = self.keep.open_ledger().await?;
        if file.ledger.entries.is_base(self.base.fingerprint()) {
            file.ledger.entries.temporary = None;
            change(&mut file.ledger);
            self.keep.save(&mut file)?;
        }
        Ok(())
    }
}
