//! The textual form of keys and certificates (RFC 7468).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How long a line is (RFC 7468 section 2).
const LINE: usize = 64;

/// Returns `der` as text with a label such as `CERTIFICATE`.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(LINE));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
        rest = next;
    }
    let _ = writeln!(text, "-----END {label}-----");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_long_as_the_rfc_says() {
        let text = encode("X", &[0; 49]);
        let lines: Vec<_> = text.lines().map(str::len).collect();
        assert_eq!(lines, [17, 64, 4, 15]);
        assert!(text.ends_with("AA==\n-----END X-----\n"));
    }
}
