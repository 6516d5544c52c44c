//! The recorder: a mount with the recorded disk in it, until it is unmounted.

use crate::disk::Disk;
use crate::options::Options;
use crate::record::Recorder;
use crate::Result;
use kmsfs_session::{serve, Options as Session};
use rustix::mount::{mount, MountFlags};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

pub fn run(options: &Options) -> Result<()> {
    let (base, disk, at) = (options.path("base")?, options.path("disk")?, options.path("at")?);
    copy_sparse(&base, &disk)?;
    let bytes =
        OpenOptions::new().read(true).write(true).open(&disk).map_err(|e| format!("{}: {e}", disk.display()))?;
    let size = bytes.metadata().map_err(|e| e.to_string())?.len();
    let record = Recorder::create(&options.path("record")?)?;
    let fs = Arc::new(Disk { bytes, size, record });

    let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse").map_err(|e| format!("/dev/fuse: {e}"))?;
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", fuse.as_raw_fd());
    let data = CString::new(data).map_err(|e| e.to_string())?;
    let ours = OwnedFd::from(fuse.try_clone().map_err(|e| e.to_string())?);
    let session = Session {
        // No page cache between the device and its record.
        writeback: false,
        on_serving: Some(Box::new(|| {
            let _ = std::io::stdout().write_all(b"ready\n").and_then(|()| std::io::stdout().flush());
        })),
        ..Session::default()
    };
    // The session begins first, and waits for the mount.
    let serving = std::thread::spawn(move || serve(ours, fs, session));
    mount("kmsfs-crash", &at, "fuse.kmsfs-crash", MountFlags::empty(), Some(data.as_c_str()))
        .map_err(|e| format!("mounting {}: {e}", at.display()))?;
    drop(fuse);
    let ended = serving.join().map_err(|_| "the session panicked")?;
    ended.map(|_| ()).map_err(|e| e.to_string())
}

/// What is zero in the one is a hole in the other.
fn copy_sparse(from: &Path, to: &Path) -> Result<()> {
    let image = crate::state::Image::load(from)?;
    let out = OpenOptions::new().write(true).create(true).truncate(true).open(to).map_err(|e| e.to_string())?;
    image.store(&out)
}
