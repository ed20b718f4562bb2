//! Reading a home that others change: what they wrote stands, what an attempt left is brought to its end.

use std::io;

use earthkey_record::ledger::State;

use super::keep::Held;
use super::keep::Keep;
use super::keep::Landed;
use super::lease::Lease;
use super::ledger::Ledger;
use super::ledger::Outcome;
use super::ledger::OutcomeKind;
use super::ledger::Temporary;
use super::look::look;
use super::look::look_settled;
use super::places::unusable;
use super::slot::Contents;
use super::slot::Grant;
use super::stranger;
use super::swap::FileLock;
use super::swap::Replaceable;
use super::swap::Swap;
use crate::error::Error;
use crate::error::Result;
use crate::host::Notice;
use crate::secret::RefreshToken;

/// How often a home is judged again that others change meanwhile.
const MAX_ROUNDS: usize = 4;

impl Keep<'_> {
    /// Returns what the grant is now, after landing or dropping what an earlier attempt left
    /// and judging what others wrote; `None` is a logout.
    pub async fn adopt(&self, lease: &Lease) -> Result<Option<Held>> {
        for _ in 0..MAX_ROUNDS {
            self.check_lease(lease)?;
            self.return_displaced().await?;
            let path = &self.places.home;
            let seen = look_settled(self.home, path, self.host)
                .await
                .map_err(|error| unusable("cannot read", path, error))?;
            let ledger = self.ledger()?;
            let (Some(contents), Some(file)) = (self.sound(seen.slot)?, seen.file) else {
                self.forget(&ledger).await?;
                return Ok(None);
            };
            self.check_privacy()?;
            if let Some(held) = self.judge(lease, Held { contents, file }, &ledger).await? {
                return Ok(Some(held));
            }
        }
        Err(Error::store(format!("`{}` keeps changing", self.places.home.display()))
            .hint("another program writes it all the time; stop that program and try again"))
    }

    /// Judges one sound reading of the home; `None` when it has to be read again.
    async fn judge(&self, lease: &Lease, held: Held, ledger: &Ledger) -> Result<Option<Held>> {
        let entries = &ledger.entries;
        let newest = entries.newest();
        let found = held.contents.fingerprint();
        let is_base = entries.is_base(found);
        let is_newest = found.is_some() && newest.as_ref().map(RefreshToken::fingerprint) == found;
        let is_spent = found.is_some_and(|found| entries.is_spent(found));
        let mut current = held.contents.clone();
        if is_spent {
            // Another program wrote an old copy back, or a backup was restored.
            current.grant = newest.map(Grant::RefreshToken);
            if current.grant.is_none() {
                let home = self.places.home.display();
                let replaced = format!("`{home}` holds a refresh token that was replaced");
                return Err(if entries.has_answer_apart() {
                    Error::login_required(format!("{replaced} by one of another account"))
                        .caused_by(format!("that one is kept in `{}`", self.places.ledger.display()))
                } else {
                    Error::login_required(format!("{replaced}, and the newest is not known"))
                });
            }
        }
        if ledger.is_answered() {
            let successor = entries.successor().map(|token| token.fingerprint());
            if successor.is_some() && successor == found && !is_base {
                // Landed, but not yet marked.
                self.mark_landed(entries.base(), entries.answer(), None).await?;
                return Ok(Some(held));
            }
            if is_base || is_spent {
                let body = entries.answer().unwrap_or_default();
                if let Some(who) = stranger::in_answer(&body, entries.identity_of(entries.base())) {
                    let warning = format!("the provider has answered for another account: {who}");
                    self.host.interaction.tell(&Notice::Warning(&warning));
                    let failure = Outcome::new(OutcomeKind::Stranger, &who, self.host.clock.now());
                    self.set_apart(entries.base(), &body, failure).await?;
                    return Ok(None);
                }
                self.tell("landing the answer of an attempt that was cut short");
                return self.recover(lease, current.after_body(&body), ledger).await;
            }
        } else if is_newest || is_base {
            return Ok(Some(held));
        } else if is_spent {
            self.host.interaction.tell(&Notice::Warning(&format!(
                "`{}` held a refresh token that was replaced before, written back by another program or \
                 from a backup; the newest one is put back",
                self.places.home.display()
            )));
            current.access_token = None;
            return self.recover(lease, current, ledger).await;
        }
        if entries.is_about_a_grant() {
            // Somebody signed in or refreshed: that stands.
            self.start_over(&held.contents).await?;
        }
        Ok(Some(held))
    }

    /// Puts back what an attempt displaced that was cut short between the exchange of names and
    /// the look at what came out: the login, or the logout, of another program.
    async fn return_displaced(&self) -> Result<()> {
        let entries = self.ledger()?.entries;
        let Some(Temporary { name, inode }) = &entries.temporary else { return Ok(()) };
        let path = self.places.temporary(name);
        let failed = |error| unusable("cannot read", &path, error);
        match self.host.fs.stat_link(&path) {
            Ok(stat) if stat.identity.1 != *inode => {}
            // Never exchanged, or put back already.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        let known = entries.known();
        let is_known =
            |contents: &Contents| contents.fingerprint().is_some_and(|found| known.contains(&found));
        // Whoever truncated it may still be writing.
        let seen = look_settled(self.home, &path, self.host).await.map_err(failed)?;
        let displaced = match (seen.slot, seen.file) {
            (Ok(Some(contents)), _) if is_known(&contents) => return Ok(()),
            (Ok(displaced), Some(_)) => displaced,
            // Gone: it has been judged, and is no logout. Torn: nobody can use it.
            (Ok(_), None) | (Err(_), _) => return Ok(()),
        };
        let lock = FileLock::take(&self.places, self.host).await?;
        let home = look(self.home, &self.places.home, self.host).map_err(failed)?;
        if !matches!(&home.slot, Ok(Some(contents)) if is_known(contents)) {
            // Whoever wrote that came later still.
            return Ok(());
        }
        self.tell("putting back what another program wrote while an attempt was cut short");
        let swap = Swap::new(self.home, &self.places, self.host, &lock, &self.host.random.token());
        match displaced {
            Some(contents) => swap.land(&Replaceable::Only(known), &contents).await.map(drop),
            None => swap.clear().await.map(drop),
        }
    }

    /// Lands in the home what the ledger knows to be right; `None`, since it has to be read again.
    async fn recover(&self, lease: &Lease, contents: Contents, ledger: &Ledger) -> Result<Option<Held>> {
        let named = ledger.entries.temporary.as_ref();
        let is_there = named.is_some_and(|temporary| {
            let path = self.places.temporary(&temporary.name);
            self.host.fs.stat_link(&path).is_ok_and(|stat| stat.identity.1 == temporary.inode)
        });
        let temporary = match named {
            Some(temporary) if is_there => temporary.clone(),
            _ => {
                let temporary = self.make_temporary().map_err(|error| {
                    unusable("cannot make a temporary file beside", &self.places.home, error)
                })?;
                self.remove_temporary(named)?;
                let new = temporary.clone();
                self.update(|ledger| {
                    ledger.entries.temporary = Some(new);
                    ledger.entries.outcome = None;
                })
                .await?;
                temporary
            }
        };
        let base = ledger.entries.base();
        if let Landed::Ours(_) = self.land(lease, &temporary.name, base, &contents).await?
            && ledger.is_answered()
        {
            self.mark_landed(base, ledger.entries.answer(), None).await?;
        }
        Ok(None)
    }

    /// Makes the ledger that of the grant that somebody else put into the home.
    async fn start_over(&self, contents: &Contents) -> Result<()> {
        let mut file = self.open_ledger().await?;
        let entries = &mut file.ledger.entries;
        self.remove_temporary(entries.temporary.as_ref())?;
        // A sign-in of ours during an attempt at the login before.
        let newest = entries.newest().map(|newest| newest.fingerprint());
        let is_of_the_login = newest.is_some() && newest == contents.fingerprint();
        entries.exchange_base();
        entries.set_newest(self.successor_to_keep(contents));
        entries.forget_apart();
        entries.refusals.clear();
        let found = contents.fingerprint().map(|found| found.to_string());
        if let Some(arriving) = entries.arriving.take()
            && Some(&arriving.grant) == found.as_ref()
        {
            entries.binding = Some(arriving.binding);
        } else if found.is_some()
            && !is_of_the_login
            && let Some(binding) = &mut entries.binding
        {
            // Somebody else signed in or refreshed: where it goes to is the same, whose it is need
            // not be.
            binding.account = None;
            binding.subject = None;
            binding.subject_issuer = None;
        }
        file.ledger.start_anew();
        self.save(&mut file)
    }

    /// Forgets what the ledger holds of a grant that was logged out; which tokens are spent, and
    /// what they were bound to, stays.
    async fn forget(&self, ledger: &Ledger) -> Result<()> {
        if ledger.entries.is_about_a_grant() || ledger.state != State::Idle {
            self.start_over(&Contents::default()).await?;
        }
        Ok(())
    }
}
