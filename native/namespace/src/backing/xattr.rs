//! Extended attributes of anything open, O_PATH included: such a descriptor is only good as a path, which costs the walk
//! through /proc, so the others go without.

use super::path::of_fd;
use rustix::fs::XattrFlags;
use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, BorrowedFd};

/// XATTR_SIZE_MAX and XATTR_LIST_MAX of xattr(7).
const MAX: usize = 65536;

/// The value, or `None` when there is no such xattr.
pub fn get(fd: impl AsFd, name: &str) -> Result<Option<Vec<u8>>> {
    let fd = fd.as_fd();
    // Nearly all are short; only the others cost a second call.
    let mut short = [0u8; 256];
    match get_into(fd, name, &mut short) {
        Ok(len) => return Ok(Some(short[..len].to_vec())),
        Err(Errno::NODATA) => return Ok(None),
        Err(Errno::RANGE) => {}
        Err(e) => return Err(e),
    }
    let mut value = vec![0; MAX];
    match get_into(fd, name, &mut value) {
        Ok(len) => {
            value.truncate(len);
            Ok(Some(value))
        }
        Err(Errno::NODATA) => Ok(None),
        Err(e) => Err(e),
    }
}

fn get_into(fd: BorrowedFd<'_>, name: &str, value: &mut [u8]) -> Result<usize> {
    match rustix::fs::fgetxattr(fd, name, &mut *value) {
        Err(Errno::BADF) => rustix::fs::getxattr(of_fd(fd), name, value),
        other => other,
    }
}

pub fn set(fd: impl AsFd, name: &str, value: &[u8], flags: XattrFlags) -> Result<()> {
    match rustix::fs::fsetxattr(&fd, name, value, flags) {
        Err(Errno::BADF) => rustix::fs::setxattr(of_fd(fd), name, value, flags),
        other => other,
    }
}

/// ENODATA when there is no such xattr.
pub fn remove(fd: impl AsFd, name: &str) -> Result<()> {
    match rustix::fs::fremovexattr(&fd, name) {
        Err(Errno::BADF) => rustix::fs::removexattr(of_fd(fd), name),
        other => other,
    }
}

/// All names.
pub fn list(fd: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut names = vec![0; MAX];
    let len = match rustix::fs::flistxattr(&fd, &mut names[..]) {
        Err(Errno::BADF) => rustix::fs::listxattr(of_fd(fd), &mut names[..])?,
        other => other?,
    };
    Ok(names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect())
}
