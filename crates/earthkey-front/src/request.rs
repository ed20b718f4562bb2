//! The command lines that a record may answer.

use std::ffi::OsString;
use std::path::Path;

use earthkey_record::name::Form;

/// `token` or `header` of one login.
pub struct Request {
    /// What is to be printed.
    pub form: Form,
    /// The login as typed.
    pub login: String,
    /// The scopes as typed, separated by commas.
    pub scopes: Option<String>,
    /// The audience.
    pub audience: Option<String>,
    /// For how many seconds the token must still be valid.
    pub min_ttl: u64,
    /// The sandbox that stands in for every system.
    pub sandbox: Option<String>,
}

impl Request {
    /// Reads a command line, the program's name first, which has to be `program`.
    ///
    /// Returns `None` for whatever this reader does not know, and for whatever it may understand otherwise than
    /// the whole grammar does: that is for the program behind the front to judge.
    pub fn read(program: &str, words: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut words = words.map(|word| word.into_string().ok());
        if Path::new(&words.next()??).file_name()? != program {
            return None;
        }
        let mut form = None;
        let [mut login, mut scopes, mut audience, mut min_ttl, mut sandbox] = [const { None::<String> }; 5];
        while let Some(word) = words.next() {
            let word = word?;
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let (slot, value) = match (name, form) {
                ("token", None) => {
                    form = Some(Form::Token);
                    continue;
                }
                ("header", None) => {
                    form = Some(Form::Header);
                    continue;
                }
                ("--sandbox", _) => (&mut sandbox, value),
                ("--min-ttl", Some(_)) => (&mut min_ttl, value),
                ("--scopes", Some(_)) => (&mut scopes, value),
                ("--audience", Some(_)) => (&mut audience, value),
                (_, Some(_)) => (&mut login, Some(word)),
                _ => return None,
            };
            let value = value.or_else(|| words.next()?)?;
            let is_plain = !value.is_empty() && !value.starts_with('-') && !value.contains(char::is_control);
            if !is_plain || slot.replace(value).is_some() {
                return None;
            }
        }
        let min_ttl = min_ttl.map_or(Some(0), |seconds| seconds.parse().ok())?;
        Some(Self { form: form?, login: login?, scopes, audience, min_ttl, sandbox })
    }
}
