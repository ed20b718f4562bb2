//! What an answer says, without its secrets: for whoever looks for what went wrong.

use std::cmp::Reverse;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::Request;
use super::Response;
use crate::error::printable;

/// Bytes of an answer that is looked at; a longer one is no answer to look for faults in.
const LONGEST: usize = 256 * 1024;

/// Characters of an answer that are shown.
const LIMIT: usize = 1000;

/// Characters in a row that can be a token or a part of one.
const TOKEN: usize = 16;

/// Stands for what is not shown.
const HIDDEN: &str = "…";

/// Members of JSON whose text is for people; of all others only the name is shown.
const FOR_PEOPLE: [&str; 4] = ["detail", "error_description", "message", "title"];

/// Members of JSON whose text is one of a few words, or an address.
const CODES: [&str; 5] = ["error", "issuer", "scope", "status", "token_type"];

/// Members of JSON whose numbers are shown.
const NUMBERS: [&str; 4] = ["code", "expires_in", "interval", "status"];

/// The secrets that a request sent: a server may say them again.
pub struct Sent(Vec<Zeroizing<String>>);

impl Sent {
    /// Takes the secrets of `request`.
    pub fn of(request: &Request) -> Self {
        let mut sent: Vec<_> =
            request.form.iter().filter(|field| field.secret).map(|field| field.value.clone()).collect();
        let authorization = request.headers.get(http::header::AUTHORIZATION);
        if let Some((scheme, credentials)) =
            authorization.and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '))
        {
            let mut add = |text: &str| sent.push(Zeroizing::new(text.to_owned()));
            add(credentials);
            // openEO: the token is what comes after the provider.
            credentials.rsplit('/').take(1).for_each(&mut add);
            if let Some(pair) = Some(credentials).filter(|_| scheme == "Basic").and_then(decoded) {
                add(&pair);
                let secret = pair.split_once(':').map_or("", |(_, secret)| secret);
                add(secret);
                // As it was before it was encoded (RFC 6749, section 2.3.1).
                form_urlencoded::parse(secret.as_bytes()).for_each(|(plain, _)| add(&plain));
            }
        }
        if let Some(json) = request.json.as_ref().and_then(|json| serde_json::from_slice(json).ok()) {
            collect(&json, &mut |text| sent.push(Zeroizing::new(text.to_owned())));
        }
        Self(sent)
    }

    /// Shows an answer in one line, if it is written at all: that takes time.
    pub fn shown<'a>(&'a self, answer: &'a Response) -> impl fmt::Display + 'a {
        Shown { sent: self, answer }
    }

    fn body(&self, body: &[u8]) -> String {
        if body.len() > LONGEST {
            return HIDDEN.to_owned();
        }
        let text = if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
            let mut secrets = self.0.clone();
            collect_hidden(&value, "", &mut secrets);
            Secrets::new(&secrets).hide(&mut value, "");
            Zeroizing::new(value.to_string())
        } else {
            // What looks like JSON and is none may hold anything under any name.
            let text = String::from_utf8_lossy(body);
            let page = text.split(['{', '[']).next().unwrap_or_default();
            let mut shown = Secrets::new(&self.0).without(page);
            shown.push_str(if page.len() < text.len() { HIDDEN } else { "" });
            shown
        };
        let words = text.split(|c: char| c.is_whitespace() || c.is_control());
        printable(&words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "), LIMIT)
    }
}

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

/// Secrets in every form in which a server may write them.
struct Secrets(Vec<Zeroizing<String>>);

impl Secrets {
    fn new(secrets: &[Zeroizing<String>]) -> Self {
        let mut forms = Vec::new();
        for secret in secrets {
            let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let as_html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            forms.push(encoded.to_ascii_lowercase());
            forms.push(encoded.replace('+', "%20"));
            forms.push(as_html.replace('"', "&quot;").replace('\'', "&#39;"));
            forms.push(as_html.replace('"', "&#34;").replace('\'', "&#x27;"));
            forms.push(encoded);
            forms.push(secret.to_string());
        }
        forms.retain(|form| !form.is_empty());
        // Where one holds another, the longer is hidden whole.
        forms.sort_by_key(|form| Reverse(form.len()));
        forms.dedup();
        Self(forms.into_iter().map(Zeroizing::new).collect())
    }

    /// Hides what is not for people in `value`, which stands under `name`.
    fn hide(&self, value: &mut Value, name: &str) {
        match value {
            Value::String(text) if FOR_PEOPLE.contains(&name) => *text = self.without(text).to_string(),
            Value::String(text) if CODES.contains(&name) => *text = self.code(text).to_string(),
            Value::Number(_) if NUMBERS.contains(&name) => {}
            Value::String(_) | Value::Number(_) => *value = HIDDEN.into(),
            Value::Array(values) => values.iter_mut().for_each(|value| self.hide(value, name)),
            Value::Object(members) => {
                let shown = std::mem::take(members).into_iter().map(|(name, mut value)| {
                    self.hide(&mut value, &name);
                    (self.code(&name).to_string(), value)
                });
                *members = shown.collect();
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// Shows a word that somebody chose, which may be longer than a token may be, or an address.
    fn code(&self, text: &str) -> Zeroizing<String> {
        let is_word = |part: &str| {
            part.len() < TOKEN
                || part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                || part.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
        };
        let known = self.without_known(text);
        let mut parts = known.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if parts.all(is_word) { known } else { self.without(text) }
    }

    fn without(&self, text: &str) -> Zeroizing<String> {
        let text = self.without_known(text);
        let mut shown = Zeroizing::new(String::new());
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            let word = rest.find(|c| !is_of_a_token(c)).unwrap_or(rest.len());
            let part = if word == 0 { first.len_utf8() } else { word };
            shown.push_str(if word >= TOKEN { HIDDEN } else { &rest[..part] });
            rest = &rest[part..];
        }
        shown
    }

    fn without_known(&self, text: &str) -> Zeroizing<String> {
        let mut text = Zeroizing::new(text.to_owned());
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = Zeroizing::new(text.replace(secret.as_str(), HIDDEN));
            }
        }
        text
    }
}

/// Whether tokens are made of such (RFC 6750, section 2.1; percent-encoded, too).
fn is_of_a_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~+/=%".contains(c)
}

fn decoded(credentials: &str) -> Option<Zeroizing<String>> {
    String::from_utf8(STANDARD.decode(credentials).ok()?).ok().map(Zeroizing::new)
}

/// Collects every text of `value`.
fn collect(value: &Value, add: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => add(text),
        Value::Array(values) => values.iter().for_each(|value| collect(value, add)),
        Value::Object(members) => members.values().for_each(|value| collect(value, add)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Collects what is hidden under its own name: what is for people may say it again, as a code to enter.
fn collect_hidden(value: &Value, name: &str, into: &mut Vec<Zeroizing<String>>) {
    let is_shown = |names: &[&str]| names.contains(&name);
    // Shorter ones would hide parts of words.
    let mut add = |text: String| {
        if text.len() >= 4 {
            into.push(Zeroizing::new(text));
        }
    };
    match value {
        Value::String(text) if !is_shown(&FOR_PEOPLE) && !is_shown(&CODES) => add(text.clone()),
        Value::Number(number) if !is_shown(&NUMBERS) => add(number.to_string()),
        Value::Array(values) => values.iter().for_each(|value| collect_hidden(value, name, into)),
        Value::Object(members) => members.iter().for_each(|(name, value)| collect_hidden(value, name, into)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn sent_with(authorization: &str) -> Sent {
        let request = Request::post(Url::parse("https://idp.test/token").unwrap())
            .field("client_id", "the-client")
            .secret_field("refresh_token", "r+1/x")
            .secret_field("client_secret", "")
            .authorization(authorization);
        Sent::of(&request)
    }

    fn sent() -> Sent {
        sent_with("Bearer shown")
    }

    #[test]
    fn of_json_the_names_are_shown_and_what_is_for_people() {
        for (body, expected) in [
            (r#"{"access_token":"a","expires_in":3600}"#, r#"{"access_token":"…","expires_in":3600}"#),
            (
                r#"{"error_description":"eyJhbGciOiJSUzI1NiIs is out, r%2B1%2Fx and r%2b1%2fx too"}"#,
                r#"{"error_description":"… is out, … and … too"}"#,
            ),
            (
                r#"{"error":{"message":"no, r+1/x","status":"PERMISSION_DENIED","code":403}}"#,
                r#"{"error":{"message":"no, …","status":"PERMISSION_DENIED","code":403}}"#,
            ),
            (r#"{"error":"authorization_pending"}"#, r#"{"error":"authorization_pending"}"#),
            (r#"{"error":"eyJhbGciOiJSUzI1NiIs"}"#, r#"{"error":"…"}"#),
            (
                r#"{"scope":"openid https://www.googleapis.com/auth/earthengine"}"#,
                r#"{"scope":"openid https://www.googleapis.com/auth/earthengine"}"#,
            ),
            (r#"{"issuer":"https://idp.test/eyJhbGciOiJSUzI1NiIs"}"#, r#"{"issuer":"https:…"}"#),
            (r#"{"token_endpoint_auth_methods":["post"]}"#, r#"{"token_endpoint_auth_methods":["…"]}"#),
            (r#"{"a r+1/x":["s",true,null]}"#, r#"{"a …":["…",true,null]}"#),
            (r#"{"eyJhbGciOiJSUzI1NiIs":1}"#, r#"{"…":"…"}"#),
            (r#"{"user_code":12345678}"#, r#"{"user_code":"…"}"#),
            (
                r#"{"user_code":"GTQ7BJ8CV","message":"enter GTQ7BJ8CV there"}"#,
                r#"{"user_code":"…","message":"enter … there"}"#,
            ),
            (
                r#"[{"user_code":12345678,"message":"enter 12345678"}]"#,
                r#"[{"user_code":"…","message":"enter …"}]"#,
            ),
            (
                r#"{"error":{"message":"It is off","errors":[{"message":"It is off","reason":"away"}]}}"#,
                r#"{"error":{"message":"It is off","errors":[{"message":"It is off","reason":"…"}]}}"#,
            ),
            (r#""a-token""#, r#""…""#),
        ] {
            assert_eq!(sent().body(body.as_bytes()), expected);
        }
    }

    #[test]
    fn of_a_page_the_words_are_shown() {
        let page = "<html>\n  <h1>Sign in to the Wi-Fi</h1> shown \x1b[2J";
        assert_eq!(sent().body(page.as_bytes()), "<html> <h1>Sign in to the Wi-Fi</h1> … …");
        assert_eq!(sent().body(b"token=abcdefghijklmnop&r+1/x"), "…&…");
        let long = "word ".repeat(1000);
        assert_eq!(sent().body(long.as_bytes()).chars().count(), LIMIT + 1);
        assert_eq!(sent().body(&vec![b'a'; LONGEST + 1]), "…");
        assert_eq!(sent().body(b""), "");
        assert_eq!(sent().body(b"\xff\xfeabc"), "\u{fffd}\u{fffd}abc");
    }

    #[test]
    fn what_looks_like_json_and_is_none_is_not_shown() {
        for (body, expected) in [
            (&br#"notice: {"user_code":"GTQ7BJ8CV"}"#[..], "notice: …"),
            (br#"{"device_code":"dc-short","at":1e999}"#, "…"),
            (br#"{"refresh_token":"r-short""#, "…"),
            (b"\xef\xbb\xbf{\"refresh_token\":\"r-short\"}", "\u{feff}…"),
            (br#"["r-short","\ud800"]"#, "…"),
        ] {
            assert_eq!(sent().body(body), expected);
        }
        let deep = format!("{}\"r-short\"{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(sent().body(deep.as_bytes()), "…");
    }

    #[test]
    fn credentials_are_known_in_every_form() {
        let pair = STANDARD.encode("abc:a%26%22hunter2");
        for (authorization, said) in [
            (format!("Basic {pair}"), r#"secret a&"hunter2 of abc"#),
            (format!("Basic {pair}"), "secret a%26%22hunter2 of abc"),
            (format!("Basic {pair}"), "secret a&amp;&quot;hunter2 of abc"),
            ("Bearer oidc/egi/short".to_owned(), "secret short of abc"),
            ("Bearer a b".to_owned(), "secret a%20b of abc"),
        ] {
            let shown = sent_with(&authorization).body(said.as_bytes());
            assert_eq!(shown, "secret … of abc", "{authorization}: {said}");
        }
    }

    #[test]
    fn what_was_sent_as_json_is_not_said_again() {
        let mut request = Request::post(Url::parse("https://idp.test/revoke").unwrap());
        request.json = Some(Zeroizing::new(br#"{"token":"short","of":["one",1]}"#.to_vec()));
        assert_eq!(Sent::of(&request).body(b"short is one"), "… is …");
    }
}
