//! Whose token each login was that this handle has served: a program that goes on must not find itself
//! with another account's token because somebody signed in anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::error::Error;
use crate::error::Result;
use crate::error::printable;
use crate::login::Login;
use crate::oauth::jose;
use crate::refresh::Want;
use crate::secret::AccessToken;
use crate::secret::IdToken;
use crate::store::Contents;
use crate::store::ledger::Binding;

/// What was served last, by login.
#[derive(Default)]
pub(super) struct Served {
    last: Mutex<BTreeMap<String, Last>>,
}

struct Last {
    grant: [u8; 16],
    account: Account,
}

/// Whose a grant is, as far as that is known without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    /// Its `sub`.
    subject: Option<String>,
    /// What people know it by.
    name: Option<String>,
}

impl Account {
    /// Returns whose the contents of a home are: as recorded of this very grant, else as the tokens in the
    /// home say. Nobody else's word is at hand, and nothing is granted by it: it can only be refused.
    pub(super) fn of(contents: &Contents, identity: Option<&Binding>, name: Option<&String>) -> Self {
        let id_token = contents.id_token.as_ref().map(IdToken::expose);
        let access_token = contents.access_token.as_ref().map(AccessToken::expose);
        let claimed = || [id_token, access_token].into_iter().flatten().find_map(jose::peek_subject);
        Self {
            subject: identity.and_then(|identity| identity.subject.clone()).or_else(claimed),
            name: identity.and_then(|identity| identity.account.clone()).or_else(|| name.cloned()),
        }
    }

    fn is(&self, wanted: &str) -> bool {
        [&self.subject, &self.name].into_iter().flatten().any(|known| known == wanted)
    }

    /// Returns whether this is known to be somebody else.
    fn differs_from(&self, other: &Self) -> bool {
        let differ = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
        match (&self.subject, &other.subject) {
            (Some(own), Some(others)) => own != others,
            _ => differ(&self.name, &other.name),
        }
    }

    fn is_known(&self) -> bool {
        self.subject.is_some() || self.name.is_some()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_ref().or(self.subject.as_ref()) {
            Some(known) => write!(f, "`{}`", printable(known, 100)),
            None => f.write_str("an unknown account"),
        }
    }
}

impl Served {
    /// Returns whether a record may be of the account that is meant; otherwise the home is looked at.
    pub(super) fn may_have(&self, login: &Login, want: &Want, grant: [u8; 16]) -> bool {
        match (&want.account, self.last().get(&login.to_string())) {
            (Some(wanted), Some(last)) => last.grant == grant && last.account.is(wanted),
            (Some(_), None) => false,
            (None, Some(last)) => last.grant == grant || !last.account.is_known(),
            (None, None) => true,
        }
    }

    /// Refuses another account than the caller named, or than this handle has served before.
    pub(super) fn check(&self, login: &Login, want: &Want, account: &Account) -> Result<()> {
        if let Some(wanted) = want.account.as_ref().filter(|wanted| !account.is(wanted)) {
            let wanted = printable(wanted, 100);
            if !account.is_known() {
                return Err(Error::login_required(format!("it is not known whose login `{login}` is"))
                    .hint(format!("sign in as `{wanted}`, so that it is: `earthkey login {login}`")));
            }
            return Err(Error::login_required(format!(
                "`{login}` is the login of {account}, not of `{wanted}`"
            ))
            .hint(format!("sign in as `{wanted}`: `earthkey login {login}`")));
        }
        match self.last().get(&login.to_string()) {
            Some(last) if account.differs_from(&last.account) => {
                let before = &last.account;
                Err(Error::login_required(format!(
                    "`{login}` was the login of {before} and is that of {account} now"
                ))
                .hint(format!("sign in as {before}: `earthkey login {login}`"))
                .hint(format!("or start this program anew, to go on as {account}")))
            }
            _ => Ok(()),
        }
    }

    /// Returns whether a login was served before.
    pub(super) fn has_served(&self, login: &Login) -> bool {
        self.last().contains_key(&login.to_string())
    }

    /// Remembers what was served. What is not known of an account any more is believed to be as it was.
    pub(super) fn remember(&self, login: &Login, grant: [u8; 16], account: Account) {
        let mut last = self.last();
        let before = last.remove(&login.to_string()).map(|last| last.account).unwrap_or_default();
        // Another program's refresh leaves the subject, and nobody who says what people call it.
        let is_same = account.subject.is_some() && account.subject == before.subject;
        let account = match account {
            Account { subject, name: None } if is_same => Account { subject, name: before.name },
            account if account.is_known() => account,
            _ => before,
        };
        last.insert(login.to_string(), Last { grant, account });
    }

    fn last(&self) -> MutexGuard<'_, BTreeMap<String, Last>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
