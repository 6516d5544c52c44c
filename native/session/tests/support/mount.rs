//! A real mount of a session, gone when dropped.

use kmsfs_namespace::ops::FileSystem;
use kmsfs_session::{serve, Ended, Options, Result};
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;
use std::time::Duration;

static NEXT: AtomicUsize = AtomicUsize::new(0);

pub struct Mount {
    pub path: PathBuf,
    thread: Option<JoinHandle<Result<Ended>>>,
}

/// `None`, with the reason printed, where /dev/fuse cannot be opened.
pub fn device() -> Option<File> {
    match OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(file) => Some(file),
        Err(e) => {
            eprintln!("skipped: /dev/fuse: {e}");
            None
        }
    }
}

fn c(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap()
}

fn mount_at(path: &Path, fd: i32) -> io::Result<()> {
    let data = c(format!("fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"));
    let target = c(path.as_os_str().as_encoded_bytes());
    // SAFETY: all pointers are to NUL-ended strings that outlive the call.
    let done = unsafe {
        libc::mount(c"kmsfs-test".as_ptr(), target.as_ptr(), c"fuse.kmsfs-test".as_ptr(), 0, data.as_ptr().cast())
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn unmount(path: &Path, flags: i32) -> io::Result<()> {
    let target = c(path.as_os_str().as_encoded_bytes());
    // SAFETY: the pointer is to a NUL-ended string that outlives the call.
    let done = unsafe { libc::umount2(target.as_ptr(), flags) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Somebody who looks at every mount, or a program just started by a test beside this one that has not yet let go of what
/// it inherited, makes it busy for a moment.
fn unmount_idle(path: &Path) {
    for _ in 0..100 {
        match unmount(path, 0) {
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(Duration::from_millis(50)),
            other => return other.unwrap(),
        }
    }
    panic!("the mount stays busy");
}

impl Mount {
    pub fn new(fs: Arc<dyn FileSystem>, mut options: Options) -> Option<Mount> {
        let device = device()?;
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let path = PathBuf::from(format!("/var/tmp/kmsfs-session-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        let fd = device.as_raw_fd();
        let ours = OwnedFd::from(device.try_clone().unwrap());
        let (serving, served) = mpsc::channel();
        options.on_serving = Some(Box::new(move || serving.send(()).unwrap()));
        // The session starts first, and waits for the mount.
        let thread = std::thread::spawn(move || serve(ours, fs, options));
        let mount = Mount { path, thread: Some(thread) };
        mount_at(&mount.path, fd).unwrap();
        drop(device);
        served.recv_timeout(Duration::from_secs(20)).unwrap();
        Some(mount)
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub fn unmount(mut self) -> Result<Ended> {
        unmount_idle(&self.path);
        fs::remove_dir(&self.path).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = unmount(&self.path, libc::MNT_DETACH);
            let _ = fs::remove_dir(&self.path);
            if !std::thread::panicking() {
                let _ = thread.join();
            }
        }
    }
}
