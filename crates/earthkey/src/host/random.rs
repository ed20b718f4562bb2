//! The seam of unpredictable bytes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Unpredictable bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes` from a cryptographic source.
    fn fill(&self, bytes: &mut [u8]);
}

impl dyn Random + '_ {
    /// Returns `N` unpredictable bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Returns 128 unpredictable bits as 22 characters that fit in a URL.
    pub fn token(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<16>())
    }
}
