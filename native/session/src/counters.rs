//! What a session has done so far, for `kmsfs status`.

use crate::abi::opcode;
use kmsfs_namespace::histogram::{Histogram, Snapshot};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Opcodes counted one by one, by number (linux/fuse.h); an empty name is an unused number.
pub const OPCODES: [&str; 54] = [
    "",
    "lookup",
    "forget",
    "getattr",
    "setattr",
    "readlink",
    "symlink",
    "",
    "mknod",
    "mkdir",
    "unlink",
    "rmdir",
    "rename",
    "link",
    "open",
    "read",
    "write",
    "statfs",
    "release",
    "",
    "fsync",
    "setxattr",
    "getxattr",
    "listxattr",
    "removexattr",
    "flush",
    "init",
    "opendir",
    "readdir",
    "releasedir",
    "fsyncdir",
    "getlk",
    "setlk",
    "setlkw",
    "access",
    "create",
    "interrupt",
    "bmap",
    "destroy",
    "ioctl",
    "poll",
    "notify_reply",
    "batch_forget",
    "fallocate",
    "readdirplus",
    "rename2",
    "lseek",
    "copy_file_range",
    "setupmapping",
    "removemapping",
    "syncfs",
    "tmpfile",
    "statx",
    "copy_file_range_64",
];

/// Errno values counted one by one: those of Linux, to EHWPOISON. The first stands for all others.
const ERRNOS: usize = 134;

/// Requests that take alike, under one name for their latencies.
const GROUPS: [&str; 8] = ["read", "write", "sync", "close", "lookup", "list", "change", "other"];

/// The place in `GROUPS` of an opcode; `None` where nobody waits for an answer.
fn group(opcode: u32) -> Option<usize> {
    Some(match opcode {
        opcode::READ => 0,
        opcode::WRITE => 1,
        opcode::FSYNC | opcode::FSYNCDIR => 2,
        opcode::FLUSH => 3,
        opcode::LOOKUP | opcode::GETATTR | opcode::READLINK | opcode::OPEN | opcode::OPENDIR => 4,
        opcode::STATFS | opcode::GETXATTR | opcode::LISTXATTR => 4,
        opcode::READDIR | opcode::READDIRPLUS => 5,
        opcode::CREATE | opcode::MKNOD | opcode::MKDIR | opcode::SYMLINK | opcode::LINK | opcode::TMPFILE => 6,
        opcode::UNLINK | opcode::RMDIR | opcode::RENAME | opcode::RENAME2 => 6,
        opcode::SETATTR | opcode::SETXATTR | opcode::REMOVEXATTR => 6,
        // The kernel releases in the background.
        opcode::FORGET | opcode::BATCH_FORGET | opcode::RELEASE | opcode::RELEASEDIR => return None,
        opcode::INIT | opcode::DESTROY | opcode::INTERRUPT | opcode::NOTIFY_REPLY => return None,
        _ => 7,
    })
}

#[derive(Debug)]
pub struct Counters {
    requests: [AtomicU64; OPCODES.len()],
    latencies: [Histogram; GROUPS.len()],
    unknown: AtomicU64,
    errors: [AtomicU64; ERRNOS],
    malformed: AtomicU64,
    panics: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            latencies: Default::default(),
            unknown: AtomicU64::new(0),
            errors: std::array::from_fn(|_| AtomicU64::new(0)),
            malformed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Every counter that is not zero, by name: `requests_<opcode>`, `errors_<errno>` (replies with that number; 0 for
    /// one that Linux does not have), `malformed`, `panics`, `bytes_read`, `bytes_written`.
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        let requests = self.requests.iter().zip(OPCODES).map(|(count, name)| (format!("requests_{name}"), count));
        let others = [
            ("requests_unknown", &self.unknown),
            ("malformed", &self.malformed),
            ("panics", &self.panics),
            ("bytes_read", &self.bytes_read),
            ("bytes_written", &self.bytes_written),
        ];
        let errors = self.errors.iter().enumerate().map(|(errno, count)| (format!("errors_{errno}"), count));
        requests
            .chain(errors)
            .chain(others.into_iter().map(|(name, count)| (name.to_owned(), count)))
            .map(|(name, count)| (name, count.load(Relaxed)))
            .filter(|(_, count)| *count != 0)
            .collect()
    }

    pub(crate) fn request(&self, opcode: u32) {
        let slot = usize::try_from(opcode).ok().filter(|&n| OPCODES.get(n).is_some_and(|name| !name.is_empty()));
        slot.and_then(|n| self.requests.get(n)).unwrap_or(&self.unknown).fetch_add(1, Relaxed);
    }
    /// How long requests took from their receipt to their reply, by group.
    pub fn latencies(&self) -> Vec<(&'static str, Snapshot)> {
        GROUPS.into_iter().zip(&self.latencies).map(|(name, histogram)| (name, histogram.snapshot())).collect()
    }

    pub(crate) fn answered(&self, opcode: u32, received: Instant) {
        if let Some(histogram) = group(opcode).and_then(|n| self.latencies.get(n)) {
            histogram.since(received);
        }
    }
    pub(crate) fn error(&self, errno: i32) {
        let slot = usize::try_from(errno).ok().filter(|&n| n < ERRNOS).unwrap_or(0);
        if let Some(count) = self.errors.get(slot) {
            count.fetch_add(1, Relaxed);
        }
    }
    pub(crate) fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }
    pub(crate) fn panic(&self) {
        self.panics.fetch_add(1, Relaxed);
    }
    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Relaxed);
    }
    pub(crate) fn written(&self, bytes: usize) {
        self.bytes_written.fetch_add(bytes as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_opcode_and_takes_any_number() {
        let counters = Counters::default();
        counters.request(crate::abi::opcode::TMPFILE);
        counters.request(crate::abi::opcode::COPY_FILE_RANGE_64);
        for odd in [0, 7, 19, 54, u32::MAX] {
            counters.request(odd);
        }
        let seen = counters.snapshot();
        assert_eq!(
            seen,
            [
                ("requests_tmpfile".to_owned(), 1),
                ("requests_copy_file_range_64".to_owned(), 1),
                ("requests_unknown".to_owned(), 5)
            ]
        );
    }

    #[test]
    fn counts_errors_by_number_and_latencies_by_group() {
        let counters = Counters::default();
        for errno in [libc::ENOENT, libc::ENOENT, libc::EIO, -1, 4000] {
            counters.error(errno);
        }
        let seen = counters.snapshot();
        assert_eq!(seen, [("errors_0".to_owned(), 2), ("errors_2".to_owned(), 2), ("errors_5".to_owned(), 1)]);
        for opcode in 0..60 {
            counters.answered(opcode, Instant::now());
        }
        let counted = |name: &str| {
            let latencies = counters.latencies();
            latencies.into_iter().find(|(n, _)| *n == name).map(|(_, h)| h.counts.iter().sum::<u64>())
        };
        assert_eq!(
            (counted("read"), counted("sync"), counted("close"), counted("list")),
            (Some(1), Some(2), Some(1), Some(2))
        );
    }
}
