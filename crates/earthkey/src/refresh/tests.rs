//! The refresh protocol against a provider that ends a login at the first reuse of a spent token.

mod flight;
mod foreign;
mod model;
mod outcomes;
mod power;
mod provider;
mod real;
mod strangers;
