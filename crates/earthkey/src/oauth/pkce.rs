//! Proof keys: the code that a thief cannot redeem (RFC 7636).

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::CodeVerifier;

/// The only challenge method in use: `plain` protects nothing (RFC 9700, section 2.1.1).
pub const METHOD: &str = "S256";

/// Returns the verifier made of 32 random bytes (RFC 7636, section 4.1).
pub fn verifier(random: [u8; 32]) -> CodeVerifier {
    CodeVerifier::new(URL_SAFE_NO_PAD.encode(random))
}

/// Returns the `S256` challenge of a verifier (RFC 7636, section 4.2).
pub fn challenge(verifier: &CodeVerifier) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7636_appendix_b() {
        let verifier = verifier([
            116, 24, 223, 180, 151, 153, 224, 37, 79, 250, 96, 125, 216, 173, 187, 186, 22, 212, 37, 77, 105,
            214, 191, 240, 91, 88, 5, 88, 83, 132, 141, 121,
        ]);
        assert_eq!(verifier.expose(), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
        assert_eq!(challenge(&verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
