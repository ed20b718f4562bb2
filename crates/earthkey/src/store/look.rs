//! Looking at a file that others write without asking.

use std::io;
use std::path::Path;
use std::time::Duration;

use zeroize::Zeroizing;

use super::slot::Contents;
use super::slot::Damage;
use super::slot::Home;
use crate::host::Host;

/// Bytes of a home that are read at most.
const MAX_HOME: u64 = 4 * 1024 * 1024;

/// How long a file that is absent or torn is given to be whole: real clients remove before they
/// create, and truncate before they write.
const SETTLE: Duration = Duration::from_millis(250);

/// What one look at a home found.
pub(crate) struct Seen {
    /// The slot; `None` when there is no file or no such slot in it.
    pub(crate) slot: Result<Option<Contents>, Damage>,
    /// The file, as the slot was read from it.
    pub(crate) file: Option<Zeroizing<Vec<u8>>>,
}

/// Looks at the file at `path` as it is now.
pub(crate) fn look(home: &Home, path: &Path, host: &Host) -> io::Result<Seen> {
    let file = read(path, host)?;
    let slot = file.as_deref().map_or(Ok(None), |bytes| home.slot.read(bytes));
    Ok(Seen { slot, file })
}

/// Looks until a login is found, or two looks in a row agree that there is none.
pub(crate) async fn look_settled(home: &Home, path: &Path, host: &Host) -> io::Result<Seen> {
    let mut seen = look(home, path, host)?;
    for _ in 0..4 {
        if matches!(seen.slot, Ok(Some(_))) {
            break;
        }
        host.clock.sleep(SETTLE).await;
        let again = look(home, path, host)?;
        let agrees = seen.slot.is_ok() == again.slot.is_ok();
        seen = again;
        if agrees {
            break;
        }
    }
    Ok(seen)
}

/// Reads a file's bytes, `None` where there is no file.
pub(crate) fn read(path: &Path, host: &Host) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    match host.fs.read(path, MAX_HOME) {
        Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
