//! The quick way to an answer: a command line read by hand, and a record that still holds.
//!
//! No HTTP, no TLS and no argument parser. The program `earthkey` consists of this; `earthkey-cli` goes
//! this way first when nobody in front of it has.

pub mod answer;
pub mod request;
