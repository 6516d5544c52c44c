//! Opening inside the backing directory, which an adversary may have written: never through a symlink, a mount or out.

use rustix::fs::{fstat, openat2, AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

const WITHIN: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS);

/// An O_PATH descriptor of the entry itself, symlink or not.
pub fn entry(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    openat2(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty(), WITHIN)
}

/// Opens for reading or writing; `mode` only for O_CREAT and O_TMPFILE. Never blocks on a fifo that was put there.
pub fn open(dir: impl AsFd, name: &str, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let always = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    openat2(dir, name, flags | always, Mode::from_raw_mode(mode), WITHIN)
}

/// Opens a regular file. `None` for anything else, which is not even opened: with a device that alone may do something.
pub fn regular(dir: impl AsFd, name: &str, flags: OFlags, mode: u32) -> Result<Option<OwnedFd>> {
    match entry(&dir, name) {
        Ok(there) if !is_regular(&there)? => return Ok(None),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    let fd = open(&dir, name, flags, mode)?;
    Ok(is_regular(&fd)?.then_some(fd))
}

fn is_regular(fd: impl AsFd) -> Result<bool> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode).is_file())
}

/// The name of an open descriptor for calls that take a path only: xattrs and modes of what is open as O_PATH, a
/// symlink included (proc(5): the magic link leads to the very inode).
pub fn of_fd(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// Gives an open inode a name. Also one that has none yet (O_TMPFILE).
pub fn link(fd: impl AsFd, dir: impl AsFd, name: &str) -> Result<()> {
    rustix::fs::linkat(fd, "", dir, name, AtFlags::EMPTY_PATH)
}
