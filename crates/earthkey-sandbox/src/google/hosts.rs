//! The hosts that are played, and where.

pub(crate) const ACCOUNTS: &str = "accounts.google.com";
pub(crate) const EARTH_ENGINE: &str = "earthengine.googleapis.com";
pub(crate) const GENERATIVE_LANGUAGE: &str = "generativelanguage.googleapis.com";
pub(crate) const IAM_CREDENTIALS: &str = "iamcredentials.googleapis.com";
pub(crate) const OAUTH2: &str = "oauth2.googleapis.com";
pub(crate) const STORAGE: &str = "storage.googleapis.com";

/// The path below which they are.
const ROOT: &str = "/google/";

/// Returns where a path of a host is at the sandbox.
pub(crate) fn path(host: &str, path: &str) -> String {
    format!("{ROOT}{host}{path}")
}
