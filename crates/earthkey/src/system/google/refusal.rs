//! What Google's refusals mean.

use super::super::Source;
use crate::error::Error;
use crate::error::printable;
use crate::store::Grant;
use crate::store::ledger::Remembered;

/// How far a clock may be off before that is what a refused signature is about, in seconds.
const CLOCK_TOLERANCE: u64 = 60;

/// Explains a refusal of Google's, if it is one of those that are known.
pub(in super::super) fn explain(
    source: &Source,
    refusal: &Remembered,
    grant: Option<&Grant>,
    now: u64,
) -> Option<Error> {
    match grant {
        Some(Grant::ServiceAccount(account)) => Some(of_key(refusal, &account.email, now)),
        _ => of_person(refusal, source),
    }
}

fn of_person(refusal: &Remembered, source: &Source) -> Option<Error> {
    let description = refusal.description.as_deref().unwrap_or_default();
    let login = format!("earthkey login {}", source.login);
    let (message, hint) = match refusal.error.as_str() {
        "invalid_grant" if description.contains("invalid_rapt") || description.contains("rapt_required") => (
            "the person's organisation wants a new sign-in",
            format!("it asks for one every so often; sign in: `{login}`"),
        ),
        "invalid_grant" if description.contains("expired or revoked") => {
            return Some(
                Error::refused("the provider does not accept the refresh token any more")
                    .hint(format!("sign in: `{login}`"))
                    .hint(
                        "Google ends logins after 7 days where the client's consent screen is in testing; a \
                         person or an administrator may have ended it, too",
                    ),
            );
        }
        "deleted_client" | "disabled_client" => (
            "the client that the login was made with is gone",
            format!("it was deleted or disabled; sign in with another: `{login}`"),
        ),
        "admin_policy_enforced" | "org_internal" | "access_denied" => (
            "the provider keeps this client from this account",
            "an administrator's rule stands behind it; ask for the client to be allowed".to_owned(),
        ),
        _ => return None,
    };
    Some(Error::refused(message).hint(hint))
}

fn of_key(refusal: &Remembered, account: &str, now: u64) -> Error {
    let account = printable(account, 200);
    let description = refusal.description.as_deref().unwrap_or_default();
    let new_key = "make a new key for the account, and name its file in place of this one";
    let off = refusal.date.filter(|date| now.abs_diff(*date) > CLOCK_TOLERANCE);
    let (message, hint) = match off {
        _ if description.contains("account not found") => (
            format!("there is no account `{account}`"),
            "it was deleted, or the key is another project's".to_owned(),
        ),
        _ if description.contains("Signature") => (
            format!("the key of `{account}` is not accepted"),
            format!("it was deleted or replaced; {new_key}"),
        ),
        _ if refusal.error == "invalid_scope" => {
            (format!("`{account}` gets no token for these scopes"), "name others: `--scopes S,S`".to_owned())
        }
        Some(date) if refusal.error == "invalid_grant" => {
            let way = if now > date { "ahead of" } else { "behind" };
            let off = now.abs_diff(date);
            (
                "this machine's clock is wrong, so what it signs is not accepted".to_owned(),
                format!(
                    "it is {off} seconds {way} the provider's; set it, as with `timedatectl set-ntp true`"
                ),
            )
        }
        _ if description.contains("reasonable timeframe") => (
            "the provider does not accept the time of the signed request".to_owned(),
            "look at the clock of this machine: `date -u`".to_owned(),
        ),
        _ => (format!("the provider refuses `{account}`"), new_key.to_owned()),
    };
    Error::refused(message).hint(hint)
}
