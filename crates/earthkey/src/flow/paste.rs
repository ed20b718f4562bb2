//! A browser anywhere: the address it ends at is pasted back.

use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::Plan;
use super::loopback::Attempt;
use super::loopback::redirect_error;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::authorize::ExpectedRedirect;
use crate::oauth::authorize::RedirectError;
use crate::oauth::authorize::parse_redirect;
use crate::oauth::pkce;
use crate::secret::AuthorizationCode;
use crate::secret::State;

/// How long a page that was printed by `--quiet` may be answered.
pub const PENDING_FOR: Duration = Duration::from_secs(600);

/// Bytes of a code at least: nobody can guess one of 128 bits (RFC 6749, section 10.10), which take as
/// many characters. Whatever is shorter is a slip of the hand, and is not worth a sign-in.
const MIN_CODE: usize = 22;

const QUESTION: &str = "Paste the address that the browser ends at (it cannot be opened, that is right; \
                        what you paste is not shown): ";

/// How often a person may paste something that cannot be an answer.
const TRIES: usize = 3;

/// Bytes of a code at most; real ones have some hundred.
const MAX_CODE: usize = 4096;

/// Makes an attempt whose redirect leads to a port where nobody listens: the browser shows an
/// address that cannot be opened, and that address is what is pasted.
pub fn attempt(host: &Host, plan: &Plan) -> Attempt {
    let [high, low] = host.random.bytes::<2>();
    let port = 49152 + u16::from_be_bytes([high, low]) % 16384;
    Attempt::new(host, &plan.redirect.uri(port))
}

/// Shows the page and asks for the address it ended at.
pub async fn ask(host: &Host, plan: &Plan, attempt: &Attempt) -> Result<AuthorizationCode> {
    if !host.interaction.can_ask() {
        let alone = if plan.elsewhere() == "device" { ", or use `--flow device`" } else { "" };
        return Err(Error::login_required("nobody is here to paste the address back").hint(format!(
            "run `{} --flow paste` in a terminal{alone}, or begin with `--quiet`",
            plan.again
        )));
    }
    plan.announce(host);
    // The browser is anywhere; one of this machine would have the page in its arguments, which
    // others can read.
    host.interaction.tell(&Notice::Visit { url: &attempt.url(plan)?, opened: false });
    let ends = Instant::now() + plan.timeout;
    let mut tries = 1;
    loop {
        let answer = tokio::time::timeout_at(ends, host.interaction.ask_hidden(QUESTION)).await;
        let answer = answer.map_err(|_| {
            Error::refused(format!("nothing was pasted within {}", plan.waited()))
                .hint(format!("try again: `{} --flow paste`", plan.again))
        })?;
        let answer = answer.map(Zeroizing::new).map_err(|error| {
            Error::login_required("nothing was pasted")
                .caused_by(error)
                .hint(format!("try again: `{} --flow paste`", plan.again))
        })?;
        match code_of(plan, attempt, &answer) {
            Err(error) if error.kind() == ErrorKind::Usage && tries < TRIES => {
                let hint = error.hints().first().map_or("paste it once more", String::as_str);
                host.interaction.tell(&Notice::Line(&format!("{error}; {hint}")));
                tries += 1;
            }
            Err(error) if error.kind() == ErrorKind::Usage => {
                return Err(error.hint(format!("or begin anew: `{} --flow paste`", plan.again)));
            }
            code_or_end => return code_or_end,
        }
    }
}

/// Reads what was pasted: an address, whose `state` and `iss` must hold, or a bare code, where the
/// provider is known to check the proof key that goes with it (RFC 9700, section 2.1.1).
///
/// What is a slip of the hand is of kind [`ErrorKind::Usage`], and worth another try.
pub fn code_of(plan: &Plan, attempt: &Attempt, pasted: &str) -> Result<AuthorizationCode> {
    let pasted = pasted.trim();
    if let Some(query) = query_of(pasted) {
        let expected = ExpectedRedirect {
            state: attempt.state(),
            issuer: &plan.metadata.issuer,
            by_origin: plan.metadata.is_known_by_origin,
            iss_required: plan.metadata.authorization_response_iss_parameter_supported,
        };
        return parse_redirect(query, &expected).map_err(|error| match error {
            RedirectError::WrongState if is_cut_off(query, attempt.state()) => cut_off(),
            RedirectError::WrongState => of_another_sign_in(),
            RedirectError::NoCode => cut_off(),
            error => redirect_error(plan, error),
        });
    }
    let checks_proof_keys = plan
        .metadata
        .code_challenge_methods_supported
        .as_ref()
        .is_some_and(|methods| methods.iter().any(|method| method == pkce::METHOD));
    let is_code = (MIN_CODE..=MAX_CODE).contains(&pasted.len())
        && pasted.bytes().all(|byte| byte.is_ascii_graphic())
        && !pasted.contains([':', '#']);
    if is_code && checks_proof_keys {
        return Ok(AuthorizationCode::new(pasted));
    }
    // A code may still be good, so that it is not repeated; its length tells a slip of the hand.
    let length = pasted.chars().count();
    Err(Error::usage(format!(
        "what was pasted ({length} characters) is not an address that the sign-in ended at"
    ))
    .hint("paste the whole address from the browser's bar, with `?` and everything behind it"))
}

/// Says that an address was not copied to its end.
fn cut_off() -> Error {
    Error::usage("the address that was pasted looks cut off: its `state` or its `code` is not all there")
        .hint("paste the whole address from the browser's bar, with `?` and everything behind it")
}

/// Says that an address answers another request. Nothing of it is believed, least of all its code.
fn of_another_sign_in() -> Error {
    Error::usage("the address that was pasted belongs to another sign-in: its `state` is another")
        .hint("open the page that was printed for this one, and paste the address that it ends at")
}

/// Whether a query has lost its end, with `state` or some of it. Judged by lengths alone: how much of a
/// `state` is right is nobody's business.
fn is_cut_off(query: &str, state: &State) -> bool {
    let mut pairs = query.split('&');
    let last = pairs.next_back().unwrap_or_default();
    let is_state = |pair: &str| pair.starts_with("state=");
    match last.strip_prefix("state=") {
        Some(value) => !pairs.any(is_state) && value.len() < state.expose().len(),
        None => !pairs.any(is_state),
    }
}

/// Returns the query of an address or of a part of one: browsers do not show all of what they copy,
/// and whatever has a query is judged by its `state`.
fn query_of(pasted: &str) -> Option<&str> {
    let address = pasted.split('#').next().unwrap_or(pasted);
    match address.split_once('?') {
        Some((_, query)) => Some(query),
        None => address.split('&').any(|pair| pair.starts_with("state=")).then_some(address),
    }
}

#[cfg(test)]
mod tests;
