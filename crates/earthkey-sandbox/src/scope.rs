//! Scopes: what they are called on the wire and on the consent page.

use std::fmt;

/// Every scope a provider knows, with what it means to a person.
const SCOPES: &[(&str, &str)] = &[
    ("openid", "Confirm who you are"),
    ("profile", "See your name"),
    ("email", "See your e-mail address"),
    ("offline_access", "Keep you signed in"),
    ("data:read", "Read your data and results"),
    ("jobs:run", "Run processing jobs for you"),
];

/// A set of known scopes, in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope(Vec<&'static str>);

impl Scope {
    /// Returns the known scopes named in `requested`.
    ///
    /// Others are left out rather than refused, as OpenID Connect Core section 3.1.2.1 asks; the
    /// token response says what was granted.
    pub(crate) fn parse(requested: &str) -> Self {
        let mut scope = Self::default();
        for token in requested.split(' ') {
            let known = SCOPES.iter().find(|(name, _)| *name == token);
            if let Some((name, _)) = known.filter(|(name, _)| !scope.contains(name)) {
                scope.0.push(name);
            }
        }
        scope
    }

    /// Returns the names of all scopes.
    pub(crate) fn supported() -> Vec<&'static str> {
        SCOPES.iter().map(|(name, _)| *name).collect()
    }

    /// Returns whether `name` is in the set.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.contains(&name)
    }

    /// Returns whether every scope of `other` is in the set.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|name| self.contains(name))
    }

    /// Returns the set without `name`.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|scope| *scope != name);
        self
    }

    /// Returns name and meaning of each scope.
    pub(crate) fn descriptions(&self) -> Vec<(&'static str, &'static str)> {
        SCOPES.iter().filter(|(name, _)| self.contains(name)).copied().collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_known_scopes_once_and_in_order() {
        let scope = Scope::parse("email openid nonsense email ");
        assert_eq!(scope.to_string(), "email openid");
        assert!(scope.covers(&Scope::parse("openid")));
        assert!(!scope.covers(&Scope::parse("openid profile")));
    }
}
