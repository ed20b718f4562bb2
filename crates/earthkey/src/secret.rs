//! Secrets as types that cannot be printed.
//!
//! Every secret has a type of its own, so that a refresh token cannot be passed where an access
//! token is meant. `Debug` prints `****`, there is no `Display`, memory is wiped on drop, and
//! comparison takes the same time whatever differs.

use std::fmt;

use aws_lc_rs::digest;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use subtle::ConstantTimeEq;

macro_rules! secrets {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(SecretString);

        impl $name {
            /// Wraps a secret.
            pub fn new(secret: impl Into<String>) -> Self {
                Self(SecretString::from(secret.into()))
            }

            /// Returns the secret itself; the name makes every such place easy to find.
            pub fn expose(&self) -> &str {
                self.0.expose_secret()
            }

            /// Returns the fingerprint by which this secret may be named in files and logs.
            pub fn fingerprint(&self) -> Fingerprint {
                Fingerprint::of(self.expose())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(****)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
            }
        }

        impl Eq for $name {}
    )+};
}

secrets! {
    /// An access token (RFC 6749, section 1.4).
    AccessToken
    /// A refresh token (RFC 6749, section 1.5).
    RefreshToken
    /// An ID token (OpenID Connect Core, section 2).
    IdToken
    /// A client's secret (RFC 6749, section 2.3.1).
    ClientSecret
    /// A person's password.
    Password
    /// A private key in PEM, with which a service account signs for itself (RFC 7523).
    PrivateKey
    /// An authorization code (RFC 6749, section 1.3.1).
    AuthorizationCode
    /// A device code (RFC 8628, section 3.2).
    DeviceCode
    /// A proof key (RFC 7636, section 4.1).
    CodeVerifier
    /// The `state` of one authorization request (RFC 6749, section 10.12).
    State
    /// The `nonce` of one authentication request (OpenID Connect Core, section 3.1.2.1).
    Nonce
}

/// Names a secret without telling it: the first 128 bits of its SHA-256.
///
/// Tokens have far more entropy than could be searched, so that the fingerprint may stand in
/// ledgers and be compared by other processes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Returns the fingerprint of `secret`.
    pub fn of(secret: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, secret.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_ref()[..16]);
        Self(bytes)
    }

    /// Returns the fingerprint's 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads the 32 hexadecimal digits that `Display` writes.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_a_secret() {
        let token = AccessToken::new("ya29.visible");
        assert_eq!(format!("{token:?} {:?}", Some(&token)), "AccessToken(****) Some(AccessToken(****))");
    }

    #[test]
    fn comparison_is_by_content() {
        assert_eq!(RefreshToken::new("a"), RefreshToken::new("a"));
        assert_ne!(RefreshToken::new("a"), RefreshToken::new("b"));
        assert_ne!(RefreshToken::new("a"), RefreshToken::new("ab"));
    }

    #[test]
    fn a_fingerprint_survives_its_text() {
        let fingerprint = RefreshToken::new("1//abc").fingerprint();
        assert_eq!(Fingerprint::from_hex(&fingerprint.to_string()), Some(fingerprint));
        assert_eq!(Fingerprint::from_hex("zz"), None);
        assert_eq!(Fingerprint::from_hex(&"ä".repeat(16)), None);
    }
}
