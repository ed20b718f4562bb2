//! What may be answered without resolving anything: records, and the check that they still hold.
//!
//! A *record* is an access token on disk together with everything its resolution depended on. Whoever
//! finds that nothing of that has changed may serve the token; whoever finds any difference resolves anew.
//!
//! ```text
//! arguments + variables ──name──▶ NAME.record ──read──▶ Record ──check──▶ Valid | HandOver(reason)
//!                                  (store)              (record)           (verify: clock, environment,
//!                                                                           files, ledger headers)
//! ```
//!
//! The front binary links this crate and nothing else, so it uses no parser, no regular expression and
//! no asynchronous code. The process environment is read in one place, [`environment::Environment::of_process`].

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]

pub mod clock;
pub mod digest;
pub mod directories;
pub mod environment;
mod file;
pub mod guard;
pub mod ledger;
pub mod name;
pub mod record;
pub mod secret;
pub mod store;
pub mod variables;
pub mod verify;
mod wire;
