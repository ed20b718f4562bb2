//! Whoever is measured, and how.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use rustix::time::ClockId;
use rustix::time::clock_gettime;
use tokio::runtime::Builder;

use crate::Result;

/// Somebody who hands out a token, to any number of threads.
pub(crate) trait Contestant: Sync {
    /// Returns the package that is measured, if it is one.
    fn package(&self) -> Option<&'static str>;

    /// Returns the call that is measured, as a caller writes it.
    fn call(&self) -> &'static str;

    /// Hands the token out so many times on this thread, and returns the CPU time that it took. Fails if
    /// it is not the token expected.
    fn hand_out(&self, calls: u32) -> Result<Duration>;
}

/// Lets a contestant hand out its token on so many threads at once, and returns the nanoseconds of CPU
/// time that one call took.
pub(crate) fn nanoseconds_per_call(contestant: &dyn Contestant, threads: usize, calls: u32) -> Result<f64> {
    let start = Barrier::new(threads);
    let hand_out = || {
        start.wait();
        contestant.hand_out(calls)
    };
    let took: Result<Vec<Duration>> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(hand_out)).collect();
        running.into_iter().map(|thread| thread.join().expect("no contestant panics")).collect()
    });
    let total: Duration = took?.iter().sum();
    let per_thread = total.as_secs_f64() / f64::from(u32::try_from(threads)?);
    Ok(per_thread * 1e9 / f64::from(calls))
}

/// Makes a call again and again, and returns the CPU time that it took.
pub(crate) fn timed<T>(calls: u32, mut call: impl FnMut() -> T) -> Duration {
    let began = cpu_time();
    for _ in 0..calls {
        black_box(call());
    }
    cpu_time().saturating_sub(began)
}

/// Does the same with a call that is waited for, on a runtime of this thread's own.
pub(crate) fn timed_on_a_runtime<T, E>(
    calls: u32,
    call: impl AsyncFn() -> Result<T, E>,
    is_expected: impl Fn(&T) -> bool,
) -> Result<Duration>
where
    crate::Failure: From<E>,
{
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        expect(is_expected(&call().await?))?;
        let began = cpu_time();
        for _ in 0..calls {
            black_box(call().await?);
        }
        let took = cpu_time().saturating_sub(began);
        expect(is_expected(&call().await?))?;
        Ok(took)
    })
}

/// Fails unless the token was the one expected.
pub(crate) fn expect(is_expected: bool) -> Result<()> {
    if is_expected { Ok(()) } else { Err("another token was handed out than expected".into()) }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.try_into().expect("no thread has run for less than nothing")
}
