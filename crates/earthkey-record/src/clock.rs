//! The clocks that a record is judged by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// One reading of the wall clock and of the boot-time clock.
///
/// The wall clock can be set either way; the boot-time clock cannot and also counts the time of a suspend,
/// but it says nothing across a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock, in Unix seconds.
    pub now: u64,
    /// Which boot this is; [`UNKNOWN_BOOT`] where the system does not say.
    pub boot_id: [u8; 16],
    /// The boot-time clock, in milliseconds.
    pub boottime_ms: u64,
}

/// Stands for a boot that cannot be told from others, so that only the wall clock counts.
pub const UNKNOWN_BOOT: [u8; 16] = [0; 16];

impl Clock {
    /// Reads the system's clocks.
    pub fn of_system() -> Self {
        // A wall clock before 1970 reads as 1970, which every record finds to have gone back.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let boottime_ms = u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX);
        Self { now, boot_id: boot_id(), boottime_ms }
    }
}

/// Reads the boot-time clock alone.
pub fn since_boot() -> Duration {
    let boottime = clock_gettime(BOOTTIME);
    let seconds = u64::try_from(boottime.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(boottime.tv_nsec).unwrap_or(0))
}

#[cfg(target_os = "linux")]
const BOOTTIME: ClockId = ClockId::Boottime;
/// Elsewhere the monotonic clock is the one that counts the time of a suspend.
#[cfg(not(target_os = "linux"))]
const BOOTTIME: ClockId = ClockId::Monotonic;

/// Reads which boot this is; [`UNKNOWN_BOOT`] where the system does not say.
pub fn boot_id() -> [u8; 16] {
    std::fs::read("/proc/sys/kernel/random/boot_id")
        .ok()
        .and_then(|text| parse_uuid(&text))
        .unwrap_or(UNKNOWN_BOOT)
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut digits = text.trim_ascii_end().iter().filter(|byte| **byte != b'-');
    let mut digit = || digits.next().and_then(|byte| char::from(*byte).to_digit(16));
    let mut uuid = [0; 16];
    for byte in &mut uuid {
        *byte = u8::try_from(digit()? << 4 | digit()?).ok()?;
    }
    digits.next().is_none().then_some(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_boot_id_is_sixteen_bytes_in_hexadecimal() {
        let text = b"01234567-89ab-cdef-0123-456789ABCDEF\n";
        let uuid =
            [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
        assert_eq!(parse_uuid(text), Some(uuid));
        assert_eq!(parse_uuid(&text[..30]), None);
        assert_eq!(parse_uuid(b"01234567-89ab-cdef-0123-456789ABCDEFg"), None);
        assert_eq!(parse_uuid(b"g1234567-89ab-cdef-0123-456789ABCDEF"), None);
        assert_eq!(parse_uuid(b""), None);
    }

    #[test]
    fn the_clocks_do_not_go_back() {
        let (first, second) = (Clock::of_system(), Clock::of_system());
        assert_eq!(first.boot_id, second.boot_id);
        assert!(0 < first.boottime_ms && first.boottime_ms <= second.boottime_ms);
        assert!(first.now > 1_700_000_000);
        #[cfg(target_os = "linux")]
        assert_ne!(first.boot_id, UNKNOWN_BOOT);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_boot_is_the_one_that_the_system_names() {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let digits = format!("{:?}", Digest::from_bytes(Clock::of_system().boot_id));
        assert_eq!(digits, text.trim_end().replace('-', ""));
    }
}
