//! The textual form of keys and certificates (RFC 7468).

use pem::{EncodeConfig, LineEnding, Pem};

/// Returns `der` as text with a label such as `CERTIFICATE`.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    pem::encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}
