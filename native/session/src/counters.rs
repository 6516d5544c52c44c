//! What a session has done so far, for `kmsfs status`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

#[derive(Debug)]
pub struct Counters {
    requests: [AtomicU64; OPCODES.len()],
    unknown: AtomicU64,
    errors: AtomicU64,
    malformed: AtomicU64,
    panics: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            unknown: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Every counter that is not zero, by name: `requests_<opcode>`, `errors` (replies with an errno), `malformed`,
    /// `panics`, `bytes_read`, `bytes_written`.
    pub fn snapshot(&self) -> Vec<(String, u64)> {
        let requests = self.requests.iter().zip(OPCODES).map(|(count, name)| (format!("requests_{name}"), count));
        let others = [
            ("requests_unknown", &self.unknown),
            ("errors", &self.errors),
            ("malformed", &self.malformed),
            ("panics", &self.panics),
            ("bytes_read", &self.bytes_read),
            ("bytes_written", &self.bytes_written),
        ];
        requests
            .chain(others.into_iter().map(|(name, count)| (name.to_owned(), count)))
            .map(|(name, count)| (name, count.load(Relaxed)))
            .filter(|(_, count)| *count != 0)
            .collect()
    }

    pub(crate) fn request(&self, opcode: u32) {
        let slot = usize::try_from(opcode).ok().filter(|&n| OPCODES.get(n).is_some_and(|name| !name.is_empty()));
        slot.and_then(|n| self.requests.get(n)).unwrap_or(&self.unknown).fetch_add(1, Relaxed);
    }
    pub(crate) fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
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
}
