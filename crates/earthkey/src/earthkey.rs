//! The facade: everything that the command line, Python, agent and broker do with logins.

mod agree;
mod cached;
mod exchanges;
mod logout;
mod served;
mod signing;
mod status;
mod using;

use std::sync::Arc;

use earthkey_record::name::Arguments;
use earthkey_record::name::Form;
use earthkey_record::record::Dependency;
use earthkey_record::record::Expected;
use earthkey_record::record::Record;

pub use self::cached::Cached;
use self::exchanges::Answer;
use self::exchanges::Exchanges;
pub use self::logout::LoggedOut;
use self::served::Account;
use self::served::Served;
pub use self::signing::Begun;
pub use self::signing::SignedIn;
pub use self::status::State;
pub use self::status::Status;
use self::using::Using;
use self::using::access_of;
use self::using::clock;
use self::using::grant_of;
use self::using::label;
use self::using::record_of;
use crate::config::Config;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::host::Host;
use crate::host::Notice;
use crate::host::env::display;
use crate::host::fs::Medium;
use crate::login::Login;
use crate::login::System;
use crate::login::nearest;
use crate::refresh;
use crate::refresh::Access;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::store::Grant;
use crate::store::Keep;
use crate::store::ledger::Binding;
use crate::store::slot::Rotation;
use crate::system;
use crate::system::Checked;
use crate::system::Context;
use crate::system::IssuedTo;
use crate::system::NamedBy;
use crate::system::Source;

/// How often a login is resolved that others replace meanwhile.
const MAX_ROUNDS: usize = 3;

/// The flow of a grant that a variable or the configuration gives.
const GIVEN: &str = "given";

/// What a system is asked with a token.
enum Question {
    DoesItWork { project: Option<String> },
    WhoseIsIt,
}

/// Every login of one person on one host.
pub struct Earthkey {
    host: Host,
    served: Arc<Served>,
    /// Where exchanges run; `None`: in the foreground.
    exchanges: Option<Exchanges>,
}

/// A token, and how it is shown to its system.
#[derive(Clone, Debug)]
pub struct Token {
    /// The login.
    pub login: Login,
    /// The access token.
    pub access: Access,
}

impl Earthkey {
    /// Opens the logins of a host for a program that goes on. Reads nothing yet.
    ///
    /// Everything that waits runs on a thread of its own, so that a future may be dropped at any moment, and
    /// needs no runtime of the caller's. Dropping this waits for a grant that is on its way, and for a refresh
    /// that went on when its caller was served what was at hand, for about a minute at most, on the thread that
    /// drops: drop it where that may be, and hold no lock then that the host's
    /// [`Interaction`](crate::host::Interaction) takes. What ends the process without dropping it, as `exit`,
    /// a signal or a `static` do, may cost the answer; the next one to use the login then sends the same grant
    /// once more.
    ///
    /// The first token of each login is looked up anew, so that it is known whose it is; another account's is
    /// an error from then on.
    pub fn open(host: Host) -> Self {
        let exchanges = Some(Exchanges::new(host.clone()));
        Self { host, served: Arc::default(), exchanges }
    }

    /// Opens the logins of a host for a program that does one thing and ends. Exchanges run where their
    /// future is polled, on tokio; that future must not be dropped before it has ended.
    pub fn in_foreground(host: Host) -> Self {
        Self { host, served: Arc::default(), exchanges: None }
    }

    /// Does what waits for files, for the network or for a person, where exchanges run.
    async fn apart<T, F>(&self, work: impl FnOnce(Self) -> F) -> Result<T>
    where
        T: Clone + Send + Sync + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        match &self.exchanges {
            Some(exchanges) => exchanges.run(|host| work(self.in_place_of_this(host))).await,
            None => work(self.in_place_of_this(self.host.clone())).await,
        }
    }

    /// Returns the host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Returns the login that is meant where none is named: the configured default, else the
    /// only one.
    pub fn default_login(&self) -> Result<Login> {
        let config = Config::load(&self.host)?;
        if let Some(login) = config.default_login()? {
            return Ok(login);
        }
        let logins = self.logins(&config)?;
        match logins.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(Error::usage("there is no login yet")
                .hint("sign in: `earthkey login SYSTEM`; see `earthkey login --help`")),
            several => {
                let list = several.iter().map(|login| format!("`{login}`")).collect::<Vec<_>>().join(", ");
                Err(Error::usage("there is more than one login; name the one you mean")
                    .hint(format!("they are {list}"))
                    .hint("set `default = \"LOGIN\"` in config.toml to have one meant always"))
            }
        }
    }

    /// Returns every login that is found.
    fn logins(&self, config: &Config) -> Result<Vec<Login>> {
        let cx = Context::new(&self.host, config);
        let mut logins = Vec::new();
        for system in System::ALL {
            logins.extend(system::list(&cx, system)?);
        }
        Ok(logins)
    }

    /// Returns where each system's own files lie, by what they are.
    pub fn homes(&self) -> Result<Vec<(String, std::path::PathBuf)>> {
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        system::homes(&cx)
    }

    /// Returns a token of a login, from a record where one holds, refreshed where it is due.
    pub async fn token(&self, login: &Login, want: &Want) -> Result<Token> {
        let answered = self.answer(login, want, Form::Token).await;
        let (access, _) = answered.map_err(|error| self.or_meant(login, error))?;
        Ok(Token { login: login.clone(), access })
    }

    /// Returns the header lines, `Name: value`, that show a token to the system.
    pub async fn header(&self, login: &Login, want: &Want) -> Result<(Token, Vec<String>)> {
        let answered = self.answer(login, want, Form::Header).await;
        let (access, lines) = answered.map_err(|error| self.or_meant(login, error))?;
        Ok((Token { login: login.clone(), access }, lines))
    }

    /// Adds which login may have been meant by a name of which there is none.
    fn or_meant(&self, login: &Login, error: Error) -> Error {
        let Some(name) = login.name.as_ref().filter(|_| error.kind() == ErrorKind::LoginRequired) else {
            return error;
        };
        let logins = Config::load(&self.host).and_then(|config| self.logins(&config)).unwrap_or_default();
        let names = logins.into_iter().filter(|other| other.system == login.system);
        let names = names.filter_map(|other| other.name).filter(|other| other != name);
        match nearest(name, names) {
            Some(meant) => error.hint(format!("or did you mean `{}/{meant}`?", login.system)),
            None => error,
        }
    }

    async fn answer(&self, login: &Login, want: &Want, form: Form) -> Result<Answer> {
        if let Some(answer) = self.recorded(login, want, form) {
            return Ok(answer);
        }
        let answered = match &self.exchanges {
            None => self.obtain(login, want, form).await,
            Some(exchanges) => {
                let asked = format!("{login} {want:?} {form:?}");
                let here = self.in_place_of_this(self.host.clone());
                let (of_login, wanted) = (login.clone(), want.clone());
                let at_hand = move || {
                    here.at_hand(&of_login, &wanted, form).filter(|_| here.served.has_served(&of_login))
                };
                let obtain = |host| {
                    let here = self.in_place_of_this(host);
                    let (login, want) = (login.clone(), want.clone());
                    async move { here.obtain(&login, &want, form).await }
                };
                exchanges.run_for_all(asked, at_hand, obtain).await
            }
        };
        answered.or_else(|error| self.serve_at_hand_despite(error, login, want, form))
    }

    /// Returns a handle that does what this one is asked for on the thread of its exchanges.
    fn in_place_of_this(&self, host: Host) -> Self {
        Self { host, served: self.served.clone(), exchanges: None }
    }

    /// Serves a token that is still valid where another cannot be had: whom to ask may have to be asked, too.
    fn serve_at_hand_despite(&self, error: Error, login: &Login, want: &Want, form: Form) -> Result<Answer> {
        let at_hand = self.at_hand(login, want, form).filter(|_| error.kind() == ErrorKind::Network);
        let Some((access, lines)) = at_hand else { return Err(error) };
        self.host.interaction.tell(&Notice::Warning(&refresh::despite(&error, &access, &self.host)));
        Ok((access, lines))
    }

    async fn obtain(&self, login: &Login, want: &Want, form: Form) -> Result<Answer> {
        if want.audience.is_some() && login.system.is_of_google() {
            return Err(Error::usage("Google's access tokens have no audience")
                .hint(format!("name scopes instead: `earthkey token {login} --scopes S,S`")));
        }
        let mut rounds = 1;
        loop {
            let config = Config::load(&self.host)?;
            let cx = Context::new(&self.host, &config);
            let source = system::resolve(&cx, login).await?;
            let answered = self.answer_by(&cx, &source, want, form).await;
            // Another login may have been put into the home since it was looked at, with another client.
            if answered.is_ok() || rounds == MAX_ROUNDS || !self.has_been_replaced(&source).await {
                return answered;
            }
            rounds += 1;
        }
    }

    async fn answer_by(&self, cx: &Context<'_>, source: &Source, want: &Want, form: Form) -> Result<Answer> {
        let is_header = form == Form::Header;
        // A form that this login does not have must not cost a refresh.
        if is_header && source.bearer == system::Bearer::Unknown {
            return Err(system::openeo::no_back_end(&source.login));
        }
        let keep = self.keep(source).await?;
        // A token that is still good belongs where its grant belongs.
        using::check_issuer(&self.host, source, &keep)?;
        self.check_account(source, &keep, want).await?;
        let using = Using { host: &self.host, source, keep: &keep, want };
        let access = self.token_by(&using).await?;
        // Somebody else may have signed in meanwhile.
        let (grant, account) = self.check_account(source, &keep, want).await?;
        self.served.remember(&source.login, grant, account);
        let lines = if is_header { header_lines(source, &access)? } else { Vec::new() };
        if is_header {
            self.tell_project(source);
        }
        self.remember(cx, form, &using, &access, &lines);
        Ok((access, lines))
    }

    /// Refuses a login of another account than is meant; returns its grant and its account.
    async fn check_account(
        &self,
        source: &Source,
        keep: &Keep<'_>,
        want: &Want,
    ) -> Result<([u8; 16], Account)> {
        let contents = match keep.contents() {
            Ok(Some(contents)) => contents,
            // Torn or away, it may be there again at the next look; a damaged home is others' to tell.
            _ => keep.settled().await.ok().flatten().unwrap_or_default(),
        };
        let entries = keep.ledger()?.entries;
        let identity = entries.identity_of(contents.fingerprint());
        let account = Account::of(&contents, identity, source.account.as_ref());
        self.served.check(&source.login, want, &account)?;
        Ok((grant_of(&contents), account))
    }

    /// Says where the project of a header is from, or that there is none where one is wanted.
    fn tell_project(&self, source: &Source) {
        let interaction = &self.host.interaction;
        match (&source.quota_project, &source.project_from) {
            (Some(project), Some(place)) => {
                interaction.tell(&Notice::Story(&format!("the project `{project}` is named by {place}")));
            }
            (None, _) if source.login.system == System::Earthengine => {
                interaction.tell(&Notice::Warning(&format!(
                    "Earth Engine wants a project, and none is known; {}",
                    system::earthengine::keep_one(&source.login)
                )));
            }
            _ => {}
        }
    }

    /// Returns whether the home says another client or endpoint by now than it did when it was resolved.
    async fn has_been_replaced(&self, before: &Source) -> bool {
        let Ok(config) = Config::load(&self.host) else { return false };
        let cx = Context::new(&self.host, &config);
        let now = system::resolve(&cx, &before.login).await;
        let is_of_home = before.issued_to != IssuedTo::Elsewhere;
        now.is_ok_and(|now| is_of_home && now.issued_to != before.issued_to)
    }

    /// Answers from a record, if one holds and is fresh enough.
    fn recorded(&self, login: &Login, want: &Want, form: Form) -> Option<Answer> {
        self.at_hand(login, want, form).filter(|(access, _)| self.is_fresh(access, want))
    }

    /// Returns whether a token that is still valid need not be refreshed yet.
    fn is_fresh(&self, access: &Access, want: &Want) -> bool {
        let now = self.host.clock.now();
        now < access.early_at && access.expires_at.saturating_sub(now) >= want.min_ttl
    }

    /// Returns what a record that holds says, though it may be due to be refreshed.
    fn at_hand(&self, login: &Login, want: &Want, form: Form) -> Option<Answer> {
        if want.force {
            return None;
        }
        let (name, scopes) = (login.to_string(), using::scopes_of(want));
        let audience = want.audience.as_deref();
        let arguments = Arguments { login: Some(&name), scopes: &scopes, audience, form };
        let clock = clock(&self.host);
        let record = self.host.records.find(&arguments, self.host.env.environment(), &clock)?;
        // Who goes on has to know whose token it is; the first answer is looked up for that.
        let is_to_be_known = self.exchanges.is_some() && !self.served.has_served(login);
        if is_to_be_known || !self.served.may_have(login, want, record.grant) {
            return None;
        }
        let access = access_of(&record);
        let lines = record.headers.iter().map(|line| line.expose().to_owned()).collect();
        let is_rejected = want.reject.is_some_and(|rejected| access.token.fingerprint() == rejected);
        (!is_rejected).then_some((access, lines))
    }

    /// Keeps the answer under the arguments that asked for it, with everything it depends on.
    fn remember(&self, cx: &Context<'_>, form: Form, using: &Using<'_>, access: &Access, lines: &[String]) {
        let (source, keep) = (using.source, using.keep);
        // The home may have been written since it was resolved; what it holds now must be what the
        // token was obtained with.
        let Ok(reading) = keep.read() else { return };
        let (Ok(Some(contents)), Some(file)) = (reading.slot, reading.file) else { return };
        if using.at_hand(&contents).is_none_or(|held| held.token != access.token) {
            return;
        }
        // What a file says besides its grant, as the project of a header, is as it was resolved.
        if source.home.rotation == Rotation::Never && cx.has_read(&source.home.path, &file) == Some(false) {
            return;
        }
        let Some(digest) = self.host.records.digest(&file) else { return };
        let home = &keep.places().home;
        let Some(mut dependencies) = cx.dependencies() else { return };
        dependencies.retain(|dependency| dependency.path != source.home.path && dependency.path != *home);
        dependencies.push(Dependency { path: source.home.path.clone(), expected: Expected::File(digest) });
        dependencies.push(Dependency { path: keep.places().ledger.clone(), expected: Expected::Ledger });
        let record = Record {
            headers: lines.iter().map(earthkey_record::secret::Secret::new).collect(),
            dependencies,
            ..record_of(access, &label(keep), grant_of(&contents))
        };
        let (name, scopes) = (source.login.to_string(), using::scopes_of(using.want));
        let audience = using.want.audience.as_deref();
        let arguments = Arguments { login: Some(&name), scopes: &scopes, audience, form };
        self.host.records.write(&arguments, self.host.env.environment(), record);
    }

    /// Opens the home of a login; what was given is put there when it is used first.
    async fn keep<'k>(&'k self, source: &'k Source) -> Result<Keep<'k>> {
        self.open_home(source).await.map_err(|error| match source.named_by {
            Some(NamedBy::Variable(variable)) => error.hint(NamedBy::or_without(variable)),
            _ => error,
        })
    }

    async fn open_home<'k>(&'k self, source: &'k Source) -> Result<Keep<'k>> {
        let missing = || {
            let place = display(&source.home.path, &self.host.env);
            Error::login_required(format!("`{}` is not signed in", source.login))
                .with_credential(format!("none: there is no {place}"))
                .hint(format!("sign in: `{}`", system::first_login(&source.login)))
        };
        if source.given.is_some() {
            let keep = Keep::create(&self.host, &source.home)?;
            if keep.contents()?.is_none() {
                self.warn_of_ephemeral(source, &keep);
                self.put_given(source, &keep).await?;
                self.host.interaction.tell(&Notice::Line(&format!(
                    "the grant of `{}` is given by a variable or the configuration; what the provider \
                     replaces it with is kept in {}",
                    source.login,
                    display(&source.home.path, &self.host.env)
                )));
            }
            return Ok(keep);
        }
        let keep = Keep::open(&self.host, &source.home)?.ok_or_else(missing)?;
        let is_signed_in = matches!(keep.read()?.slot, Ok(Some(_))) || keep.settled().await?.is_some();
        if is_signed_in { Ok(keep) } else { Err(missing()) }
    }

    /// Says before the first use of a given grant that its successor will not last.
    fn warn_of_ephemeral(&self, source: &Source, keep: &Keep<'_>) {
        let directory = &keep.places().directory;
        let may_rotate = source.home.rotation == Rotation::Possible
            && source.given.as_ref().is_some_and(|given| given.refresh_token().is_some());
        if may_rotate && self.host.fs.medium(directory).is_ok_and(|medium| medium == Medium::Ephemeral) {
            self.host.interaction.tell(&Notice::Warning(&format!(
                "what replaces the given refresh token of `{}` is kept in {}, which is gone with this machine \
                 or container; the given one may be worth nothing then. Let `EARTHKEY_HOME` name a folder \
                 that lasts, or give a grant that is not replaced",
                source.login,
                display(directory, &self.host.env)
            )));
        }
    }

    /// Puts what is given into a home of its own, where its successors are kept. Whose it is is seen by who
    /// accepts it.
    async fn put_given(&self, source: &Source, keep: &Keep<'_>) -> Result<()> {
        let Some(given) = &source.given else { return Ok(()) };
        let binding = Binding {
            client_id: source.client.id.clone(),
            flow: GIVEN.into(),
            granted_at: self.host.clock.now(),
            ..Binding::default()
        };
        keep.put(given, binding).await.map(drop)
    }

    /// Obtains a token. A given grant is bound to whoever answers it first.
    async fn token_by(&self, using: &Using<'_>) -> Result<Access> {
        let Using { source, keep, want, .. } = using;
        let access = refresh::token(&self.host, keep, using, want).await?;
        if source.given.is_some()
            && let Err(error) = self.bind_given(source, keep).await
        {
            // The token is good all the same; the next caller binds.
            self.host.interaction.tell(&Notice::Story(&error.to_string()));
        }
        Ok(access)
    }

    async fn bind_given(&self, source: &Source, keep: &Keep<'_>) -> Result<()> {
        let binding = keep.ledger()?.entries.binding;
        if binding.is_some_and(|binding| binding.origin.is_empty())
            && let Some(endpoint) = source.metadata(&self.host).await?.token_endpoint
        {
            keep.bind(&source.issuer, &endpoint.origin().ascii_serialization()).await?;
        }
        Ok(())
    }

    /// Calls a real endpoint of the system with a token. A client that signs in for itself is
    /// nobody whom a provider could describe; there the token endpoint is the one that is called.
    pub async fn check(&self, login: &Login, project: Option<&str>) -> Result<Checked> {
        system::refuse_project(login, project)?;
        let question = Question::DoesItWork { project: project.map(str::to_owned) };
        self.ask(login, question).await.map_err(|error| self.or_meant(login, error))
    }

    async fn ask(&self, login: &Login, question: Question) -> Result<Checked> {
        let login = login.clone();
        self.apart(|here| async move { here.ask_here(&login, question).await }).await
    }

    async fn ask_here(&self, login: &Login, question: Question) -> Result<Checked> {
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        let source = system::resolve(&cx, login).await?;
        let keep = self.keep(&source).await?;
        using::check_issuer(&self.host, &source, &keep)?;
        self.check_account(&source, &keep, &Want::default()).await?;
        let grant = keep.contents()?.and_then(|contents| contents.grant);
        let force = matches!(grant, Some(Grant::ClientCredentials(_))) && login.system == System::Oidc;
        let want = Want { force, insists: true, ..Want::default() };
        let using = Using { host: &self.host, source: &source, keep: &keep, want: &want };
        let access = self.token_by(&using).await?;
        if force {
            let endpoint = source.metadata(&self.host).await?.token_endpoint;
            return Ok(Checked {
                account: Some(source.client.id.clone()),
                called: endpoint.map_or_else(String::new, |endpoint| endpoint.to_string()),
                found: None,
            });
        }
        if let Question::DoesItWork { project: None } = question
            && source.quota_project.is_some()
        {
            self.tell_project(&source);
        }
        let answer = match question {
            Question::DoesItWork { project } => {
                system::check(&cx, &source, &access, project.as_deref()).await
            }
            Question::WhoseIsIt => system::whose(&cx, &source, &access).await,
        };
        answer.map_err(|error| {
            error.with_credential(format!("`{login}` from {}", display(&source.home.path, &self.host.env)))
        })
    }

    /// Returns whose login it is: as recorded at sign-in, else as the system says.
    pub async fn whoami(&self, login: &Login) -> Result<String> {
        let login = login.clone();
        self.apart(|here| async move { here.whose(&login).await }).await
    }

    async fn whose(&self, login: &Login) -> Result<String> {
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        let source = system::resolve(&cx, login).await?;
        let keep = self.keep(&source).await?;
        let grant = keep.contents()?.and_then(|contents| contents.fingerprint());
        let entries = keep.ledger()?.entries;
        let recorded = entries.identity_of(grant).and_then(|binding| binding.account.clone());
        if let Some(account) = recorded.or(source.account) {
            return Ok(account);
        }
        let checked = self.ask_here(login, Question::WhoseIsIt).await?;
        checked.account.ok_or_else(|| {
            Error::refused(format!("`{}` does not say whose token it is", checked.called))
                .hint(format!("see what is known of it: `earthkey status {login}`"))
        })
    }
}

fn header_lines(source: &Source, access: &Access) -> Result<Vec<String>> {
    let lines = source.header(&access.token)?;
    Ok(lines.into_iter().map(|(name, value)| format!("{name}: {value}")).collect())
}

#[cfg(test)]
mod tests;
