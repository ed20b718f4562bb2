//! The names of records.

use std::fmt::Write as _;

use crate::digest::{Digest, Domain, Hasher};
use crate::environment::Environment;

/// What a caller asked for, as given and before anything is resolved.
///
/// Whatever an option says in place of a variable, such as `--sandbox`, goes into the [`Environment`] instead.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    /// The login's name, if one was given.
    pub login: Option<&'a str>,
    /// The scopes, in any order.
    pub scopes: &'a [&'a str],
    /// The audience, if one was given.
    pub audience: Option<&'a str>,
    /// The form of the answer.
    pub form: Form,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The bare access token.
    Token,
    /// Header lines.
    Header,
}

/// The name of a record.
///
/// It is a digest of the arguments and of all variables that are not secret. Anybody can compute it, which
/// is why secrets stay out: the names of files get around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(Digest);

impl Name {
    /// Returns the name of the record for these arguments in this environment.
    pub fn new(arguments: &Arguments<'_>, environment: &Environment) -> Self {
        let mut hasher = Hasher::public(Domain::Name);
        hasher.raw(&[match arguments.form {
            Form::Token => 1,
            Form::Header => 2,
        }]);
        for given in [arguments.login, arguments.audience] {
            hasher.count(usize::from(given.is_some()));
            hasher.field(given.unwrap_or_default().as_bytes());
        }
        let mut scopes = arguments.scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        hasher.count(scopes.len());
        for scope in scopes {
            hasher.field(scope.as_bytes());
        }
        environment.feed_public(&mut hasher);
        Self(hasher.finish())
    }

    /// Returns the name of the record's file: 32 hexadecimal digits and `.record`.
    pub fn file_name(&self) -> String {
        let mut name = String::with_capacity(32 + SUFFIX.len());
        for byte in self.0.to_bytes() {
            write!(name, "{byte:02x}").expect("a String takes every write");
        }
        name + SUFFIX
    }
}

pub(crate) const SUFFIX: &str = ".record";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ffi::OsString;

    use proptest::prelude::*;

    use super::*;

    const PLAIN: Arguments<'_> =
        Arguments { login: Some("openeo"), scopes: &[], audience: None, form: Form::Token };

    fn name(arguments: Arguments<'_>, pairs: &[(&str, &str)]) -> Name {
        let pairs = pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Name::new(&arguments, &Environment::new(pairs))
    }

    #[test]
    fn every_argument_and_every_public_variable_makes_another_name() {
        let names = [
            name(PLAIN, &[]),
            name(Arguments { login: None, ..PLAIN }, &[]),
            name(Arguments { login: Some(""), ..PLAIN }, &[]),
            name(Arguments { login: Some("openeo/x"), ..PLAIN }, &[]),
            name(Arguments { scopes: &["a"], ..PLAIN }, &[]),
            name(Arguments { scopes: &["a", "b"], ..PLAIN }, &[]),
            name(Arguments { scopes: &["ab"], ..PLAIN }, &[]),
            name(Arguments { audience: Some("a"), ..PLAIN }, &[]),
            name(Arguments { audience: Some(""), ..PLAIN }, &[]),
            name(Arguments { login: None, audience: Some("openeo"), ..PLAIN }, &[]),
            name(Arguments { form: Form::Header, ..PLAIN }, &[]),
            name(PLAIN, &[("HOME", "/h")]),
            name(PLAIN, &[("HOME", "")]),
            name(PLAIN, &[("EARTHKEY_SANDBOX", "/h")]),
        ];
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn secrets_stay_out_of_it() {
        let secrets = [
            ("OPENEO_AUTH_CLIENT_SECRET", "s"),
            ("es_oauth2__refresh_token", "r"),
            ("HTTPS_PROXY", "http://u:p@h"),
        ];
        assert_eq!(name(PLAIN, &secrets), name(PLAIN, &[]));
        assert_eq!(name(PLAIN, &[("es_profile", "p")]), name(PLAIN, &[("ES_PROFILE", "p")]));
    }

    /// The digest was computed by another implementation of SipHash.
    #[test]
    fn the_file_name_is_pinned() {
        let arguments = Arguments { scopes: &["b", "a"], audience: Some("x"), ..PLAIN };
        assert_eq!(name(arguments, &[("HOME", "/h")]).file_name(), "9afc72db18ea0072e960920045a1f124.record");
    }

    proptest! {
        #[test]
        fn scopes_are_a_set(mut scopes in proptest::collection::vec("[a-c]{0,2}", 0..5), seed: usize) {
            let borrowed: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let given = name(Arguments { scopes: &borrowed, ..PLAIN }, &[]);
            if !scopes.is_empty() {
                let index = seed % scopes.len();
                scopes.push(scopes[index].clone());
                scopes.rotate_left(index);
            }
            let borrowed: Vec<&str> = scopes.iter().map(String::as_str).collect();
            prop_assert_eq!(given, name(Arguments { scopes: &borrowed, ..PLAIN }, &[]));
        }
    }
}
