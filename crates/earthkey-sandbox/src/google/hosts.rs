//! The hosts that are played, and where.

pub(crate) const ACCOUNTS: &str = "accounts.google.com";
pub(crate) const EARTH_ENGINE: &str = "earthengine.googleapis.com";
pub(crate) const GENERATIVE_LANGUAGE: &str = "generativelanguage.googleapis.com";
pub(crate) const IAM_CREDENTIALS: &str = "iamcredentials.googleapis.com";
pub(crate) const OAUTH2: &str = "oauth2.googleapis.com";
pub(crate) const STORAGE: &str = "storage.googleapis.com";

/// Every host that is played.
pub(crate) const HOSTS: [&str; 8] = [
    ACCOUNTS,
    EARTH_ENGINE,
    GENERATIVE_LANGUAGE,
    IAM_CREDENTIALS,
    OAUTH2,
    STORAGE,
    "openidconnect.googleapis.com",
    "www.googleapis.com",
];

/// The path below which they are.
const ROOT: &str = "/google/";

/// Returns where a path of a host is at the sandbox.
pub(crate) fn path(host: &str, path: &str) -> String {
    format!("{ROOT}{host}{path}")
}

/// Returns the host that somebody means who speaks TLS, 443 being the port if one is named.
pub(crate) fn played(authority: &str) -> Option<&'static str> {
    let name = authority.strip_suffix(":443").unwrap_or(authority);
    HOSTS.into_iter().find(|host| name.eq_ignore_ascii_case(host))
}

/// Returns whether a path is one of the sandbox already: the pages lead to such paths.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with(ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_by_their_name_and_port() {
        assert_eq!(played("oauth2.googleapis.com"), Some(OAUTH2));
        assert_eq!(played("OAuth2.googleapis.com:443"), Some(OAUTH2));
        for other in [
            "",
            "oauth2.googleapis.com:444",
            "oauth2.googleapis.com:",
            "oauth2.googleapis.com.example.org",
            "x@oauth2.googleapis.com",
            "sheets.googleapis.com",
            "127.0.0.1:443",
        ] {
            assert_eq!(played(other), None, "{other}");
        }
    }
}
