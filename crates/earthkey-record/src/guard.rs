//! What every program of ours does before anything else.

use std::fmt;

use rustix::process::{Resource, Rlimit, getegid, geteuid, getgid, getrlimit, getuid, setrlimit};

/// The program runs with the rights of another user or group than the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignRights;

impl fmt::Display for ForeignRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("earthkey does not run with the rights of another user or group")
    }
}

impl std::error::Error for ForeignRights {}

impl ForeignRights {
    /// Says what to do about it.
    pub const HINT: &str =
        "remove the set-user-id and set-group-id bits: chmod ug-s \"$(command -v earthkey)\"";
}

/// Refuses to run with the rights of anybody but the caller, and sees to it that no core file holds a token.
pub fn protect() -> Result<(), ForeignRights> {
    if getuid() != geteuid() || getgid() != getegid() {
        return Err(ForeignRights);
    }
    // Only the soft limit, which lasts beyond an exec: what people run by `earthkey exec` may raise it again.
    // Dumpability does not last, so each program sets it anew. Without either the answer is the same.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), ..getrlimit(Resource::Core) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_core_file_is_left_and_the_hard_limit_stays() {
        // Many a machine allows no core file anyway, so that nothing would be seen of it.
        let Rlimit { maximum, .. } = getrlimit(Resource::Core);
        let before = Rlimit { current: Some(maximum.map_or(1, |hard| hard.min(1))), maximum };
        setrlimit(Resource::Core, before).expect("the soft limit may be whatever the hard one is");
        assert_eq!(getrlimit(Resource::Core), before);
        assert_eq!(protect(), Ok(()));
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), ..before });
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior(), Ok(rustix::process::DumpableBehavior::NotDumpable));
    }

    #[test]
    fn foreign_rights_are_named() {
        assert_eq!(
            ForeignRights.to_string(),
            "earthkey does not run with the rights of another user or group"
        );
    }
}
