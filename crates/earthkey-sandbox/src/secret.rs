//! Random values, and the digests under which they are kept.

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The letters of a user code: no vowels, so that no word appears (RFC 8628 section 6.1).
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// The SHA-256 digest of a code, token, session identifier or client secret.
///
/// The state of a provider is keyed by digests, so it holds no bearer secret and a lookup takes no
/// time that depends on how much of a guess is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `text`.
    pub(crate) fn of(text: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Returns whether `text` has this digest, in constant time.
    pub(crate) fn matches(&self, text: &str) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &Self::of(text).0).is_ok()
    }

    /// Returns the digest in base64url: the S256 code challenge of RFC 7636 section 4.2.
    pub(crate) fn to_base64url(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Returns the left half in base64url: an `at_hash` of OpenID Connect Core section 3.1.3.6.
    pub(crate) fn left_half(self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0[..16])
    }
}

/// Returns `prefix` followed by 256 random bits in base64url.
pub(crate) fn random(prefix: &str) -> String {
    let mut bytes = [0; 32];
    fill(&mut bytes);
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
}

/// Returns a fresh user code such as `BCDF-GHJK`.
pub(crate) fn user_code() -> String {
    let mut code = String::with_capacity(9);
    while code.len() < 9 {
        if code.len() == 4 {
            code.push('-');
        }
        let mut byte = [0; 1];
        fill(&mut byte);
        // Bytes from 240 on would make the first letters likelier than the rest.
        if byte[0] < 240 {
            code.push(char::from(USER_CODE_LETTERS[usize::from(byte[0] % 20)]));
        }
    }
    code
}

/// Returns a user code as typed by a person in the form in which it was issued.
pub(crate) fn normalize_user_code(typed: &str) -> String {
    let letters: String = typed
        .chars()
        .filter(char::is_ascii_alphabetic)
        .map(|letter| letter.to_ascii_uppercase())
        .take(16)
        .collect();
    match letters.split_at_checked(4) {
        Some((first, second)) if !second.is_empty() => format!("{first}-{second}"),
        _ => letters,
    }
}

fn fill(bytes: &mut [u8]) {
    rand::fill(bytes).expect("the system's random source answers");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_codes_survive_a_person() {
        let code = user_code();
        let typed = format!(" {} ", code.to_lowercase().replace('-', " "));
        assert_eq!(code.len(), 9);
        assert_eq!(normalize_user_code(&typed), code);
    }

    #[test]
    fn challenge_is_the_one_of_the_rfc() {
        // RFC 7636 appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(Digest::of(verifier).to_base64url(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn digests_match_their_own_text_only() {
        let digest = Digest::of("one");
        assert!(digest.matches("one"));
        assert!(!digest.matches("one "));
    }
}
