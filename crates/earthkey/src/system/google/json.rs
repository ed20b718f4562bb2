//! JSON as Python's `json.dumps` writes it, which the clients of Google's systems use.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Map;
use serde_json::Serializer;
use serde_json::Value;
use serde_json::ser::Formatter;
use serde_json::ser::PrettyFormatter;

use crate::store::slot::Damage;

/// Writes an object in one line.
pub(in super::super) fn in_one_line(file: &Map<String, Value>) -> Result<Vec<u8>, Damage> {
    written(file, Spaced)
}

/// Writes an object member by member, two spaces deep, without a newline at the end.
pub(super) fn indented(file: &Map<String, Value>) -> Result<Vec<u8>, Damage> {
    written(file, PrettyFormatter::new())
}

fn written(file: &Map<String, Value>, formatter: impl Formatter) -> Result<Vec<u8>, Damage> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    file.serialize(&mut serializer).map_err(|error| Damage(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| Damage(error.to_string()))?;
    Ok(in_ascii(&text).into_bytes())
}

/// Escapes everything but printable ASCII; in JSON it stands in strings alone (RFC 8259, section 7).
fn in_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\n' | ' '..='~' => ascii.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // A text takes whatever is written to it.
                    let _ = write!(ascii, "\\u{unit:04x}");
                }
            }
        }
    }
    ascii
}

/// A space behind each comma and colon.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_written_as_python_writes_them() {
        let file = serde_json::json!({"caf\u{e9}": ["\u{1f30d}", "a\n\"\u{7f}\u{1}"]});
        let file = file.as_object().unwrap();
        assert_eq!(
            String::from_utf8(in_one_line(file).unwrap()).unwrap(),
            r#"{"caf\u00e9": ["\ud83c\udf0d", "a\n\"\u007f\u0001"]}"#
        );
        assert_eq!(
            String::from_utf8(indented(file).unwrap()).unwrap(),
            "{\n  \"caf\\u00e9\": [\n    \"\\ud83c\\udf0d\",\n    \"a\\n\\\"\\u007f\\u0001\"\n  ]\n}"
        );
    }
}
