//! The clock seam.

use std::time::Duration;

use super::BoxFuture;

/// Wall clock, boot-time clock and sleep.
pub trait Clock: Send + Sync {
    /// Returns the wall clock in Unix seconds.
    fn now(&self) -> u64;

    /// Returns the time since boot, suspension included (`CLOCK_BOOTTIME`).
    fn since_boot(&self) -> Duration;

    /// Returns what names the present boot; [`Clock::since_boot`] compares only within one.
    fn boot_id(&self) -> [u8; 16];

    /// Waits.
    fn sleep(&self, duration: Duration) -> BoxFuture<'_, ()>;
}
