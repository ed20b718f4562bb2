//! Scopes: what they are called on the wire and on the consent page.

use std::fmt;

use crate::provider::Realm;

/// The scopes of the OpenID providers, with what they mean to a person.
const OPENID: &[Known] = &[
    ("openid", "Confirm who you are"),
    ("profile", "See your name"),
    ("email", "See your e-mail address"),
    ("offline_access", "Keep you signed in"),
    ("data:read", "Read your data and results"),
    ("jobs:run", "Run processing jobs for you"),
];

/// The scopes of Google that Earth Engine's and Gemini's clients ask for.
const GOOGLE: &[Known] = &[
    ("openid", "Confirm who you are"),
    (USERINFO_EMAIL, "See your e-mail address"),
    (USERINFO_PROFILE, "See your name"),
    (EARTH_ENGINE, "Manage your Earth Engine data"),
    (EARTH_ENGINE_READ_ONLY, "View your Earth Engine data"),
    (CLOUD_PLATFORM, "Manage your Google Cloud data"),
    ("https://www.googleapis.com/auth/drive", "Manage your files in Drive"),
    ("https://www.googleapis.com/auth/drive.file", "Manage the files in Drive that it made"),
    ("https://www.googleapis.com/auth/drive.readonly", "View your files in Drive"),
    (
        "https://www.googleapis.com/auth/devstorage.full_control",
        "Manage your Cloud Storage and its permissions",
    ),
    ("https://www.googleapis.com/auth/devstorage.read_write", "Manage your Cloud Storage"),
    ("https://www.googleapis.com/auth/devstorage.read_only", "View your Cloud Storage"),
    ("https://www.googleapis.com/auth/generative-language", "Use Gemini for you"),
    ("https://www.googleapis.com/auth/generative-language.retriever", "Manage what Gemini retrieves for you"),
    ("https://www.googleapis.com/auth/generative-language.tuning", "Manage your tuned Gemini models"),
    ("https://www.googleapis.com/auth/sqlservice.login", "Log in to your Cloud SQL databases"),
    ("https://www.googleapis.com/auth/iam", "Manage your Cloud identities"),
];

/// What Google takes `email` and `profile` for.
const GOOGLE_ALIASES: &[(&str, &str)] = &[("email", USERINFO_EMAIL), ("profile", USERINFO_PROFILE)];

pub(crate) const USERINFO_EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";
pub(crate) const USERINFO_PROFILE: &str = "https://www.googleapis.com/auth/userinfo.profile";
pub(crate) const EARTH_ENGINE: &str = "https://www.googleapis.com/auth/earthengine";
pub(crate) const EARTH_ENGINE_READ_ONLY: &str = "https://www.googleapis.com/auth/earthengine.readonly";
pub(crate) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Name and meaning of a scope.
type Known = (&'static str, &'static str);

/// A set of known scopes, in the order of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope(Vec<Known>);

impl Scope {
    /// Returns the scopes named in `requested` that a realm knows.
    ///
    /// Others are left out rather than refused, as OpenID Connect Core section 3.1.2.1 asks; the
    /// token response says what was granted. Where a realm is stricter, see [`Scope::unknown`].
    pub(crate) fn parse(realm: Realm, requested: &str) -> Self {
        let mut scope = Self::default();
        for token in requested.split(' ') {
            if let Some(known) = find(realm, token).filter(|(name, _)| !scope.contains(name)) {
                scope.0.push(known);
            }
        }
        scope
    }

    /// Returns the first scope named in `requested` that a realm does not know.
    pub(crate) fn unknown(realm: Realm, requested: &str) -> Option<&str> {
        requested.split(' ').find(|token| !token.is_empty() && find(realm, token).is_none())
    }

    /// Returns the names of all scopes of a realm.
    pub(crate) fn supported(realm: Realm) -> Vec<&'static str> {
        table(realm).iter().map(|(name, _)| *name).collect()
    }

    /// Returns whether `name` is in the set.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| *own == name)
    }

    /// Returns whether a scope that begins with `prefix` is in the set.
    pub(crate) fn contains_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(own, _)| own.starts_with(prefix))
    }

    /// Returns whether the set lets a client see the name of a person.
    pub(crate) fn shows_profile(&self) -> bool {
        self.contains("profile") || self.contains(USERINFO_PROFILE)
    }

    /// Returns whether the set lets a client see the e-mail address of a person.
    pub(crate) fn shows_email(&self) -> bool {
        self.contains("email") || self.contains(USERINFO_EMAIL)
    }

    /// Returns whether the set lets a client know who somebody is.
    pub(crate) fn is_about_person(&self) -> bool {
        self.contains("openid") || self.contains(USERINFO_EMAIL) || self.contains(USERINFO_PROFILE)
    }

    /// Returns whether there is nothing in the set.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether every scope of `other` is in the set.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|(name, _)| self.contains(name))
    }

    /// Returns the set without `name`.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.retain(|(own, _)| *own != name);
        self
    }

    /// Returns name and meaning of each scope.
    pub(crate) fn descriptions(&self) -> Vec<(&'static str, &'static str)> {
        self.0.clone()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
        formatter.write_str(&names.join(" "))
    }
}

fn table(realm: Realm) -> &'static [Known] {
    match realm {
        Realm::Oidc | Realm::Openeo | Realm::Earthscope => OPENID,
        Realm::Google => GOOGLE,
    }
}

fn find(realm: Realm, token: &str) -> Option<Known> {
    let aliases = if realm == Realm::Google { GOOGLE_ALIASES } else { &[] };
    let name = aliases.iter().find(|(alias, _)| *alias == token).map_or(token, |(_, name)| name);
    table(realm).iter().find(|(own, _)| *own == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_known_scopes_once_and_in_order() {
        let scope = Scope::parse(Realm::Oidc, "email openid nonsense email ");
        assert_eq!(scope.to_string(), "email openid");
        assert!(scope.covers(&Scope::parse(Realm::Oidc, "openid")));
        assert!(!scope.covers(&Scope::parse(Realm::Oidc, "openid profile")));
    }

    #[test]
    fn realms_know_their_own_scopes() {
        assert_eq!(Scope::parse(Realm::Google, "email offline_access").to_string(), USERINFO_EMAIL);
        assert_eq!(Scope::unknown(Realm::Google, "openid email offline_access"), Some("offline_access"));
        assert_eq!(Scope::unknown(Realm::Google, "openid  email"), None);
        assert!(Scope::parse(Realm::Oidc, EARTH_ENGINE).is_empty());
    }
}
