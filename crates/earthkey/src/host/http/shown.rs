//! What an answer says, without its secrets: for whoever looks for what went wrong.

use std::fmt;

use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::Request;
use super::Response;
use crate::error::printable;

/// Characters of an answer that are shown.
const LIMIT: usize = 1000;

/// Characters in a row that can be a token or a part of one.
const TOKEN: usize = 16;

/// Stands for what is not shown.
const HIDDEN: &str = "…";

/// Members of JSON whose text is for people; of all others only the name is shown.
const FOR_PEOPLE: [&str; 9] =
    ["detail", "error", "error_description", "issuer", "message", "scope", "status", "title", "token_type"];

/// The secrets that a request sent: a server may say them again.
pub struct Sent(Vec<Zeroizing<String>>);

struct Shown<'a> {
    sent: &'a Sent,
    answer: &'a Response,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.answer)?;
        let body = self.sent.body(&self.answer.body);
        if body.is_empty() { Ok(()) } else { write!(f, " {body}") }
    }
}

impl Sent {
    /// Takes the secrets of `request`.
    pub fn of(request: &Request) -> Self {
        let fields = request.form.iter().filter(|field| field.secret).map(|field| field.value.clone());
        let authorization = request.headers.get(http::header::AUTHORIZATION);
        let credentials = authorization
            .and_then(|value| value.to_str().ok())
            .map(|value| Zeroizing::new(value.rsplit(' ').next().unwrap_or(value).to_owned()));
        let json = request.json.as_ref().and_then(|json| serde_json::from_slice(json).ok());
        let mut sent: Vec<_> = fields.chain(credentials).collect();
        collect(json.as_ref(), &mut sent);
        sent.retain(|secret| !secret.is_empty());
        // Where one holds another, the longer is hidden whole.
        sent.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(sent)
    }

    /// Shows an answer in one line, if it is written at all: that takes time.
    pub fn shown<'a>(&'a self, answer: &'a Response) -> impl fmt::Display + 'a {
        Shown { sent: self, answer }
    }

    fn body(&self, body: &[u8]) -> String {
        let text = match serde_json::from_slice::<Value>(body) {
            Ok(mut value) => {
                self.hide(&mut value, false);
                Zeroizing::new(value.to_string())
            }
            Err(_) => self.without_secrets(&String::from_utf8_lossy(body)),
        };
        let words = text.split(|c: char| c.is_whitespace() || c.is_control());
        printable(&words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "), LIMIT)
    }

    fn hide(&self, value: &mut Value, is_for_people: bool) {
        match value {
            Value::String(text) => {
                *text =
                    if is_for_people { self.without_secrets(text).to_string() } else { HIDDEN.to_owned() };
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide(value, is_for_people)),
            Value::Object(members) => {
                let shown = std::mem::take(members).into_iter().map(|(name, mut value)| {
                    self.hide(&mut value, FOR_PEOPLE.contains(&name.as_str()));
                    // A name that somebody gave is longer than a token may be.
                    let is_given = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
                    let name = if is_given { self.without_sent(&name) } else { self.without_secrets(&name) };
                    (name.to_string(), value)
                });
                *members = shown.collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn without_sent(&self, text: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(text.to_owned());
        for secret in &self.0 {
            let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            text = Zeroizing::new(text.replace(secret.as_str(), HIDDEN).replace(&encoded, HIDDEN));
        }
        text
    }

    fn without_secrets(&self, text: &str) -> Zeroizing<String> {
        let text = self.without_sent(text);
        let mut shown = Zeroizing::new(String::new());
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c| !is_of_a_token(c)).unwrap_or(rest.len());
            let (part, is_hidden) = if word == 0 { (first.len_utf8(), false) } else { (word, word >= TOKEN) };
            shown.push_str(if is_hidden { HIDDEN } else { &rest[..part] });
            rest = &rest[part..];
        }
        shown
    }
}

/// Whether tokens are made of such (RFC 6750, section 2.1; percent-encoded, too).
fn is_of_a_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=%".contains(c)
}

fn collect(value: Option<&Value>, into: &mut Vec<Zeroizing<String>>) {
    match value {
        Some(Value::String(text)) => into.push(Zeroizing::new(text.clone())),
        Some(Value::Array(values)) => values.iter().for_each(|value| collect(Some(value), into)),
        Some(Value::Object(members)) => members.values().for_each(|value| collect(Some(value), into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn sent() -> Sent {
        let request = Request::post(Url::parse("https://idp.test/token").unwrap())
            .field("client_id", "the-client")
            .secret_field("refresh_token", "r+1/x")
            .secret_field("client_secret", "")
            .authorization("Basic YTpi");
        Sent::of(&request)
    }

    #[test]
    fn of_json_the_names_are_shown_and_what_is_for_people() {
        for (body, expected) in [
            (r#"{"access_token":"a","expires_in":3600}"#, r#"{"access_token":"…","expires_in":3600}"#),
            (
                r#"{"error_description":"eyJhbGciOiJSUzI1NiIs is out, r%2B1%2Fx too"}"#,
                r#"{"error_description":"… is out, … too"}"#,
            ),
            (
                r#"{"error":{"message":"no, r+1/x","code":403}}"#,
                r#"{"error":{"message":"no, …","code":403}}"#,
            ),
            (r#"{"a r+1/x":["s",true,null]}"#, r#"{"a …":["…",true,null]}"#),
            (r#"{"eyJhbGciOiJSUzI1NiIs":1}"#, r#"{"…":1}"#),
            (r#""a-token""#, r#""…""#),
        ] {
            assert_eq!(sent().body(body.as_bytes()), expected);
        }
    }

    #[test]
    fn of_a_page_the_words_are_shown() {
        let page = "<html>\n  <h1>Sign in to the Wi-Fi</h1> YTpi \x1b[2J token=abcdefghijklmnop&r+1/x";
        assert_eq!(sent().body(page.as_bytes()), "<html> <h1>Sign in to the Wi-Fi</h1> … [2J …&…");
        let long = "word ".repeat(1000);
        assert_eq!(sent().body(long.as_bytes()).chars().count(), LIMIT + 1);
        assert_eq!(sent().body(b""), "");
        assert_eq!(sent().body(b"\xff\xfeabc"), "\u{fffd}\u{fffd}abc");
    }

    #[test]
    fn what_was_sent_as_json_is_not_said_again() {
        let mut request = Request::post(Url::parse("https://idp.test/revoke").unwrap());
        request.json = Some(Zeroizing::new(br#"{"token":"short","of":["one",1]}"#.to_vec()));
        assert_eq!(Sent::of(&request).body(b"short is one"), "… is …");
    }
}
