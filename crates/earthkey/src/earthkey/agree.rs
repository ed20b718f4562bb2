//! What a sign-in must be agreed to: whose login it would replace, and what it may do more.

use super::Earthkey;
use super::GIVEN;
use super::using;
use crate::config::Config;
use crate::error::Error;
use crate::error::Result;
use crate::flow::Flow;
use crate::host::env::display;
use crate::login::Login;
use crate::login::System;
use crate::oauth::jose;
use crate::store::Contents;
use crate::store::Keep;
use crate::store::ledger::Binding;
use crate::system;
use crate::system::Context;
use crate::system::LoginOptions;
use crate::system::Source;
use crate::system::google;

impl Earthkey {
    /// Asks before a login is replaced by another account's, by one of another kind, by a sandbox's
    /// where it is a real one, or by one that may write where it may only read. All of that is one question.
    pub(super) async fn agree_to_replace(
        &self,
        source: &Source,
        keep: &Keep<'_>,
        contents: &Contents,
        new: &Binding,
        options: &LoginOptions,
    ) -> Result<()> {
        let Ok(Some(present)) = keep.contents() else { return Ok(()) };
        if options.force {
            return Ok(());
        }
        let system = source.login.system;
        let config = Config::load(&self.host)?;
        let in_place = system::in_place(&Context::new(&self.host, &config), source)?;
        // A server that replaces its tokens has its ledgers elsewhere.
        let known = match &in_place {
            Some(in_place) => match Keep::open(&self.host, &in_place.home)? {
                Some(keep) => Some(keep.ledger()?),
                None => None,
            },
            None => Some(keep.ledger()?),
        };
        let known = known.and_then(|known| known.entries.identity_of(present.fingerprint()).cloned());
        let plays_over_real = present.grant.is_some()
            && using::is_of_sandbox(contents.grant.as_ref())
            && !using::is_of_sandbox(present.grant.as_ref());
        let (mut reasons, mut instead) = (Vec::new(), Vec::new());
        let of_sign_in = || known.as_ref().map(|known| known.scopes.clone());
        // `gcloud`'s file keeps no scopes; what was granted is remembered of a sign-in.
        let had = present.scopes.clone().or_else(of_sign_in).unwrap_or_default();
        let has = contents.scopes.as_deref().unwrap_or_default();
        let is_widened = google::only_read(&had) && !google::only_read(has);
        if system.is_of_google() && is_widened && options.scopes.is_none() {
            reasons.push("the login that is there may only read, and this one may write".to_owned());
            instead.push("or keep it so: name its scopes with `--scopes S,S`");
        }
        let of_file = || in_place.as_ref().map(|old| Binding { issuer: old.issuer.clone(), ..of_nobody() });
        let old = known.or_else(of_file);
        let old = old.or_else(|| of_access_token(&present, new).filter(|_| !plays_over_real));
        let differs = old.filter(|old| is_of_another(old, new) || is_of_another_kind(old, new));
        let places = in_place.and_then(|old| old.place()).zip(source.place()).filter(|(old, new)| old != new);
        if plays_over_real || differs.is_some() || places.is_some() {
            instead.push(match system {
                // The Python client's file has one place per provider and client.
                System::Openeo => "or keep both, with a client of your own for one: `--client-id ID`",
                _ => "or keep both: sign in under another name, as `SYSTEM/NAME`",
            });
        }
        if let Some(old) = differs {
            reasons.push(format!("there is a login of {} already; this one is of {}", who(&old), who(new)));
        }
        if let Some((old, new)) = places {
            reasons.push(format!(
                "the tokens of the login that is there come from `{old}`, and this one's from `{new}`"
            ));
        }
        if plays_over_real {
            reasons.push("the login that is there is a real one, and this one is a sandbox's".to_owned());
        }
        if reasons.is_empty() { Ok(()) } else { self.agree(&reasons.join("; "), &instead).await }
    }

    /// Asks before a key takes the place of a person's login, which it goes before from then on.
    pub(super) async fn agree_to_hide(&self, cx: &Context<'_>, login: &Login) -> Result<()> {
        let cx = Context::new(cx.host, cx.config).before_sign_in();
        let Ok(present) = system::resolve(&cx, login).await else { return Ok(()) };
        if present.named_by.is_some() {
            return Ok(());
        }
        let Some(keep) = Keep::open(&self.host, &present.home)? else { return Ok(()) };
        if !matches!(keep.contents(), Ok(Some(_))) {
            return Ok(());
        }
        let place = display(&present.home.path, &self.host.env);
        let text = format!("there is a login of a person in {place}; a key would go before it");
        self.agree(&text, &["or keep both: sign in under another name, as `SYSTEM/NAME`"]).await
    }

    /// Asks whether a login may be replaced.
    async fn agree(&self, text: &str, instead: &[&str]) -> Result<()> {
        if self.host.interaction.can_ask() {
            let answer = self.host.interaction.ask(&format!("{text}\nReplace it? [y/N] ")).await;
            if answer.is_ok_and(|answer| answer.trim().eq_ignore_ascii_case("y")) {
                return Ok(());
            }
        }
        let error = Error::login_required(text).hint("replace it: sign in again with `--force`");
        Err(instead.iter().fold(error, |error, instead| error.hint(*instead)))
    }
}

/// Returns what is known of a login that no sign-in of ours put there.
fn of_nobody() -> Binding {
    Binding { flow: GIVEN.to_owned(), ..Binding::default() }
}

/// Returns what a login that the system's own client put there says of itself: whose it is by its access
/// token.
fn of_access_token(present: &Contents, new: &Binding) -> Option<Binding> {
    let subject = jose::peek_subject(present.access_token.as_ref()?.expose())?;
    Some(Binding { issuer: new.issuer.clone(), subject: Some(subject), ..Binding::default() })
}

/// Returns whether two logins are of two accounts, as far as that is known.
fn is_of_another(old: &Binding, new: &Binding) -> bool {
    matches!((&old.subject, &new.subject), (Some(old), Some(new)) if old != new) || old.issuer != new.issuer
}

/// Returns whether one login is a person's and the other a client's own. What is given is what it is
/// given as.
fn is_of_another_kind(old: &Binding, new: &Binding) -> bool {
    let is_own_grant = |flow: &str| flow == Flow::ClientCredentials.name();
    old.flow != GIVEN && is_own_grant(&old.flow) != is_own_grant(&new.flow)
}

/// Says whose a login is.
fn who(binding: &Binding) -> String {
    match binding.account.as_ref().or(binding.subject.as_ref()) {
        Some(account) => format!("`{account}` at `{}`", binding.issuer),
        None => format!("`{}`", binding.issuer),
    }
}
