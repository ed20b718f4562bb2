//! Sending a grant, and what each outcome means for it.

use std::time::Duration;

use super::ATTEMPT;
use super::Provider;
use crate::error::Error;
use crate::error::Result;
use crate::grant::Exchanged;
use crate::grant::exchange;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::token::Refusal;
use crate::oauth::token::TokenResponse;
use crate::store::Grant;
use crate::store::keep::Attempt;
use crate::store::ledger::Remembered;

/// Tries of a request that was never sent, or that the provider put off.
const MAX_TRIES: u32 = 3;

/// How long a home is watched after `invalid_grant`: another program may be about to write the
/// successor of what it refreshed in the same moment.
const WATCH: Duration = Duration::from_secs(2);

/// How long a first refusal is remembered, in seconds; each further one doubles it.
const FIRST_REFUSAL: u64 = 60;

/// How long a refusal is remembered at most, in seconds.
const LONGEST_REFUSAL: u64 = 3600;

pub(super) enum Sent<'k> {
    /// The answer is durable.
    Answered(Attempt<'k>, TokenResponse),
    /// The home holds another grant now; nothing of ours is pending.
    Moved,
}

pub(super) struct Send<'a> {
    host: &'a Host,
    provider: &'a dyn Provider,
    grant: &'a Grant,
    deadline: u64,
}

impl<'a> Send<'a> {
    pub(super) fn new(host: &'a Host, provider: &'a dyn Provider, grant: &'a Grant, deadline: u64) -> Self {
        Self { host, provider, grant, deadline }
    }

    /// Sends the grant until an outcome stands; the attempt is ended with it, or carries the
    /// durable answer.
    pub(super) async fn run<'k>(&self, mut attempt: Attempt<'k>) -> Result<Sent<'k>> {
        let _signals = self.host.process.hold_signals();
        let mut tries = 0;
        let mut sent_before = false;
        loop {
            tries += 1;
            if !attempt.is_current()? {
                attempt.abandon()?;
                return Ok(Sent::Moved);
            }
            let request = match self.provider.request(self.grant).await {
                Ok(request) => request,
                Err(error) => {
                    attempt.fail(&error.to_string(), sent_before)?;
                    return Err(error);
                }
            };
            self.host.interaction.tell(&Notice::Story("the grant is sent"));
            match exchange(self.host, request).await {
                Exchanged::Answered { body, response } => {
                    attempt.answer(&body)?;
                    self.host.interaction.tell(&Notice::Story("the answer is durable in the ledger"));
                    return Ok(Sent::Answered(attempt, response));
                }
                Exchanged::Refused(refusal) => return self.refused(attempt, &refusal).await,
                Exchanged::NotSent(cause) if self.may_retry(tries) => {
                    self.retry_story(&cause);
                    self.pause(tries, None).await;
                }
                Exchanged::NotSent(cause) => {
                    let error = Error::network("the provider cannot be reached")
                        .caused_by(cause)
                        .hint("look at the network; nothing was sent, so nothing is lost");
                    return end(attempt, error, sent_before);
                }
                Exchanged::Later { wait, .. } if self.may_retry(tries) && self.has_room_for(wait) => {
                    self.retry_story("the provider asks to come back later");
                    self.pause(tries, wait).await;
                }
                Exchanged::Later { status, wait } => {
                    let when = wait.map_or_else(String::new, |wait| format!(" in {wait} seconds"));
                    let error = Error::network(format!("the provider asks to come back later{when}"))
                        .caused_by(format!("status {status}"))
                        .hint("try again then");
                    return end(attempt, error, sent_before);
                }
                Exchanged::Unexpected(what) => {
                    let error = Error::network("the provider gave no usable answer")
                        .caused_by(what)
                        .hint("see the exchange with `-vvv`; a proxy or a portal may stand between");
                    return end(attempt, error, true);
                }
                Exchanged::Unknown(cause) if !sent_before && self.has_room_for(None) => {
                    // Nobody else can hold the successor: this very token once more, at once.
                    sent_before = true;
                    self.retry_story(&cause);
                    self.pause(1, None).await;
                }
                Exchanged::Unknown(cause) => {
                    let error = Error::network("no whole answer came from the provider")
                        .caused_by(cause)
                        .hint("try again; the same token is sent once more");
                    return end(attempt, error, true);
                }
            }
        }
    }

    async fn refused<'k>(&self, attempt: Attempt<'k>, refusal: &Refusal) -> Result<Sent<'k>> {
        let watch_until = self.host.clock.since_boot() + WATCH;
        while refusal.error == "invalid_grant"
            && matches!(self.grant, Grant::RefreshToken(_))
            && self.host.clock.since_boot() < watch_until
        {
            if !attempt.is_current()? {
                attempt.abandon()?;
                return Ok(Sent::Moved);
            }
            self.host.clock.sleep(Duration::from_millis(100)).await;
        }
        let key = self.provider.refusal_key(self.grant);
        let count = attempt.refusal(&key).map_or(0, |earlier| earlier.count) + 1;
        let remembered_for = (FIRST_REFUSAL << (count - 1).min(6)).min(LONGEST_REFUSAL);
        let now = self.host.clock.now();
        let remembered = Remembered {
            key,
            error: refusal.error.clone(),
            description: refusal.description.clone(),
            count,
            at: now,
            until: now + remembered_for,
        };
        let error = refusal_error(&refusal.error, refusal.description.as_deref(), self.provider);
        attempt.refuse(remembered, &error.to_string())?;
        Err(error)
    }

    fn may_retry(&self, tries: u32) -> bool {
        tries < MAX_TRIES && self.has_room_for(None)
    }

    /// Returns whether a whole answer still fits into the attempt after `wait` seconds.
    fn has_room_for(&self, wait: Option<u64>) -> bool {
        self.host.clock.now() + wait.unwrap_or(0) + 20 < self.deadline.min(self.host.clock.now() + ATTEMPT)
    }

    /// Waits as the provider asked, or longer with each try, with some jitter.
    async fn pause(&self, tries: u32, asked: Option<u64>) {
        let [jitter] = self.host.random.bytes::<1>();
        let base = asked.map_or_else(|| Duration::from_millis(250 << tries.min(4)), Duration::from_secs);
        self.host.clock.sleep(base + Duration::from_millis(u64::from(jitter))).await;
    }

    fn retry_story(&self, cause: &str) {
        self.host.interaction.tell(&Notice::Story(&format!("sending again: {cause}")));
    }
}

fn end<'k>(attempt: Attempt<'k>, error: Error, sent: bool) -> Result<Sent<'k>> {
    attempt.fail(&error.to_string(), sent)?;
    Err(error)
}

/// Makes an error of a provider's no, with what to do about its kind.
pub(super) fn refusal_error(error: &str, description: Option<&str>, provider: &dyn Provider) -> Error {
    let said = description.map_or_else(|| error.to_owned(), |words| format!("{error}: {words}"));
    let login = provider.login_command();
    let (message, hint) = match error {
        "invalid_grant" => (
            "the provider does not accept the refresh token any more",
            format!("it has expired, was revoked or was replaced elsewhere; sign in: `{login}`"),
        ),
        "invalid_client" | "unauthorized_client" => (
            "the provider does not accept the client",
            format!("look at the client's id and secret, then sign in: `{login} --client-id ID`"),
        ),
        "invalid_scope" => (
            "the provider does not grant the scopes",
            format!("sign in with scopes that it grants: `{login} --scopes S,S`"),
        ),
        _ => ("the provider refused", format!("sign in anew if it stays so: `{login}`")),
    };
    Error::refused(message).caused_by(said).hint(hint)
}
