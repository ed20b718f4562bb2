//! What Google's scopes are known to allow.

/// Scopes that tell who signed in, and nothing else.
const IDENTITY: [&str; 5] = [
    "openid",
    "email",
    "profile",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/userinfo.profile",
];

/// How Google marks a scope that changes nothing: each of its services has its own way.
const MARKS: [&str; 4] = [".readonly", ".read_only", ".read-only", ".read"];

/// Returns whether all of the scopes are known to change nothing; of none, nothing is known.
pub fn only_read(scopes: &[String]) -> bool {
    let reads =
        |scope: &String| IDENTITY.contains(&scope.as_str()) || MARKS.iter().any(|mark| scope.ends_with(mark));
    !scopes.is_empty() && scopes.iter().all(reads)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_to_read_may_write() {
        let only = |scopes: &[&str]| {
            let scopes = scopes.iter().map(|scope| match scope.strip_prefix('.') {
                Some(scope) => format!("https://www.googleapis.com/auth/{scope}"),
                None => (*scope).to_owned(),
            });
            only_read(&scopes.collect::<Vec<_>>())
        };
        for scopes in [
            &["openid", "email", ".earthengine.readonly"][..],
            &[".devstorage.read_only"],
            &[".cloud-platform.read-only", ".userinfo.email"],
            &[".monitoring.read"],
            &["openid"],
        ] {
            assert!(only(scopes), "{scopes:?}");
        }
        for scopes in [
            &[][..],
            &[".cloud-platform"],
            &[".earthengine.readonly", ".drive"],
            &[".devstorage.read_write"],
            &["unknown"],
        ] {
            assert!(!only(scopes), "{scopes:?}");
        }
    }
}
