//! One sign-in tool for the clouds where Earth science is done.
//!
//! ```text
//! Earthkey::open(host)
//!    │ token(login, want)
//!    ├─ record ── valid ─────────────────────────────────▶ token      (no network, no lock)
//!    └─ system ── resolve: home, client, endpoints
//!         └─ refresh ── decide ── lease ── reserve ── send ── answer ── land ── record ──▶ token
//! ```
//!
//! A module uses only the modules above it in this list:
//!
//! - [`secret`], [`error`]: types that cannot leak, errors that say what to type next
//! - [`host`]: the seams to the world, real and scripted
//! - [`oauth`]: the protocols, pure
//! - [`login`], [`config`]: names, and what is remembered of them
//! - [`store`]: homes, slots, leases, ledgers
//! - [`grant`], [`refresh`]: exchanges without a person, by the rules that never lose a login
//! - [`flow`]: exchanges with a person
//! - [`system`]: what each system keeps where, and how it wants to be asked
//! - [`earthkey`]: the facade

pub mod config;
pub mod earthkey;
pub mod error;
pub mod flow;
pub mod grant;
pub mod host;
pub mod login;
pub mod oauth;
pub mod refresh;
pub mod secret;
pub mod store;
pub mod system;
