//! What a provider remembers, and the grants that change it. No HTTP here.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::device::DeviceCode;
use crate::Rotation;
use crate::bounded::Bounded;
use crate::client::{Client, GrantType};
use crate::error::{OAuthError, Why};
use crate::google::service_account::ServiceAccounts;
use crate::provider::Realm;
use crate::scope::Scope;
use crate::secret::{self, Digest};
use crate::session::Session;
use crate::settings::Settings;

pub(crate) use self::device::DeviceRequest;

mod device;

/// The description Auth0 gives, and clients look for, when a refresh token is not good any more.
const UNKNOWN_REFRESH_TOKEN: &str = "Unknown or invalid refresh token.";

/// Everything a provider remembers.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) sessions: Bounded<Digest, Session>,
    /// Who has a key to sign assertions with.
    pub(crate) service_accounts: ServiceAccounts,
    realm: Realm,
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

/// What is known of an access token at the resources.
pub(crate) struct AccessToken {
    pub(crate) sub: String,
    pub(crate) scope: Scope,
    pub(crate) client_id: String,
    /// Seconds since 1970.
    pub(crate) expires_at: u64,
    /// The family of a person's grant.
    pub(crate) family: Option<u64>,
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

/// The tokens that descend from one authorization by a person.
struct Family {
    authorization: Authorization,
    refreshable: bool,
    /// When its refresh tokens end, whatever is done with them.
    ends: Option<Instant>,
    refresh_revoked: bool,
    access_revoked: bool,
}

struct RefreshToken {
    family: u64,
    superseded: Option<Instant>,
    expired: bool,
}

impl State {
    /// Returns the state of a provider nobody has used yet.
    pub(crate) fn new(realm: Realm, settings: Settings) -> Self {
        Self {
            settings,
            realm,
            service_accounts: ServiceAccounts::default(),
            built_in: Client::built_in(realm),
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
            return Err(OAuthError::invalid_grant("redirect_uri differs from the authorization request")
                .because(Why::RedirectUri));
        }
        verify(entry.authorization.code_challenge.as_deref(), verifier)?;
        let granted = self.start_family(entry.authorization.clone());
        if let Some(entry) = self.codes.get_mut(&digest) {
            entry.redeemed = granted.family;
        }
        Ok(granted)
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
        let (number, superseded, expired) = (entry.family, entry.superseded, entry.expired);
        let family = self.families.get_mut(&number).ok_or_else(unknown)?;
        if family.authorization.client.id != client.id {
            return Err(unknown().because(Why::OtherClient));
        }
        if expired || family.has_ended() {
            return Err(unknown().because(Why::Ended));
        }
        let mut authorization = Authorization { nonce: None, ..family.authorization.clone() };
        if let (Rotation::Rotate { grace_seconds }, Some(since)) = (self.settings.rotation, superseded)
            && since.elapsed() >= Duration::from_secs(grace_seconds)
        {
            family.refresh_revoked = true;
            return Err(unknown().because(Why::Ended));
        }
        if let Some(requested) = scope {
            authorization.scope = self.narrow(&authorization.scope, requested)?;
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

    /// Returns the part of a granted scope that a refresh asks for (RFC 6749 section 6).
    fn narrow(&self, granted: &Scope, requested: &str) -> Result<Scope, OAuthError> {
        let refused = |why| OAuthError::new("invalid_scope", why).because(Why::Scope);
        if self.realm == Realm::Google && Scope::unknown(self.realm, requested).is_some() {
            return Err(refused("the scope is unknown"));
        }
        let requested = Scope::parse(self.realm, requested);
        if granted.covers(&requested) {
            Ok(requested)
        } else {
            Err(refused("the scope is wider than what was granted"))
        }
    }

    /// Keeps an access token, so that resources can tell whether it is active.
    pub(crate) fn keep_access_token(&mut self, token: &str, granted: &Granted, expires_at: u64) {
        let entry = AccessToken {
            sub: granted.authorization.sub.clone(),
            scope: granted.authorization.scope.clone(),
            client_id: granted.authorization.client.id.clone(),
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

    /// Revokes every grant that the person behind a token gave its client, as Google does, and
    /// returns whether the token was good until then.
    pub(crate) fn revoke_grants(&mut self, token: &str) -> bool {
        let digest = Digest::of(token);
        let refresh = self.refresh_tokens.get(&digest).filter(|entry| !entry.expired);
        let family = refresh.map(|entry| entry.family).or_else(|| self.access_token(token)?.family);
        let Some(family) = family.and_then(|number| self.families.get(&number)) else {
            // A service account has no refresh token that would go with it.
            let good = self.access_token(token).is_some();
            if let Some(entry) = self.access_tokens.get_mut(&digest) {
                entry.dead = true;
            }
            return good;
        };
        if family.has_ended() {
            return false;
        }
        let (sub, client) = (family.authorization.sub.clone(), Arc::clone(&family.authorization.client));
        for family in self.families.values_mut() {
            if family.authorization.sub == sub && family.authorization.client.id == client.id {
                family.revoke();
            }
        }
        true
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
        self.refresh_tokens.values_mut().for_each(|token| token.expired = true);
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
        for token in self.refresh_tokens.values().filter(|token| !token.expired) {
            let family = self.families.get(&token.family);
            match family.filter(|family| !family.has_ended()) {
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
        // Google's clients ask with `access_type`, and native ones get a refresh token anyway.
        let refreshable = (self.realm == Realm::Google || authorization.scope.contains("offline_access"))
            && authorization.client.may(GrantType::RefreshToken);
        let lifetime = self.settings.grant_lifetime.map(Duration::from_secs);
        let family = Family {
            authorization: authorization.clone(),
            refreshable,
            ends: lifetime.map(|lifetime| Instant::now() + lifetime),
            refresh_revoked: false,
            access_revoked: false,
        };
        self.families.insert(number, family);
        let refresh_token = refreshable.then(|| self.issue_refresh_token(number));
        Granted { authorization, family: Some(number), refresh_token }
    }

    fn issue_refresh_token(&mut self, family: u64) -> String {
        let token = secret::random("sandbox-");
        self.refresh_tokens
            .insert(Digest::of(&token), RefreshToken { family, superseded: None, expired: false });
        token
    }

    fn revoke_family(&mut self, number: u64) {
        if let Some(family) = self.families.get_mut(&number) {
            family.revoke();
        }
    }
}

impl Family {
    fn revoke(&mut self) {
        self.refresh_revoked = true;
        self.access_revoked = true;
    }

    /// Returns whether its refresh tokens are good no more.
    fn has_ended(&self) -> bool {
        self.refresh_revoked || self.ends.is_some_and(|ends| Instant::now() >= ends)
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
        (Some(_), None) => {
            Err(OAuthError::invalid_grant("code_verifier is missing").because(Why::NoVerifier))
        }
        (None, Some(_)) => Err(OAuthError::invalid_grant("code_verifier without a code_challenge")),
        (Some(challenge), Some(verifier)) => {
            if Digest::of(&Digest::of(verifier).to_base64url()) == Digest::of(challenge) {
                Ok(())
            } else {
                let text = "code_verifier does not match the code_challenge";
                Err(OAuthError::invalid_grant(text).because(Why::WrongVerifier))
            }
        }
    }
}
