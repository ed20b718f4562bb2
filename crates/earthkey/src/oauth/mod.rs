//! OAuth 2.0 and OpenID Connect without I/O: requests are built, answers are parsed.
//!
//! One module per family of RFCs, named in their terms. Nothing here sends, waits, reads a clock or
//! draws a random number: callers bring those, so that everything can be tested with the examples
//! of the RFCs. What comes from a server is untrusted: wrong types are errors rather than absent
//! values, and server text reaches an error only through [`printable`](crate::error::printable).

pub mod authorize;
pub mod client;
pub mod device;
pub mod id_token;
pub mod jose;
pub mod jwt_bearer;
pub mod metadata;
pub mod pkce;
pub mod register;
pub mod revoke;
pub mod token;

mod json;

#[cfg(test)]
mod tests;
