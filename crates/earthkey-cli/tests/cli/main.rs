//! The real program, as people and scripts run it: a process of its own with an empty environment,
//! a home in a temporary directory, a sandbox for every provider.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod addresses;
mod bindings;
mod flows;
mod given;
mod google;
mod google_keys;
mod google_records;
mod google_replaced;
mod help;
mod homes;
mod leaks;
mod logins;
mod machine;
mod people;
mod provider;
mod refusals;
mod revocations;
mod sandboxes;
mod terminal;
mod tokens;
