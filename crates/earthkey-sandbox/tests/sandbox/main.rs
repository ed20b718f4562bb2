//! Tests of the sandbox over HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorization;
mod bench;
mod control;
mod device;
mod earth_engine;
mod faults;
mod gemini;
mod google;
mod metadata;
mod pages;
mod resources;
mod robot;
mod service_accounts;
mod tls;
mod token;
