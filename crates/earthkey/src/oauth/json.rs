//! JSON objects from servers, read strictly and without repeating their content in errors.

use http::header;
use serde_json::Map;
use serde_json::Value;

use crate::error::printable;
use crate::host::http::Response;

/// A JSON object whose members are taken out one by one, each as the type it must have.
///
/// `serde`'s own errors quote the offending value, which may be a token; these name the member.
pub(super) struct Object(Map<String, Value>);

impl Object {
    /// Reads a body; anything but an object is `None`.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Some(Self(members)),
            _ => None,
        }
    }

    /// Takes an object that stands inside another.
    pub(super) fn of(value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self(members)),
            _ => None,
        }
    }

    /// Returns all members.
    pub(super) fn into_members(self) -> Map<String, Value> {
        self.0
    }

    /// Takes a member out; `null` counts as absent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub(super) fn string(&mut self, name: &'static str) -> Result<Option<String>, WrongType> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(WrongType { name, expected: "a string" }),
        }
    }

    /// Takes a list of strings.
    pub(super) fn strings(&mut self, name: &'static str) -> Result<Option<Vec<String>>, WrongType> {
        let wrong = WrongType { name, expected: "a list of strings" };
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(text),
                    _ => Err(wrong),
                })
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(wrong),
        }
    }

    /// Takes a boolean.
    pub(super) fn boolean(&mut self, name: &'static str) -> Result<Option<bool>, WrongType> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(WrongType { name, expected: "true or false" }),
        }
    }

    /// Takes a number of seconds, brought into `0..=most`.
    ///
    /// Several providers send the number as a string. A fraction is rounded up for what is waited
    /// for, and a second more makes no difference to what expires.
    pub(super) fn seconds(&mut self, name: &'static str, most: u64) -> Result<Option<u64>, WrongType> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if !number.is_nan() => Ok(Some(whole(number.ceil(), most))),
            _ => Err(WrongType { name, expected: "a number of seconds" }),
        }
    }

    /// Takes a `NumericDate`: seconds since 1970, a JSON number and nothing else (RFC 7519,
    /// section 2).
    pub(super) fn date(&mut self, name: &'static str) -> Result<Option<u64>, WrongType> {
        let wrong = WrongType { name, expected: "a number of seconds since 1970" };
        match self.take(name) {
            None => Ok(None),
            Some(Value::Number(number)) => match (number.as_u64(), number.as_f64()) {
                (Some(date), _) => Ok(Some(date)),
                (None, Some(date)) if date >= 0.0 => Ok(Some(whole(date.floor(), u64::MAX))),
                _ => Err(wrong),
            },
            Some(_) => Err(wrong),
        }
    }
}

/// A member that has another type than its specification says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not {expected}")]
pub(super) struct WrongType {
    /// The member.
    pub(super) name: &'static str,
    /// What it must be.
    pub(super) expected: &'static str,
}

/// Says what kind of body came instead of the one expected, without quoting it.
pub(super) fn kind(response: &Response) -> String {
    if response.body.is_empty() {
        return "an empty body".to_owned();
    }
    match response.header(header::CONTENT_TYPE) {
        Some(kind) if kind.trim_start().starts_with("text/html") => "an HTML page".to_owned(),
        Some(kind) => format!("a body of type `{}`", printable(kind, 100)),
        None => "a body of no stated type".to_owned(),
    }
}

/// Returns a whole number between 0 and `most`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest integer in range, which is what a bound means"
)]
fn whole(number: f64, most: u64) -> u64 {
    (number as u64).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        Object::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn only_objects_are_objects() {
        for body in ["", "[]", "null", "\"{}\"", "{", "{} {}", "<html>", "\u{feff}{}"] {
            assert!(Object::parse(body.as_bytes()).is_none(), "{body}");
        }
        assert!(Object::parse(&b"[".repeat(100_000)).is_none());
    }

    #[test]
    fn seconds_come_as_numbers_or_digits_and_are_bounded() {
        for (json, expected) in [
            ("3600", 3600),
            ("\"3600\"", 3600),
            ("3599.5", 3600),
            ("0", 0),
            ("-5", 0),
            ("\"-5\"", 0),
            ("1e300", 9999),
            ("18446744073709551616", 9999),
            ("\"1e999\"", 9999),
        ] {
            let mut object = object(&format!("{{\"expires_in\": {json}}}"));
            assert_eq!(object.seconds("expires_in", 9999), Ok(Some(expected)), "{json}");
        }
        for json in ["true", "\"soon\"", "\"\"", "\"NaN\"", "[3600]", "{}"] {
            let mut object = object(&format!("{{\"expires_in\": {json}}}"));
            assert!(object.seconds("expires_in", 9999).is_err(), "{json}");
        }
        assert_eq!(object("{\"expires_in\": null}").seconds("expires_in", 9), Ok(None));
    }

    #[test]
    fn dates_are_numbers_only() {
        for (json, expected) in [("0", 0), ("1311281970", 1_311_281_970), ("1.9", 1), ("1e99", u64::MAX)] {
            let mut object = object(&format!("{{\"exp\": {json}}}"));
            assert_eq!(object.date("exp"), Ok(Some(expected)), "{json}");
        }
        for json in ["-1", "\"1311281970\"", "true", "[1]"] {
            let mut object = object(&format!("{{\"exp\": {json}}}"));
            assert!(object.date("exp").is_err(), "{json}");
        }
    }

    #[test]
    fn errors_name_the_member_and_keep_its_value() {
        let error = object("{\"access_token\": [\"hidden\"]}").string("access_token").unwrap_err();
        assert_eq!(error.to_string(), "`access_token` is not a string");
        assert!(object("{\"scopes_supported\": \"a b\"}").strings("scopes_supported").is_err());
        assert!(object("{\"scopes_supported\": [1]}").strings("scopes_supported").is_err());
        assert!(object("{\"flag\": \"true\"}").boolean("flag").is_err());
    }
}
