//! Sending a grant, and what each outcome means for it.

use std::time::Duration;

use super::ATTEMPT;
use super::Provider;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::grant::Exchanged;
use crate::grant::exchange;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::token::Refusal;
use crate::oauth::token::TokenResponse;
use crate::store::Grant;
use crate::store::attempt::Attempt;
use crate::store::lease::Lease;
use crate::store::ledger::Remembered;

/// Tries of a request that was never sent, or that the provider put off.
const MAX_TRIES: u32 = 3;

/// How long a whole answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// How long a home is watched after `invalid_grant`: another program may be about to write the
/// successor of what it refreshed in the same moment.
const WATCH: Duration = Duration::from_secs(2);

/// How long a first refusal is remembered, in seconds; each further one doubles it.
const FIRST_REFUSAL: u64 = 60;

/// How long a refusal is remembered at most, in seconds.
const LONGEST_REFUSAL: u64 = 3600;

/// How long a provider may put everybody off, in seconds.
const LONGEST_WAIT: u64 = 24 * 3600;

pub(super) enum Sent<'k> {
    /// The answer is kept; what is wrong with it where it cannot be served.
    Answered(Box<Attempt<'k>>, Result<TokenResponse, String>),
    /// The home holds another grant now; nothing of ours is pending.
    Moved(Lease),
}

pub(super) struct Send<'a> {
    host: &'a Host,
    provider: &'a dyn Provider,
    grant: &'a Grant,
    /// When the attempt ends, by the boot-time clock.
    ends_at: Duration,
    /// Whether a caller waits who has a token that is still valid.
    is_early: bool,
}

impl<'a> Send<'a> {
    /// Begins to send `grant`; the attempt ends [`ATTEMPT`] from now.
    pub(super) fn new(host: &'a Host, provider: &'a dyn Provider, grant: &'a Grant, is_early: bool) -> Self {
        let ends_at = host.clock.since_boot() + Duration::from_secs(ATTEMPT);
        Self { host, provider, grant, ends_at, is_early }
    }

    /// Sends the grant until an outcome stands; the attempt is ended with it, or carries the
    /// durable answer.
    pub(super) async fn run<'k>(&self, mut attempt: Attempt<'k>) -> Result<Sent<'k>> {
        let mut tries = 0;
        let mut sent_before = false;
        loop {
            tries += 1;
            let request = match self.provider.request(self.grant).await {
                Ok(request) => request,
                Err(error) if sent_before || error.kind() == ErrorKind::Network => {
                    return end(attempt, error, sent_before, 0).await;
                }
                // What this caller alone has wrong is no outcome for others.
                Err(error) => return attempt.withdraw(false).await.and(Err(error)),
            };
            match attempt.is_current().await {
                Ok(true) => {}
                Ok(false) => return attempt.withdraw(false).await.map(Sent::Moved),
                Err(error) => return end(attempt, error, sent_before, 0).await,
            }
            if !self.has_room_for(Duration::ZERO) {
                let error = Error::network("there was no time left to wait for a whole answer")
                    .hint("try again; look at the network, which is slow");
                return end(attempt, error, sent_before, 0).await;
            }
            self.tell("sending the grant");
            let place = request.url.origin().ascii_serialization();
            attempt.hold_signals();
            let exchanged = exchange(self.host, request).await;
            if !matches!(exchanged, Exchanged::Answered { .. }) {
                attempt.release_signals();
            }
            match exchanged {
                Exchanged::Answered { body, response } => {
                    match attempt.answer(&body).await {
                        Ok(()) if attempt.is_kept() => self.tell("the answer is durable in the ledger"),
                        Ok(()) => self.tell("the answer is here; it replaces no grant"),
                        // The home is the other place that can keep it.
                        Err(error) => self.host.interaction.tell(&Notice::Warning(&error.to_string())),
                    }
                    return Ok(Sent::Answered(Box::new(attempt), response));
                }
                Exchanged::Refused(refusal) => return self.refused(attempt, &refusal, sent_before).await,
                Exchanged::NotSent(cause) if self.may_retry(tries, Duration::ZERO) => {
                    self.retry_story(&cause);
                    self.pause(tries, None).await;
                }
                Exchanged::NotSent(cause) => {
                    let hint = if sent_before {
                        "look at the network and try again; the same token is sent once more"
                    } else {
                        "look at the network; nothing was sent, so nothing is lost"
                    };
                    let error = Error::network("the provider cannot be reached")
                        .caused_by(format!("{place}: {cause}"))
                        .hint(hint);
                    return end(attempt, error, sent_before, 0).await;
                }
                Exchanged::Later { wait, .. }
                    if self.may_retry(tries, Duration::from_secs(wait.unwrap_or_default())) =>
                {
                    self.retry_story("the provider asks to come back later");
                    self.pause(tries, wait).await;
                }
                Exchanged::Later { status, wait } => {
                    let when = wait.map_or_else(String::new, |wait| format!(" in {wait} seconds"));
                    let error = Error::network(format!("the provider asks to come back later{when}"))
                        .caused_by(format!("status {status}"))
                        .hint("try again then");
                    let retry_in = wait.unwrap_or_else(|| back_off(&attempt)).min(LONGEST_WAIT);
                    return end(attempt, error, sent_before, retry_in).await;
                }
                Exchanged::Unexpected(what) => {
                    let retry_in = back_off(&attempt);
                    return end(attempt, unusable_answer(&what), true, retry_in).await;
                }
                Exchanged::Unknown(cause) if !sent_before && self.may_resend(&attempt) => {
                    // Nobody else can hold the successor: this very token once more, at once.
                    sent_before = true;
                    self.retry_story(&cause);
                    self.pause(1, None).await;
                }
                Exchanged::Unknown(cause) => {
                    let error = Error::network("no whole answer came from the provider")
                        .caused_by(cause)
                        .hint("try again; the same token is sent once more");
                    let retry_in = back_off(&attempt);
                    return end(attempt, error, true, retry_in).await;
                }
            }
        }
    }

    async fn refused<'k>(
        &self,
        attempt: Attempt<'k>,
        refusal: &Refusal,
        sent_before: bool,
    ) -> Result<Sent<'k>> {
        let is_of_the_grant =
            refusal.error == "invalid_grant" && matches!(self.grant, Grant::RefreshToken(_));
        if is_of_the_grant && self.is_replaced_soon(&attempt).await {
            return attempt.withdraw(true).await.map(Sent::Moved);
        }
        let key = self.provider.refusal_key(self.grant);
        let count = attempt.refusal(&key).map_or(0, |earlier| earlier.count).saturating_add(1);
        let remembered_for = (FIRST_REFUSAL << (count - 1).min(6)).min(LONGEST_REFUSAL);
        let now = self.host.clock.now();
        let remembered = Remembered {
            key,
            error: refusal.error.clone(),
            description: refusal.description.clone(),
            date: refusal.date,
            count,
            at: now,
            until: now + remembered_for,
        };
        let mut error = refusal_error(&remembered, Some(self.grant), self.provider);
        if matches!(self.grant, Grant::ServiceAccount(_)) {
            // Whether a signature holds depends on the clock, which may be set right at any moment.
            attempt.refuse_once(remembered, &error.to_string()).await?;
            return Err(error);
        }
        if is_of_the_grant && (sent_before || attempt.may_be_spent()) {
            error = error.hint(
                "an earlier answer never arrived here; where a provider replaces tokens at each use and \
                 gives no second chance, that ends a login",
            );
        }
        attempt.refuse(remembered, &error.to_string()).await?;
        Err(error)
    }

    /// Watches the home for another grant.
    async fn is_replaced_soon(&self, attempt: &Attempt<'_>) -> bool {
        let watch_until = self.host.clock.since_boot() + WATCH;
        loop {
            // Looked at to the end: a home that is torn now may hold the successor then.
            if matches!(attempt.is_current().await, Ok(false)) {
                return true;
            }
            if self.host.clock.since_boot() >= watch_until {
                return false;
            }
            self.host.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Returns whether there is time to try again after `wait`. Who has a valid token does not
    /// wait for another one.
    fn may_retry(&self, tries: u32, wait: Duration) -> bool {
        tries < MAX_TRIES && !self.is_early && self.has_room_for(wait + Duration::from_secs(2))
    }

    /// Returns whether to send the same grant once more whose answer did not arrive. Where the answer may
    /// have replaced it, the provider forgives that now, if ever; where not, who has a valid token does not
    /// wait.
    fn may_resend(&self, attempt: &Attempt<'_>) -> bool {
        (!self.is_early || attempt.may_rotate()) && self.has_room_for(Duration::from_secs(1))
    }

    /// Returns whether a whole answer still fits into the attempt after `wait`.
    fn has_room_for(&self, wait: Duration) -> bool {
        self.host.clock.since_boot() + wait + ANSWER <= self.ends_at
    }

    /// Waits as the provider asked, or longer with each try, with some jitter.
    async fn pause(&self, tries: u32, asked: Option<u64>) {
        let [jitter] = self.host.random.bytes::<1>();
        let base = asked.map_or_else(|| Duration::from_millis(250 << tries.min(4)), Duration::from_secs);
        self.host.clock.sleep(base + Duration::from_millis(u64::from(jitter))).await;
    }

    fn tell(&self, story: &str) {
        self.host.interaction.tell(&Notice::Story(story));
    }

    fn retry_story(&self, cause: &str) {
        self.tell(&format!("sending again: {cause}"));
    }
}

async fn end(attempt: Attempt<'_>, error: Error, sent: bool, retry_in: u64) -> Result<Sent<'_>> {
    attempt.fail(&error.to_string(), sent, retry_in).await?;
    Err(error)
}

/// Returns after how many seconds the next attempt may be made: longer with each failure in a row.
pub(super) fn back_off(attempt: &Attempt<'_>) -> u64 {
    1 << attempt.failures().min(6)
}

/// Makes an error of an answer that is neither tokens nor a refusal.
pub(super) fn unusable_answer(what: &str) -> Error {
    Error::network("the provider gave no usable answer")
        .caused_by(what.to_owned())
        .hint("see the exchange with `-vvv`; a proxy or a portal may stand between")
}

/// Makes an error of a provider's no, with what to do about its kind.
pub(super) fn refusal_error(refusal: &Remembered, grant: Option<&Grant>, provider: &dyn Provider) -> Error {
    let Remembered { error, description, .. } = refusal;
    let said = match description {
        Some(description) => format!("{error}: {description}"),
        None => error.clone(),
    };
    if let Some(explained) = provider.explain(refusal, grant) {
        return explained.caused_by(said);
    }
    let login = provider.login_command();
    let (message, hint) = match error.as_str() {
        "invalid_grant" => (
            "the provider does not accept the refresh token any more",
            format!("it has expired, was revoked or was replaced elsewhere; sign in: `{login}`"),
        ),
        "invalid_client" | "unauthorized_client" => (
            "the provider does not accept the client",
            format!("look at the client's id and secret, then sign in: `{login}`"),
        ),
        "invalid_scope" => (
            "the provider does not grant the scopes",
            format!("sign in with scopes that it grants: `{login} --scopes S,S`"),
        ),
        _ => ("the provider refused", format!("sign in anew if it stays so: `{login}`")),
    };
    Error::refused(message).caused_by(said).hint(hint)
}
