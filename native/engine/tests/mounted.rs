//! A volume of a real backing directory, mounted through the engine as the daemon does it.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use serde_json::json;
use std::ffi::CString;
use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{fuse, receive, send, start, unlock_bytes, Engine, KEY};

static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A fresh backing directory with what `kmsfs init` puts there, and a mount point; gone when dropped.
struct Place {
    root: PathBuf,
}

impl Place {
    fn new() -> Place {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let root = PathBuf::from(format!("/var/tmp/kmsfs-engine-{}-{number}", std::process::id()));
        for directory in ["backing/.kmsfs/log", "backing/.kmsfs/links", "mount"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        Place { root }
    }
    fn backing(&self) -> PathBuf {
        self.root.join("backing")
    }
    fn at(&self, name: &str) -> PathBuf {
        self.root.join("mount").join(name)
    }
    /// Somebody who looks at every mount (df, a test beside this one) makes it busy for a moment.
    fn unmount(&self) {
        for _ in 0..100 {
            match unmount(&self.at(""), 0) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(Duration::from_millis(50)),
                other => return other.unwrap(),
            }
        }
        panic!("the mount stays busy");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = unmount(&self.at(""), libc::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn c(path: &Path) -> CString {
    CString::new(path.as_os_str().as_encoded_bytes()).unwrap()
}

fn unmount(path: &Path, flags: i32) -> io::Result<()> {
    // SAFETY: the string is NUL-ended and outlives the call.
    match unsafe { libc::umount2(c(path).as_ptr(), flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn mount(path: &Path, fd: i32) {
    let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions");
    let options = CString::new(options).unwrap();
    let (source, kind, data) = (c"kmsfs-engine-test".as_ptr(), c"fuse.kmsfs".as_ptr(), options.as_ptr().cast());
    // SAFETY: all strings are NUL-ended and outlive the call.
    let mounted = unsafe { libc::mount(source, c(path).as_ptr(), kind, 0, data) };
    assert_eq!(mounted, 0, "{}", io::Error::last_os_error());
}

/// The next message that is no warning.
fn next(engine: &mut Engine) -> serde_json::Value {
    loop {
        let message = receive(&mut engine.control).unwrap();
        if message["type"] != "warning" {
            return message;
        }
    }
}

/// Starts and unlocks an engine up to `opened`. The descriptor is the daemon's copy of /dev/fuse.
fn opened(place: &Place) -> Option<(Engine, OwnedFd)> {
    let fd = fuse()?;
    let mut engine = Engine::start(fd.try_clone().unwrap());
    let mut message = start();
    message["backing"] = json!(place.backing());
    send(&mut engine.control, &message);
    engine.key.write_all(&unlock_bytes(&KEY)).unwrap();
    assert_eq!(receive(&mut engine.key).unwrap(), json!({"type": "unlocked"}));
    let message = next(&mut engine);
    assert_eq!(message["type"], "opened", "{message}");
    Some((engine, fd))
}

fn mounted(place: &Place) -> Option<Engine> {
    let (mut engine, fd) = opened(place)?;
    mount(&place.at(""), fd.as_raw_fd());
    assert_eq!(next(&mut engine), json!({"type": "serving"}));
    Some(engine)
}

fn ends_well(engine: Engine) {
    let (status, said) = engine.end();
    assert_eq!(status.code(), Some(0), "{said}");
}

#[test]
fn what_was_written_is_there_after_a_remount_and_not_in_the_backing_directory() {
    let place = Place::new();
    let Some(engine) = mounted(&place) else { return };
    let text = "a text that must not be found in clear\n".repeat(10_000);
    fs::create_dir(place.at("plain-directory")).unwrap();
    fs::write(place.at("plain-directory/plain-name"), &text).unwrap();
    place.unmount();
    ends_well(engine);
    let listed = std::process::Command::new("grep").args(["-rla", "must not be found"]).arg(place.backing()).output();
    assert_eq!(listed.unwrap().stdout, b"");
    let found = std::process::Command::new("find").arg(place.backing()).args(["-name", "*plain*"]).output();
    assert_eq!(found.unwrap().stdout, b"");
    let engine = mounted(&place).unwrap();
    assert!(fs::read_to_string(place.at("plain-directory/plain-name")).unwrap() == text);
    place.unmount();
    ends_well(engine);
}

#[test]
fn a_second_engine_is_refused_while_the_first_serves() {
    let place = Place::new();
    let Some(engine) = mounted(&place) else { return };
    let mut second = Engine::start(fuse().unwrap());
    let mut message = start();
    message["backing"] = json!(place.backing());
    send(&mut second.control, &message);
    second.key.write_all(&unlock_bytes(&KEY)).unwrap();
    assert_eq!(receive(&mut second.key).unwrap()["code"], "in-use");
    assert_eq!(second.failure()["code"], "in-use");
    place.unmount();
    ends_well(engine);
}

#[test]
fn status_counts_and_stop_writes_home_while_the_mount_goes_on() {
    let place = Place::new();
    let Some(mut engine) = mounted(&place) else { return };
    fs::write(place.at("f"), vec![1; 100_000]).unwrap();
    send(&mut engine.control, &json!({"type": "status", "id": 5}));
    let status = next(&mut engine);
    assert_eq!(status["id"], 5);
    assert_eq!(status["counters"]["requests_create"], 1, "{status}");
    assert_eq!(status["counters"]["bytes_written"], 100_000);
    send(&mut engine.control, &json!({"type": "stop"}));
    fs::write(place.at("g"), b"still served").unwrap();
    place.unmount();
    ends_well(engine);
}

#[test]
fn the_mount_outlives_the_daemon_and_signals() {
    let place = Place::new();
    let Some(engine) = mounted(&place) else { return };
    engine.control.shutdown(Shutdown::Both).unwrap();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        engine.signal(signal);
    }
    fs::write(place.at("after"), b"the daemon").unwrap();
    assert_eq!(fs::read(place.at("after")).unwrap(), b"the daemon");
    place.unmount();
    ends_well(engine);
}

#[test]
fn a_daemon_that_dies_before_the_mount_leaves_the_volume_closed() {
    let place = Place::new();
    let Some((engine, fd)) = opened(&place) else { return };
    engine.control.shutdown(Shutdown::Both).unwrap();
    drop(fd);
    let (status, _) = engine.end();
    assert_eq!(status.code(), Some(1));
    let again = mounted(&place).unwrap();
    place.unmount();
    ends_well(again);
}

#[test]
fn memory_that_must_be_locked_is_locked_or_there_is_no_mount() {
    let place = Place::new();
    let Some(fd) = fuse() else { return };
    let mut engine = Engine::start(fd);
    let mut message = start();
    message["backing"] = json!(place.backing());
    message["mlock"] = json!("require");
    send(&mut engine.control, &message);
    engine.key.write_all(&unlock_bytes(&KEY)).unwrap();
    let reply = receive(&mut engine.key).unwrap();
    if reply["type"] == "failed" {
        // Without CAP_IPC_LOCK and with a limit.
        assert_eq!(reply["code"], "memory-lock");
        return;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", engine.pid())).unwrap();
    let field = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(field("VmLck:") >= field("VmRSS:") / 2, "{status}");
}

#[test]
fn the_process_leaves_no_core_and_masks_no_modes() {
    let place = Place::new();
    let Some(engine) = mounted(&place) else { return };
    let proc_dir = PathBuf::from(format!("/proc/{}", engine.pid()));
    let limits = fs::read_to_string(proc_dir.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().filter(|&word| word == "0").count() == 2, "{core}");
    let status = fs::read_to_string(proc_dir.join("status")).unwrap();
    let umask = status.lines().find(|line| line.starts_with("Umask")).unwrap();
    assert_eq!(umask.split_whitespace().last(), Some("0000"));
    place.unmount();
    ends_well(engine);
}
