//! What a sign-in must be agreed to: whose login it would replace, and what it may do more.

use super::Earthkey;
use super::GIVEN;
use super::using;
use crate::error::Error;
use crate::error::Result;
use crate::flow::Flow;
use crate::host::env::display;
use crate::login::Login;
use crate::login::System;
use crate::oauth::jose;
use crate::secret::AccessToken;
use crate::store::Contents;
use crate::store::Keep;
use crate::store::ledger::Binding;
use crate::system;
use crate::system::Context;
use crate::system::LoginOptions;

impl Earthkey {
    /// Asks before another account, another kind of grant, or a real login by a sandbox's, is
    /// replaced.
    pub(super) async fn agree_to_replace(
        &self,
        system: System,
        keep: &Keep<'_>,
        contents: &Contents,
        new: &Binding,
        options: &LoginOptions,
    ) -> Result<()> {
        let Ok(Some(present)) = keep.contents() else { return Ok(()) };
        if options.force {
            return Ok(());
        }
        let may_write = |scopes: &Option<Vec<String>>| {
            scopes.iter().flatten().any(|scope| scope.contains('/') && !scope.ends_with(".readonly"))
        };
        if present.scopes.is_some()
            && !may_write(&present.scopes)
            && may_write(&contents.scopes)
            && options.scopes.is_none()
        {
            let text = "the login that is there may only read, and this one may write";
            return self.agree(text, "or keep it so: name its scopes with `--scopes S,S`").await;
        }
        let plays_over_real = present.grant.is_some()
            && using::is_of_sandbox(contents.grant.as_ref())
            && !using::is_of_sandbox(present.grant.as_ref());
        let old = match keep.ledger()?.entries.binding_of(present.fingerprint()).cloned() {
            Some(old) => old,
            // What the system's own client put there says less of itself.
            None if plays_over_real => Binding::default(),
            // What the system's own client put there may say whose it is by its access token.
            None if subject_of(present.access_token.as_ref()).is_some() => Binding {
                issuer: new.issuer.clone(),
                subject: subject_of(present.access_token.as_ref()),
                ..Binding::default()
            },
            None => return Ok(()),
        };
        let other_account = matches!((&old.subject, &new.subject), (Some(old), Some(new)) if old != new)
            || old.issuer != new.issuer;
        let is_own_grant = |flow: &str| flow == Flow::ClientCredentials.name();
        // What is given is what it is given as.
        let other_kind = old.flow != GIVEN && is_own_grant(&old.flow) != is_own_grant(&new.flow);
        if !other_account && !other_kind && !plays_over_real {
            return Ok(());
        }
        let who = |binding: &Binding| match binding.account.as_ref().or(binding.subject.as_ref()) {
            Some(account) => format!("`{account}` at `{}`", binding.issuer),
            None if binding.issuer.is_empty() => "a real provider".to_owned(),
            None => format!("`{}`", binding.issuer),
        };
        let text = format!("there is a login of {} already; this one is of {}", who(&old), who(new));
        let instead = match system {
            // The Python client's file has one place per provider and client.
            System::Openeo => "or keep both, with a client of your own for one: `--client-id ID`",
            _ => "or keep both: sign in under another name, as `SYSTEM/NAME`",
        };
        self.agree(&text, instead).await
    }

    /// Asks before a key takes the place of a person's login, which it goes before from then on.
    pub(super) async fn agree_to_hide(&self, cx: &Context<'_>, login: &Login) -> Result<()> {
        let Ok(present) = system::resolve(cx, login).await else { return Ok(()) };
        if present.named_by.is_some() {
            return Ok(());
        }
        let Some(keep) = Keep::open(&self.host, &present.home)? else { return Ok(()) };
        if !matches!(keep.contents(), Ok(Some(_))) {
            return Ok(());
        }
        let place = display(&present.home.path, &self.host.env);
        let text = format!("there is a login of a person in {place}; a key would go before it");
        self.agree(&text, "or keep both: sign in under another name, as `SYSTEM/NAME`").await
    }

    /// Asks whether a login may be replaced.
    async fn agree(&self, text: &str, instead: &str) -> Result<()> {
        if self.host.interaction.can_ask() {
            let answer = self.host.interaction.ask(&format!("{text}\nReplace it? [y/N] ")).await;
            if answer.is_ok_and(|answer| answer.trim().eq_ignore_ascii_case("y")) {
                return Ok(());
            }
        }
        Err(Error::login_required(text).hint("replace it: sign in again with `--force`").hint(instead))
    }
}

/// Returns whose an access token is, where it is a JWT that says so.
pub(super) fn subject_of(token: Option<&AccessToken>) -> Option<String> {
    jose::peek(token?.expose())?.get("sub")?.as_str().map(str::to_owned)
}
