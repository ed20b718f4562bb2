//! Signing out.

use super::Earthkey;
use super::using;
use super::using::label;
use crate::config::Config;
use crate::config::Profile;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::error::word;
use crate::host::Notice;
use crate::login::Login;
use crate::oauth::revoke;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Keep;
use crate::system;
use crate::system::Context;
use crate::system::NamedBy;
use crate::system::Source;

/// What a logout did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedOut {
    /// Whether there was a login.
    pub was_signed_in: bool,
    /// Whether the provider was told to revoke the grant.
    pub revoked: bool,
    /// Whether there was no login and what was remembered of one is forgotten.
    pub forgotten: bool,
}

impl Earthkey {
    /// Ends a login: its grant, its records, its ledger; at the provider too where asked. What is
    /// remembered of it stays for the next sign-in, and is forgotten where there is no login any more.
    pub async fn logout(&self, login: &Login, revoke: bool) -> Result<LoggedOut> {
        let login = login.clone();
        self.apart(|here| async move { here.end(&login, revoke).await }).await
    }

    async fn end(&self, login: &Login, revoke: bool) -> Result<LoggedOut> {
        let config = Config::load(&self.host)?;
        let ended = self.sign_out(&config, login, revoke).await?;
        if ended.was_signed_in || config.profile(login) == Profile::default() {
            return Ok(ended);
        }
        Config::forget(&self.host, login)?;
        Ok(LoggedOut { forgotten: true, ..ended })
    }

    async fn sign_out(&self, config: &Config, login: &Login, revoke: bool) -> Result<LoggedOut> {
        let cx = Context::new(&self.host, config);
        let nothing = LoggedOut { was_signed_in: false, revoked: false, forgotten: false };
        if system::is_by_key(&cx, login) {
            return self.forget_key(&cx, login, revoke).await;
        }
        let source = match system::resolve(&cx, login).await {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::LoginRequired => {
                let forgotten = self.clear_what_is_left(&cx, login).await?;
                return Ok(LoggedOut { forgotten, ..nothing });
            }
            Err(error) => return Err(error),
        };
        if let Some(NamedBy::Other(other)) = source.named_by {
            self.host.interaction.tell(&Notice::Line(&format!(
                "`{login}` has no login of its own; the one of `{other}` stays: `earthkey logout {other}`"
            )));
            return Ok(nothing);
        }
        if source.given.is_some() {
            let is_kept =
                |keep: &Keep<'_>| matches!(keep.contents(), Ok(Some(_))) || keep.has_left_anything();
            let kept = Keep::open(&self.host, &source.home)?.filter(is_kept);
            if let Some(keep) = &kept {
                if revoke && matches!(keep.contents(), Ok(Some(_))) {
                    self.revoke(&source, keep).await?;
                }
                keep.clear().await?;
                self.host.records.remove_login(&label(keep));
            }
            let error = Error::configuration(format!(
                "`{login}` is given by a variable or the configuration, so it cannot be ended here"
            ));
            let error = match kept {
                Some(_) => error.caused_by("what was kept of it here is gone; what is given is there still"),
                None => error,
            };
            return Err(error.hint("unset the variable, or remove the line from the configuration"));
        }
        if let Some(NamedBy::Variable(variable)) = source.named_by {
            return Err(Error::configuration(format!(
                "`{variable}` names the file of `{login}`, which stays"
            ))
            .hint(format!("do without it: `unset {variable}`")));
        }
        let Some(keep) = Keep::open(&self.host, &source.home)? else { return Ok(nothing) };
        if matches!(keep.contents(), Ok(Some(Contents { grant: Some(Grant::ServiceAccount(_)), .. }))) {
            let path = keep.places().home.display();
            return Err(Error::configuration(format!("`{path}` is a key, which stays where it is"))
                .hint(format!("if nothing needs it any more: `rm {}`", word(&path))));
        }
        let revoked = if revoke { self.revoke(&source, &keep).await? } else { false };
        let has_login = matches!(keep.contents(), Ok(Some(_)));
        let has_changed = keep.clear().await?;
        self.host.records.remove_login(&label(&keep));
        // A file of ours that held no login any more goes with what is remembered.
        let (was_signed_in, forgotten) = (has_changed && has_login, has_changed && !has_login);
        Ok(LoggedOut { was_signed_in, revoked, forgotten })
    }

    /// Removes what a logout that was cut short has left of a login; returns whether there was anything.
    async fn clear_what_is_left(&self, cx: &Context<'_>, login: &Login) -> Result<bool> {
        let Some(home) = system::gone(cx, login)? else { return Ok(false) };
        let Some(keep) = Keep::open(&self.host, &home)?.filter(Keep::has_left_anything) else {
            return Ok(false);
        };
        keep.clear().await?;
        if matches!(keep.contents(), Ok(None)) {
            self.host.records.remove_login(&label(&keep));
        }
        Ok(true)
    }

    /// Forgets where the key of a login is. The key belongs to whoever put it there, and need not be
    /// there any more.
    async fn forget_key(&self, cx: &Context<'_>, login: &Login, revoke: bool) -> Result<LoggedOut> {
        if revoke {
            return Err(Error::usage("a key is not revoked by its provider's clients")
                .hint("delete it: https://console.cloud.google.com/iam-admin/serviceaccounts")
                .hint(format!("or forget it here alone: `earthkey logout {login}`")));
        }
        let source = system::resolve(cx, login).await;
        Config::forget(&self.host, login)?;
        if let Ok(source) = source
            && source.named_by == Some(NamedBy::Login)
            && let Some(keep) = Keep::open(&self.host, &source.home)?
        {
            keep.clear().await?;
            self.host.records.remove_login(&label(&keep));
        }
        Ok(LoggedOut { was_signed_in: true, revoked: false, forgotten: false })
    }

    /// Asks the provider to revoke the grant; the login stays if the provider does not.
    async fn revoke(&self, source: &Source, keep: &Keep<'_>) -> Result<bool> {
        // An old copy may have been written back; the newest token is the one that lives.
        let contents = match keep.try_lease()? {
            Some(lease) => match keep.adopt(&lease).await {
                Ok(held) => held.map(|held| held.contents),
                // What it holds is spent, and the newest is not known: there is nothing to revoke.
                Err(error) if error.kind() == ErrorKind::LoginRequired => None,
                Err(error) => return Err(error),
            },
            None => keep.contents()?,
        };
        let grant = contents.and_then(|contents| contents.grant);
        let Some(grant @ Grant::RefreshToken(token)) = &grant else { return Ok(false) };
        let metadata = source.metadata(&self.host).await?;
        let Some(endpoint) = metadata.revocation_endpoint else {
            return Err(Error::configuration(format!("`{}` has no revocation endpoint", source.issuer))
                .hint(format!("end it here alone: `earthkey logout {}`", source.login)));
        };
        using::check_bound(&self.host, source, keep, &endpoint, grant)?;
        let failed = |cause: String| {
            Error::network(format!("`{}` did not revoke the login", source.issuer))
                .caused_by(cause)
                .hint(format!("it is still there; end it here alone: `earthkey logout {}`", source.login))
        };
        let request = source.revocation_request(&endpoint, token);
        let response = self.host.http.send(request).await.map_err(|error| failed(error.to_string()))?;
        revoke::parse(&response).map_err(|error| failed(error.to_string()))?;
        Ok(true)
    }
}
