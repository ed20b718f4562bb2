//! Devices that wait for a person (RFC 8628).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Authorization, Granted, State, verify};
use crate::client::Client;
use crate::error::OAuthError;
use crate::scope::Scope;
use crate::secret::{self, Digest};

/// How much earlier than its interval a poll may come: clocks and schedulers are not exact.
const POLL_TOLERANCE: Duration = Duration::from_millis(100);

/// What RFC 8628 section 3.5 adds to the interval at each `slow_down`.
const SLOW_DOWN: Duration = Duration::from_secs(5);

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

/// A device code and what came of it.
pub(super) struct DeviceCode {
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

impl State {
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

    /// Lets all device codes expire.
    pub(crate) fn expire_device_codes(&mut self) {
        let now = Instant::now();
        self.devices.values_mut().for_each(|device| device.expires = now);
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
