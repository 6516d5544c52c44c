//! The system calls that a server of a file system makes on the store below it and on /dev/fuse, and how each can fail.

use super::tracer::Failing;

pub struct Call {
    pub name: &'static str,
    pub number: libc::c_long,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Looks only.
    Reads,
    /// Looks, and may give less than was asked for.
    ReadsBytes,
    /// Changes something: there may be no room.
    Writes,
    /// As `Writes`, and may take less than it was given.
    WritesBytes,
    /// Takes a request from the kernel: while the mount goes, the kernel may say that it was aborted (fuse_dev_do_read).
    Receives,
}

const fn call(name: &'static str, number: libc::c_long, kind: Kind) -> Call {
    Call { name, number, kind }
}

pub const ALL: &[Call] = &[
    call("read", libc::SYS_read, Kind::Receives),
    call("pread64", libc::SYS_pread64, Kind::ReadsBytes),
    call("pwrite64", libc::SYS_pwrite64, Kind::WritesBytes),
    call("fsync", libc::SYS_fsync, Kind::Writes),
    call("fdatasync", libc::SYS_fdatasync, Kind::Writes),
    call("syncfs", libc::SYS_syncfs, Kind::Writes),
    call("fallocate", libc::SYS_fallocate, Kind::Writes),
    call("ftruncate", libc::SYS_ftruncate, Kind::Writes),
    call("openat", libc::SYS_openat, Kind::Writes),
    call("openat2", libc::SYS_openat2, Kind::Writes),
    call("open_by_handle_at", libc::SYS_open_by_handle_at, Kind::Reads),
    call("name_to_handle_at", libc::SYS_name_to_handle_at, Kind::Reads),
    call("fstat", libc::SYS_fstat, Kind::Reads),
    call("newfstatat", libc::SYS_newfstatat, Kind::Reads),
    call("statx", libc::SYS_statx, Kind::Reads),
    call("fstatfs", libc::SYS_fstatfs, Kind::Reads),
    call("getdents64", libc::SYS_getdents64, Kind::Reads),
    call("readlinkat", libc::SYS_readlinkat, Kind::Reads),
    call("getxattr", libc::SYS_getxattr, Kind::Reads),
    call("lgetxattr", libc::SYS_lgetxattr, Kind::Reads),
    call("fgetxattr", libc::SYS_fgetxattr, Kind::Reads),
    call("listxattr", libc::SYS_listxattr, Kind::Reads),
    call("flistxattr", libc::SYS_flistxattr, Kind::Reads),
    call("setxattr", libc::SYS_setxattr, Kind::Writes),
    call("fsetxattr", libc::SYS_fsetxattr, Kind::Writes),
    call("removexattr", libc::SYS_removexattr, Kind::Writes),
    call("fremovexattr", libc::SYS_fremovexattr, Kind::Writes),
    call("linkat", libc::SYS_linkat, Kind::Writes),
    call("unlinkat", libc::SYS_unlinkat, Kind::Writes),
    call("renameat", libc::SYS_renameat, Kind::Writes),
    call("renameat2", libc::SYS_renameat2, Kind::Writes),
    call("mkdirat", libc::SYS_mkdirat, Kind::Writes),
    call("mknodat", libc::SYS_mknodat, Kind::Writes),
    call("symlinkat", libc::SYS_symlinkat, Kind::Writes),
    call("fchmodat", libc::SYS_fchmodat, Kind::Writes),
    call("fchmod", libc::SYS_fchmod, Kind::Writes),
    call("chmod", libc::SYS_chmod, Kind::Writes),
    call("fchownat", libc::SYS_fchownat, Kind::Writes),
    call("utimensat", libc::SYS_utimensat, Kind::Writes),
];

impl Call {
    pub fn named(name: &str) -> Option<&'static Call> {
        ALL.iter().find(|call| call.name == name)
    }

    pub fn failures(&self) -> &'static [Failing] {
        const EIO: Failing = Failing::Errno(libc::EIO);
        const FULL: [Failing; 2] = [Failing::Errno(libc::ENOSPC), Failing::Errno(libc::EDQUOT)];
        match self.kind {
            Kind::Reads => &[EIO],
            Kind::ReadsBytes => &[EIO, Failing::Short],
            Kind::Writes => const { &[EIO, FULL[0], FULL[1]] },
            Kind::WritesBytes => const { &[EIO, FULL[0], FULL[1], Failing::Short] },
            Kind::Receives => &[Failing::Errno(libc::ECONNABORTED)],
        }
    }
}

impl Failing {
    pub fn name(self) -> String {
        match self {
            Failing::Errno(libc::EIO) => "EIO".into(),
            Failing::Errno(libc::ENOSPC) => "ENOSPC".into(),
            Failing::Errno(libc::EDQUOT) => "EDQUOT".into(),
            Failing::Errno(libc::ECONNABORTED) => "ECONNABORTED".into(),
            Failing::Errno(other) => other.to_string(),
            Failing::Short => "short".into(),
        }
    }
}
