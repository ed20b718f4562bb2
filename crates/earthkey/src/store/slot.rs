//! Homes and the slots in them.

use std::path::PathBuf;
use std::sync::Arc;

use crate::oauth::token;
use crate::oauth::token::TokenResponse;
use crate::secret::AccessToken;
use crate::secret::ClientSecret;
use crate::secret::Fingerprint;
use crate::secret::IdToken;
use crate::secret::Password;
use crate::secret::PrivateKey;
use crate::secret::RefreshToken;

/// The file where a grant lives, and its place in it.
#[derive(Clone)]
pub struct Home {
    /// The file, as the system's own tools name it; links are resolved when it is used.
    pub path: PathBuf,
    /// The place in the file.
    pub slot: Arc<dyn Slot>,
    /// What to do with a file that others can read.
    pub privacy: Privacy,
    /// Whether the provider may answer with a successor of the refresh token.
    pub rotation: Rotation,
    /// Where lease and ledger lie, if not beside the file: a folder of our own.
    pub ledgers: Option<PathBuf>,
}

/// What to do with a home that others can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// Refuse it, as the system's own client does.
    Required,
    /// Use it and warn.
    Expected,
}

/// Whether a provider may answer with a successor of the refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// It may: everything that keeps the successor must be ready before the token is sent.
    Possible,
    /// It never does (Google).
    Never,
}

/// The codec of one place in a file. Pure: bytes to contents and back.
pub trait Slot: Send + Sync {
    /// Returns what names the slot among those of its file; empty where there is only one.
    fn name(&self) -> String;

    /// Reads the slot: `None` when the file is sound and the slot empty.
    fn read(&self, file: &[u8]) -> Result<Option<Contents>, Damage>;

    /// Returns the file with the slot holding `contents`, everything else as it was.
    fn write(&self, file: Option<&[u8]>, contents: &Contents) -> Result<Vec<u8>, Damage>;

    /// Returns the file without the slot, `None` when the file is to go.
    fn clear(&self, file: &[u8]) -> Result<Option<Vec<u8>>, Damage>;
}

/// A file that cannot be what it should be; the text says why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damage(pub String);

/// What a slot holds, whatever the file's format.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Contents {
    /// What is long-lived.
    pub grant: Option<Grant>,
    /// The access token, in formats that keep one.
    pub access_token: Option<AccessToken>,
    /// The ID token, in formats that keep one.
    pub id_token: Option<IdToken>,
    /// The scopes of the grant, in formats that keep them.
    pub scopes: Option<Vec<String>>,
    /// Names the client and the endpoint that the grant is for, in formats that say so.
    pub issued_to: Option<Fingerprint>,
}

/// What is long-lived: what new access tokens are obtained with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// A refresh token (RFC 6749, section 6).
    RefreshToken(RefreshToken),
    /// The client's own secret (RFC 6749, section 4.4).
    ClientCredentials(ClientSecret),
    /// A person's name and password, for HTTP Basic (RFC 7617).
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Password,
    },
    /// A key with which an account of a program signs its own requests (RFC 7523).
    ServiceAccount(ServiceAccount),
}

/// An account of a program, and the key that it signs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The account: the `iss` of what it signs.
    pub email: String,
    /// The server that it signs for: the `aud`.
    pub audience: String,
    /// The key's name: the `kid` of what it signs.
    pub key_id: Option<String>,
    /// The key.
    pub key: PrivateKey,
}

impl Grant {
    /// Returns the fingerprint by which ledgers and records name the grant.
    pub fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::RefreshToken(token) => token.fingerprint(),
            Self::ClientCredentials(secret) => secret.fingerprint(),
            Self::Basic { username, password } => {
                Fingerprint::of(&format!("{username}\n{}", password.expose()))
            }
            Self::ServiceAccount(ServiceAccount { email, key_id, key, .. }) => {
                let key_id = key_id.as_deref().unwrap_or_default();
                Fingerprint::of(&format!("{email}\n{key_id}\n{}", key.expose()))
            }
        }
    }
}

impl Contents {
    /// Returns the fingerprint of what makes these contents one and not another: the grant, or
    /// the access token where there is nothing else.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        match &self.grant {
            Some(grant) => Some(grant.fingerprint()),
            None => self.access_token.as_ref().map(AccessToken::fingerprint),
        }
    }

    /// Returns whether the grant is one that an answer may replace.
    pub(crate) fn is_replaceable(&self) -> bool {
        matches!(self.grant, Some(Grant::RefreshToken(_)) | None)
    }

    /// Returns the refresh token, if the grant is one.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        match &self.grant {
            Some(Grant::RefreshToken(token)) => Some(token),
            _ => None,
        }
    }

    /// Returns what the slot holds after a 2xx body: where that is no usable answer, the refresh
    /// token in it is kept all the same, since the one before may be spent.
    pub(crate) fn after_body(&self, body: &[u8]) -> Self {
        if let Ok(answer) = token::parse_body(body) {
            return self.after(&answer);
        }
        match (&self.grant, token::refresh_token_in(body)) {
            (Some(Grant::RefreshToken(_)) | None, Some(successor)) => {
                Self { grant: Some(Grant::RefreshToken(successor)), ..self.clone() }
            }
            _ => self.clone(),
        }
    }

    /// Returns what the slot holds after the provider's answer: an answer without a refresh
    /// token leaves the old one in force (RFC 6749, section 6).
    pub fn after(&self, answer: &TokenResponse) -> Self {
        let successor = answer.refresh_token.clone().map(Grant::RefreshToken);
        let grant = match &self.grant {
            Some(Grant::RefreshToken(_)) | None => successor.or_else(|| self.grant.clone()),
            // What an exchange cannot replace.
            own => own.clone(),
        };
        Self {
            grant,
            access_token: Some(answer.access_token.clone()),
            id_token: answer.id_token.clone().or_else(|| self.id_token.clone()),
            scopes: self.scopes.clone(),
            issued_to: self.issued_to,
        }
    }
}
