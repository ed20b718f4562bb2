//! Signing in: flow, account, home.

use earthkey_record::ledger::State;
use url::Url;
use zeroize::Zeroizing;

use super::Earthkey;
use super::using;
use super::using::Using;
use crate::config::Config;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::error::Result;
use crate::flow;
use crate::flow::Flow;
use crate::flow::Plan;
use crate::flow::loopback::Attempt;
use crate::flow::loopback::Listener;
use crate::flow::loopback::Returned;
use crate::flow::paste;
use crate::flow::pending;
use crate::flow::pending::Asked;
use crate::host::Notice;
use crate::host::env::display;
use crate::login::Login;
use crate::oauth::id_token::Claims;
use crate::oauth::jose;
use crate::oauth::token::TokenResponse;
use crate::oauth::token::code_request;
use crate::refresh;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::secret::AuthorizationCode;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Keep;
use crate::store::keep::Held;
use crate::store::ledger::Binding;
use crate::store::slot::Rotation;
use crate::system;
use crate::system::Context;
use crate::system::LoginOptions;
use crate::system::NamedBy;
use crate::system::QuotaProject;
use crate::system::Signing;
use crate::system::Source;

/// What a login led to.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// The login.
    pub login: Login,
    /// The account, where the provider says.
    pub account: Option<String>,
    /// The flow.
    pub flow: String,
    /// The home, as shown to people.
    pub home: String,
    /// The scopes that were granted.
    pub scopes: Vec<String>,
    /// When the access token ends, in Unix seconds.
    pub expires_at: u64,
    /// Whether new access tokens can be obtained without a person.
    pub refreshable: bool,
    /// What else a person should know.
    pub remark: Option<String>,
}

/// A sign-in that waits for its end.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The page to visit.
    pub url: Url,
    /// The command that ends it.
    pub finish: String,
}

/// What a flow yielded.
struct Granted {
    response: TokenResponse,
    claims: Option<Claims>,
}

impl Earthkey {
    /// Signs in.
    pub async fn login(&self, login: &Login, options: &LoginOptions) -> Result<SignedIn> {
        let (login, options) = (login.clone(), options.clone());
        self.apart(|here| async move { here.sign_in(&login, &options).await }).await
    }

    async fn sign_in(&self, login: &Login, options: &LoginOptions) -> Result<SignedIn> {
        if let Some(flow) = options.flow {
            check_attended(login, flow, options)?;
        }
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        let signing = system::plan(&cx, login, options).await?;
        check_attended(login, signing.flow, options)?;
        if signing.source.given.is_some() && signing.flow != Flow::ClientCredentials {
            return Err(Error::configuration(format!(
                "`{login}` is given by a variable or the configuration, which would hide a login"
            ))
            .hint("unset the variable, or remove the line from the configuration, then sign in"));
        }
        refuse_hidden(&signing)?;
        if signing.flow == Flow::Refresh {
            return Box::pin(self.login_with_token(signing, options)).await;
        }
        if signing.flow == Flow::ServiceAccount {
            return Box::pin(self.login_with_key(&cx, &signing, options)).await;
        }
        // Whoever cannot keep a grant need not ask a person for one.
        let keep = self.prepare(&signing.source, options.force).await?;
        let plan = &signing.plan;
        let granted = match signing.flow {
            Flow::Loopback(port) => {
                let returned =
                    flow::loopback::run(&self.host, plan, Listener::bind(port, plan.redirect.port).await?)
                        .await?;
                let ended = self.keep_returned(&signing, &keep, &returned, options).await;
                // The browser is not left with a page that cannot be opened, however this ended.
                returned.last_page().await;
                return ended;
            }
            Flow::Paste => {
                let attempt = paste::attempt(&self.host, plan);
                let code = paste::ask(&self.host, plan, &attempt).await?;
                self.redeem_code(plan, &code, &attempt).await?
            }
            Flow::Device => {
                let keys = flow::id::keys(&self.host, plan).await?;
                let response = flow::device::run(&self.host, plan).await?;
                let claims = flow::id::check(&self.host, plan, keys.as_ref(), &response, None)?;
                Granted { response, claims }
            }
            Flow::ClientCredentials => {
                if plan.client.secret().is_none() {
                    return Err(Error::usage("the flow `client-credentials` needs the client's secret")
                        .hint(format!(
                            "earthkey login {login} --flow client-credentials --client-id ID --client-secret-stdin <FILE"
                        )));
                }
                let response = flow::client_credentials::run(&self.host, plan).await?;
                Granted { response, claims: None }
            }
            Flow::Basic => {
                let endpoint = plan.endpoint(plan.metadata.token_endpoint.as_ref(), "token endpoint")?;
                let grant = own_grant(&signing, options)
                    .ok_or_else(|| Error::internal("a name and a password were asked for"))?;
                let now = self.host.clock.now();
                let request = signing.source.token_request(endpoint, &grant, None, None, now)?;
                let response = flow::basic::run(&self.host, plan, request).await?;
                Granted { response, claims: None }
            }
            Flow::Refresh | Flow::ServiceAccount => {
                return Err(Error::internal("what needs no answer of a person is handled above"));
            }
        };
        self.keep_granted(&signing, &keep, granted, options).await
    }

    /// Begins a sign-in that [`Earthkey::finish_login`] ends, maybe in another process.
    pub async fn begin_login(&self, login: &Login, options: &LoginOptions) -> Result<Begun> {
        let (login, options) = (login.clone(), options.clone());
        self.apart(|here| async move { here.begin(&login, &options).await }).await
    }

    async fn begin(&self, login: &Login, options: &LoginOptions) -> Result<Begun> {
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        let signing = system::plan(&cx, login, options).await?;
        refuse_hidden(&signing)?;
        if !matches!(signing.flow, Flow::Loopback(_) | Flow::Paste) {
            return Err(Error::usage(format!("the flow `{}` has no page to print", signing.flow.name()))
                .hint(format!("sign in without `--quiet`: `{}`", signing.plan.again)));
        }
        let attempt = paste::attempt(&self.host, &signing.plan);
        let asked = Asked {
            url: signing.profile.url.clone(),
            issuer: Some(signing.plan.metadata.issuer.clone()),
            client_id: Some(signing.plan.client.id.clone()),
            provider: options.provider.clone(),
            scopes: Some(signing.plan.scopes.clone()),
            scopes_are_named: options.scopes.is_some(),
            audience: options.audience.clone(),
            client_id_file: options.client_id_file.clone(),
            project: options.project.clone(),
            quota_project: options.quota_project.clone().into(),
            force: options.force,
            again: format!("{} --quiet", signing.plan.again),
        };
        pending::keep(&self.host, login, &attempt, &asked)?;
        Ok(Begun { url: attempt.url(&signing.plan)?, finish: format!("earthkey login {login} --finish") })
    }

    /// Ends a sign-in that [`Earthkey::begin_login`] began, with what the browser ended at.
    pub async fn finish_login(&self, login: &Login, pasted: &str, options: LoginOptions) -> Result<SignedIn> {
        let (login, pasted) = (login.clone(), Zeroizing::new(pasted.to_owned()));
        self.apart(|here| async move { here.finish(&login, &pasted, options).await }).await
    }

    async fn finish(&self, login: &Login, pasted: &str, options: LoginOptions) -> Result<SignedIn> {
        let (waiting, asked) = pending::look(&self.host, login)?;
        let options = LoginOptions {
            url: asked.url.clone().or(options.url),
            client_id: asked.client_id.clone(),
            provider: asked.provider.clone(),
            scopes: asked.scopes.clone(),
            audience: asked.audience.clone(),
            client_id_file: asked.client_id_file.clone(),
            project: options.project.or(asked.project.clone()),
            quota_project: match options.quota_project {
                QuotaProject::Keep => asked.quota_project.clone().into(),
                decided => decided,
            },
            force: options.force || asked.force,
            flow: Some(Flow::Paste),
            ..options
        };
        let config = Config::load(&self.host)?;
        let cx = Context::new(&self.host, &config);
        let mut signing = system::plan(&cx, login, &options).await?;
        // Planned is what the page asks for; agreed to is only what the person named.
        let scopes = options.scopes.filter(|_| asked.scopes_are_named);
        let options = LoginOptions { scopes, ..options };
        signing.plan.again.clone_from(&asked.again);
        refuse_hidden(&signing)?;
        let issuer = &signing.plan.metadata.issuer;
        if asked.issuer.as_ref() != Some(issuer) {
            return Err(Error::configuration(format!(
                "`{login}` leads to `{issuer}` now, and the page was another's"
            ))
            .hint(format!("begin anew: `{}`", asked.again)));
        }
        let keep = self.prepare(&signing.source, options.force).await?;
        // What cannot be an answer costs nothing; only what can be one ends the attempt.
        paste::code_of(&signing.plan, &waiting, pasted).map_err(|error| match error.kind() {
            ErrorKind::Usage => {
                error.hint(format!("the sign-in still waits: `earthkey login {login} --finish <FILE`"))
            }
            _ => error,
        })?;
        let (attempt, _) = pending::take(&self.host, login)?;
        let code = paste::code_of(&signing.plan, &attempt, pasted)?;
        let granted = self.redeem_code(&signing.plan, &code, &attempt).await?;
        self.keep_granted(&signing, &keep, granted, &options).await
    }

    /// Proves a refresh token by using it, in a home of its own until it is proven: a token that
    /// does not work must not cost the login that is there.
    async fn login_with_token(&self, signing: Signing, options: &LoginOptions) -> Result<SignedIn> {
        let token = options.refresh_token.clone().ok_or_else(|| {
            Error::usage("the flow `refresh` needs a refresh token on standard input")
                .hint(format!("earthkey login {} --flow refresh <FILE", signing.source.login))
        })?;
        let keep = self.prepare(&signing.source, options.force).await?;
        let given = Contents { grant: Some(Grant::RefreshToken(token.clone())), ..Contents::default() };
        let place = self.host.env.state_directory()?.join("given");
        let proof = Source {
            home: crate::store::Home {
                path: place.join(format!("proof-{}.json", token.fingerprint())),
                ..signing.source.home.clone()
            },
            given: Some(given),
            ..signing.source.clone()
        };
        let proof_keep = Keep::create(&self.host, &proof.home)?;
        if proof_keep.contents()?.is_none() {
            self.put_given(&proof, &proof_keep).await?;
        }
        let want = Want { force: true, ..Want::default() };
        let using = Using { host: &self.host, source: &proof, keep: &proof_keep, want: &want };
        let proven = refresh::token(&self.host, &proof_keep, &using, &want).await;
        let access = match proven {
            Ok(access) => access,
            Err(error) => {
                // What was refused or never sent is worth nothing here; whatever else went wrong, a
                // successor may have to be picked up.
                let is_spare = proof.home.rotation == Rotation::Never
                    || error.kind() == ErrorKind::Refused
                    || is_unsent(&proof_keep, &token);
                if is_spare {
                    proof_keep.clear().await?;
                }
                return Err(error);
            }
        };
        let contents = proof_keep.contents()?.ok_or_else(|| Error::internal("a proven login is gone"))?;
        let refresh_token = match &contents.grant {
            Some(Grant::RefreshToken(token)) => Some(token.clone()),
            _ => None,
        };
        let response = TokenResponse {
            expires_in: Some(access.expires_at.saturating_sub(self.host.clock.now())),
            token_type: access.token_type,
            access_token: access.token,
            refresh_token,
            id_token: contents.id_token,
            scopes: Some(access.scopes),
        };
        let granted = Granted { response, claims: None };
        let signed_in = self.keep_granted(&signing, &keep, granted, options).await;
        // The token is as good as before where none replaces it; else its successor may be here alone.
        if signed_in.is_ok() || proof.home.rotation == Rotation::Never {
            proof_keep.clear().await?;
        }
        signed_in
    }

    /// Proves a key by signing with it, and remembers where it is. The file stays as it is.
    async fn login_with_key(
        &self,
        cx: &Context<'_>,
        signing: &Signing,
        options: &LoginOptions,
    ) -> Result<SignedIn> {
        let Signing { source, profile, flow, .. } = signing;
        if !options.force && !system::is_by_key(cx, &source.login) {
            self.agree_to_hide(cx, &source.login).await?;
        }
        let keep = Keep::create(&self.host, &source.home)?;
        let want = Want { force: true, ..Want::default() };
        let using = Using { host: &self.host, source, keep: &keep, want: &want };
        let access = refresh::token(&self.host, &keep, &using, &want).await?;
        Config::remember(&self.host, &source.login, profile)?;
        Ok(SignedIn {
            login: source.login.clone(),
            account: source.account.clone(),
            flow: flow.name().to_owned(),
            home: display(&source.home.path, &self.host.env),
            scopes: access.scopes,
            expires_at: access.expires_at,
            refreshable: true,
            remark: None,
        })
    }

    /// Opens the home and makes sure that it can be written, and that what is there can be read.
    async fn prepare<'k>(&'k self, source: &'k Source, force: bool) -> Result<Keep<'k>> {
        if source.given.is_some()
            && !source.home.path.starts_with(self.host.env.state_directory()?.join("given"))
        {
            return Err(Error::internal("what is given is kept in our own directory"));
        }
        let keep = Keep::create(&self.host, &source.home)?;
        keep.check_writable().await?;
        if !force {
            keep.contents()?;
        }
        Ok(keep)
    }

    /// Redeems the code that a browser came back with, and keeps what it brings.
    async fn keep_returned(
        &self,
        signing: &Signing,
        keep: &Keep<'_>,
        returned: &Returned,
        options: &LoginOptions,
    ) -> Result<SignedIn> {
        let granted = self.redeem_code(&signing.plan, &returned.code, &returned.attempt).await?;
        self.keep_granted(signing, keep, granted, options).await
    }

    async fn redeem_code(&self, plan: &Plan, code: &AuthorizationCode, attempt: &Attempt) -> Result<Granted> {
        let endpoint = plan.endpoint(plan.metadata.token_endpoint.as_ref(), "token endpoint")?;
        let keys = flow::id::keys(&self.host, plan).await?;
        let request = code_request(&plan.client, endpoint, code, attempt.redirect_uri(), attempt.verifier());
        let response = flow::redeem(&self.host, plan, request).await?;
        let nonce = Some(attempt.nonce());
        let claims = flow::id::check(&self.host, plan, keys.as_ref(), &response, nonce)?;
        Ok(Granted { response, claims })
    }

    /// Puts what was granted into its home, after a look at whose login is there.
    async fn keep_granted(
        &self,
        signing: &Signing,
        keep: &Keep<'_>,
        granted: Granted,
        options: &LoginOptions,
    ) -> Result<SignedIn> {
        let Granted { response, claims } = granted;
        let source = &signing.source;
        let metadata = &signing.plan.metadata;
        let account = claims.as_ref().map(flow::id::account);
        let subject_issuer = claims.as_ref().map(|claims| claims.iss.clone());
        // Where no ID token says whose it is, an access token that is a JWT may.
        let subject =
            claims.map(|claims| claims.sub).or_else(|| jose::peek_subject(response.access_token.expose()));
        let scopes = self.granted_scopes(signing, &response)?;
        let origin = metadata.token_endpoint.as_ref().map(|url| url.origin().ascii_serialization());
        let binding = Binding {
            issuer: source.issuer.clone(),
            origin: origin.unwrap_or_default(),
            client_id: source.client.id.clone(),
            flow: signing.flow.name().to_owned(),
            scopes: scopes.clone(),
            account: account.clone(),
            subject,
            subject_issuer,
            granted_at: self.host.clock.now(),
            grant: None,
        };
        let own = own_grant(signing, options);
        let contents =
            Contents { grant: own, scopes: Some(scopes.clone()), ..Contents::default() }.after(&response);
        self.agree_to_replace(source, keep, &contents, &binding, options).await?;
        self.host.records.remove_login(&using::label(keep));
        let held = keep.put(&contents, binding).await?;
        if let Some(companion) = &signing.companion {
            Keep::create(&self.host, companion)?.write(&Contents::default()).await?;
        }
        if let Err(error) = Config::remember(&self.host, &source.login, &signing.profile) {
            // The login itself is kept; what is not remembered has to be named again.
            self.host
                .interaction
                .tell(&Notice::Warning(&format!("{error}; name the provider again next time")));
        }
        let want = Want::default();
        // The token is to be found by whoever finds the login, with the scopes that its file names.
        let found = Source { scopes: Self::scopes_as_found(source, &held), ..source.clone() };
        let using = Using { host: &self.host, source: &found, keep, want: &want };
        let access = using.record(&response, &held)?;
        let refreshable = contents.grant.is_some();
        if !refreshable {
            self.host.interaction.tell(&Notice::Warning(
                "the provider issued no refresh token, so this login ends with its access token; the scope \
                 `offline_access` may bring one",
            ));
        }
        Ok(SignedIn {
            login: source.login.clone(),
            account,
            flow: signing.flow.name().to_owned(),
            home: display(&source.home.path, &self.host.env),
            scopes,
            expires_at: access.expires_at,
            refreshable,
            remark: signing.remark.clone(),
        })
    }

    /// Returns the scopes that a refresh of the login names.
    fn scopes_as_found(source: &Source, held: &Held) -> Vec<String> {
        let is_of_file = source.login.system.is_of_google();
        let contents = source.home.slot.read(&held.file).ok().flatten().filter(|_| is_of_file);
        contents.map_or_else(|| source.scopes.clone(), |contents| contents.scopes.unwrap_or_default())
    }

    /// Returns the scopes that were granted, in the order in which they were asked for. A person may
    /// leave some out.
    fn granted_scopes(&self, signing: &Signing, response: &TokenResponse) -> Result<Vec<String>> {
        let asked = &signing.plan.scopes;
        let Some(granted) = response.scopes.clone() else { return Ok(asked.clone()) };
        if !signing.source.login.system.is_of_google() {
            return Ok(granted);
        }
        // Google writes some scopes in another way than they may be asked for.
        let is_granted = |scope: &String| {
            granted.contains(scope)
                || (["email", "profile"].contains(&scope.as_str())
                    && granted.contains(&format!("https://www.googleapis.com/auth/userinfo.{scope}")))
        };
        let (has, lacks): (Vec<_>, Vec<_>) = asked.iter().cloned().partition(is_granted);
        if let Some(needed) = signing.needed_scope.filter(|needed| lacks.iter().any(|scope| scope == needed))
        {
            let Plan { login, again, .. } = &signing.plan;
            return Err(Error::refused(format!("the sign-in does not grant what `{login}` is about"))
                .caused_by(format!("`{needed}` was left out"))
                .hint(format!("nothing was stored; sign in again and tick it: `{again}`")));
        }
        if !lacks.is_empty() {
            self.host.interaction.tell(&Notice::Warning(&format!("not granted: {}", lacks.join(" "))));
        }
        Ok(has)
    }
}

/// Returns whether it is known that nothing was sent with a token that is tried: the person has it still.
fn is_unsent(keep: &Keep<'_>, token: &RefreshToken) -> bool {
    let is_itself =
        keep.contents().is_ok_and(|contents| contents.unwrap_or_default().refresh_token() == Some(token));
    is_itself && keep.ledger().is_ok_and(|ledger| ledger.state == State::Idle)
}

/// Refuses a sign-in that nobody would hear of while a variable names another login.
fn refuse_hidden(signing: &Signing) -> Result<()> {
    let Some(NamedBy::Variable(variable)) = signing.source.named_by else { return Ok(()) };
    Err(Error::configuration(format!("`{variable}` names another login, which would hide this one"))
        .hint(format!("do without it, then sign in: `unset {variable}`")))
}

/// Refuses a flow that would wait for a person where it was said that nobody is there.
fn check_attended(login: &Login, flow: Flow, options: &LoginOptions) -> Result<()> {
    if !options.unattended || !matches!(flow, Flow::Loopback(_) | Flow::Paste | Flow::Device) {
        return Ok(());
    }
    Err(Error::login_required(format!("the flow `{}` needs a person, and nobody may be asked", flow.name()))
        .hint(format!("sign in without `--no-input`: `{}`", options.command(login))))
}

/// Returns the grant that is the caller's own, where the flow does not bring one.
fn own_grant(signing: &Signing, options: &LoginOptions) -> Option<Grant> {
    match signing.flow {
        Flow::ClientCredentials => signing.plan.client.secret().cloned().map(Grant::ClientCredentials),
        Flow::Basic => {
            Some(Grant::Basic { username: options.username.clone()?, password: options.password.clone()? })
        }
        _ => None,
    }
}
