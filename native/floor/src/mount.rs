//! The mount, made as src/mount/fuse-mount.ts makes that of kmsfs.

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use std::ffi::CString;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// Mounts a new /dev/fuse on `dir`.
pub fn mount(dir: &Path) -> Result<OwnedFd, String> {
    let fuse = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| format!("/dev/fuse: {e}"))?;
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fuse.as_raw_fd());
    let data = CString::new(data).map_err(|e| e.to_string())?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("kmsfs-floor", dir, "fuse.kmsfs-floor", flags, data.as_c_str())
        .map_err(|e| format!("mounting on {}: {e}", dir.display()))?;
    Ok(fuse)
}

/// 2 MiB, as for kmsfs. Asks nothing of the mount itself, whose requests wait for the caller.
pub fn raise_read_ahead(dir: &Path) -> Result<(), String> {
    let dir = dir.to_string_lossy();
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    // mountinfo: id, parent, device, root, mount point
    let fields = table.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
    let device = fields
        .filter(|fields| fields.get(4) == Some(&&*dir))
        .find_map(|fields| fields.get(2).map(|device| (*device).to_owned()))
        .ok_or("the mount is not in /proc/self/mountinfo")?;
    fs::write(format!("/sys/class/bdi/{device}/read_ahead_kb"), "2048").map_err(|e| e.to_string())
}
