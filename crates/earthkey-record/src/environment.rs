//! The registered variables of an environment.

use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::digest::{Digest, Domain, Hasher, Key};
use crate::variables::{Matching, Variable, lookup};

/// The environment's variables as far as the registry knows them, sorted by name.
///
/// Names of which the case does not matter are kept in upper case.
#[derive(Clone)]
pub struct Environment {
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    variable: &'static Variable,
    name: OsString,
    value: OsString,
}

impl Environment {
    /// Takes the registered variables from the process's environment.
    pub fn of_process() -> Self {
        Self::new(std::env::vars_os())
    }

    /// Takes the registered variables from a list of names and values.
    pub fn new(pairs: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut entries: Vec<Entry> = pairs
            .into_iter()
            .filter_map(|(name, value)| lookup(&name).map(|variable| Entry::new(variable, name, value)))
            .collect();
        // The sort is stable: of spellings that differ in case alone the order decides which one counts.
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Self { entries }
    }

    /// Sets a variable as if the environment had held it, for an option that stands for one.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        let variable = lookup(OsStr::new(name));
        debug_assert!(variable.is_some(), "{name} is not in the registry of variables");
        let Some(variable) = variable else { return };
        let entry = Entry::new(variable, OsString::from(name), value.into());
        self.entries.retain(|held| held.name != entry.name);
        let place = self.entries.partition_point(|held| held.name < entry.name);
        self.entries.insert(place, entry);
    }

    /// Returns a variable's value, also an empty one.
    ///
    /// Of repeated names the first counts, as for `getenv`; of names in any case the last, as for
    /// the programs that fold them.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        let variable = lookup(OsStr::new(name));
        debug_assert!(variable.is_some(), "{name} is not in the registry of variables");
        let from = self.entries.partition_point(|held| held.name.as_os_str() < OsStr::new(name));
        let mut same = self.entries[from..].iter().take_while(|held| held.name == name);
        let entry = match variable?.matching {
            Matching::Exact => same.next(),
            Matching::AnyCase | Matching::AnyCasePrefix => same.last(),
        };
        entry.map(|held| held.value.as_os_str())
    }

    /// Returns a variable's value unless it is empty.
    pub fn non_empty(&self, name: &str) -> Option<&OsStr> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Returns all names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.entries.iter().map(|held| (held.name.as_os_str(), held.value.as_os_str()))
    }

    /// Returns the keyed digest of every variable that shapes an answer, secrets among them.
    pub fn digest(&self, key: &Key) -> Digest {
        let mut hasher = key.hasher(Domain::Environment);
        self.feed(&mut hasher, |_| true);
        hasher.finish()
    }

    /// Adds what may stand in a record's name, which everybody may compute: no secrets.
    pub(crate) fn feed_public(&self, hasher: &mut Hasher) {
        self.feed(hasher, |variable| !variable.secret);
    }

    fn feed(&self, hasher: &mut Hasher, wanted: impl Fn(&Variable) -> bool) {
        let shaping =
            || self.entries.iter().filter(|held| held.variable.shapes_answer && wanted(held.variable));
        hasher.count(shaping().count());
        for held in shaping() {
            hasher.field(held.name.as_encoded_bytes());
            hasher.field(held.value.as_encoded_bytes());
        }
    }
}

/// Shows which variables are there, and the values of those that hold no secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.entries.iter().map(|held| {
                let shown = if held.variable.secret { OsStr::new("****") } else { &held.value };
                (&held.name, shown)
            }))
            .finish()
    }
}

impl Entry {
    fn new(variable: &'static Variable, name: OsString, value: OsString) -> Self {
        let name = match variable.matching {
            Matching::Exact => name,
            Matching::AnyCase | Matching::AnyCasePrefix => name.to_ascii_uppercase(),
        };
        Self { variable, name, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        Environment::new(pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
    }

    fn digest(pairs: &[(&str, &str)]) -> Digest {
        environment(pairs).digest(&Key::from_bytes([3; 16]))
    }

    #[test]
    fn an_added_a_changed_and_a_removed_variable_change_the_digest() {
        let before = digest(&[("HOME", "/h"), ("OPENEO_AUTH_CLIENT_SECRET", "s")]);
        assert_ne!(before, digest(&[("HOME", "/h"), ("OPENEO_AUTH_CLIENT_SECRET", "t")]));
        assert_ne!(before, digest(&[("HOME", "/h")]));
        assert_ne!(
            before,
            digest(&[("HOME", "/h"), ("OPENEO_AUTH_CLIENT_SECRET", "s"), ("XDG_DATA_HOME", "")])
        );
        assert_ne!(before, digest(&[("HOME", "/hOPENEO_AUTH_CLIENT_SECRET"), ("XDG_DATA_HOME", "s")]));
    }

    #[test]
    fn order_and_unregistered_and_presentational_variables_do_not() {
        let before = digest(&[("HOME", "/h"), ("XDG_DATA_HOME", "/d")]);
        assert_eq!(before, digest(&[("XDG_DATA_HOME", "/d"), ("HOME", "/h")]));
        assert_eq!(
            before,
            digest(&[("XDG_DATA_HOME", "/d"), ("HOME", "/h"), ("PATH", "/bin"), ("HOMEX", "1")])
        );
        for name in ["TERM", "NO_COLOR", "BROWSER", "EARTHKEY_FRONT_VERSION"] {
            assert_eq!(before, digest(&[("HOME", "/h"), (name, "x"), ("XDG_DATA_HOME", "/d")]), "{name}");
        }
    }

    #[test]
    fn earthscope_names_count_without_regard_to_case() {
        assert_eq!(digest(&[("ES_OAUTH2__ACCESS_TOKEN", "a")]), digest(&[("es_oauth2__Access_Token", "a")]));
        assert_ne!(digest(&[("ES_OAUTH2__ACCESS_TOKEN", "a")]), digest(&[("es_oauth2__access_token", "b")]));
        assert_eq!(environment(&[("es_profile", "field")]).get("ES_PROFILE"), Some(OsStr::new("field")));
        assert_ne!(digest(&[("HTTPS_PROXY", "p")]), digest(&[("https_proxy", "p")]));
    }

    #[test]
    fn which_of_two_spellings_comes_last_is_seen() {
        let pairs = [("es_profile", "a"), ("ES_PROFILE", "b")];
        let reversed = [("ES_PROFILE", "b"), ("es_profile", "a")];
        assert_eq!(environment(&pairs).get("ES_PROFILE"), Some(OsStr::new("b")));
        assert_eq!(environment(&reversed).get("ES_PROFILE"), Some(OsStr::new("a")));
        assert_ne!(digest(&pairs), digest(&reversed));
        assert_eq!(environment(&[("HOME", "/a"), ("HOME", "/b")]).get("HOME"), Some(OsStr::new("/a")));
    }

    #[test]
    fn an_empty_variable_is_there_and_is_not_an_absent_one() {
        let held = environment(&[("ES_PROFILE", "")]);
        assert_eq!(held.get("ES_PROFILE"), Some(OsStr::new("")));
        assert_eq!(held.non_empty("ES_PROFILE"), None);
        assert_ne!(digest(&[("ES_PROFILE", "")]), digest(&[]));
    }

    #[test]
    fn setting_replaces_in_any_case_and_keeps_the_order() {
        let mut held = environment(&[("HOME", "/h"), ("es_profile", "a"), ("EARTHKEY_HOME", "/e")]);
        held.set("ES_PROFILE", "b");
        held.set("EARTHKEY_SANDBOX", "http://127.0.0.1:9");
        let expected = [
            ("EARTHKEY_HOME", "/e"),
            ("EARTHKEY_SANDBOX", "http://127.0.0.1:9"),
            ("ES_PROFILE", "b"),
            ("HOME", "/h"),
        ];
        assert!(
            held.iter().eq(expected.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)))),
            "{held:?}"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown =
            format!("{:?}", environment(&[("HOME", "/h"), ("es_oauth2__refresh_token", "tell-nobody")]));
        assert_eq!(shown, r#"{"ES_OAUTH2__REFRESH_TOKEN": "****", "HOME": "/h"}"#);
    }
}
