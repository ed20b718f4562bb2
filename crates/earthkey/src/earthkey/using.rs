//! One login in use: what the refresh protocol asks of whoever knows the system.

use earthkey_record::clock::Clock;
use earthkey_record::clock::UNKNOWN_BOOT;
use earthkey_record::environment::Environment;
use earthkey_record::name::Arguments;
use earthkey_record::name::Form;
use earthkey_record::record::Dependency;
use earthkey_record::record::Expected;
use earthkey_record::record::Record;
use earthkey_record::secret::Secret;
use serde_json::Value;
use url::Url;

use crate::error::Error;
use crate::error::Result;
use crate::host::BoxFuture;
use crate::host::Host;
use crate::host::env::display;
use crate::host::http::Request;
use crate::host::http::is_loopback;
use crate::login::System;
use crate::oauth::jose;
use crate::oauth::token::TokenResponse;
use crate::refresh::Access;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::secret::AccessToken;
use crate::secret::Fingerprint;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Keep;
use crate::store::keep::Held;
use crate::store::ledger::Binding;
use crate::store::ledger::Remembered;
use crate::system::IssuedTo;
use crate::system::Source;

/// How long a token is used whose provider says nothing of its life, in seconds.
const ASSUMED_LIFETIME: u64 = 60;

/// What a sandbox's refresh tokens and secrets begin with: they go to sandboxes only, others never
/// to one.
const SANDBOX_PREFIX: &str = "sandbox-";

/// The variables that hold a grant and nothing else.
const GIVING: [&str; 3] =
    ["ES_OAUTH2__REFRESH_TOKEN", "ES_OAUTH2__CLIENT_SECRET", "OPENEO_AUTH_CLIENT_SECRET"];

/// What names, in records, the grant of a login that has none.
const NO_GRANT: [u8; 16] = [0; 16];

/// One login in use.
pub(super) struct Using<'a> {
    pub(super) host: &'a Host,
    pub(super) source: &'a Source,
    pub(super) keep: &'a Keep<'a>,
    pub(super) want: &'a Want,
}

impl Using<'_> {
    /// Looks up the record of this grant, whatever arguments it was obtained under.
    fn recorded(&self, grant: [u8; 16]) -> Option<Access> {
        let name = self.canonical_name();
        let scopes = scopes_of(self.want);
        let arguments = self.arguments(&name, &scopes);
        // Found whatever the boot-time clock says: whether the token has expired is judged by whoever asks.
        let by_wall = Clock { boot_id: UNKNOWN_BOOT, ..clock(self.host) };
        let record = self.host.records.find(&arguments, &nowhere(), &by_wall)?;
        (record.grant == grant).then(|| access_of(&record))
    }

    /// Names everything that a token of this grant depends on besides the wanted scopes and audience.
    fn canonical_name(&self) -> String {
        let source = self.source;
        let parts = [
            label(self.keep),
            source.issuer.clone(),
            source.client.id.clone(),
            source.scopes.join(" "),
            source.audience.clone().unwrap_or_default(),
        ];
        parts.join("\n")
    }

    /// Refuses to send what was put into the home after the client and the endpoint were read there.
    fn check_issued_to(&self) -> Result<()> {
        let issued_to = self.keep.contents()?.and_then(|contents| contents.issued_to);
        match self.source.issued_to {
            IssuedTo::Home(resolved) if resolved != issued_to => {
                Err(Error::store("the login was replaced while it was in use").hint("try again"))
            }
            _ => Ok(()),
        }
    }

    /// Says what to do about a refusal of what is given: a sign-in would not be heard.
    fn explain_given(&self, refusal: &Remembered, grant: &Grant) -> Option<Error> {
        self.source.given.as_ref()?;
        let variable = given_by(self.host, self.source);
        let giver = variable
            .map_or("the variable or the configuration that gives it".to_owned(), |variable| {
                format!("`{variable}`")
            });
        let error = match (refusal.error.as_str(), grant) {
            ("invalid_grant", Grant::RefreshToken(_)) => {
                Error::refused("the provider does not accept the refresh token any more").hint(format!(
                    "it has expired, was revoked or was replaced elsewhere; give another one by {giver}"
                ))
            }
            ("invalid_client" | "unauthorized_client", Grant::ClientCredentials(_)) => {
                Error::refused("the provider does not accept the client")
                    .hint(format!("look at the client's id, and at its secret in {giver}"))
            }
            ("invalid_client" | "unauthorized_client", _) => {
                return Some(Error::refused("the provider does not accept the client").hint(
                    "look at the client's id and secret, in the variables or the configuration that name them",
                ));
            }
            _ => return None,
        };
        Some(match variable {
            Some(variable) => error.hint(format!("or do without: `unset {variable}`")),
            None => error,
        })
    }

    fn arguments<'b>(&'b self, name: &'b str, scopes: &'b [&'b str]) -> Arguments<'b> {
        Arguments { login: Some(name), scopes, audience: self.want.audience.as_deref(), form: Form::Token }
    }

    fn access(&self, answer: &TokenResponse) -> Access {
        let now = self.host.clock.now();
        let lifetime = answer
            .expires_in
            .or_else(|| expiry(&answer.access_token).map(|expires_at| expires_at.saturating_sub(now)))
            .unwrap_or(ASSUMED_LIFETIME);
        let expires_at = now + lifetime;
        let asked = self.want.scopes.as_ref().unwrap_or(&self.source.scopes);
        Access {
            token: answer.access_token.clone(),
            token_type: answer.token_type.clone(),
            scopes: answer.scopes.clone().unwrap_or_else(|| asked.clone()),
            client_id: Some(self.source.client.id.clone()),
            obtained_at: now,
            expires_at,
            lifetime,
            early_at: self.source.early_at(now, expires_at),
            boot_id: self.host.clock.boot_id(),
            since_boot: self.host.clock.since_boot().as_secs(),
        }
    }

    /// Reads the token that the home itself keeps; its times are its own claims.
    fn kept(&self, token: &AccessToken) -> Option<Access> {
        // It becomes part of a header line.
        if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let claims = jose::peek(token.expose())?;
        let number = |name: &str| claims.get(name).and_then(Value::as_u64);
        let expires_at = number("exp")?;
        let obtained_at = number("iat").unwrap_or(0).min(expires_at);
        let scopes = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
        Some(Access {
            token: token.clone(),
            token_type: "Bearer".into(),
            scopes: scopes.split_whitespace().map(str::to_owned).collect(),
            client_id: Some(self.source.client.id.clone()),
            obtained_at,
            expires_at,
            lifetime: expires_at - obtained_at,
            early_at: self.source.early_at(obtained_at, expires_at),
            boot_id: [0; 16],
            since_boot: 0,
        })
    }
}

impl Provider for Using<'_> {
    fn credential(&self) -> String {
        let (login, home) = (&self.source.login, display(&self.source.home.path, &self.host.env));
        match given_by(self.host, self.source) {
            Some(variable) => format!("`{login}` from `{variable}` and {home}"),
            None => format!("`{login}` from {home}"),
        }
    }

    fn login_command(&self) -> String {
        format!("earthkey login {}", self.source.login)
    }

    fn explain(&self, refusal: &Remembered, grant: Option<&Grant>) -> Option<Error> {
        let known = self.source.explain(refusal, grant, self.host.clock.now());
        known.or_else(|| self.explain_given(refusal, grant?))
    }

    fn at_hand(&self, contents: &Contents) -> Option<Access> {
        let recorded = self.recorded(grant_of(contents));
        let is_own = self.want.scopes.is_none() && self.want.audience.is_none();
        let kept = contents.access_token.as_ref().filter(|_| is_own).and_then(|token| self.kept(token));
        // Of the very same token the record knows more: the clock that no suspend stops.
        let kept = kept.filter(|kept| recorded.as_ref().is_none_or(|recorded| recorded.token != kept.token));
        [recorded, kept].into_iter().flatten().max_by_key(|access| access.expires_at)
    }

    fn request<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Request>> {
        Box::pin(async move {
            let metadata = self.source.metadata(self.host).await?;
            let endpoint = metadata.token_endpoint.as_ref().ok_or_else(|| {
                Error::configuration(format!("`{}` has no token endpoint", self.source.issuer))
            })?;
            check_bound(self.host, self.source, self.keep, endpoint, grant)?;
            self.check_issued_to()?;
            // A client's own credentials ask each time for what the login asked for.
            let of_login = self.keep.ledger()?.entries.binding.map(|binding| binding.scopes);
            let is_own = matches!(grant, Grant::ClientCredentials(_)) && self.source.scopes.is_empty();
            let scopes = self.want.scopes.as_deref().or(of_login.as_deref().filter(|_| is_own));
            let audience = self.want.audience.as_deref();
            self.source.token_request(endpoint, grant, scopes, audience, self.host.clock.now())
        })
    }

    fn refusal_key(&self, grant: &Grant) -> String {
        let secret = self.source.client.secret().map(|secret| secret.fingerprint().to_string());
        let parts = [
            grant.fingerprint().to_string(),
            self.source.issuer.clone(),
            self.source.client.id.clone(),
            secret.unwrap_or_default(),
            scopes_of(self.want).join(" "),
            self.want.audience.clone().unwrap_or_default(),
        ];
        Fingerprint::of(&parts.join("\n")).to_string()
    }

    fn on_rotation(&self) -> Option<String> {
        let login = &self.source.login;
        // The homes of which other programs hold a token in memory, and refresh it by themselves.
        (matches!(login.system, System::Earthscope | System::Openeo) && self.source.given.is_none()).then(|| {
            format!(
                "the provider of `{login}` replaces the refresh token at each use, so that a program which \
                 keeps an older one in memory is signed out: give it tokens by `earthkey token {login}`, or \
                 a login of its own"
            )
        })
    }

    fn record(&self, answer: &TokenResponse, landed: &Held) -> Result<Access> {
        let access = self.access(answer);
        let Some(digest) = self.host.records.digest(&landed.file) else { return Ok(access) };
        let grant = grant_of(&landed.contents);
        // Whoever finds this record has read the home and compares the grant, so that another
        // login's change of the same file does not cost this one its token. Where there is no
        // grant to compare, the file as a whole must be the same.
        let dependency =
            Dependency { path: self.keep.places().home.clone(), expected: Expected::File(digest) };
        let record = Record {
            dependencies: if grant == NO_GRANT { vec![dependency] } else { Vec::new() },
            ..record_of(&access, &label(self.keep), grant)
        };
        let name = self.canonical_name();
        let scopes = scopes_of(self.want);
        self.host.records.write(&self.arguments(&name, &scopes), &nowhere(), record);
        Ok(access)
    }
}

/// Names the variable that gives the grant, as far as it is one that holds nothing else.
fn given_by(host: &Host, source: &Source) -> Option<&'static str> {
    let given = match source.given.as_ref()?.grant.as_ref()? {
        Grant::RefreshToken(token) => token.fingerprint(),
        Grant::ClientCredentials(secret) => secret.fingerprint(),
        _ => return None,
    };
    let is_given = |text: &str| [text, text.trim()].into_iter().any(|text| Fingerprint::of(text) == given);
    let gives = |name: &&str| host.env.text(name).is_some_and(is_given);
    GIVING.into_iter().find(gives)
}

/// Returns the exact scopes that a caller wants, if not the login's own.
pub(super) fn scopes_of(want: &Want) -> Vec<&str> {
    want.scopes.iter().flatten().map(String::as_str).collect()
}

/// Returns what the records of a login are removed by: its home and slot, under whatever name it was
/// asked for.
pub(super) fn label(keep: &Keep<'_>) -> String {
    format!("{}\n{}", keep.places().home.display(), keep.slot_name())
}

/// Refuses to send a grant to a place that it was not issued for.
pub(super) fn check_bound(
    host: &Host,
    source: &Source,
    keep: &Keep<'_>,
    endpoint: &Url,
    grant: &Grant,
) -> Result<()> {
    check_sandbox(host, source, endpoint, grant)?;
    let origin = endpoint.origin().ascii_serialization();
    let entries = keep.ledger()?.entries;
    let binding = entries.binding_of(Some(grant.fingerprint()));
    if let Some(binding) = binding.filter(|binding| !binding.origin.is_empty() && binding.origin != origin) {
        return Err(not_for(source, endpoint, format!("it was issued for `{}`", binding.origin)));
    }
    // Several issuers may share an origin, as the realms of one server do.
    check_bound_issuer(source, endpoint, binding)?;
    check_earthscope_issuer(source, keep, endpoint)
}

fn check_bound_issuer(source: &Source, place: &Url, binding: Option<&Binding>) -> Result<()> {
    let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    match binding {
        Some(Binding { issuer, .. }) if !issuer.is_empty() && !same(issuer, &source.issuer) => {
            Err(not_for(source, place, format!("it was issued by `{issuer}`")))
        }
        _ => Ok(()),
    }
}

/// Refuses to use a login where another provider is meant than it is of. Asks nobody.
pub(super) fn check_issuer(host: &Host, source: &Source, keep: &Keep<'_>) -> Result<()> {
    let Some(place) = source.place() else { return Ok(()) };
    // Torn, it may be whole at the next look; nothing is served or sent before one.
    let Ok(contents) = keep.contents() else { return Ok(()) };
    if let Some(grant) = contents.and_then(|contents| contents.grant) {
        check_sandbox(host, source, &place, &grant)?;
        if source.given.is_some() {
            // What is given says nothing of an issuer; it stays with the one that accepted it first.
            let entries = keep.ledger()?.entries;
            check_bound_issuer(source, &place, entries.binding_of(Some(grant.fingerprint())))?;
        }
    }
    check_earthscope_issuer(source, keep, &place)
}

/// Keeps what sandboxes issue apart from everything else.
fn check_sandbox(host: &Host, source: &Source, place: &Url, grant: &Grant) -> Result<()> {
    let sandbox = host.env.text("EARTHKEY_SANDBOX").and_then(|text| Url::parse(text).ok());
    let has_sandbox = sandbox.is_some();
    let is_named_sandbox = sandbox.is_some_and(|sandbox| sandbox.origin() == place.origin());
    let why = match grant {
        // The people of a sandbox have the passwords that people have.
        Grant::Basic { .. } => return Ok(()),
        _ if is_of_sandbox(Some(grant)) && !is_loopback(place) => {
            "it was issued by a sandbox and goes to sandboxes only"
        }
        _ if !is_of_sandbox(Some(grant)) && is_named_sandbox => {
            "it was not issued by a sandbox, and the address is one"
        }
        _ if has_sandbox && !is_loopback(place) => "a sandbox plays every system now, and this is a real one",
        _ => return Ok(()),
    };
    let refused = Error::configuration(format!("the grant of `{}` is not sent to `{place}`", source.login))
        .caused_by(why);
    Err(if has_sandbox {
        refused.hint("do without the sandbox: `unset EARTHKEY_SANDBOX`")
    } else {
        refused.hint(
            "name the sandbox that it is of: `export EARTHKEY_SANDBOX=URL`, as `earthkey sandbox` prints it",
        )
    }
    .hint(match (source.given.as_ref(), given_by(host, source)) {
        // A sign-in would not be heard while another is given.
        (Some(_), Some(variable)) => {
            format!("or do without the grant that `{variable}` gives: `unset {variable}`")
        }
        (Some(_), None) => {
            "or do without the grant that is given by a variable or the configuration".to_owned()
        }
        (None, _) => format!("or sign in there: `earthkey login {}`", source.login),
    }))
}

/// EarthScope's files name no provider, so that the token in them is asked.
fn check_earthscope_issuer(source: &Source, keep: &Keep<'_>, place: &Url) -> Result<()> {
    if source.login.system != System::Earthscope || source.given.is_some() {
        return Ok(());
    }
    let contents = keep.contents()?.unwrap_or_default();
    let binding = keep.ledger()?.entries.binding;
    let claims = contents.access_token.as_ref().and_then(|token| jose::peek(token.expose()));
    let issuer = claims.as_ref().and_then(|claims| claims.get("iss")).and_then(Value::as_str);
    let bound_to = issuer
        .or_else(|| binding.as_ref().map(|binding| binding.issuer.as_str()))
        .unwrap_or(crate::system::earthscope::PRODUCTION);
    if bound_to.trim_end_matches('/') == source.issuer.trim_end_matches('/') {
        return Ok(());
    }
    let bound_to = crate::error::printable(bound_to, 200);
    Err(not_for(source, place, format!("its token was issued by `{bound_to}`")))
}

fn not_for(source: &Source, place: &Url, why: String) -> Error {
    let error = Error::configuration(format!("the grant of `{}` is not sent to `{place}`", source.login))
        .caused_by(why)
        .hint("look at the variables and the configuration that name this address");
    // A sign-in would not be heard while another is given.
    match source.given {
        Some(_) => error.hint("or give a grant of this address, by the variable that gives this one"),
        None => error.hint(format!("or sign in there: `earthkey login {}`", source.login)),
    }
}

/// Returns whether a grant was issued by a sandbox.
pub(super) fn is_of_sandbox(grant: Option<&Grant>) -> bool {
    match grant {
        Some(Grant::RefreshToken(token)) => token.expose().starts_with(SANDBOX_PREFIX),
        Some(Grant::ClientCredentials(secret)) => secret.expose().starts_with(SANDBOX_PREFIX),
        Some(Grant::ServiceAccount(account)) => {
            account.key_id.as_deref().is_some_and(|id| id.starts_with(SANDBOX_PREFIX))
        }
        _ => false,
    }
}

/// Returns the present moment as records judge it.
pub(super) fn clock(host: &Host) -> Clock {
    Clock {
        now: host.clock.now(),
        boot_id: host.clock.boot_id(),
        boottime_ms: u64::try_from(host.clock.since_boot().as_millis()).unwrap_or(u64::MAX),
    }
}

/// Returns the access token of a record.
pub(super) fn access_of(record: &Record) -> Access {
    Access {
        token: AccessToken::new(record.token.expose()),
        token_type: record.token_type.clone(),
        scopes: record.scopes.clone(),
        client_id: record.client_id.clone(),
        obtained_at: record.obtained_at,
        expires_at: record.expires_at,
        lifetime: record.lifetime,
        early_at: record.early_at,
        boot_id: record.boot_id,
        since_boot: record.boottime_ms / 1000,
    }
}

/// Returns the record of an access token, without its dependencies.
pub(super) fn record_of(access: &Access, label: &str, grant: [u8; 16]) -> Record {
    Record {
        token: Secret::new(access.token.expose()),
        token_type: access.token_type.clone(),
        headers: Vec::new(),
        scopes: access.scopes.clone(),
        client_id: access.client_id.clone(),
        login: label.to_owned(),
        obtained_at: access.obtained_at,
        lifetime: access.lifetime,
        expires_at: access.expires_at,
        early_at: access.early_at,
        boot_id: access.boot_id,
        boottime_ms: access.since_boot * 1000,
        grant,
        environment: earthkey_record::digest::Digest::from_bytes([0; 16]),
        dependencies: Vec::new(),
    }
}

/// Returns what names the grant in records. A login without one is named by its home's bytes alone:
/// an access token that the home does not keep cannot be compared with what is read there later.
pub(super) fn grant_of(contents: &Contents) -> [u8; 16] {
    contents.grant.as_ref().map_or(NO_GRANT, |grant| *grant.fingerprint().as_bytes())
}

/// The environment of records that no variable has a say in.
fn nowhere() -> Environment {
    Environment::new([("HOME".into(), "/".into())])
}

/// Reads the expiry of a token that is a JWT, in Unix seconds.
fn expiry(token: &AccessToken) -> Option<u64> {
    jose::peek(token.expose())?.get("exp")?.as_u64()
}
