//! Tests of the sandbox over HTTP.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authorization;
mod bench;
mod control;
mod device;
mod faults;
mod metadata;
mod pages;
mod resources;
mod robot;
mod token;
