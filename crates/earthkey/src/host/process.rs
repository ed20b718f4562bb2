//! The process seam.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Who this process is, and who else lives.
pub trait Process: Send + Sync {
    /// Returns what names this process among all that share a home.
    fn owner(&self) -> Owner;

    /// Returns whether `owner` is known to be dead; `false` when that cannot be told from here.
    fn is_dead(&self, owner: &Owner) -> bool;

    /// Returns the directory that relative paths of this process begin at.
    fn current_directory(&self) -> io::Result<PathBuf>;

    /// Returns the effective user's id.
    fn user_id(&self) -> u32;

    /// Returns whose the other end is of a connection that came from `peer` to `here`, a listener of
    /// this process.
    fn whose_is(&self, peer: SocketAddr, here: SocketAddr) -> Peer;

    /// Makes SIGINT, SIGTERM and SIGHUP wait until the answer is dropped: a grant is on its way
    /// to be spent, and what comes back must be kept.
    fn hold_signals(&self) -> Box<dyn Send + Sync>;
}

/// Whose the other end of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This user's, or that of root, who may do everything anyway.
    Ours,
    /// Another user's of this machine, or already gone.
    Anothers,
    /// The system does not say.
    Unknown,
}

/// Names a process across reuse of its number, containers and hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Owner {
    /// The host's name.
    pub host: String,
    /// The boot, as hexadecimal digits.
    pub boot: String,
    /// The process-number namespace (its inode), 0 where there is none.
    pub namespace: u64,
    /// The process number.
    pub pid: u32,
    /// When the process started, in clock ticks since boot, 0 where unknown.
    pub started: u64,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)
    }
}
