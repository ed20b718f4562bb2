//! The front answers from a record that still holds, and hands over everything else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answering;
mod cache;
mod calls;
mod machine;
mod spelling;
mod stale;
