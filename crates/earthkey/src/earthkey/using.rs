//! One login in use: what the refresh protocol asks of whoever knows the system.

use earthkey_record::clock::Clock;
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
use crate::login::Login;
use crate::login::System;
use crate::oauth::client::ClientAuthentication;
use crate::oauth::jose;
use crate::oauth::token::TokenResponse;
use crate::refresh::Access;
use crate::refresh::Provider;
use crate::refresh::Want;
use crate::secret::AccessToken;
use crate::secret::Fingerprint;
use crate::secret::RefreshToken;
use crate::store::Contents;
use crate::store::Grant;
use crate::store::Keep;
use crate::store::keep::Held;
use crate::system::Source;

/// How long a token is used whose provider says nothing of its life, in seconds.
const ASSUMED_LIFETIME: u64 = 60;

/// What a sandbox's refresh tokens begin with: they go to sandboxes only, others never to one.
const SANDBOX_PREFIX: &str = "sandbox-";

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
        let scopes = self.scopes();
        let arguments = self.arguments(&name, &scopes);
        let record = self.host.records.find(&arguments, &nowhere(), &clock(self.host))?;
        (record.grant == grant).then(|| access_of(&record))
    }

    fn canonical_name(&self) -> String {
        format!("{}\n{}", self.keep.places().home.display(), self.source.home.slot.name())
    }

    fn scopes(&self) -> Vec<&str> {
        self.want.scopes.iter().flatten().map(String::as_str).collect()
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
        format!("`{}` from {}", self.source.login, display(&self.source.home.path, &self.host.env))
    }

    fn login_command(&self) -> String {
        format!("earthkey login {}", self.source.login)
    }

    fn at_hand(&self, contents: &Contents) -> Option<Access> {
        let recorded = self.recorded(grant_bytes(contents.fingerprint()));
        let is_own = self.want.scopes.is_none() && self.want.audience.is_none();
        let kept = contents.access_token.as_ref().filter(|_| is_own).and_then(|token| self.kept(token));
        [recorded, kept].into_iter().flatten().max_by_key(|access| access.expires_at)
    }

    fn request<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<Request>> {
        Box::pin(async move {
            let metadata = self.source.metadata(self.host).await?;
            let endpoint = metadata.token_endpoint.as_ref().ok_or_else(|| {
                Error::configuration(format!("`{}` has no token endpoint", self.source.issuer))
            })?;
            let token = match grant {
                Grant::RefreshToken(token) => Some(token),
                Grant::ClientCredentials(_) => None,
            };
            check_bound(self.host, self.source, self.keep, endpoint, token)?;
            let scopes = self.want.scopes.as_deref();
            Ok(self.source.token_request(endpoint, grant, scopes, self.want.audience.as_deref()))
        })
    }

    fn refusal_key(&self, grant: &Grant) -> String {
        let secret = match &self.source.client.authentication {
            ClientAuthentication::None => None,
            ClientAuthentication::SecretBasic(secret) | ClientAuthentication::SecretPost(secret) => {
                Some(secret.fingerprint().to_string())
            }
        };
        let parts = [
            grant.fingerprint().to_string(),
            self.source.issuer.clone(),
            self.source.client.id.clone(),
            secret.unwrap_or_default(),
            self.scopes().join(" "),
            self.want.audience.clone().unwrap_or_default(),
        ];
        Fingerprint::of(&parts.join("\n")).to_string()
    }

    fn record(&self, answer: &TokenResponse, landed: &Held) -> Result<Access> {
        let access = self.access(answer);
        let Some(digest) = self.host.records.digest(&landed.file) else { return Ok(access) };
        let places = self.keep.places();
        let record = Record {
            dependencies: vec![
                Dependency { path: places.home.clone(), expected: Expected::File(digest) },
                // The ledger is marked only once this record stands, and the token is good
                // whatever the ledger says: another grant in the home is what ends it.
            ],
            ..record_of(&access, &self.source.login, landed.contents.fingerprint())
        };
        let name = self.canonical_name();
        let scopes = self.scopes();
        self.host.records.write(&self.arguments(&name, &scopes), &nowhere(), record);
        Ok(access)
    }
}

/// Refuses to send a grant to a place that it was not issued for.
pub(super) fn check_bound(
    host: &Host,
    source: &Source,
    keep: &Keep<'_>,
    endpoint: &Url,
    token: Option<&RefreshToken>,
) -> Result<()> {
    let refuse = |why: String| {
        Err(Error::configuration(format!("the grant of `{}` is not sent to `{endpoint}`", source.login))
            .caused_by(why)
            .hint(format!("look at the variables and the configuration that name this address; or sign in there: `earthkey login {}`", source.login)))
    };
    let sandbox = host.env.text("EARTHKEY_SANDBOX").and_then(|text| Url::parse(text).ok());
    let is_named_sandbox = sandbox.is_some_and(|sandbox| sandbox.origin() == endpoint.origin());
    match token.map(|token| token.expose().starts_with(SANDBOX_PREFIX)) {
        Some(true) if !is_loopback(endpoint) => {
            return refuse("it was issued by a sandbox and goes to sandboxes only".into());
        }
        Some(false) if is_named_sandbox => {
            return refuse("it was not issued by a sandbox, and the address is one".into());
        }
        _ => {}
    }
    let origin = endpoint.origin().ascii_serialization();
    let binding = keep.ledger()?.entries.binding;
    if let Some(binding) =
        binding.as_ref().filter(|binding| !binding.origin.is_empty() && binding.origin != origin)
    {
        return refuse(format!("it was issued for `{}`", binding.origin));
    }
    if source.login.system == System::Earthscope && source.given.is_none() {
        let contents = keep.contents()?.unwrap_or_default();
        let claims = contents.access_token.as_ref().and_then(|token| jose::peek(token.expose()));
        let issuer = claims.as_ref().and_then(|claims| claims.get("iss")).and_then(Value::as_str);
        let bound_to = issuer
            .or_else(|| binding.as_ref().map(|binding| binding.issuer.as_str()))
            .unwrap_or(crate::system::earthscope::PRODUCTION);
        if bound_to.trim_end_matches('/') != source.issuer.trim_end_matches('/') {
            return refuse(format!("its token was issued by `{}`", crate::error::printable(bound_to, 200)));
        }
    }
    Ok(())
}

/// Returns whether a grant was issued by a sandbox.
pub(super) fn is_of_sandbox(grant: Option<&Grant>) -> bool {
    matches!(grant, Some(Grant::RefreshToken(token)) if token.expose().starts_with(SANDBOX_PREFIX))
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
pub(super) fn record_of(access: &Access, login: &Login, grant: Option<Fingerprint>) -> Record {
    Record {
        token: Secret::new(access.token.expose()),
        token_type: access.token_type.clone(),
        headers: Vec::new(),
        scopes: access.scopes.clone(),
        client_id: access.client_id.clone(),
        login: login.to_string(),
        obtained_at: access.obtained_at,
        lifetime: access.lifetime,
        expires_at: access.expires_at,
        early_at: access.early_at,
        boot_id: access.boot_id,
        boottime_ms: access.since_boot * 1000,
        grant: grant_bytes(grant),
        environment: earthkey_record::digest::Digest::from_bytes([0; 16]),
        dependencies: Vec::new(),
    }
}

fn grant_bytes(grant: Option<Fingerprint>) -> [u8; 16] {
    grant.map_or([0; 16], |grant| *grant.as_bytes())
}

/// The environment of records that no variable has a say in.
fn nowhere() -> Environment {
    Environment::new([("HOME".into(), "/".into())])
}

/// Reads the expiry of a token that is a JWT, in Unix seconds.
fn expiry(token: &AccessToken) -> Option<u64> {
    jose::peek(token.expose())?.get("exp")?.as_u64()
}
