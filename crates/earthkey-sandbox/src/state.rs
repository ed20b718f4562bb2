//! What a provider remembers, and the grants that change it. No HTTP here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Rotation;
use crate::bounded::Bounded;
use crate::client::{Client, GrantType};
use crate::error::OAuthError;
use crate::scope::Scope;
use crate::secret::{self, Digest};
use crate::session::Session;
use crate::settings::Settings;

/// How much earlier than its interval a poll may come: clocks and schedulers are not exact.
const POLL_TOLERANCE: Duration = Duration::from_millis(100);

/// What RFC 8628 section 3.5 adds to the interval at each `slow_down`.
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// The description Auth0 gives, and clients look for, when a refresh token is not good any more.
const UNKNOWN_REFRESH_TOKEN: &str = "Unknown or invalid refresh token.";

/// Everything a provider remembers.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) sessions: Bounded<Digest, Session>,
    built_in: Vec<Arc<Client>>,
    registered: Bounded<String, Arc<Client>>,
    codes: Bounded<Digest, AuthorizationCode>,
    devices: Bounded<Digest, DeviceCode>,
    families: Bounded<u64, Family>,
    refresh_tokens: Bounded<Digest, RefreshToken>,
    access_tokens: Bounded<Digest, AccessToken>,
    next_family: u64,
}

/// What a person, or a client for itself, allowed.
#[derive(Clone, Debug)]
pub(crate) struct Authorization {
    pub(crate) client: Arc<Client>,
    pub(crate) sub: String,
    pub(crate) scope: Scope,
    pub(crate) audience: Option<String>,
    /// The challenge that the verifier of the token request must meet (RFC 7636).
    pub(crate) code_challenge: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) auth_time: u64,
}

/// What a token endpoint hands out.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) authorization: Authorization,
    /// The family of a person's grant; a client's own grant has none.
    pub(crate) family: Option<u64>,
    pub(crate) refresh_token: Option<String>,
}

/// A device authorization request (RFC 8628 section 3.1).
#[derive(Clone, Debug)]
pub(crate) struct DeviceRequest {
    pub(crate) client: Arc<Client>,
    pub(crate) scope: Scope,
    pub(crate) audience: Option<String>,
    pub(crate) code_challenge: Option<String>,
}

/// The answer to a device authorization request (RFC 8628 section 3.2).
pub(crate) struct DeviceGrant {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
    pub(crate) expires_in: u64,
    pub(crate) interval: u64,
}

/// What is known of an access token at the resources.
pub(crate) struct AccessToken {
    pub(crate) sub: String,
    pub(crate) scope: Scope,
    expires_at: u64,
    family: Option<u64>,
    dead: bool,
}

/// How many refresh tokens there are, and nothing else about them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct RefreshTokens {
    /// Tokens that would be answered with an access token.
    pub live: usize,
    /// Tokens that rotation replaced, of families that are not revoked.
    pub superseded: usize,
    /// Logins that ever had a refresh token.
    pub families: usize,
    /// Families that were revoked.
    pub revoked: usize,
}

struct AuthorizationCode {
    authorization: Authorization,
    redirect_uri: String,
    expires: Instant,
    redeemed: Option<u64>,
}

struct DeviceCode {
    request: DeviceRequest,
    user_code: String,
    expires: Instant,
    interval: Duration,
    polled: Option<Instant>,
    decision: Decision,
}

enum Decision {
    Pending,
    Denied,
    Allowed { sub: String, auth_time: u64 },
}

/// The tokens that descend from one authorization by a person.
struct Family {
    authorization: Authorization,
    refreshable: bool,
    refresh_revoked: bool,
    access_revoked: bool,
}

struct RefreshToken {
    family: u64,
    superseded: Option<Instant>,
}

impl State {
    /// Returns the state of a provider nobody has used yet.
    pub(crate) fn new(built_in: Vec<Arc<Client>>, settings: Settings) -> Self {
        Self {
            settings,
            built_in,
            registered: Bounded::new(1_000),
            sessions: Bounded::new(1_000),
            codes: Bounded::new(1_000),
            devices: Bounded::new(1_000),
            families: Bounded::new(20_000),
            refresh_tokens: Bounded::new(50_000),
            access_tokens: Bounded::new(50_000),
            next_family: 1,
        }
    }

    /// Adds a client registered at run time.
    pub(crate) fn register(&mut self, client: Client) {
        self.registered.insert(client.id.clone(), Arc::new(client));
    }

    /// Keeps an authorization under a fresh code.
    pub(crate) fn issue_code(&mut self, authorization: Authorization, redirect_uri: &str) -> String {
        let code = secret::random("");
        let entry = AuthorizationCode {
            authorization,
            redirect_uri: redirect_uri.to_owned(),
            expires: Instant::now() + Duration::from_secs(self.settings.code_lifetime),
            redeemed: None,
        };
        self.codes.insert(Digest::of(&code), entry);
        code
    }

    /// Redeems an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.6).
    ///
    /// A code that comes a second time takes all tokens with it that the first time gave out
    /// (RFC 6749 section 4.1.2).
    pub(crate) fn redeem_code(
        &mut self,
        client: &Client,
        code: &str,
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
    ) -> Result<Granted, OAuthError> {
        let unknown = || OAuthError::invalid_grant("unknown or expired authorization code");
        let digest = Digest::of(code);
        let entry = self.codes.get(&digest).ok_or_else(unknown)?;
        if entry.authorization.client.id != client.id {
            return Err(unknown());
        }
        if let Some(family) = entry.redeemed {
            self.revoke_family(family);
            return Err(OAuthError::invalid_grant("the authorization code was used before"));
        }
        if Instant::now() >= entry.expires {
            return Err(unknown());
        }
        if redirect_uri != Some(entry.redirect_uri.as_str()) {
            return Err(OAuthError::invalid_grant("redirect_uri differs from the authorization request"));
        }
        verify(entry.authorization.code_challenge.as_deref(), verifier)?;
        let granted = self.start_family(entry.authorization.clone());
        if let Some(entry) = self.codes.get_mut(&digest) {
            entry.redeemed = granted.family;
        }
        Ok(granted)
    }

    /// Starts a device authorization (RFC 8628 section 3.2).
    pub(crate) fn start_device(&mut self, request: DeviceRequest) -> DeviceGrant {
        let device_code = secret::random("");
        let mut user_code = secret::user_code();
        while self.pending_device(&user_code).is_some() {
            user_code = secret::user_code();
        }
        let (expires_in, interval) = (self.settings.device_lifetime, self.settings.device_interval);
        let entry = DeviceCode {
            request,
            user_code: user_code.clone(),
            expires: Instant::now() + Duration::from_secs(expires_in),
            interval: Duration::from_secs(interval),
            polled: None,
            decision: Decision::Pending,
        };
        self.devices.insert(Digest::of(&device_code), entry);
        DeviceGrant { device_code, user_code, expires_in, interval }
    }

    /// Returns the device that waits for a person who has this user code, and what it asks for.
    pub(crate) fn pending_device(&self, user_code: &str) -> Option<(Digest, DeviceRequest)> {
        self.devices
            .iter()
            .find(|(_, device)| device.user_code == user_code && device.is_pending())
            .map(|(digest, device)| (*digest, device.request.clone()))
    }

    /// Records what a person decided about a device, and returns whether it still waited for that.
    pub(crate) fn decide_device(&mut self, device: &Digest, allowed: Option<(&str, u64)>) -> bool {
        let waiting = self.devices.get_mut(device).filter(|device| device.is_pending());
        let Some(device) = waiting else {
            return false;
        };
        device.decision = match allowed {
            Some((sub, auth_time)) => Decision::Allowed { sub: sub.to_owned(), auth_time },
            None => Decision::Denied,
        };
        true
    }

    /// Answers a poll of a device (RFC 8628 section 3.5).
    ///
    /// `slow_down` is for a device that still waits: once there is a decision it is handed over,
    /// since a client that polls too fast for ever would otherwise never get it.
    pub(crate) fn redeem_device(
        &mut self,
        client: &Client,
        device_code: &str,
        verifier: Option<&str>,
    ) -> Result<Granted, OAuthError> {
        let digest = Digest::of(device_code);
        let device = self
            .devices
            .get_mut(&digest)
            .filter(|device| device.request.client.id == client.id)
            .ok_or_else(|| OAuthError::invalid_grant("unknown device code"))?;
        if Instant::now() >= device.expires {
            return Err(OAuthError::new("expired_token", "the device code has expired"));
        }
        let early = device.poll();
        let (sub, auth_time) = match &device.decision {
            Decision::Pending if early => {
                return Err(OAuthError::new("slow_down", "polled before the interval was over"));
            }
            Decision::Pending => {
                return Err(OAuthError::new("authorization_pending", "nobody has decided yet"));
            }
            Decision::Denied => {
                self.devices.remove(&digest);
                return Err(OAuthError::new("access_denied", "the request was denied"));
            }
            Decision::Allowed { sub, auth_time } => (sub.clone(), *auth_time),
        };
        verify(device.request.code_challenge.as_deref(), verifier)?;
        let request = device.request.clone();
        self.devices.remove(&digest);
        Ok(self.start_family(Authorization {
            client: request.client,
            sub,
            scope: request.scope,
            audience: request.audience,
            code_challenge: None,
            nonce: None,
            auth_time,
        }))
    }

    /// Answers a refresh (RFC 6749 section 6, rotation as in RFC 9700 section 4.14.2).
    pub(crate) fn refresh(
        &mut self,
        client: &Client,
        token: &str,
        scope: Option<&str>,
    ) -> Result<Granted, OAuthError> {
        let unknown = || OAuthError::invalid_grant(UNKNOWN_REFRESH_TOKEN);
        let digest = Digest::of(token);
        let entry = self.refresh_tokens.get(&digest).ok_or_else(unknown)?;
        let (number, superseded) = (entry.family, entry.superseded);
        let family = self
            .families
            .get_mut(&number)
            .filter(|family| !family.refresh_revoked && family.authorization.client.id == client.id);
        let family = family.ok_or_else(unknown)?;
        let mut authorization = Authorization { nonce: None, ..family.authorization.clone() };
        if let (Rotation::Rotate { grace_seconds }, Some(since)) = (self.settings.rotation, superseded)
            && since.elapsed() >= Duration::from_secs(grace_seconds)
        {
            family.refresh_revoked = true;
            return Err(unknown());
        }
        if let Some(requested) = scope {
            let requested = Scope::parse(requested);
            if !authorization.scope.covers(&requested) {
                return Err(OAuthError::new("invalid_scope", "the scope is wider than what was granted"));
            }
            authorization.scope = requested;
        }
        let refresh_token = match self.settings.rotation {
            Rotation::Never => None,
            Rotation::Rotate { .. } => {
                if let Some(entry) = self.refresh_tokens.get_mut(&digest) {
                    entry.superseded.get_or_insert_with(Instant::now);
                }
                Some(self.issue_refresh_token(number))
            }
        };
        Ok(Granted { authorization, family: Some(number), refresh_token })
    }

    /// Keeps an access token, so that resources can tell whether it is active.
    pub(crate) fn keep_access_token(&mut self, token: &str, granted: &Granted, expires_at: u64) {
        let entry = AccessToken {
            sub: granted.authorization.sub.clone(),
            scope: granted.authorization.scope.clone(),
            expires_at,
            family: granted.family,
            dead: false,
        };
        self.access_tokens.insert(Digest::of(token), entry);
    }

    /// Returns what is known of an access token, if it is active (RFC 7662 section 2.2).
    pub(crate) fn access_token(&self, token: &str) -> Option<&AccessToken> {
        self.access_tokens.get(&Digest::of(token)).filter(|entry| {
            let family = entry.family.map(|number| self.families.get(&number));
            let revoked = family.is_some_and(|family| family.is_none_or(|family| family.access_revoked));
            !entry.dead && !revoked && unix_time() < entry.expires_at
        })
    }

    /// Revokes a token of `client` (RFC 7009 section 2.1); an unknown one is fine.
    pub(crate) fn revoke_token(&mut self, client: &Client, token: &str) -> Result<(), OAuthError> {
        let digest = Digest::of(token);
        let refresh = self.refresh_tokens.get(&digest).map(|entry| entry.family);
        let access = self.access_tokens.get(&digest).and_then(|entry| entry.family);
        let owner = refresh.or(access).and_then(|number| self.families.get(&number));
        if owner.is_some_and(|family| family.authorization.client.id != client.id) {
            return Err(OAuthError::new("unauthorized_client", "the token belongs to another client"));
        }
        match (refresh, self.access_tokens.get_mut(&digest)) {
            (Some(number), _) => self.revoke_family(number),
            (None, Some(entry)) => entry.dead = true,
            (None, None) => {}
        }
        Ok(())
    }

    /// Revokes the refresh tokens of everybody, or of one person, and returns how many families
    /// that were.
    pub(crate) fn revoke_families(&mut self, sub: Option<&str>) -> usize {
        let mut revoked = 0;
        for family in self.families.values_mut() {
            let concerned = sub.is_none_or(|sub| family.authorization.sub == sub);
            if concerned && family.refreshable && !family.refresh_revoked {
                family.refresh_revoked = true;
                revoked += 1;
            }
        }
        revoked
    }

    /// Lets all access tokens expire at the resources, whatever they say of themselves.
    pub(crate) fn expire_access_tokens(&mut self) {
        self.access_tokens.values_mut().for_each(|token| token.dead = true);
    }

    /// Lets all refresh tokens expire.
    pub(crate) fn expire_refresh_tokens(&mut self) {
        self.refresh_tokens.clear();
    }

    /// Lets all device codes expire.
    pub(crate) fn expire_device_codes(&mut self) {
        let now = Instant::now();
        self.devices.values_mut().for_each(|device| device.expires = now);
    }

    /// Lets all authorization codes expire.
    pub(crate) fn expire_codes(&mut self) {
        let now = Instant::now();
        self.codes.values_mut().for_each(|code| code.expires = now);
    }

    /// Returns the client of this identifier.
    pub(crate) fn client(&self, id: &str) -> Option<Arc<Client>> {
        let built_in = self.built_in.iter().find(|client| client.id == id);
        built_in.or_else(|| self.registered.get(&id.to_owned())).cloned()
    }

    /// Returns how many refresh tokens there are.
    pub(crate) fn refresh_tokens(&self) -> RefreshTokens {
        let mut counts = RefreshTokens::default();
        for family in self.families.values().filter(|family| family.refreshable) {
            counts.families += 1;
            counts.revoked += usize::from(family.refresh_revoked);
        }
        for token in self.refresh_tokens.values() {
            let family = self.families.get(&token.family);
            match family.filter(|family| !family.refresh_revoked) {
                Some(_) if token.superseded.is_some() => counts.superseded += 1,
                Some(_) => counts.live += 1,
                None => {}
            }
        }
        counts
    }

    fn start_family(&mut self, authorization: Authorization) -> Granted {
        let number = self.next_family;
        self.next_family += 1;
        let refreshable = authorization.scope.contains("offline_access")
            && authorization.client.may(GrantType::RefreshToken);
        let family = Family {
            authorization: authorization.clone(),
            refreshable,
            refresh_revoked: false,
            access_revoked: false,
        };
        self.families.insert(number, family);
        let refresh_token = refreshable.then(|| self.issue_refresh_token(number));
        Granted { authorization, family: Some(number), refresh_token }
    }

    fn issue_refresh_token(&mut self, family: u64) -> String {
        let token = secret::random("sandbox-");
        self.refresh_tokens.insert(Digest::of(&token), RefreshToken { family, superseded: None });
        token
    }

    fn revoke_family(&mut self, number: u64) {
        if let Some(family) = self.families.get_mut(&number) {
            family.refresh_revoked = true;
            family.access_revoked = true;
        }
    }
}

impl DeviceCode {
    /// Notes a poll and returns whether it came before the interval was over.
    fn poll(&mut self) -> bool {
        let now = Instant::now();
        let since = self.polled.replace(now).map(|polled| now.duration_since(polled));
        let early = since.is_some_and(|since| since + POLL_TOLERANCE < self.interval);
        if early && matches!(self.decision, Decision::Pending) {
            self.interval += SLOW_DOWN;
        }
        early
    }

    fn is_pending(&self) -> bool {
        matches!(self.decision, Decision::Pending) && Instant::now() < self.expires
    }
}

/// Returns the seconds since 1970.
pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Checks a code verifier (RFC 7636 section 4.6).
///
/// A verifier without a challenge is refused as well: it is what a client sees when somebody took
/// the challenge out of its request (RFC 9700 section 4.8.2).
fn verify(challenge: Option<&str>, verifier: Option<&str>) -> Result<(), OAuthError> {
    match (challenge, verifier) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(OAuthError::invalid_grant("code_verifier is missing")),
        (None, Some(_)) => Err(OAuthError::invalid_grant("code_verifier without a code_challenge")),
        (Some(challenge), Some(verifier)) => {
            if Digest::of(&Digest::of(verifier).to_base64url()) == Digest::of(challenge) {
                Ok(())
            } else {
                Err(OAuthError::invalid_grant("code_verifier does not match the code_challenge"))
            }
        }
    }
}
