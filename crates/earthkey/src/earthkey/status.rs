//! Every login at a glance. No network, nothing refreshed, nothing waited for.

use std::fmt;

use earthkey_record::ledger;

use super::Earthkey;
use super::using::Using;
use crate::config::Config;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::flow::Flow;
use crate::login::Login;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::refresh::decide::Moment;
use crate::refresh::decide::is_valid;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Keep;
use crate::store::ledger::Binding;
use crate::store::ledger::Entries;
use crate::store::ledger::OutcomeKind;
use crate::store::slot::Damage;
use crate::system;
use crate::system::Context;

/// How one login stands. Times in Unix seconds; what is not known is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The login.
    pub login: Login,
    /// How it stands.
    pub state: State,
    /// Why it stands so, where there is something to say.
    pub reason: Option<String>,
    /// The account.
    pub account: Option<String>,
    /// The home.
    pub home: Option<std::path::PathBuf>,
    /// How the grant was obtained.
    pub flow: Option<String>,
    /// The scopes.
    pub scopes: Option<Vec<String>>,
    /// When the access token at hand ends.
    pub expires_at: Option<u64>,
    /// How old the grant is, in seconds.
    pub grant_age: Option<u64>,
    /// The project that its requests are counted for.
    pub project: Option<String>,
    /// Where that project is from.
    pub project_from: Option<String>,
}

/// How a login stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a live access token.
    Valid,
    /// There is a usable grant, and its last access token has ended.
    Expired,
    /// There is a usable grant, and no access token was fetched with it yet.
    Ready,
    /// A person has to sign in.
    LoginRequired,
    /// The provider refused, and is not asked again yet.
    Refused,
    /// The home holds what nobody can make sense of.
    Damaged,
    /// What it takes to know more cannot be read: permissions, a variable that leads nowhere.
    Unreadable,
}

impl State {
    /// Returns the name that `status` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Ready => "ready",
            Self::LoginRequired => "login_required",
            Self::Refused => "refused",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }

    /// Returns the kind of error that this state is, if it is one.
    pub fn error_kind(self) -> Option<ErrorKind> {
        match self {
            Self::Valid | Self::Expired | Self::Ready => None,
            Self::LoginRequired => Some(ErrorKind::LoginRequired),
            Self::Refused => Some(ErrorKind::Refused),
            Self::Damaged | Self::Unreadable => Some(ErrorKind::Store),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Earthkey {
    /// Returns how every login stands.
    pub async fn status_of_all(&self) -> Result<Vec<Status>> {
        self.apart(|here| async move { here.look_at_all().await }).await
    }

    async fn look_at_all(&self) -> Result<Vec<Status>> {
        let config = Config::load(&self.host)?;
        // Where every system is led astray there is one fault, and not one of each.
        Context::new(&self.host, &config).sandbox()?;
        let mut all = Vec::new();
        for system in crate::login::System::ALL {
            let cx = Context::new(&self.host, &config);
            match system::list(&cx, system) {
                Ok(logins) => {
                    for login in logins {
                        // One login that cannot be looked at must not hide the others.
                        let status = self.look_at(&login).await;
                        all.push(status.unwrap_or_else(|error| broken(&login, &error, None)));
                    }
                }
                // One file that cannot be read must not hide the other logins.
                Err(error) if error.kind() != ErrorKind::Internal => {
                    all.push(broken(&Login::of(system), &error, None));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Returns how a login stands.
    pub async fn status(&self, login: &Login) -> Result<Status> {
        let login = login.clone();
        self.apart(|here| async move { here.look_at(&login).await }).await
    }

    async fn look_at(&self, login: &Login) -> Result<Status> {
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        let source = match system::resolve(&cx, login).await {
            Ok(source) => source,
            Err(error) if error.kind() == ErrorKind::LoginRequired => {
                let reason = error.hints().first().cloned();
                return Ok(Status { state: State::LoginRequired, reason, ..broken(login, &error, None) });
            }
            Err(error) if error.kind() == ErrorKind::Store => return Ok(broken(login, &error, None)),
            Err(error) => return Err(error),
        };
        let nothing = Status {
            login: login.clone(),
            state: State::LoginRequired,
            reason: Some(format!("sign in: `{}`", system::first_login(login))),
            account: None,
            home: Some(source.home.path.clone()),
            flow: None,
            scopes: None,
            expires_at: None,
            grant_age: None,
            project: source.quota_project.clone(),
            project_from: source.project_from.clone(),
        };
        let keep = match Keep::open(&self.host, &source.home) {
            Ok(Some(keep)) => keep,
            Ok(None) => return Ok(nothing),
            Err(error) => return Ok(broken(login, &error, nothing.home)),
        };
        let reading = match keep.read() {
            Ok(reading) => reading,
            Err(error) => return Ok(broken(login, &error, nothing.home)),
        };
        let contents = match keep.sound(reading.slot) {
            Ok(Some(contents)) => contents,
            Ok(None) => match source.given.clone() {
                Some(given) => given,
                None => return Ok(nothing),
            },
            Err(error) => return Ok(broken(login, &error, nothing.home)),
        };
        let want = Want::default();
        let using = Using { host: &self.host, source: &source, keep: &keep, want: &want };
        let now = self.host.clock.now();
        let moment = Moment {
            now,
            boot_id: self.host.clock.boot_id(),
            since_boot: self.host.clock.since_boot().as_secs(),
        };
        let last = using.at_hand(&contents);
        let has_fetched = last.is_some() || has_fetched(&reading.ledger.entries, &contents);
        let access = last.filter(|access| is_valid(&moment, access));
        let entries = reading.ledger.entries;
        let refusal = contents.grant.as_ref().and_then(|grant: &Grant| {
            entries.refusal(&using.refusal_key(grant)).filter(|refusal| now < refusal.until)
        });
        let is_spent = contents.fingerprint().is_some_and(|found| entries.is_spent(found));
        let is_replaced = is_spent && entries.newest().is_none();
        let state = match (&access, refusal, &contents.grant) {
            (Some(_), _, _) => State::Valid,
            (None, _, Some(_)) if is_replaced => State::LoginRequired,
            (None, Some(_), _) => State::Refused,
            (None, None, Some(_)) if has_fetched => State::Expired,
            (None, None, Some(_)) => State::Ready,
            (None, None, None) => State::LoginRequired,
        };
        let refused =
            refusal.map(|refusal| refusal.description.clone().unwrap_or_else(|| refusal.error.clone()));
        let by = if entries.has_answer_apart() { " by one of another account" } else { "" };
        let replaced = is_replaced.then(|| format!("its refresh token was replaced{by}; sign in anew"));
        let reason = refused.or(replaced).or_else(|| pending(reading.ledger.state, &entries));
        let binding = entries.binding_of(contents.fingerprint()).cloned().unwrap_or_default();
        let known = |text: String| Some(text).filter(|text| !text.is_empty());
        let Binding { flow, scopes, granted_at, .. } = binding;
        let account =
            entries.identity_of(contents.fingerprint()).and_then(|identity| identity.account.clone());
        let scopes = Some(scopes).filter(|scopes| !scopes.is_empty()).or_else(|| {
            access.as_ref().map(|access| access.scopes.clone()).filter(|scopes| !scopes.is_empty())
        });
        let is_by_key = matches!(contents.grant, Some(Grant::ServiceAccount(_)));
        let by_key = || is_by_key.then(|| Flow::ServiceAccount.name().to_owned());
        Ok(Status {
            state,
            reason,
            account: account.or(source.account),
            flow: known(flow).or_else(by_key),
            scopes,
            expires_at: access.map(|access| access.expires_at),
            grant_age: (granted_at > 0).then(|| now.saturating_sub(granted_at)),
            ..nothing
        })
    }
}

/// Returns whether an access token was ever fetched with a grant, as far as the ledger tells: what is kept
/// of one that has ended may be gone.
fn has_fetched(entries: &Entries, contents: &Contents) -> bool {
    let is_granted_here =
        entries.binding_of(contents.fingerprint()).is_some_and(|binding| binding.granted_at > 0);
    is_granted_here || entries.outcome.as_ref().is_some_and(|outcome| outcome.kind == OutcomeKind::Landed)
}

/// Says what an attempt left that ended early; the next use of the login takes care of it.
fn pending(state: ledger::State, entries: &Entries) -> Option<String> {
    match (state, &entries.outcome) {
        (ledger::State::Answered, _) => Some("an answer of the provider waits to be put in its place".into()),
        (ledger::State::Intent, Some(outcome)) => Some(outcome.message.clone()),
        (ledger::State::Intent, None) => Some("a refresh is under way, or was cut short".into()),
        _ => None,
    }
}

fn broken(login: &Login, error: &Error, home: Option<std::path::PathBuf>) -> Status {
    let reason = match (error.causes().first(), &home) {
        // That the home is damaged stands in the row already; why is the cause.
        (Some(cause), Some(_)) => cause.clone(),
        (Some(cause), None) => format!("{error}: {cause}"),
        (None, _) => error.to_string(),
    };
    Status {
        login: login.clone(),
        state: if error.is_caused_by::<Damage>() { State::Damaged } else { State::Unreadable },
        reason: Some(reason),
        account: None,
        home,
        flow: None,
        scopes: None,
        expires_at: None,
        grant_age: None,
        project: None,
        project_from: None,
    }
}
