//! The processor time of a thread, readable by the others of its process, and of the whole process.

use std::time::Duration;

/// A CPU-time clock (pthread_getcpuclockid(3), clock_gettime(2)).
pub struct CpuClock(libc::clockid_t);

impl CpuClock {
    pub fn of_this_thread() -> Option<Self> {
        let mut clock = 0;
        // SAFETY: `clock` is written to, and the thread that is asked about is the one that asks.
        let rc = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &mut clock) };
        (rc == 0).then_some(CpuClock(clock))
    }

    pub fn of_the_process() -> Self {
        CpuClock(libc::CLOCK_PROCESS_CPUTIME_ID)
    }

    /// Zero once the thread has ended.
    pub fn used(&self) -> Duration {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `used` is written to; a clock of a thread that is gone is EINVAL.
        let rc = unsafe { libc::clock_gettime(self.0, &mut used) };
        if rc != 0 {
            return Duration::ZERO;
        }
        Duration::new(u64::try_from(used.tv_sec).unwrap_or(0), u32::try_from(used.tv_nsec).unwrap_or(0))
    }
}
