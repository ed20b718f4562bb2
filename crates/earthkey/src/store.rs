//! Where grants live, and how one is replaced without ever being lost.
//!
//! A [`Home`] is a file of some system with one [`Slot`] for this grant. Beside it lie a *lease*
//! (who may use the grant now), a *ledger* (what is under way: intent, answer, spent tokens) and,
//! while it is needed, a temporary file. The order is always the same:
//!
//! ```text
//! lease ── reserve ── send ── answer ── land ── record
//!            │                  │         │
//!            intent durable     the provider's bytes durable
//!                                         the home holds the successor
//! ```
//!
//! The store knows no system's format and sends nothing.

mod adopt;
pub mod attempt;
mod claim;
pub mod keep;
pub mod lease;
pub mod ledger;
mod look;
pub mod places;
pub mod slot;
mod stranger;
mod swap;

#[cfg(test)]
pub(crate) mod tests;

pub use self::keep::Keep;
pub use self::slot::Contents;
pub use self::slot::Grant;
pub use self::slot::Home;
pub use self::slot::Slot;
