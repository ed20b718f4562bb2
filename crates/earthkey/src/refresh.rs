//! Tokens kept fresh: decide, lease, reserve, send, answer, land.
//!
//! The rules are few and strict. Without the lease nothing is sent. A token known to be spent is
//! never sent. What a provider answers is durable before anybody looks at it. Whoever waited for
//! an attempt takes its outcome, whatever it is.

pub mod decide;
mod outcome;

use std::time::Duration;

use self::decide::Decision;
use self::decide::Moment;
use self::decide::decide;
use self::outcome::Send;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::host::BoxFuture;
use crate::host::Host;
use crate::host::Notice;
use crate::host::http::Request;
use crate::oauth::token::TokenResponse;
use crate::secret::AccessToken;
use crate::secret::Fingerprint;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Keep;
use crate::store::attempt::Attempt;
use crate::store::keep::Held;
use crate::store::keep::Landed;
use crate::store::keep::Reading;
use crate::store::lease::Lease;
use crate::store::ledger::Ledger;
use crate::store::ledger::Outcome;
use crate::store::ledger::OutcomeKind;
use crate::store::ledger::Remembered;

/// How long an attempt may take from its intent, retries included, in seconds.
pub(crate) const ATTEMPT: u64 = 50;

/// How long somebody else's attempt is waited for.
const MAX_WAIT: Duration = Duration::from_secs(90);

/// After how long a waiter says who it is waiting for.
const SAY_AFTER: Duration = Duration::from_secs(1);

/// How often a waiter looks at the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a lease is held at most before its holder writes an intent.
const QUIET: Duration = Duration::from_secs(30);

/// How many seconds a caller is kept waiting for its turn; a longer wait is an error at once.
const PATIENCE: u64 = 5;

/// How often a grant is judged again that others replace meanwhile.
const MAX_ROUNDS: usize = 4;

/// What a caller wants of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// For how many seconds it should still be valid.
    pub min_ttl: u64,
    /// The exact scopes, if not the login's own.
    pub scopes: Option<Vec<String>>,
    /// For whom it is, if not the login's own audience.
    pub audience: Option<String>,
    /// Whose it has to be: the account as recorded at sign-in, which `status` shows, or its `sub`. A
    /// login of which neither is known is refused.
    pub account: Option<String>,
    /// A token that a server has rejected: refresh if this very one is still held.
    pub reject: Option<Fingerprint>,
    /// Refresh whatever is held.
    pub force: bool,
    /// Ask the provider although it refused not long ago.
    pub insists: bool,
}

/// An access token at hand, with what tells whether it is still good. Times in Unix seconds.
#[derive(Clone, Debug)]
pub struct Access {
    /// The token.
    pub token: AccessToken,
    /// Its type (RFC 6749, section 7.1).
    pub token_type: String,
    /// Its scopes, as far as known.
    pub scopes: Vec<String>,
    /// The client it was issued to.
    pub client_id: Option<String>,
    /// When it was obtained.
    pub obtained_at: u64,
    /// When it ends.
    pub expires_at: u64,
    /// How long it lives, in seconds.
    pub lifetime: u64,
    /// When its early window begins, in which it is time to refresh.
    pub early_at: u64,
    /// The boot in which it was obtained.
    pub boot_id: [u8; 16],
    /// The boot-time clock when it was obtained, in seconds.
    pub since_boot: u64,
}

/// What the protocol asks of whoever knows the system.
pub trait Provider: std::marker::Send + Sync {
    /// Returns which credential this is and where it is from, for messages.
    fn credential(&self) -> String;

    /// Returns the command that signs in anew.
    fn login_command(&self) -> String;

    /// Returns an error that says what a refusal means at this provider, if it is known there.
    fn explain(&self, refusal: &Remembered, grant: Option<&Grant>) -> Option<Error>;

    /// Returns the token at hand, given what the home holds.
    fn at_hand(&self, contents: &Contents) -> Option<Access>;

    /// Finds where to send the grant, refuses what it is not bound to, and builds the request.
    fn request<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Request>>;

    /// Returns what a refusal is remembered under: grant, endpoint, client, scopes.
    fn refusal_key(&self, grant: &Grant) -> String;

    /// Returns what to know of a login whose refresh token is seen to be replaced.
    fn on_rotation(&self) -> Option<String>;

    /// Makes the answer an access token and keeps a record of it.
    fn record(&self, answer: &TokenResponse, landed: &Held) -> Result<Access>;
}

/// Says that a token which is still valid is used although another could not be had.
pub fn despite(error: &Error, access: &Access, host: &Host) -> String {
    let left = access.expires_at.saturating_sub(host.clock.now());
    format!("{error}; the token at hand is still valid for {left} seconds and is used")
}

/// Returns a token as wanted, refreshed by this caller or by whoever is at it already.
pub async fn token(host: &Host, keep: &Keep<'_>, provider: &dyn Provider, want: &Want) -> Result<Access> {
    Refresh { host, keep, provider, want }
        .run()
        .await
        .map_err(|error| error.with_credential(provider.credential()))
}

struct Refresh<'a> {
    host: &'a Host,
    keep: &'a Keep<'a>,
    provider: &'a dyn Provider,
    want: &'a Want,
}

/// What to do next, with what that needs.
enum Step {
    Serve(Access),
    /// Refresh; `held` is a token that is valid all the same.
    Refresh {
        held: Option<Access>,
    },
}

/// What a caller saw before it waited for others.
struct Before {
    /// The ledger's number of writes.
    sequence: u64,
    /// The token that a forced refresh is to replace.
    token: Option<Fingerprint>,
}

impl Refresh<'_> {
    async fn run(&self) -> Result<Access> {
        let reading = self.keep.read()?;
        let contents = reading.slot.ok().flatten();
        let step = contents.as_ref().map(|contents| self.judge(contents, &reading.ledger));
        let held = match step {
            // An answer that waits to be landed is landed first.
            Some(Ok(Step::Serve(access))) if reading.ledger.is_answered() => Some(access),
            Some(Ok(Step::Serve(access))) => return Ok(access),
            Some(Ok(Step::Refresh { held })) => held,
            Some(Err(error)) if !reading.ledger.is_answered() => return Err(error),
            Some(Err(_)) | None => None,
        };
        let token = contents.as_ref().and_then(|contents| self.provider.at_hand(contents));
        let before = Before {
            sequence: reading.ledger.sequence,
            token: token.map(|access| access.token.fingerprint()).filter(|_| self.want.force),
        };
        self.obtain(held, &before).await.or_else(|error| self.serve_held_despite(error))
    }

    fn judge(&self, contents: &Contents, ledger: &Ledger) -> Result<Step> {
        let access = self.provider.at_hand(contents);
        let refusal = self.remembered(contents, ledger);
        let moment = self.moment();
        let decision = decide(&moment, access.as_ref(), contents.grant.is_some(), refusal, self.want);
        match (decision, access) {
            (Decision::Use, Some(access)) => Ok(Step::Serve(access)),
            (Decision::UseAndRefresh, Some(access)) => {
                let failure = self.last_failure(contents, ledger);
                let rests = failure.is_some_and(|failure| moment.now < failure.at + decide::pause(&access));
                Ok(if rests { Step::Serve(access) } else { Step::Refresh { held: Some(access) } })
            }
            (Decision::Refresh | Decision::Use | Decision::UseAndRefresh, _) => {
                Ok(Step::Refresh { held: None })
            }
            (Decision::LoginRequired, _) => Err(self.login_required(
                "the access token has expired and there is no refresh token to obtain another with",
            )),
            (Decision::Refused, _) => Err(self.refused(refusal, contents.grant.as_ref())),
        }
    }

    /// Refreshes, or takes what somebody else obtains.
    async fn obtain(&self, held: Option<Access>, before: &Before) -> Result<Access> {
        let lease = match (self.keep.try_lease()?, held) {
            (Some(lease), _) => lease,
            // A still-valid token is served at once while another refreshes.
            (None, Some(held)) => return Ok(held),
            (None, None) => match self.wait(before).await? {
                Waited::Served(access) => return Ok(access),
                Waited::Free(lease) => lease,
            },
        };
        // Somebody's attempt may have ended between the reading and the lease.
        match self.ended_since(before)? {
            Some(access) => Ok(access),
            None => self.refresh(lease).await,
        }
    }

    /// Refreshes under the lease, after looking again at what is there now.
    async fn refresh(&self, mut lease: Lease) -> Result<Access> {
        // A grant that somebody replaces between our reading and our sending is adopted, and
        // what was decided is decided again; each round needs another writer.
        for _ in 0..MAX_ROUNDS {
            let adopted = self.keep.adopt(&lease).await.map_err(|error| match error.kind() {
                ErrorKind::LoginRequired => error.hint(self.sign_in_hint()),
                _ => error,
            })?;
            let Some(Held { contents, .. }) = adopted else {
                return Err(self.login_required("there is no login any more"));
            };
            let ledger = self.keep.ledger()?;
            let is_early = match self.judge(&contents, &ledger)? {
                Step::Serve(access) => return Ok(access),
                Step::Refresh { held } => held.is_some(),
            };
            self.tell(self.why(&contents, is_early));
            let Some(grant) = &contents.grant else {
                return Err(self.login_required("there is no refresh token"));
            };
            self.keep_back(&contents, &ledger).await?;
            self.tell("the lease is taken; the intent goes to the ledger");
            let sending = Send::new(self.host, self.provider, grant, is_early);
            let attempt = self.keep.reserve(lease, &contents, self.host.clock.now() + ATTEMPT).await?;
            lease = match sending.run(attempt).await? {
                outcome::Sent::Answered(attempt, response) => match attempt.land().await? {
                    Landed::Ours(held) => return self.serve(*attempt, response, &held).await,
                    Landed::Moved => attempt.into_lease(),
                    Landed::Stranger(who) => {
                        let retry_in = outcome::back_off(&attempt);
                        attempt.set_apart(&who, retry_in).await?;
                        return Err(self.stranger(who));
                    }
                },
                outcome::Sent::Moved(lease) => lease,
            };
        }
        Err(Error::store("the login keeps changing").hint("another program rewrites it all the time"))
    }

    /// Spaces attempts that fail: waits a little, ends where that is not enough.
    async fn keep_back(&self, contents: &Contents, ledger: &Ledger) -> Result<()> {
        let Some(failure) = self.last_failure(contents, ledger).filter(|_| !self.want.force) else {
            return Ok(());
        };
        let wait = failure.retry_at.saturating_sub(self.host.clock.now());
        if wait <= PATIENCE {
            self.host.clock.sleep(Duration::from_secs(wait)).await;
            return Ok(());
        }
        Err(Error::network(failure.message.clone())
            .hint(format!("the provider is not asked again for {wait} seconds, unless with `--refresh`")))
    }

    /// Makes a landed answer an access token.
    async fn serve(
        &self,
        attempt: Attempt<'_>,
        response: Result<TokenResponse, String>,
        held: &Held,
    ) -> Result<Access> {
        self.tell("the answer has landed in the home");
        let response = match response {
            Ok(response) => response,
            Err(what) => {
                let error = outcome::unusable_answer(&what);
                let retry_in = outcome::back_off(&attempt);
                attempt.finish(Some((&error.to_string(), retry_in))).await?;
                return Err(error.hint("the refresh token in the answer is kept"));
            }
        };
        let advice = self.provider.on_rotation().filter(|_| attempt.is_first_rotation());
        let access = self.provider.record(&response, held)?;
        if let Err(error) = attempt.finish(None).await {
            // The home has it, and the next caller marks it.
            self.host.interaction.tell(&Notice::Warning(&error.to_string()));
        }
        if let Some(advice) = advice {
            self.host.interaction.tell(&Notice::Line(&advice));
        }
        Ok(access)
    }

    /// Waits for somebody else's attempt and takes its outcome, or the lease.
    async fn wait(&self, before: &Before) -> Result<Waited> {
        let start = self.host.clock.since_boot();
        let lease_file = self.keep.lease_file();
        let mut said = false;
        loop {
            self.host.clock.sleep(LOOK_EVERY).await;
            if let Some(access) = self.ended_since(before)? {
                return Ok(Waited::Served(access));
            }
            if let Some(lease) = self.keep.try_lease()? {
                return Ok(Waited::Free(lease));
            }
            let waited = self.host.clock.since_boot().saturating_sub(start);
            let ledger = self.keep.ledger()?;
            if !said && waited >= SAY_AFTER {
                said = true;
                let owner =
                    ledger.entries.owner.map_or_else(|| "another process".into(), |owner| owner.to_string());
                self.host
                    .interaction
                    .tell(&Notice::Line(&format!("waiting for {owner} to refresh this login")));
            }
            if waited >= QUIET && ledger.sequence == before.sequence {
                self.keep.free_inherited_lease(lease_file).await?;
            }
            if waited >= MAX_WAIT {
                return Err(Error::network(format!(
                    "another process has been refreshing this login for {} seconds",
                    waited.as_secs()
                ))
                .hint("try again; if it stays so, end that process"));
            }
        }
    }

    /// Returns what an attempt brought that ended after `before`; an error is its outcome, too.
    fn ended_since(&self, before: &Before) -> Result<Option<Access>> {
        let Reading { slot, ledger, .. } = self.keep.read()?;
        let Some(outcome) = ledger.entries.outcome.as_ref().filter(|_| ledger.sequence != before.sequence)
        else {
            return Ok(None);
        };
        let contents = slot.ok().flatten().unwrap_or_default();
        match outcome.kind {
            // Another client's, or other scopes', are not this caller's.
            OutcomeKind::Refused => match self.remembered(&contents, &ledger) {
                Some(refusal) if refusal.at == outcome.at => {
                    Err(self.refused(Some(refusal), contents.grant.as_ref()))
                }
                _ => Ok(None),
            },
            OutcomeKind::Failed => Err(Error::network(outcome.message.clone())
                .caused_by("another process tried just now, and this one waited for it")
                .hint("look at the network and try again")),
            OutcomeKind::Stranger => Err(self.stranger(outcome.message.clone())),
            OutcomeKind::Landed => {
                // Forced or not, it was obtained after this caller asked for it.
                let access = self.provider.at_hand(&contents).filter(|access| self.may_serve(access));
                Ok(access.filter(|access| Some(access.token.fingerprint()) != before.token))
            }
        }
    }

    /// A token that is still valid is served whatever a refresh says.
    fn serve_held_despite(&self, error: Error) -> Result<Access> {
        let contents = self.keep.contents().ok().flatten().unwrap_or_default();
        let is_signed_out = contents.fingerprint().is_none();
        if self.want.force || is_signed_out {
            return Err(error);
        }
        let held = self.provider.at_hand(&contents).filter(|access| self.may_serve(access));
        let Some(access) = held else { return Err(error) };
        self.host.interaction.tell(&Notice::Warning(&despite(&error, &access, self.host)));
        Ok(access)
    }

    /// Says why a token is obtained.
    fn why(&self, contents: &Contents, is_early: bool) -> &'static str {
        match self.provider.at_hand(contents) {
            _ if self.want.force => "a new token was asked for",
            Some(_) if is_early => "the token at hand is due, or lives too short for what is wanted",
            Some(access) if self.want.reject == Some(access.token.fingerprint()) => "the token was rejected",
            Some(_) => "the token at hand has expired",
            None => "there is no token at hand",
        }
    }

    fn may_serve(&self, access: &Access) -> bool {
        decide::is_valid(&self.moment(), access)
            && self.want.reject.is_none_or(|rejected| access.token.fingerprint() != rejected)
    }

    fn remembered<'r>(&self, contents: &Contents, ledger: &'r Ledger) -> Option<&'r Remembered> {
        let key = self.provider.refusal_key(contents.grant.as_ref()?);
        ledger.entries.refusal(&key).filter(|refusal| self.is_past(refusal.at))
    }

    fn last_failure<'r>(&self, contents: &Contents, ledger: &'r Ledger) -> Option<&'r Outcome> {
        ledger.failure_of(contents.fingerprint()).filter(|failure| self.is_past(failure.at))
    }

    /// Returns whether `at` is no time that only a clock gone wrong can have shown.
    fn is_past(&self, at: u64) -> bool {
        at <= self.host.clock.now() + decide::CLOCK_TOLERANCE
    }

    fn login_required(&self, why: &str) -> Error {
        Error::login_required(why).hint(self.sign_in_hint())
    }

    fn stranger(&self, who: String) -> Error {
        self.login_required("the provider has answered for another account").caused_by(who)
    }

    fn refused(&self, refusal: Option<&Remembered>, grant: Option<&Grant>) -> Error {
        let Some(refusal) = refusal else { return Error::refused("the provider refused the login") };
        let wait = refusal.until.saturating_sub(self.host.clock.now());
        let error = outcome::refusal_error(refusal, grant, self.provider);
        if wait == 0 {
            return error;
        }
        error.hint(format!("the provider is not asked again for {wait} seconds, unless with `--refresh`"))
    }

    fn sign_in_hint(&self) -> String {
        format!("sign in: `{}`", self.provider.login_command())
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.host.clock.now(),
            boot_id: self.host.clock.boot_id(),
            since_boot: self.host.clock.since_boot().as_secs(),
        }
    }

    fn tell(&self, story: &str) {
        self.host.interaction.tell(&Notice::Story(story));
    }
}

/// What waiting for somebody else led to.
enum Waited {
    Served(Access),
    Free(Lease),
}

#[cfg(test)]
mod tests;
