//! Attributes, owners, xattrs, nodes that come and go.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use kmsfs_namespace::ops::{Caller, FileSystem, NodeId, SetAttr, SetTime, Time, Writer, Writing};
use kmsfs_namespace::Options;

const SOMEONE: Caller = Caller { uid: 1000, gid: 100, pid: 2, umask: 0 };

fn set(mode: u32) -> SetAttr {
    SetAttr { mode: Some(mode), ..SetAttr::default() }
}

#[test]
fn the_caller_owns_what_it_makes_with_every_bit_of_the_mode() {
    let b = Backing::new();
    let v = b.open();
    for mode in [0, 0o644, 0o7777, 0o4711, 0o1777] {
        let (e, h) = v.create(SOMEONE, R, b"f", mode, libc::O_RDWR as u32).unwrap();
        assert_eq!((e.attr.mode, e.attr.uid, e.attr.gid), (libc::S_IFREG | mode, 1000, 100));
        v.release(e.node, h).unwrap();
        v.unlink(R, b"f").unwrap();
        let e = v.mkdir(SOMEONE, R, b"d", mode).unwrap();
        assert_eq!((e.attr.mode, e.attr.uid, e.attr.gid), (libc::S_IFDIR | mode, 1000, 100));
        v.rmdir(R, b"d").unwrap();
    }
    let e = v.mknod(SOMEONE, R, b"null", libc::S_IFCHR | 0o666, 1, 3).unwrap();
    assert_eq!((e.attr.rdev_major, e.attr.rdev_minor, e.attr.uid), (1, 3, 1000));
    let e = v.mknod(SOMEONE, R, b"sock", libc::S_IFSOCK | 0o600, 0, 0).unwrap();
    assert_eq!(e.attr.mode, libc::S_IFSOCK | 0o600);
    assert_eq!(v.symlink(SOMEONE, R, b"s", b"t").unwrap().attr.uid, 1000);
    assert_eq!(v.lookup(R, b"null").unwrap().attr.rdev_minor, 3);
}

/// The kernel compares them with its own clock at the first write, and tells us in a request of its own when they differ.
#[test]
fn a_new_file_has_one_time() {
    let b = Backing::new();
    let v = b.open();
    for name in [b"f", b"g"] {
        let (e, h) = v.create(ME, R, name, 0o644, libc::O_RDWR as u32).unwrap();
        assert_eq!((e.attr.atime, e.attr.mtime), (e.attr.ctime, e.attr.ctime));
        v.release(e.node, h).unwrap();
        assert_eq!(v.lookup(R, name).unwrap().attr.mtime, e.attr.mtime);
    }
}

#[test]
fn a_setgid_directory_passes_its_group_on() {
    let b = Backing::new();
    let v = b.open();
    let dir = v.mkdir(Caller { gid: 50, ..SOMEONE }, R, b"d", 0o2775).unwrap().node;
    let (e, _) = v.create(SOMEONE, dir, b"f", 0o644, libc::O_RDWR as u32).unwrap();
    assert_eq!((e.attr.uid, e.attr.gid, e.attr.mode & 0o7777), (1000, 50, 0o644));
    let e = v.mkdir(SOMEONE, dir, b"sub", 0o755).unwrap();
    assert_eq!((e.attr.gid, e.attr.mode & 0o7777), (50, 0o2755));
}

#[test]
fn chmod_and_chown_change_inode_and_record_and_chown_clears_setuid() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    assert_eq!(v.setattr(ME, f, &set(0o6755)).unwrap().mode & 0o7777, 0o6755);
    let a = v.setattr(ME, f, &SetAttr { uid: Some(5), ..SetAttr::default() }).unwrap();
    assert_eq!((a.mode & 0o7777, a.uid), (0o755, 5));
    let r = record(&root_path(&b, b"f"));
    assert_eq!((r.owner.mode, r.owner.uid, r.old), (0o755, 5, None));
    // setgid without group execution is no privilege.
    v.setattr(ME, f, &set(0o2644)).unwrap();
    let a = v.setattr(ME, f, &SetAttr { gid: Some(6), ..SetAttr::default() }).unwrap();
    assert_eq!((a.mode & 0o7777, a.gid), (0o2644, 6));
    v.lookup(R, b"f").unwrap();
    let d = mkdir(&v, R, b"d");
    v.setattr(ME, d, &set(0o2777)).unwrap();
    let a = v.setattr(ME, d, &SetAttr { uid: Some(5), ..SetAttr::default() }).unwrap();
    assert_eq!(a.mode & 0o7777, 0o2777, "directories keep it");
    v.lookup(R, b"d").unwrap();
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_setattr_of_nothing_is_chown_to_nobody_else() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    v.setattr(ME, f, &set(0o6755)).unwrap();
    let a = v.setattr(ME, f, &SetAttr::default()).unwrap();
    assert_eq!(a.mode & 0o7777, 0o755, "Linux clears privileges whoever calls");
    let d = v.mkdir(ME, R, b"d", 0o2755).unwrap();
    let changed = v.setattr(ME, d.node, &SetAttr::default()).unwrap();
    assert_eq!(changed.mode & 0o7777, 0o2755, "a directory keeps them");
}

#[test]
fn times_are_kept_to_the_nanosecond_one_by_one() {
    let b = Backing::new();
    let v = b.open();
    let at = |secs, nanos| Some(SetTime::At(Time { secs, nanos }));
    let nodes = [
        put(&v, R, b"f", b"x"),
        mkdir(&v, R, b"d"),
        v.symlink(ME, R, b"s", b"t").unwrap().node,
        v.mknod(ME, R, b"p", libc::S_IFIFO | 0o600, 0, 0).unwrap().node,
    ];
    for node in nodes {
        v.setattr(ME, node, &SetAttr { atime: at(1, 2), mtime: at(-3, 4), ..SetAttr::default() }).unwrap();
        let a = v.setattr(ME, node, &SetAttr { mtime: at(5, 999_999_999), ..SetAttr::default() }).unwrap();
        assert_eq!((a.atime, a.mtime), (Time { secs: 1, nanos: 2 }, Time { secs: 5, nanos: 999_999_999 }));
        let a = v.setattr(ME, node, &SetAttr { atime: Some(SetTime::Now), ..SetAttr::default() }).unwrap();
        assert!(a.atime.secs > 1_000_000);
        assert_eq!(a.mtime.secs, 5);
    }
    v.close().unwrap();
    drop(v);
    assert_eq!(attr_at(&b.open(), R, b"f").mtime, Time { secs: 5, nanos: 999_999_999 });
}

#[test]
fn xattrs_are_sealed_and_come_back_and_ours_cannot_be_met() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    let s = v.symlink(ME, R, b"s", b"t").unwrap().node;
    for node in [f, s, R] {
        for name in [&b"user.kmsfs"[..], b"trusted.kmsfs", b"user.kmsfs.new", b"security.capability", b"user.a"] {
            assert_eq!(errno(v.getxattr(node, name)), libc::ENODATA);
            assert_eq!(errno(v.setxattr(node, name, b"v", libc::XATTR_REPLACE as u32, false)), libc::ENODATA);
            v.setxattr(node, name, b"visible value", libc::XATTR_CREATE as u32, false).unwrap();
            assert_eq!(errno(v.setxattr(node, name, b"v", libc::XATTR_CREATE as u32, false)), libc::EEXIST);
            assert_eq!(v.getxattr(node, name).unwrap(), b"visible value");
        }
        let listed = v.listxattr(node).unwrap();
        assert_eq!(listed.split(|c| *c == 0).filter(|n| !n.is_empty()).count(), 5);
        v.setxattr(node, b"user.a", b"", 0, false).unwrap();
        assert_eq!(v.getxattr(node, b"user.a").unwrap(), b"");
        v.removexattr(node, b"user.a").unwrap();
        assert_eq!(errno(v.removexattr(node, b"user.a")), libc::ENODATA);
    }
    let long = [b"user.".as_slice(), &[b'n'; 155]].concat();
    v.setxattr(f, &long, b"1", 0, false).unwrap();
    assert!(v.listxattr(f).unwrap().windows(160).any(|w| w == long));
    assert_eq!(errno(v.setxattr(f, &[b"user.".as_slice(), &[b'n'; 156]].concat(), b"1", 0, false)), libc::ERANGE);
    assert_eq!(errno(v.setxattr(f, b"user.big", &vec![0; 65536], 0, false)), libc::E2BIG);
    for name in [&b"system.x"[..], b"system.posix_acl", b"other.x"] {
        assert_eq!(errno(v.getxattr(f, name)), libc::EOPNOTSUPP);
        assert_eq!(errno(v.setxattr(f, name, b"x", 0, false)), libc::EOPNOTSUPP);
    }
    v.lookup(R, b"f").unwrap();
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_write_of_someone_else_clears_setuid_and_capabilities() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    let h = v.open(f, libc::O_WRONLY as u32).unwrap();
    for _ in 0..2 {
        v.setattr(ME, f, &set(0o6711)).unwrap();
        v.setxattr(f, b"security.capability", b"cap", 0, false).unwrap();
        v.write(f, h, 0, b"y", Writing::default()).unwrap();
        assert_eq!(v.getattr(f, None).unwrap().mode & 0o7777, 0o6711);
        v.write(f, h, 0, b"y", Writing { kill_suidgid: true, ..Writing::default() }).unwrap();
        assert_eq!(v.getattr(f, None).unwrap().mode & 0o7777, 0o711);
        assert_eq!(errno(v.getxattr(f, b"security.capability")), libc::ENODATA);
    }
    v.setattr(ME, f, &set(0o4711)).unwrap();
    v.setattr(ME, f, &SetAttr { size: Some(0), kill_suidgid: true, ..SetAttr::default() }).unwrap();
    assert_eq!(v.getattr(f, None).unwrap().mode & 0o7777, 0o711);
    v.release(f, h).unwrap();
}

/// What a file that was just made is known not to have is what is given to it later all the same.
#[test]
fn what_a_new_file_is_given_a_write_and_a_chown_take_away() {
    const CAPABILITY: &[u8] = b"security.capability";
    let b = Backing::new();
    let v = b.open();
    let killing = Writing { kill_suidgid: true, ..Writing::default() };
    for (name, unnamed) in [(&b"a"[..], false), (b"b", true)] {
        let flags = libc::O_RDWR as u32;
        let made = if unnamed { v.tmpfile(ME, R, 0o644, flags) } else { v.create(ME, R, name, 0o644, flags) };
        let (f, h) = made.map(|(e, h)| (e.node, h)).unwrap();
        assert_eq!(errno(v.getxattr(f, CAPABILITY)), libc::ENODATA);
        let chown =
            |uid| v.setattr(ME, f, &SetAttr { uid: Some(uid), kill_suidgid: true, ..SetAttr::default() }).unwrap();
        assert_eq!((chown(7).uid, chown(7).mode & 0o7777), (7, 0o644));
        for by_chown in [false, true] {
            v.setxattr(f, CAPABILITY, b"cap", 0, false).unwrap();
            assert_eq!(v.getxattr(f, CAPABILITY).unwrap(), b"cap");
            assert_eq!(v.setattr(ME, f, &set(0o6755)).unwrap().mode & 0o7777, 0o6755);
            assert_eq!(v.getxattr(f, CAPABILITY).unwrap(), b"cap", "a chmod leaves it");
            if by_chown {
                chown(8);
            } else {
                v.write(f, h, 0, b"y", killing).unwrap();
            }
            assert_eq!(v.getattr(f, None).unwrap().mode & 0o7777, 0o755);
            assert_eq!(errno(v.getxattr(f, CAPABILITY)), libc::ENODATA);
            v.setattr(ME, f, &set(0o755)).unwrap();
        }
        v.release(f, h).unwrap();
    }
    let (e, h) = v.create(ME, R, b"setuid", 0o4755, libc::O_RDWR as u32).unwrap();
    assert_eq!(e.attr.mode & 0o7777, 0o4755);
    v.write(e.node, h, 0, b"y", killing).unwrap();
    assert_eq!(v.getattr(e.node, None).unwrap().mode & 0o7777, 0o755);
    v.release(e.node, h).unwrap();
}

/// As on ext4 (setattr_should_drop_sgid, fs/attr.c), which the long runs of torture found.
#[test]
fn setgid_without_execution_stays_at_the_writes_of_members_alone() {
    const CREW: u32 = 4242;
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    let h = v.open(f, libc::O_WRONLY as u32).unwrap();
    v.setattr(ME, f, &SetAttr { gid: Some(CREW), ..SetAttr::default() }).unwrap();
    let mode = || v.getattr(f, None).unwrap().mode & 0o7777;
    let set_again = || {
        v.setattr(ME, f, &set(0o2622)).unwrap();
    };
    // Ours, whose other groups are not that one.
    let pid = std::process::id();
    let write = |gid, pid| {
        set_again();
        v.write(f, h, 0, b"y", Writing { kill_suidgid: true, by: Writer { gid, pid }, ..Writing::default() }).unwrap();
        mode()
    };
    let cut = |gid| {
        set_again();
        let cutting = SetAttr { size: Some(0), kill_suidgid: true, ..SetAttr::default() };
        v.setattr(Caller { uid: 1000, gid, pid, umask: 0 }, f, &cutting).unwrap();
        mode()
    };
    assert_eq!([write(CREW, pid), write(5, pid), cut(CREW), cut(5)], [0o2622, 0o622, 0o2622, 0o622]);
    assert_eq!(write(5, 0), 0o2622, "who cannot be asked may be a member");
    set_again();
    let chown = SetAttr { uid: Some(7), kill_suidgid: true, ..SetAttr::default() };
    v.setattr(Caller { gid: 5, pid, ..ME }, f, &chown).unwrap();
    assert_eq!(mode(), 0o2622, "root may keep it");
    for (gid, left) in [(5, 0o622), (CREW, 0o2622)] {
        set_again();
        v.setattr(Caller { uid: 7, gid, pid, umask: 0 }, f, &chown).unwrap();
        assert_eq!(mode(), left, "a chown by the owner, of group {gid}");
    }
    v.release(f, h).unwrap();
}

/// The kernel lets it through to us; on ext4 it is EPERM (notify_change, fs/attr.c).
#[test]
fn only_the_owner_takes_privileges_away_by_a_chown_to_nobody_else() {
    let b = Backing::new();
    let v = b.open();
    let (e, h) = v.create(SOMEONE, R, b"f", 0o6755, libc::O_RDWR as u32).unwrap();
    let other = Caller { uid: 1001, ..SOMEONE };
    let chown = SetAttr { ctime: true, ..SetAttr::default() };
    assert_eq!(errno(v.setattr(other, e.node, &chown)), libc::EPERM);
    assert_eq!(v.getattr(e.node, None).unwrap().mode & 0o7777, 0o6755);
    assert_eq!(v.setattr(SOMEONE, e.node, &chown).unwrap().mode & 0o7777, 0o755);
    v.setattr(other, e.node, &chown).unwrap();
    v.setattr(ME, e.node, &set(0o6755)).unwrap();
    assert_eq!(v.setattr(ME, e.node, &chown).unwrap().mode & 0o7777, 0o755);
    v.release(e.node, h).unwrap();
    let fifo = v.mknod(SOMEONE, R, b"fifo", libc::S_IFIFO | 0o6755, 0, 0).unwrap().node;
    assert_eq!(errno(v.setattr(other, fifo, &SetAttr::default())), libc::EPERM, "no time of its own comes with it");
    assert_eq!(v.setattr(SOMEONE, fifo, &SetAttr::default()).unwrap().mode & 0o7777, 0o755);
}

/// What the kernel sends before a write has neither a time nor an owner, and the writer as the caller.
#[test]
fn the_write_of_another_takes_privileges_away_once_it_is_known_for_one() {
    for writeback in [true, false] {
        let b = Backing::new();
        let v = b.open_with(config(), Options { writeback, ..Options::default() }).unwrap();
        let (e, h) = v.create(ME, R, b"f", 0o6777, libc::O_RDWR as u32).unwrap();
        let left = v.setattr(SOMEONE, e.node, &SetAttr::default()).unwrap().mode & 0o7777;
        assert_eq!(left, if writeback { 0o777 } else { 0o6777 });
        v.write(e.node, h, 0, b"y", Writing { kill_suidgid: true, ..Writing::default() }).unwrap();
        assert_eq!(v.getattr(e.node, None).unwrap().mode & 0o7777, 0o777);
        v.release(e.node, h).unwrap();
    }
}

#[test]
fn nodes_are_rebuilt_from_their_ids_after_eviction_and_after_a_remount() {
    for parent in ["/var/tmp", "/dev/shm"] {
        let b = Backing::under(parent.as_ref());
        let options = Options { max_nodes: 16, max_fds: 8, ..Options::default() };
        let v = b.open_with(config(), options).unwrap();
        let dir = mkdir(&v, R, b"dir");
        let nodes: Vec<NodeId> =
            (0..200u32).map(|i| put(&v, dir, i.to_string().as_bytes(), &i.to_le_bytes())).collect();
        assert!(v.stats().nodes <= 32, "{} nodes", v.stats().nodes);
        assert!(v.stats().descriptors <= 8);
        for (i, node) in nodes.iter().enumerate() {
            assert_eq!(get(&v, *node), (i as u32).to_le_bytes());
        }
        v.close().unwrap();
        drop(v);
        let v = b.open_with(config(), options).unwrap();
        for (i, node) in nodes.iter().enumerate() {
            assert_eq!(v.lookup(*node, b".").unwrap().node, *node);
            assert_eq!(get(&v, *node), (i as u32).to_le_bytes());
            assert_eq!(v.lookup(dir, i.to_string().as_bytes()).unwrap().node, *node);
        }
        assert_eq!(v.lookup(dir, b"..").unwrap().node, R);
        let sub = mkdir(&v, dir, b"sub");
        assert_eq!(v.lookup(sub, b"..").unwrap().node, dir);
        v.unlink(dir, b"0").unwrap();
        v.forget(nodes[0], 1);
        assert_eq!(errno(v.getattr(nodes[0], None)), libc::ESTALE);
        for forged in [0, 2, 1 << 32, 0xffff_ffff, u64::MAX] {
            assert_ne!(errno(v.getattr(NodeId(forged), None)), 0, "{forged:#x}");
        }
    }
}

#[test]
fn a_second_mount_of_the_same_volume_is_refused() {
    let b = Backing::new();
    let v = b.open();
    let again = b.try_open_with(config(), Options::default());
    assert!(matches!(again, Err(kmsfs_namespace::OpenError::InUse)));
    drop(v);
    b.open();
}

#[test]
fn statfs_says_what_the_backing_file_system_says() {
    let b = Backing::new();
    let s = b.open().statfs().unwrap();
    assert_eq!(s.namelen, 255);
    assert!(s.blocks > s.bfree && s.bfree > 0);
}
