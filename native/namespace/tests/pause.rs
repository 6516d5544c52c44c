//! A volume that is remounted read-only: what the engine writes of its own, and what it answers to who asks all the same.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use kmsfs_namespace::ops::{FileSystem, SetAttr, Writing};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Every inode below with its times, and every file's content; the lock apart.
fn fingerprint(dir: &Path, into: &mut Vec<(String, i64, i64, i64, Vec<u8>)>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stat = path.symlink_metadata().unwrap();
        let content = if stat.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let time = |secs: i64, nanos: i64| secs * 1_000_000_000 + nanos;
        let (ctime, mtime) = (time(stat.ctime(), stat.ctime_nsec()), time(stat.mtime(), stat.mtime_nsec()));
        into.push((path.to_str().unwrap().into(), ctime, mtime, stat.size() as i64, content));
        if stat.is_dir() {
            fingerprint(&path, into);
        }
    }
}

fn state(b: &Backing) -> Vec<(String, i64, i64, i64, Vec<u8>)> {
    let mut all = Vec::new();
    fingerprint(&b.path, &mut all);
    all
}

#[test]
fn a_paused_volume_is_whole_on_disk_refuses_every_change_and_goes_on_when_resumed() {
    let b = Backing::new();
    let v = b.open();
    let d = mkdir(&v, R, b"d");
    let f = put(&v, d, b"f", &[7; 100_000]);
    v.symlink(ME, R, b"s", b"target").unwrap();
    // Open for writing with something that is in no commit: the kernel would not let such a mount be paused.
    let open = v.open(f, libc::O_RDWR as u32).unwrap();
    v.write(f, open, 50_000, b"uncommitted", Writing::default()).unwrap();
    v.pause().unwrap();
    v.pause().unwrap();

    let before = state(&b);
    let copy = Backing::new();
    let source = format!("{}/.", b.path.display());
    let copied = std::process::Command::new("cp").args(["-a", "--preserve=all", &source]).arg(&copy.path).status();
    assert!(copied.unwrap().success());

    let refused = |what: &str, errno: i32| assert_eq!(errno, libc::EROFS, "{what}");
    refused("write", errno(v.write(f, open, 0, b"x", Writing::default())));
    refused("truncate", errno(v.setattr(ME, f, &SetAttr { size: Some(1), ..SetAttr::default() })));
    refused("chmod", errno(v.setattr(ME, f, &SetAttr { mode: Some(0o600), ..SetAttr::default() })));
    refused("fallocate", errno(v.fallocate(f, open, 0, 0, 200_000)));
    refused("create", errno(v.create(ME, d, b"n", 0o644, libc::O_RDWR as u32)));
    refused("mkdir", errno(v.mkdir(ME, d, b"n", 0o755)));
    refused("symlink", errno(v.symlink(ME, d, b"n", b"t")));
    refused("link", errno(v.link(f, R, b"n")));
    refused("rename", errno(v.rename(d, b"f", R, b"n", 0)));
    refused("unlink", errno(v.unlink(d, b"f")));
    refused("rmdir", errno(v.rmdir(R, b"d")));
    refused("setxattr", errno(v.setxattr(f, b"user.a", b"1", 0, false)));
    refused("removexattr", errno(v.removexattr(f, b"user.a")));
    let mut text = [0; 11];
    assert_eq!(v.read(f, open, 50_000, &mut text).unwrap(), 11);
    assert_eq!(&text, b"uncommitted");
    assert_eq!(list(&v, R, 10), [&b"d"[..], b"s"]);
    assert_eq!(state(&b), before, "not a byte and not a time has changed");

    v.resume().unwrap();
    v.write(f, open, 0, b"again", Writing::default()).unwrap();
    v.release(f, open).unwrap();
    put(&v, R, b"after", b"x");
    v.close().unwrap();
    drop(v);
    let v = b.open();
    let d = v.lookup(R, b"d").unwrap().node;
    assert_eq!(&get_at(&v, d, b"f")[..5], b"again");
    assert_eq!(get_at(&v, R, b"after"), b"x");

    // The copy has other inodes: what it holds is what a snapshot of the block device at that moment would.
    let c = copy.open();
    let d = c.lookup(R, b"d").unwrap().node;
    assert_eq!(&get_at(&c, d, b"f")[50_000..50_011], b"uncommitted");
    assert_eq!(copy.events(), Vec::<String>::new());
}

#[test]
fn closing_a_paused_volume_writes_nothing() {
    let b = Backing::new();
    let v = b.open();
    put(&v, R, b"f", b"content");
    v.pause().unwrap();
    let before = state(&b);
    v.close().unwrap();
    assert_eq!(state(&b), before);
    drop(v);
    assert_eq!(get_at(&b.open(), R, b"f"), b"content");
}

#[test]
fn a_volume_opened_read_only_is_paused_already_and_never_resumed() {
    let b = Backing::new();
    let v = b.open();
    put(&v, R, b"f", b"content");
    v.close().unwrap();
    drop(v);
    let read_only = kmsfs_files::Config { read_only: true, ..config() };
    let v = b.open_with(read_only, kmsfs_namespace::Options::default()).unwrap();
    v.pause().unwrap();
    assert!(matches!(v.resume(), Err(kmsfs_files::Error::ReadOnly)));
    assert_eq!(errno(v.mkdir(ME, R, b"d", 0o755)), libc::EROFS);
    assert_eq!(get_at(&v, R, b"f"), b"content");
}

/// Bytes of the log's segments that were set aside and never written; 0 on a file system that does not tell, or keeps no
/// zeros.
fn unwritten(b: &Backing) -> u64 {
    let of = |path: std::path::PathBuf| {
        let segment = std::fs::File::open(path).unwrap();
        let (len, blocks) = (segment.metadata().unwrap().len(), segment.metadata().unwrap().blocks());
        if blocks * 512 < len {
            return 0;
        }
        len - rustix::fs::seek(&segment, rustix::fs::SeekFrom::Hole(0)).unwrap()
    };
    std::fs::read_dir(b.path.join(".kmsfs/log")).unwrap().map(|e| of(e.unwrap().path())).sum()
}

#[test]
fn the_log_is_written_ahead_after_mounting_but_not_while_paused() {
    for _ in 0..10 {
        let b = Backing::new();
        let config = kmsfs_files::Config { commit_interval_ms: 20, ..config() };
        let v = b.open_with(config, kmsfs_namespace::Options::default()).unwrap();
        v.pause().unwrap();
        let before = state(&b);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(before == state(&b), "something was written");
        v.resume().unwrap();
        while unwritten(&b) > 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        put(&v, R, b"f", b"content");
        v.close().unwrap();
        drop(v);
        assert_eq!(get_at(&b.open(), R, b"f"), b"content");
    }
}
