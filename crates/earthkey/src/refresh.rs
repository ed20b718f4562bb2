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
use crate::store::keep::Attempt;
use crate::store::keep::Held;
use crate::store::lease::Lease;
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

/// What a caller wants of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// For how many seconds it should still be valid.
    pub min_ttl: u64,
    /// The exact scopes, if not the login's own.
    pub scopes: Option<Vec<String>>,
    /// For whom it is, if not the login's own audience.
    pub audience: Option<String>,
    /// A token that a server has rejected: refresh if this very one is still held.
    pub reject: Option<Fingerprint>,
    /// Refresh whatever is held.
    pub force: bool,
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

    /// Returns the token at hand, given what the home holds.
    fn at_hand(&self, contents: &Contents) -> Option<Access>;

    /// Finds where to send the grant, refuses what it is not bound to, and builds the request.
    fn request<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Request>>;

    /// Returns what a refusal is remembered under: grant, endpoint, client, scopes.
    fn refusal_key(&self, grant: &Grant) -> String;

    /// Makes the answer an access token and keeps a record of it.
    fn record(&self, answer: &TokenResponse, landed: &Held) -> Result<Access>;
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
    Refresh { held: Option<Access> },
}

impl Refresh<'_> {
    async fn run(&self) -> Result<Access> {
        let reading = self.keep.read()?;
        let pending = reading.ledger.is_answered();
        let mut held = None;
        if !pending && let Ok(Some(contents)) = &reading.slot {
            match self.judge(contents, self.remembered(contents, &reading.ledger.entries.refusals))? {
                Step::Serve(access) => return Ok(access),
                Step::Refresh { held: access } => held = access,
            }
        }
        match self.keep.try_lease()? {
            Some(lease) => self.refresh(lease).await,
            // A still-valid token is served at once while another refreshes.
            None if held.is_some() && !self.want.force => held.ok_or_else(lost_token),
            None => self.wait(reading.ledger.sequence).await,
        }
        .or_else(|error| self.serve_held_despite(error))
    }

    fn judge(&self, contents: &Contents, refusal: Option<&Remembered>) -> Result<Step> {
        let access = self.provider.at_hand(contents);
        let decision = decide(&self.moment(), access.as_ref(), contents.grant.is_some(), refusal, self.want);
        match (decision, access) {
            (Decision::Use, Some(access)) => Ok(Step::Serve(access)),
            (Decision::UseAndRefresh, access) => Ok(Step::Refresh { held: access }),
            (Decision::Refresh | Decision::Use, _) => Ok(Step::Refresh { held: None }),
            (Decision::LoginRequired, _) => Err(self.login_required(
                "the access token has expired and there is no refresh token to obtain another with",
            )),
            (Decision::Refused, _) => Err(self.refused(refusal)),
        }
    }

    /// Refreshes under the lease, after looking again at what is there now.
    async fn refresh(&self, mut lease: Lease) -> Result<Access> {
        // A grant that somebody replaces between our reading and our sending is adopted, and
        // what was decided is decided again; each round needs another writer.
        for _ in 0..4 {
            let Some(Held { contents, .. }) = self.keep.adopt(&lease).await? else {
                return Err(self.login_required("there is no login any more"));
            };
            let ledger = self.keep.ledger()?;
            match self.judge(&contents, self.remembered(&contents, &ledger.entries.refusals))? {
                Step::Serve(access) => return Ok(access),
                Step::Refresh { .. } => {}
            }
            let Some(grant) = &contents.grant else {
                return Err(self.login_required("there is no refresh token"));
            };
            self.tell("the lease is taken; the intent goes to the ledger");
            let deadline = self.host.clock.now() + ATTEMPT;
            let attempt = self.keep.reserve(lease, &contents, deadline)?;
            let sending = Send::new(self.host, self.provider, grant, deadline);
            match sending.run(attempt).await? {
                outcome::Sent::Answered(attempt, response) => {
                    if let Some(access) = self.land(attempt, &response).await? {
                        return Ok(access);
                    }
                }
                outcome::Sent::Moved => {}
            }
            lease = match self.keep.try_lease()? {
                Some(lease) => lease,
                None => return self.wait(self.keep.ledger()?.sequence).await,
            };
        }
        Err(Error::store("the login keeps changing").hint("another program rewrites it all the time"))
    }

    /// Lands an answer that is durable already; `None` when another login stands there now.
    async fn land(&self, mut attempt: Attempt<'_>, response: &TokenResponse) -> Result<Option<Access>> {
        let Some(landed) = attempt.land().await? else {
            attempt.abandon()?;
            return Err(self.login_required("the login was ended while its token was being refreshed"));
        };
        let ours = response.refresh_token.clone().map(Grant::RefreshToken);
        if ours.is_some() && landed.contents.grant != ours {
            attempt.abandon()?;
            return Ok(None);
        }
        self.tell("the answer has landed in the home");
        let access = self.provider.record(response, &landed)?;
        attempt.finish()?;
        Ok(Some(access))
    }

    /// Waits for somebody else's attempt and takes its outcome.
    async fn wait(&self, seen: u64) -> Result<Access> {
        let start = self.host.clock.since_boot();
        let mut said = false;
        loop {
            self.host.clock.sleep(LOOK_EVERY).await;
            let reading = self.keep.read()?;
            let entries = &reading.ledger.entries;
            if reading.ledger.sequence > seen
                && let Some(outcome) = &entries.outcome
            {
                match outcome.kind {
                    OutcomeKind::Refused => {
                        return Err(Error::refused(outcome.message.clone()).hint(self.sign_in_hint()));
                    }
                    OutcomeKind::Failed => {
                        return Err(Error::network(outcome.message.clone())
                            .caused_by("another process tried just now, and this one waited for it"));
                    }
                    OutcomeKind::Landed => {
                        // Forced or not, it was obtained after this caller asked for it.
                        let contents = self.keep.sound(reading.slot)?.unwrap_or_default();
                        let access = self.provider.at_hand(&contents);
                        if let Some(access) = access.filter(|access| decide::is_valid(&self.moment(), access))
                        {
                            return Ok(access);
                        }
                    }
                }
            }
            if let Some(lease) = self.keep.try_lease()? {
                return Box::pin(self.refresh(lease)).await;
            }
            let waited = self.host.clock.since_boot().saturating_sub(start);
            if !said && waited >= SAY_AFTER {
                said = true;
                let owner =
                    entries.owner.as_ref().map_or_else(|| "another process".into(), ToString::to_string);
                self.host
                    .interaction
                    .tell(&Notice::Line(&format!("waiting for {owner} to refresh this login")));
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

    /// A token that is still valid is served whatever a refresh says.
    fn serve_held_despite(&self, error: Error) -> Result<Access> {
        if self.want.force || error.kind() == ErrorKind::LoginRequired {
            return Err(error);
        }
        let contents = self.keep.contents().ok().flatten().unwrap_or_default();
        let held = self.provider.at_hand(&contents).filter(|access| {
            decide::is_valid(&self.moment(), access)
                && self.want.reject.is_none_or(|rejected| access.token.fingerprint() != rejected)
        });
        let Some(access) = held else { return Err(error) };
        self.host.interaction.tell(&Notice::Warning(&format!(
            "{error}; the token at hand is still valid for {} seconds and is used",
            access.expires_at.saturating_sub(self.host.clock.now())
        )));
        Ok(access)
    }

    fn remembered<'r>(&self, contents: &Contents, refusals: &'r [Remembered]) -> Option<&'r Remembered> {
        let key = self.provider.refusal_key(contents.grant.as_ref()?);
        refusals.iter().find(|refusal| refusal.key == key)
    }

    fn login_required(&self, why: &str) -> Error {
        Error::login_required(why).hint(self.sign_in_hint())
    }

    fn refused(&self, refusal: Option<&Remembered>) -> Error {
        let Some(refusal) = refusal else { return Error::refused("the provider refused the login") };
        let wait = refusal.until.saturating_sub(self.host.clock.now());
        outcome::refusal_error(&refusal.error, refusal.description.as_deref(), self.provider)
            .hint(format!("the provider is not asked again for {wait} seconds, unless with `--refresh`"))
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

fn lost_token() -> Error {
    Error::internal("a token that was at hand is gone")
}
