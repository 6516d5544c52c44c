//! What someone without the key does underneath is refused with EIO and told once.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use kmsfs_namespace::ops::{FileSystem, NodeId};
use kmsfs_namespace::{OpenError, Options};
use rustix::fs::{FileType, Mode, XattrFlags};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn raw_record(path: &Path) -> Vec<u8> {
    let mut buf = vec![0; 2000];
    let len = rustix::fs::lgetxattr(path, "user.kmsfs", &mut buf[..]).unwrap();
    buf.truncate(len);
    buf
}

fn put_raw(path: &Path, record: &[u8]) {
    rustix::fs::lsetxattr(path, "user.kmsfs", record, XattrFlags::empty()).unwrap();
}

fn refused(b: &Backing, name: &[u8], what: &str) {
    let v = b.open();
    b.events();
    assert_eq!(errno(v.lookup(R, name)), libc::EIO, "{what}");
    assert_eq!(errno(v.lookup(R, name)), libc::EIO, "{what}, again");
    assert_eq!(b.events().len(), 1, "{what}: one event");
}

/// A volume with files `a`, `b`, directory `d` and symlink `s`, closed.
fn prepared() -> Backing {
    let b = Backing::new();
    let v = b.open();
    put(&v, R, b"a", b"content of a");
    put(&v, R, b"b", b"content of b");
    let d = mkdir(&v, R, b"d");
    put(&v, d, b"inner", b"inner");
    v.symlink(ME, R, b"s", b"target").unwrap();
    v.close().unwrap();
    b
}

#[test]
fn every_changed_byte_of_a_record_is_refused() {
    let b = prepared();
    let path = root_path(&b, b"a");
    let good = raw_record(&path);
    let v = b.open();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 1;
        put_raw(&path, &bad);
        assert_eq!(errno(v.lookup(R, b"a")), libc::EIO, "byte {i}");
    }
    for len in [0, 1, 15, 16, 17, good.len() - 1] {
        put_raw(&path, &good[..len]);
        assert_eq!(errno(v.lookup(R, b"a")), libc::EIO, "length {len}");
    }
    put_raw(&path, &good);
    v.lookup(R, b"a").unwrap();
    rustix::fs::removexattr(&path, "user.kmsfs").unwrap();
    assert_eq!(errno(v.lookup(R, b"a")), libc::EIO);
    // Half-way through a replacement in two steps.
    rustix::fs::setxattr(&path, "user.kmsfs.new", &good, XattrFlags::empty()).unwrap();
    v.lookup(R, b"a").unwrap();
}

#[test]
fn a_moved_swapped_or_copied_entry_is_refused() {
    let b = prepared();
    std::fs::rename(root_path(&b, b"a"), root_path(&b, b"c")).unwrap();
    refused(&b, b"c", "renamed underneath");

    let b = prepared();
    let (x, y) = (root_path(&b, b"a"), root_path(&b, b"b"));
    let (rx, ry) = (raw_record(&x), raw_record(&y));
    put_raw(&x, &ry);
    put_raw(&y, &rx);
    refused(&b, b"a", "records swapped");

    let b = prepared();
    let ok = std::process::Command::new("cp").arg("-a").arg(root_path(&b, b"a")).arg(root_path(&b, b"c")).status();
    assert!(ok.unwrap().success());
    refused(&b, b"c", "copied with its record");

    let b = prepared();
    std::fs::rename(root_path(&b, b"d"), root_path(&b, b"e")).unwrap();
    refused(&b, b"e", "directory renamed underneath");
}

#[test]
fn another_type_mode_or_owner_is_refused() {
    for name in [&b"a"[..], b"d"] {
        let b = prepared();
        std::fs::set_permissions(root_path(&b, name), std::fs::Permissions::from_mode(0o777)).unwrap();
        refused(&b, name, "chmod underneath");
    }
    let b = prepared();
    std::os::unix::fs::chown(root_path(&b, b"a"), Some(1000), None).unwrap();
    refused(&b, b"a", "chown underneath");

    let b = prepared();
    let path = root_path(&b, b"a");
    let record = raw_record(&path);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    put_raw(&path, &record);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&b, b"a", "a directory in a file's place");

    let b = prepared();
    let path = root_path(&b, b"a");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    refused(&b, b"a", "a symlink in a file's place");

    let b = prepared();
    let path = root_path(&b, b"s");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    refused(&b, b"s", "another symlink");
}

#[test]
fn setuid_may_get_lost_but_not_appear() {
    let b = prepared();
    let v = b.open();
    let (e, h) = v.create(ME, R, b"suid", 0o4755, libc::O_RDWR as u32).unwrap();
    v.release(e.node, h).unwrap();
    let chmod = |mode| std::fs::set_permissions(root_path(&b, b"suid"), std::fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o755);
    v.lookup(R, b"suid").unwrap();
    chmod(0o2755);
    assert_eq!(errno(v.lookup(R, b"suid")), libc::EIO);
}

#[test]
fn a_chmod_underneath_is_seen_at_open_too() {
    let b = prepared();
    let v = b.open();
    let node = v.lookup(R, b"a").unwrap().node;
    std::fs::set_permissions(root_path(&b, b"a"), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(errno(v.open(node, libc::O_RDONLY as u32)), libc::EIO);
    assert_eq!(b.events().len(), 1);
    let d = v.lookup(R, b"d").unwrap().node;
    std::fs::set_permissions(root_path(&b, b"d"), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(errno(v.opendir(d)), libc::EIO);
}

#[test]
fn changed_content_length_and_header_are_refused() {
    let b = prepared();
    let path = root_path(&b, b"a");
    let good = std::fs::read(&path).unwrap();
    for at in [0, 20, 100, 120, 4000, 4096, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let v = b.open();
        b.events();
        let node = v.lookup(R, b"a").unwrap().node;
        let read = v.open(node, 0).and_then(|h| v.read(node, h, 0, &mut [0; 100]));
        assert_eq!(errno(read), libc::EIO, "byte {at}");
        assert!(!b.events().is_empty());
    }
    for len in [0, 100, 4096, good.len() - 1, good.len() + 1] {
        let mut bad = good.clone();
        bad.resize(len, 0);
        std::fs::write(&path, &bad).unwrap();
        let v = b.open();
        b.events();
        let read = v.lookup(R, b"a").and_then(|e| v.open(e.node, 0).and_then(|h| v.read(e.node, h, 0, &mut [0; 100])));
        assert_eq!(errno(read), libc::EIO, "length {len}");
        assert!(!b.events().is_empty(), "length {len}");
    }
}

#[test]
fn foreign_names_are_passed_over_and_told_once() {
    let b = prepared();
    let d = root_path(&b, b"d");
    std::fs::write(b.path.join("garbage"), b"").unwrap();
    std::fs::write(b.path.join("~garbage"), b"").unwrap();
    std::fs::create_dir(b.path.join("lost+found")).unwrap();
    std::fs::create_dir(d.join(".kmsfs")).unwrap();
    let v = b.open();
    assert_eq!(list(&v, R, 2), [b"a", b"b", b"d", b"s"]);
    assert_eq!(list(&v, R, 2).len(), 4);
    assert_eq!(b.events().len(), 2);
    let d = v.lookup(R, b"d").unwrap().node;
    assert_eq!(list(&v, d, 2), [b"inner"]);
    assert_eq!(b.events().len(), 1);
}

#[test]
fn a_lookup_that_fails_after_the_record_tells_of_the_file_not_of_its_directory() {
    let b = prepared();
    let v = b.open();
    v.symlink(ME, R, b"far", &[b't'; 3000]).unwrap();
    v.close().unwrap();
    drop(v);
    let file = root_path(&b, b"a");
    std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(0).unwrap();
    std::fs::remove_dir_all(b.path.join(".kmsfs/links")).unwrap();
    let v = b.open();
    b.events();
    for name in [&b"a"[..], b"far"] {
        assert_eq!(errno(v.lookup(R, name)), libc::EIO);
        let path = root_path(&b, name);
        let events = b.events();
        assert_eq!(events.len(), 1);
        assert!(events[0].starts_with(path.to_str().unwrap()), "{events:?}");
    }
}

#[test]
fn a_symlink_or_mount_in_the_way_leads_nowhere() {
    let b = prepared();
    let d = root_path(&b, b"d");
    let away = b.path.join("away");
    std::fs::rename(&d, &away).unwrap();
    std::os::unix::fs::symlink("away", &d).unwrap();
    refused(&b, b"d", "a symlink to the directory itself");
}

#[test]
fn a_changed_target_xattr_or_sidecar_is_refused() {
    let b = prepared();
    let v = b.open();
    let long = [b'l'; 200];
    let f = put(&v, R, &long, b"x");
    let s = v.symlink(ME, R, b"far", &[b't'; 3000]).unwrap().node;
    v.setxattr(f, b"user.a", b"1", 0, false).unwrap();
    v.setxattr(f, b"user.b", b"2", 0, false).unwrap();
    let path = root_path(&b, &long);

    let sealed = |name: &[u8]| {
        let id = record(&path).id;
        format!("user.kmsfs.{}", kmsfs_format::names::seal_xattr_name(&keys(), &id, name).unwrap())
    };
    let mut value = [0; 100];
    let len = rustix::fs::getxattr(&path, sealed(b"user.a"), &mut value[..]).unwrap();
    rustix::fs::setxattr(&path, sealed(b"user.b"), &value[..len], XattrFlags::empty()).unwrap();
    assert_eq!(errno(v.getxattr(f, b"user.b")), libc::EIO);
    assert_eq!(b.events().len(), 1);
    rustix::fs::setxattr(&path, "user.kmsfs.AAAA", b"", XattrFlags::empty()).unwrap();
    assert_eq!(v.listxattr(f).unwrap().split(|c| *c == 0).filter(|n| !n.is_empty()).count(), 2);
    assert_eq!(b.events().len(), 1);

    let links = b.path.join(".kmsfs/links");
    let sidecar = links.join(&names_in(&links)[0]);
    let mut bytes = std::fs::read(&sidecar).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&sidecar, &bytes).unwrap();
    assert_eq!(errno(v.readlink(s)), libc::EIO);
    std::fs::remove_file(&sidecar).unwrap();
    assert_eq!(errno(v.readlink(s)), libc::EIO);
    assert_eq!(b.events().len(), 2);

    let name = b.names().into_iter().find(|n| n.ends_with(".name")).unwrap();
    std::fs::write(b.path.join(name), b"else").unwrap();
    assert!(!list(&v, R, 9).contains(&long.to_vec()));
    assert_eq!(b.events().len(), 1);
}

#[test]
fn a_root_without_its_record_is_damage_unless_the_volume_is_new() {
    let b = prepared();
    rustix::fs::removexattr(&b.path, "user.kmsfs").unwrap();
    let opened = b.open_with(config(), Options::default());
    assert!(matches!(opened, Err(OpenError::Damaged(_))));

    let b = Backing::new();
    drop(b.open());
    rustix::fs::removexattr(&b.path, "user.kmsfs").unwrap();
    let opened = b.open_with(config(), Options::default());
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "the log was begun");

    // A first mount that died before its log was begun.
    let b = Backing::new();
    drop(b.open());
    std::fs::remove_dir_all(b.path.join(".kmsfs/log")).unwrap();
    b.open();

    let b = prepared();
    std::fs::remove_dir_all(b.path.join(".kmsfs/log")).unwrap();
    let opened = b.open_with(config(), Options::default());
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "the log is gone");
}

#[test]
fn a_node_id_of_an_inode_outside_of_the_volume_is_refused() {
    let b = prepared();
    let outside = b.path.with_extension("outside");
    std::fs::write(&outside, b"secret").unwrap();
    let ino = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&outside).unwrap());
    let v = b.open();
    // The generation is not known here; an inode of generation 0 is the worst case, and its record is what counts.
    assert_ne!(errno(v.getattr(NodeId(ino), None)), 0);
    std::fs::remove_file(&outside).unwrap();
}

#[test]
fn what_is_no_file_in_place_of_lock_or_segment_is_damage() {
    type Make = fn(&Path);
    let makes: [(&str, Make); 4] = [
        ("a symlink", |p| std::os::unix::fs::symlink("volume.json", p).unwrap()),
        ("a directory", |p| std::fs::create_dir(p).unwrap()),
        ("a fifo", |p| rustix::fs::mknodat(rustix::fs::CWD, p, FileType::Fifo, Mode::from(0o600), 0).unwrap()),
        ("a device", |p| {
            let zero = rustix::fs::makedev(1, 5);
            rustix::fs::mknodat(rustix::fs::CWD, p, FileType::CharacterDevice, Mode::from(0o600), zero).unwrap();
        }),
    ];
    for (what, make) in makes {
        for place in [".kmsfs/lock", ".kmsfs/log/0000.seg"] {
            let b = prepared();
            let path = b.path.join(place);
            std::fs::remove_file(&path).unwrap();
            make(&path);
            let opened = b.open_with(config(), Options::default());
            assert!(matches!(opened, Err(OpenError::Damaged(_))), "{what} in place of {place}: {:?}", opened.err());
        }
    }
    let b = prepared();
    let log = b.path.join(".kmsfs/log");
    let away = b.path.join(".kmsfs/away");
    std::fs::rename(&log, &away).unwrap();
    std::os::unix::fs::symlink("away", &log).unwrap();
    let opened = b.open_with(config(), Options::default());
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "a symlink in place of the log: {:?}", opened.err());
}
