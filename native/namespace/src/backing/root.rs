//! The backing directory, opened so that nothing in it can be a device to the engine.

use super::path;
use rustix::fs::{fstatvfs, open, openat, readlink, Mode, OFlags, StatVfsMountFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{open_tree, OpenTreeFlags};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A backing directory. What is opened for reading by names that an adversary may have written could be a device, with
/// which opening alone may do something; under a mount with `nodev` it is refused (EACCES, mount(8)). So the directory is
/// opened through a mount of its own with that option, which has no place in any tree and goes with its descriptors.
pub struct Root {
    /// Open for reading. Names the mount to open_by_handle_at(2).
    pub dir: Arc<OwnedFd>,
    /// Devices cannot be opened below `dir`. Else (before Linux 5.12, or where it may not be had) whatever is opened by
    /// name is looked at first.
    pub no_devices: bool,
    /// As it was named: keeps its file system from being unmounted, and says where it is.
    named: OwnedFd,
    /// The mount of its own, which would come apart without this.
    mount: Option<OwnedFd>,
}

impl Root {
    /// Needs CAP_SYS_ADMIN for the mount. ENOENT, ENOTDIR, EACCES.
    pub fn open(path: &Path) -> Result<Root> {
        let named = open(path, DIRECTORY, Mode::empty())?;
        let nodev = fstatvfs(&named)?.f_flag.contains(StatVfsMountFlags::NODEV);
        let mount = if nodev { None } else { without_devices(&named).ok() };
        let dir = openat(mount.as_ref().unwrap_or(&named), ".", DIRECTORY, Mode::empty())?;
        Ok(Root { dir: Arc::new(dir), no_devices: nodev || mount.is_some(), named, mount })
    }

    /// Where an inode below is now, as far as the kernel knows.
    pub fn place(&self, fd: impl AsFd) -> Result<String> {
        let place = |fd| Ok(readlink(path::of_fd(fd), Vec::new())?.to_string_lossy().into_owned());
        let below = place(fd.as_fd())?;
        if self.mount.is_none() {
            return Ok(below);
        }
        // Of a mount without a place the kernel tells what is below its root.
        Ok(format!("{}{}", place(self.named.as_fd())?, if below == "/" { "" } else { &below }))
    }
}

/// A mount of the directory with `nodev`.
fn without_devices(dir: &OwnedFd) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let mount = open_tree(dir, "", flags)?;
    set_nodev(&mount)?;
    Ok(mount)
}

/// mount_setattr(2).
fn set_nodev(mount: impl AsFd) -> Result<()> {
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_NODEV, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path is an empty C string, `attr` is of the size that is told and lives through the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of_val(&attr),
        )
    };
    if rc == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error().raw_os_error().map_or(Errno::INVAL, Errno::from_raw_os_error))
}
