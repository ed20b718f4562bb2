//! The process seam.

use std::fmt;
use std::io;
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

    /// Makes SIGINT, SIGTERM and SIGHUP wait until the answer is dropped: a grant is on its way
    /// to be spent, and what comes back must be kept.
    fn hold_signals(&self) -> Box<dyn Send + Sync>;
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
