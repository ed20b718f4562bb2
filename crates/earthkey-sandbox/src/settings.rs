//! What can be set while a provider runs.

use serde::{Deserialize, Serialize};

use crate::{Options, Rotation};

/// The longest a thing may live: ten years, so that no sum of times overflows.
const LONGEST: u64 = 10 * 365 * 24 * 3_600;

/// The settings of one realm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// What happens to a refresh token that is used.
    #[serde(flatten)]
    pub rotation: Rotation,
    /// Seconds an access token lives.
    pub access_token_lifetime: u64,
    /// Seconds an authorization code lives.
    pub code_lifetime: u64,
    /// Seconds a device code lives.
    pub device_lifetime: u64,
    /// Seconds a device must wait between polls.
    pub device_interval: u64,
    /// Whether `client_secret_post` is refused.
    pub require_basic_auth: bool,
    /// Whether the openEO back-end lists and takes plain JWT bearer tokens.
    pub plain_jwt: bool,
}

/// A change of settings: what is absent stays.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// `rotate` or `never`.
    pub rotation: Option<RotationKind>,
    /// Seconds a superseded refresh token is still answered; implies `rotate`.
    pub grace_seconds: Option<u64>,
    /// Seconds an access token lives.
    pub access_token_lifetime: Option<u64>,
    /// Seconds an authorization code lives.
    pub code_lifetime: Option<u64>,
    /// Seconds a device code lives.
    pub device_lifetime: Option<u64>,
    /// Seconds a device must wait between polls; 0 for no limit.
    pub device_interval: Option<u64>,
    /// Whether `client_secret_post` is refused.
    pub require_basic_auth: Option<bool>,
    /// Whether the openEO back-end lists and takes plain JWT bearer tokens.
    pub plain_jwt: Option<bool>,
}

/// The two kinds of [`Rotation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RotationKind {
    /// A refresh token stays good.
    Never,
    /// Each use of a refresh token replaces it.
    Rotate,
}

impl Settings {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            rotation: options.rotation,
            access_token_lifetime: options.access_token_lifetime.min(LONGEST),
            code_lifetime: 60,
            device_lifetime: options.device_lifetime.min(LONGEST),
            device_interval: options.device_interval.min(LONGEST),
            require_basic_auth: false,
            plain_jwt: false,
        }
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        let grace = match self.rotation {
            Rotation::Rotate { grace_seconds } => grace_seconds,
            Rotation::Never => 0,
        };
        match (change.rotation, change.grace_seconds) {
            (Some(RotationKind::Never), _) => self.rotation = Rotation::Never,
            (Some(RotationKind::Rotate), None) => {
                self.rotation = Rotation::Rotate { grace_seconds: grace };
            }
            (_, Some(grace)) => {
                self.rotation = Rotation::Rotate { grace_seconds: grace.min(LONGEST) };
            }
            (None, None) => {}
        }
        set_seconds(&mut self.access_token_lifetime, change.access_token_lifetime);
        set_seconds(&mut self.code_lifetime, change.code_lifetime);
        set_seconds(&mut self.device_lifetime, change.device_lifetime);
        set_seconds(&mut self.device_interval, change.device_interval);
        set(&mut self.require_basic_auth, change.require_basic_auth);
        set(&mut self.plain_jwt, change.plain_jwt);
    }
}

fn set(setting: &mut bool, change: Option<bool>) {
    *setting = change.unwrap_or(*setting);
}

fn set_seconds(setting: &mut u64, change: Option<u64>) {
    *setting = change.unwrap_or(*setting).min(LONGEST);
}
