//! What failed, why, which credential was in use, and what to type next.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// The result of everything in this library that can fail for a person's reasons.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure; the command line's exit codes are these, one for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A fault of earthkey itself.
    Internal,
    /// The request does not make sense as given.
    Usage,
    /// There is no usable grant: a person has to sign in.
    LoginRequired,
    /// The provider or the person said no.
    Refused,
    /// The provider could not be reached, or gave no usable answer.
    Network,
    /// What earthkey was told to use does not fit: an address, a client, a variable.
    Configuration,
    /// A file or directory cannot be used as it is.
    Store,
    /// A person or the system asked to stop.
    Interrupted,
}

/// An error with everything that a person needs to act on it.
///
/// `Display` is the first line alone; [`Error::causes`], [`Error::credential`] and
/// [`Error::hints`] are what the command line prints below it.
#[derive(Clone)]
pub struct Error(Box<Repr>);

#[derive(Clone)]
struct Repr {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    credential: Option<String>,
    hints: Vec<String>,
}

impl Error {
    /// Makes an error of `kind`; `message` says what failed, in one sentence without a period.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Repr {
            kind,
            message: message.into(),
            source: None,
            credential: None,
            hints: Vec::new(),
        }))
    }

    /// Makes an error of kind [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Makes an error of kind [`ErrorKind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// Makes an error of kind [`ErrorKind::LoginRequired`].
    pub fn login_required(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LoginRequired, message)
    }

    /// Makes an error of kind [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// Makes an error of kind [`ErrorKind::Network`].
    pub fn network(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Network, message)
    }

    /// Makes an error of kind [`ErrorKind::Configuration`].
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// Makes an error of kind [`ErrorKind::Store`].
    pub fn store(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Store, message)
    }

    /// Makes an error of kind [`ErrorKind::Interrupted`].
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// Adds what caused it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// Adds which credential was in use and where it came from, unless that is known already.
    pub fn with_credential(mut self, credential: impl Into<String>) -> Self {
        self.0.credential.get_or_insert_with(|| credential.into());
        self
    }

    /// Adds what to do or type next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hints.push(hint.into());
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns which credential was in use and where it came from.
    pub fn credential(&self) -> Option<&str> {
        self.0.credential.as_deref()
    }

    /// Returns what to do or type next.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// Returns whether an error of type `E` is among the causes.
    pub fn is_caused_by<E: StdError + 'static>(&self) -> bool {
        let mut next = self.source();
        while let Some(cause) = next {
            if cause.is::<E>() {
                return true;
            }
            next = cause.source();
        }
        false
    }

    /// Returns the causes, nearest first.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many libraries repeat their source's text in their own.
            if causes.last().is_none_or(|last| !last.ends_with(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("causes", &self.causes())
            .field("credential", &self.0.credential)
            .field("hints", &self.0.hints)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Makes text from the network fit for a terminal: no control characters, at most `limit`
/// characters (FLOWS.md's rule for server text).
pub fn printable(text: &str, limit: usize) -> String {
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_control() || is_bidi_control(c) { ' ' } else { c })
        .take(limit)
        .collect();
    if text.chars().count() > limit {
        clean.push('…');
    }
    clean.trim().to_owned()
}

/// Writes a value as one word for a shell, so that a hint can be pasted.
pub fn word(value: impl fmt::Display) -> String {
    let value = value.to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    if !value.is_empty() && value.bytes().all(is_plain) {
        value
    } else {
        format!("'{}'", value.replace('\'', r"'\''"))
    }
}

/// Whether `c` reorders what follows it on a terminal, so that a text reads as another.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_not_repeated() {
        let inner = Error::network("connection refused");
        let error = Error::network("cannot reach the provider").caused_by(inner).hint("check it");
        assert_eq!(error.to_string(), "cannot reach the provider");
        assert_eq!(error.causes(), ["connection refused"]);
        assert_eq!(error.hints(), ["check it"]);
    }

    #[test]
    fn server_text_cannot_move_the_cursor_or_flood() {
        assert_eq!(printable("a\x1b[2Jb\r\nc", 20), "a [2Jb  c");
        assert_eq!(printable("\u{202e}evil", 20), "evil");
        assert_eq!(printable("abcdef", 3), "abc…");
    }

    #[test]
    fn a_hint_can_be_pasted_whatever_a_path_is_called() {
        for (value, expected) in [
            ("/home/me/.config/earthkey/config.toml", "/home/me/.config/earthkey/config.toml"),
            ("/data/My Drive/key.json", "'/data/My Drive/key.json'"),
            ("/tmp/$(reboot)", "'/tmp/$(reboot)'"),
            ("it's", r"'it'\''s'"),
            ("~", "'~'"),
            ("", "''"),
        ] {
            assert_eq!(word(value), expected);
        }
    }
}
