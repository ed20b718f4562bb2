//! A browser anywhere: the address it ends at is pasted back.

use std::time::Duration;

use url::Url;

use super::Plan;
use super::loopback::Attempt;
use super::loopback::redirect_error;
use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::host::Host;
use crate::host::Notice;
use crate::oauth::authorize::ExpectedRedirect;
use crate::oauth::authorize::parse_redirect;
use crate::oauth::pkce;
use crate::secret::AuthorizationCode;

/// How long a page that was printed by `--quiet` may be answered.
pub const PENDING_FOR: Duration = Duration::from_secs(600);

/// Makes an attempt whose redirect leads to a port where nobody listens: the browser shows an
/// address that cannot be opened, and that address is what is pasted.
pub fn attempt(host: &Host) -> Attempt {
    let [high, low] = host.random.bytes::<2>();
    let port = 49152 + u16::from_be_bytes([high, low]) % 16384;
    Attempt::new(host, &format!("http://127.0.0.1:{port}/callback"))
}

/// Shows the page and asks for the address it ended at.
pub async fn ask(host: &Host, plan: &Plan, attempt: &Attempt) -> Result<AuthorizationCode> {
    if !host.interaction.can_ask() {
        return Err(Error::login_required("nobody is here to paste the address back").hint(format!(
            "run `earthkey login {} --flow paste` in a terminal, or use `--flow device`",
            plan.login
        )));
    }
    show(host, plan, attempt)?;
    let question = "Paste the address that the browser ends at (it cannot be opened, that is right): ";
    let answer = tokio::time::timeout(plan.timeout, host.interaction.ask_hidden(question)).await;
    let answer = answer.map_err(|_| {
        Error::refused(format!("nothing was pasted within {} seconds", plan.timeout.as_secs()))
            .hint(format!("try again: `earthkey login {} --flow paste`", plan.login))
    })?;
    let answer = answer.map_err(|error| {
        Error::login_required("nothing was pasted")
            .caused_by(error)
            .hint(format!("try again: `earthkey login {} --flow paste`", plan.login))
    })?;
    code_of(plan, attempt, &answer)
}

/// Shows the page to visit.
pub fn show(host: &Host, plan: &Plan, attempt: &Attempt) -> Result<()> {
    plan.announce(host);
    let opened = plan.opens_browser && host.interaction.open_browser(&attempt.url(plan)?).is_ok();
    host.interaction.tell(&Notice::Visit { url: &attempt.url(plan)?, opened });
    Ok(())
}

/// Reads what was pasted: an address, whose `state` and `iss` must hold, or a bare code, where the
/// provider is known to check the proof key that goes with it.
pub fn code_of(plan: &Plan, attempt: &Attempt, pasted: &str) -> Result<AuthorizationCode> {
    let pasted = pasted.trim();
    if let Ok(url) = Url::parse(pasted)
        && let Some(query) = url.query()
    {
        let expected = ExpectedRedirect {
            state: attempt.state(),
            issuer: &plan.metadata.issuer,
            iss_required: plan.metadata.authorization_response_iss_parameter_supported,
        };
        return parse_redirect(query, &expected).map_err(|error| redirect_error(plan, error));
    }
    let checks_proof_keys = plan
        .metadata
        .code_challenge_methods_supported
        .as_ref()
        .is_some_and(|methods| methods.iter().any(|method| method == pkce::METHOD));
    let is_code =
        !pasted.is_empty() && pasted.len() <= 4096 && pasted.bytes().all(|byte| byte.is_ascii_graphic());
    if is_code && checks_proof_keys && !pasted.contains("://") {
        return Ok(AuthorizationCode::new(pasted));
    }
    let shown =
        if pasted.len() > 8 { "what was pasted".to_owned() } else { format!("`{}`", printable(pasted, 8)) };
    Err(Error::usage(format!("{shown} is not an address that the sign-in ended at"))
        .hint("paste the whole address from the browser's bar, with `?` and everything behind it"))
}

#[cfg(test)]
mod tests;
