//! Loop devices, by losetup(8).

use crate::Result;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

/// linux/fs.h
const BLKFLSBUF: libc::Ioctl = 0x1261;

pub fn losetup(args: &[&str]) -> Result<String> {
    let done = Command::new("losetup").args(args).output().map_err(|e| format!("losetup: {e}"))?;
    if !done.status.success() {
        return Err(format!("losetup {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// A loop device on the image: the one that was recorded, as after a real cut the file system has the same device number;
/// another, if it was taken meanwhile: then the volume is where a restored one would be.
pub fn attach(image: &Path, wanted: Option<&str>) -> Result<String> {
    let path = image.to_str().ok_or("the image's path is not UTF-8")?;
    if let Some(device) = wanted {
        if losetup(&[device, path]).is_ok() {
            return Ok(device.to_owned());
        }
    }
    losetup(&["--show", "-f", path])
}

/// Has the kernel forget what it read of the device: its file was written meanwhile, and somebody (udev looks at a device
/// after each umount) may have read it while it was.
pub fn forget_cached(device: &str) -> Result<()> {
    let opened = File::open(device).map_err(|e| format!("{device}: {e}"))?;
    // SAFETY: the descriptor is open, and the call takes no argument.
    if unsafe { libc::ioctl(opened.as_raw_fd(), BLKFLSBUF, 0) } != 0 {
        return Err(format!("BLKFLSBUF of {device}: {}", std::io::Error::last_os_error()));
    }
    Ok(())
}
