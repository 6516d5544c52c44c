//! What a backing file system must be able to do, found out by doing it.

use super::{handle, path, xattr};
use rustix::fs::{AtFlags, OFlags, XattrFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

const PROBE: &str = ".t-probe";

/// What is missing, in words for the operator; `None` when nothing is. `root` is the backing root opened for reading,
/// `special` its `.kmsfs`. On a read-only mount only what needs no writing is tried.
pub fn missing(root: &OwnedFd, special: &OwnedFd, read_only: bool) -> rustix::io::Result<Option<String>> {
    let handle = match handle::of(root) {
        Ok(handle) => handle,
        Err(e) => return Ok(Some(format!("it gives no file handles ({e})"))),
    };
    if let Err(e) = handle::open(root, &handle, OFlags::PATH) {
        return Ok(Some(format!("files cannot be opened by handle ({e}): the engine needs CAP_DAC_READ_SEARCH")));
    }
    if read_only {
        return Ok(None);
    }
    remove(special)?;
    let fd = path::open(special, PROBE, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, 0o600)?;
    let mut missing = None;
    for (name, what) in
        [("user.kmsfs", "user xattrs"), ("trusted.kmsfs", "trusted xattrs (the engine needs CAP_SYS_ADMIN)")]
    {
        match xattr::set(&fd, name, b"probe", XattrFlags::empty()) {
            Ok(()) => {}
            Err(e @ (Errno::OPNOTSUPP | Errno::PERM | Errno::NOSYS)) => {
                missing = Some(format!("it has no {what} ({e})"))
            }
            Err(e) => return Err(e),
        }
    }
    if missing.is_none() {
        missing = handle::of(&fd).err().map(|e| format!("it gives no file handles ({e})"));
    }
    remove(special)?;
    Ok(missing)
}

/// Removes what a probe left, now or in an earlier life.
fn remove(dir: &OwnedFd) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, PROBE, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e),
    }
}
