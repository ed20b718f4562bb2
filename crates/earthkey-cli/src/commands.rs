//! One file per command.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod paths;
pub(crate) mod sandbox;
pub(crate) mod status;
pub(crate) mod token;

use earthkey::earthkey::Earthkey;
use earthkey::error::Result;
use earthkey::login::Login;

/// Returns the login that a command names, or the one that is meant where it names none.
pub(crate) fn named(earthkey: &Earthkey, login: Option<&str>) -> Result<Login> {
    match login {
        Some(text) => text.parse(),
        None => earthkey.default_login(),
    }
}
