//! This machine.

mod files;
mod network;
mod peers;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

pub use self::files::RealFileSystem;
pub use self::network::RealHttp;
use super::BoxFuture;
use super::clock::Clock;
use super::process::Owner;
use super::process::Peer;
use super::process::Process;
use super::random::Random;

/// The kernel's clocks and tokio's timer.
#[derive(Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> u64 {
        // A clock before 1970 is as wrong as one that stands at 1970.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn since_boot(&self) -> Duration {
        earthkey_record::clock::since_boot()
    }

    fn boot_id(&self) -> [u8; 16] {
        // No process outlives its boot.
        static BOOT_ID: OnceLock<[u8; 16]> = OnceLock::new();
        *BOOT_ID.get_or_init(earthkey_record::clock::boot_id)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The operating system's random source.
#[derive(Debug, Default)]
pub struct RealRandom;

impl Random for RealRandom {
    fn fill(&self, bytes: &mut [u8]) {
        // Nothing can be done without randomness, and the call cannot fail once the system is up.
        aws_lc_rs::rand::fill(bytes).expect("the operating system has random bytes");
    }
}

/// This process, as `/proc` describes it.
#[derive(Clone, Debug, Default)]
pub struct RealProcess {
    holds: Arc<AtomicUsize>,
    /// Who this is, as last read.
    own: Arc<Mutex<Option<Owner>>>,
}

impl RealProcess {
    /// Returns whether somebody holds signals; whoever handles signals asks before it ends the
    /// process.
    pub fn holds_signals(&self) -> bool {
        self.holds.load(Ordering::SeqCst) > 0
    }
}

/// Counts itself as long as it lives.
struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Process for RealProcess {
    fn owner(&self) -> Owner {
        let (pid, namespace) = (std::process::id(), namespace("self"));
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        // A forked child is somebody else.
        if let Some(own) = own.as_ref().filter(|own| own.pid == pid && own.namespace == namespace) {
            return own.clone();
        }
        let read = Owner {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot: hex(&RealClock.boot_id()),
            namespace,
            pid,
            started: started("self"),
        };
        own.insert(read).clone()
    }

    fn is_dead(&self, owner: &Owner) -> bool {
        let own = self.owner();
        // Another boot may be an earlier one of this host, or another host that is called the same, as
        // copies of a machine are: that one cannot be judged from here.
        if owner.boot != own.boot || owner.namespace != own.namespace {
            return false;
        }
        started(&owner.pid.to_string()) != owner.started
    }

    fn current_directory(&self) -> io::Result<PathBuf> {
        std::env::current_dir()
    }

    fn user_id(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn whose_is(&self, peer: SocketAddr, here: SocketAddr) -> Peer {
        peers::whose_is(peer, here, self.user_id())
    }

    fn hold_signals(&self) -> Box<dyn Send + Sync> {
        self.holds.fetch_add(1, Ordering::SeqCst);
        Box::new(Hold(self.holds.clone()))
    }
}

/// Returns the start time of a process in clock ticks since boot, 0 if there is none.
fn started(pid: &str) -> u64 {
    // Field 22; the second field, the program's name, may hold spaces and parentheses.
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return 0 };
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn namespace(pid: &str) -> u64 {
    fs::metadata(format!("/proc/{pid}/ns/pid")).map_or(0, |metadata| metadata.ino())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_boot_is_known_to_be_dead() {
        let process = RealProcess::default();
        let own = process.owner();
        assert!(!process.is_dead(&own));
        assert!(process.is_dead(&Owner { started: own.started + 1, ..own.clone() }));
        // A copy of this machine has its name, and lives.
        assert!(!process.is_dead(&Owner { boot: "0".repeat(32), ..own.clone() }));
        assert!(!process.is_dead(&Owner { namespace: own.namespace + 1, started: 0, ..own }));
    }

    #[test]
    fn the_boot_clock_runs() {
        assert!(RealClock.since_boot() > Duration::ZERO);
        assert_ne!(RealClock.boot_id(), [0; 16]);
    }
}
