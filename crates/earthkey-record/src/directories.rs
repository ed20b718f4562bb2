//! Where earthkey's own files lie (XDG Base Directory Specification).

use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// Returns the directory of `config.toml`.
pub fn config_dir(environment: &Environment) -> Option<PathBuf> {
    directory(environment, "config", "XDG_CONFIG_HOME", ".config")
}

/// Returns the directory of homes and ledgers.
pub fn state_dir(environment: &Environment) -> Option<PathBuf> {
    directory(environment, "state", "XDG_STATE_HOME", ".local/state")
}

/// Returns the directory of records.
pub fn cache_dir(environment: &Environment) -> Option<PathBuf> {
    directory(environment, "cache", "XDG_CACHE_HOME", ".cache")
}

/// Returns `None` if neither variable nor `HOME` says where.
fn directory(environment: &Environment, ours: &str, xdg: &str, below_home: &str) -> Option<PathBuf> {
    let variable = |name| environment.non_empty(name).map(Path::new);
    if let Some(root) = variable("EARTHKEY_HOME") {
        return Some(root.join(ours));
    }
    // The specification has relative paths ignored.
    if let Some(root) = variable(xdg).filter(|root| root.is_absolute()) {
        return Some(root.join("earthkey"));
    }
    variable("HOME").map(|home| home.join(below_home).join("earthkey"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn all(pairs: &[(&str, &str)]) -> [Option<String>; 3] {
        let environment =
            Environment::new(pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        [config_dir, state_dir, cache_dir].map(|of| of(&environment).map(|path| path.display().to_string()))
    }

    fn some(paths: [&str; 3]) -> [Option<String>; 3] {
        paths.map(|path| Some(path.to_owned()))
    }

    #[test]
    fn each_layer_goes_before_the_next() {
        let home = ("HOME", "/h");
        let xdg = [("XDG_CONFIG_HOME", "/c"), ("XDG_STATE_HOME", "/s"), ("XDG_CACHE_HOME", "/k"), home];
        assert_eq!(
            all(&[home]),
            some(["/h/.config/earthkey", "/h/.local/state/earthkey", "/h/.cache/earthkey"])
        );
        assert_eq!(all(&xdg), some(["/c/earthkey", "/s/earthkey", "/k/earthkey"]));
        let ours = [&xdg[..], &[("EARTHKEY_HOME", "/e")]].concat();
        assert_eq!(all(&ours), some(["/e/config", "/e/state", "/e/cache"]));
    }

    #[test]
    fn empty_is_unset_and_relative_xdg_paths_are_ignored() {
        let pairs =
            [("EARTHKEY_HOME", ""), ("XDG_CONFIG_HOME", ""), ("XDG_CACHE_HOME", "cache"), ("HOME", "/h")];
        assert_eq!(
            all(&pairs),
            some(["/h/.config/earthkey", "/h/.local/state/earthkey", "/h/.cache/earthkey"])
        );
        assert_eq!(all(&[("HOME", "")]), [None, None, None]);
        assert_eq!(all(&[]), [None, None, None]);
    }
}
