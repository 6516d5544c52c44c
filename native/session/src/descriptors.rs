//! Room for descriptors, made before there are threads.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{getrlimit, Resource};

/// Makes the descriptor table large enough for `most` descriptors, or for as many as RLIMIT_NOFILE allows. Call it before
/// any thread is started: a table that threads share waits for all processors to pass a quiet state (synchronize_rcu
/// in expand_fdtable, fs/file.c) each time it doubles, some ten milliseconds, and requests wait with it. What cannot be
/// had comes later, one doubling at a time.
pub fn widen_descriptor_table(most: u32) {
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::from(most));
    let Ok(last) = i32::try_from(u64::from(most).min(allowed).saturating_sub(1)) else { return };
    // The table never shrinks: the duplicate at its end is closed at once.
    drop(fcntl_dupfd_cloexec(rustix::stdio::stderr(), last));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> u32 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        size.trim().parse().unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no getrlimit")]
    fn the_table_is_as_large_as_asked_and_nothing_stays_open() {
        widen_descriptor_table(900);
        assert!(table() >= 900, "{}", table());
        assert!(std::fs::symlink_metadata("/proc/self/fd/899").is_err());
    }
}
