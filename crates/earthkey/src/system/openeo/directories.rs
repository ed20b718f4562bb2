//! The Python client's directories, by its own rule: the first candidate that exists wins, even
//! over a variable that names one which does not exist yet.

use std::path::PathBuf;

use super::super::Context;
use crate::error::Result;

const APP: &str = "openeo-python-client";

/// Returns the directory of `refresh-tokens.json`.
pub(super) fn data(cx: &Context<'_>) -> Result<PathBuf> {
    // The client settles its configuration first and makes that directory, so that a candidate
    // common to both exists by the time it looks for this one.
    let made = config(cx)?;
    choose(cx, "XDG_DATA_HOME", DATA_ROOTS, Some(&made))
}

/// Returns the directory of `auth-config.json`.
pub(super) fn config(cx: &Context<'_>) -> Result<PathBuf> {
    choose(cx, "XDG_CONFIG_HOME", CONFIG_ROOTS, None)
}

#[cfg(not(target_os = "macos"))]
const DATA_ROOTS: &[&str] = &[".local/share"];
#[cfg(not(target_os = "macos"))]
const CONFIG_ROOTS: &[&str] = &[".config"];
#[cfg(target_os = "macos")]
const DATA_ROOTS: &[&str] = &["Library", ".local/share"];
#[cfg(target_os = "macos")]
const CONFIG_ROOTS: &[&str] = &["Library/Preferences", ".config"];

fn choose(cx: &Context<'_>, variable: &str, below_home: &[&str], made: Option<&PathBuf>) -> Result<PathBuf> {
    let env = &cx.host.env;
    let home = env.home()?;
    let mut candidates: Vec<PathBuf> = Vec::new();
    // This one alone is without the folder of the application, and for both kinds of file.
    candidates.extend(env.path("OPENEO_CONFIG_HOME"));
    if let Some(root) = env.path(variable) {
        let root = root.strip_prefix("~").map_or(root.clone(), |rest| home.join(rest));
        candidates.push(root.join(APP));
    }
    candidates.extend(below_home.iter().map(|root| home.join(root).join(APP)));
    let existing = candidates.iter().find(|candidate| cx.is_directory(candidate) || made == Some(candidate));
    Ok(existing.unwrap_or(&candidates[0]).clone())
}
