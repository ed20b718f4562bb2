//! The seams: everything the library knows of the world comes through a [`Host`].
//!
//! [`real`] is this machine; [`scripted`] is a world in memory whose clock, files, network and
//! person a test scripts. The library itself reads no variable, no clock and no file but through
//! these, so that a server or a Python process can hold many hosts side by side.

pub mod clock;
pub mod env;
pub mod fs;
pub mod http;
pub mod interaction;
pub mod process;
pub mod random;
pub mod real;
pub mod records;
pub mod scripted;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use self::clock::Clock;
pub use self::env::Env;
pub use self::fs::FileSystem;
pub use self::http::Http;
pub use self::interaction::Interaction;
pub use self::interaction::Notice;
pub use self::process::Process;
pub use self::random::Random;
pub use self::records::Records;

/// A boxed future, so that the seams stay object-safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The world as the library sees it. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    /// Wall clock, boot-time clock and sleep.
    pub clock: Arc<dyn Clock>,
    /// Environment variables and the directories they name.
    pub env: Arc<Env>,
    /// Files.
    pub fs: Arc<dyn FileSystem>,
    /// The network.
    pub http: Arc<dyn Http>,
    /// The person: prompts, messages, the browser.
    pub interaction: Arc<dyn Interaction>,
    /// Who this process is, and who else lives.
    pub process: Arc<dyn Process>,
    /// The cache of records.
    pub records: Arc<dyn Records>,
    /// Unpredictable bytes.
    pub random: Arc<dyn Random>,
}
