//! What can be set while a provider runs.

use serde::{Deserialize, Deserializer, Serialize};

use crate::provider::Realm;
use crate::state::unix_time;
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
    /// Seconds that Google's clock is ahead: in the JWTs it checks and signs, and in its `Date`.
    pub clock_offset: i64,
    /// The scopes that a person unticks on Google's consent page.
    pub withheld_scopes: Vec<String>,
    /// Seconds until a login ends whatever is done, as for a Google client in testing.
    pub grant_lifetime: Option<u64>,
    /// Whether Google wants the person again, and answers every refresh `invalid_rapt`.
    pub reauthentication: bool,
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
    /// Seconds that Google's clock is ahead; negative for behind.
    pub clock_offset: Option<i64>,
    /// The scopes that a person unticks on Google's consent page.
    pub withheld_scopes: Option<Vec<String>>,
    /// Seconds until logins from now on end whatever is done; `null`, in Rust `Some(None)`, for
    /// never.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[allow(clippy::option_option, reason = "absent and null are two things")]
    pub grant_lifetime: Option<Option<u64>>,
    /// Whether Google answers every refresh `invalid_rapt`.
    pub reauthentication: Option<bool>,
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
    pub(crate) fn new(realm: Realm, options: &Options) -> Self {
        Self {
            // Google never rotates.
            rotation: if realm == Realm::Google { Rotation::Never } else { options.rotation },
            access_token_lifetime: options.access_token_lifetime.min(LONGEST),
            code_lifetime: 60,
            device_lifetime: options.device_lifetime.min(LONGEST),
            device_interval: options.device_interval.min(LONGEST),
            require_basic_auth: false,
            plain_jwt: false,
            clock_offset: 0,
            withheld_scopes: Vec::new(),
            grant_lifetime: None,
            reauthentication: false,
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
        set(&mut self.reauthentication, change.reauthentication);
        if let Some(offset) = change.clock_offset {
            let longest = LONGEST.cast_signed();
            self.clock_offset = offset.clamp(-longest, longest);
        }
        if let Some(scopes) = &change.withheld_scopes {
            self.withheld_scopes.clone_from(scopes);
        }
        if let Some(lifetime) = change.grant_lifetime {
            self.grant_lifetime = lifetime.map(|seconds| seconds.min(LONGEST));
        }
    }

    /// Returns the seconds since 1970 by the clock of the realm.
    pub(crate) fn now(&self) -> u64 {
        unix_time().saturating_add_signed(self.clock_offset)
    }
}

fn set(setting: &mut bool, change: Option<bool>) {
    *setting = change.unwrap_or(*setting);
}

fn set_seconds(setting: &mut u64, change: Option<u64>) {
    *setting = change.unwrap_or(*setting).min(LONGEST);
}

/// Takes a member that is there for a change, even if it is null.
#[allow(clippy::option_option, reason = "absent and null are two things")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
