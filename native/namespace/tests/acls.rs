//! POSIX ACLs: on the backing inode, with their hash in its record, through crashes and against tampering.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
use common::*;
use kmsfs_format::record::acl_hash;
use kmsfs_namespace::ops::{Caller, FileSystem, NodeId, SetAttr};
use kmsfs_namespace::{OpenError, Options, Volume};
use rustix::fs::XattrFlags;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";
const RDWR: u32 = libc::O_RDWR as u32;

/// The value of an ACL that names user 2000: permissions of owner, user, group, mask and others.
fn acl(perms: [u16; 5]) -> Vec<u8> {
    entries(&[(1, perms[0]), (2, perms[1]), (4, perms[2]), (16, perms[3]), (32, perms[4])])
}

fn entries(entries: &[(u16, u16)]) -> Vec<u8> {
    let mut out = 2u32.to_le_bytes().to_vec();
    for &(tag, perm) in entries {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&if tag == 2 { 2000u32 } else { u32::MAX }.to_le_bytes());
    }
    out
}

/// Mode, access ACL, default ACL.
type State = (u32, Option<Vec<u8>>, Option<Vec<u8>>);

fn raw(path: &Path, name: &[u8]) -> Option<Vec<u8>> {
    let mut buf = vec![0; 5000];
    match rustix::fs::lgetxattr(path, name, &mut buf[..]) {
        Ok(len) => Some(buf[..len].to_vec()),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => None,
        Err(e) => panic!("{e}"),
    }
}

fn put_raw(path: &Path, name: &[u8], value: Option<&[u8]>) {
    match value {
        Some(value) => rustix::fs::setxattr(path, name, value, XattrFlags::empty()).unwrap(),
        None => match rustix::fs::removexattr(path, name) {
            Ok(()) | Err(rustix::io::Errno::NODATA) => {}
            Err(e) => panic!("{e}"),
        },
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The record says of the ACLs what the inode has, and nothing of former ones.
fn settled(path: &Path) {
    let record = record(path);
    let (access, default) = (raw(path, ACCESS), raw(path, DEFAULT));
    let any = access.is_some() || default.is_some();
    assert_eq!(record.acl, any.then(|| acl_hash(access.as_deref(), default.as_deref())), "{path:?}");
    assert_eq!((record.old, record.old_acl), (None, None));
    assert_eq!(u32::from(record.owner.mode), mode(path));
}

fn set_mode(v: &Volume, node: NodeId, mode: u32) {
    v.setattr(ME, node, &SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
}

#[test]
fn every_change_leaves_inode_and_record_agreed() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    let d = mkdir(&v, R, b"d");
    for (node, path) in [(f, root_path(&b, b"f")), (d, root_path(&b, b"d"))] {
        set_mode(&v, node, 0o2640);
        assert_eq!(errno(v.getxattr(node, ACCESS)), libc::ENODATA);
        v.setxattr(node, ACCESS, &acl([6, 7, 4, 7, 0]), 0, false).unwrap();
        assert_eq!((mode(&path), v.getxattr(node, ACCESS).unwrap()), (0o2670, acl([6, 7, 4, 7, 0])));
        settled(&path);
        set_mode(&v, node, 0o2601);
        assert_eq!((mode(&path), raw(&path, ACCESS).unwrap()), (0o2601, acl([6, 7, 4, 0, 1])));
        assert_eq!(v.getxattr(node, ACCESS).unwrap(), acl([6, 7, 4, 0, 1]));
        settled(&path);
        v.setxattr(node, ACCESS, &acl([7, 5, 5, 5, 5]), 0, true).unwrap();
        assert_eq!(mode(&path), 0o755, "setgid of no member");
        settled(&path);
        v.setattr(ME, node, &SetAttr { uid: Some(5), gid: Some(6), ..SetAttr::default() }).unwrap();
        settled(&path);
        assert_eq!(v.listxattr(node).unwrap(), [ACCESS, b"\0"].concat());
        v.removexattr(node, ACCESS).unwrap();
        v.removexattr(node, ACCESS).unwrap();
        assert_eq!((mode(&path), raw(&path, ACCESS)), (0o755, None));
        settled(&path);
        v.setxattr(node, ACCESS, &acl([7, 5, 4, 5, 5]), 0, false).unwrap();
        v.setxattr(node, ACCESS, &entries(&[(1, 6), (4, 0), (32, 4)]), 0, false).unwrap();
        assert_eq!((mode(&path), raw(&path, ACCESS)), (0o604, None), "no more than a mode");
        assert_eq!(errno(v.getxattr(node, ACCESS)), libc::ENODATA);
        settled(&path);
    }
    assert_eq!(errno(v.setxattr(f, DEFAULT, &acl([7; 5]), 0, false)), libc::EACCES);
    v.setxattr(d, DEFAULT, &acl([7; 5]), 0, true).unwrap();
    settled(&root_path(&b, b"d"));
    v.setxattr(d, ACCESS, &acl([7; 5]), 0, true).unwrap();
    settled(&root_path(&b, b"d"));
    v.removexattr(d, DEFAULT).unwrap();
    settled(&root_path(&b, b"d"));
    let s = v.symlink(ME, R, b"s", b"t").unwrap().node;
    assert_eq!(errno(v.setxattr(s, ACCESS, &acl([7; 5]), 0, false)), libc::EOPNOTSUPP);
    for bad in [&b""[..], b"\x02\0\0\0", b"\x02\0\0\0\x01", &acl([8; 5]), &entries(&[(1, 6), (2, 6), (4, 6), (32, 6)])]
    {
        assert_eq!(errno(v.setxattr(d, ACCESS, bad, 0, false)), libc::EINVAL);
    }
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn what_is_made_below_a_default_acl_has_it_in_inode_and_record_and_no_more() {
    let b = Backing::new();
    let v = b.open();
    let someone = Caller { uid: 1000, gid: 100, pid: 2, umask: 0o077 };
    let top = mkdir(&v, R, b"top");
    v.setxattr(top, DEFAULT, &acl([7, 7, 5, 7, 4]), 0, false).unwrap();
    let made = |node: NodeId, access, default: bool| {
        assert_eq!(v.getxattr(node, ACCESS).unwrap(), acl(access));
        let inherited = v.getxattr(node, DEFAULT);
        assert_eq!(inherited.ok(), default.then(|| acl([7, 7, 5, 7, 4])));
        v.getattr(node, None).unwrap().mode & 0o7777
    };
    let (e, h) = v.create(someone, top, b"f", 0o666, RDWR).unwrap();
    assert_eq!((made(e.node, [6, 7, 5, 6, 4], false), e.attr.mode & 0o7777, e.attr.uid), (0o664, 0o664, 1000));
    v.release(e.node, h).unwrap();
    let long = [b'n'; 200];
    let e = v.mkdir(someone, top, &long, 0o2750).unwrap();
    assert_eq!(made(e.node, [7, 7, 5, 5, 0], true), 0o2750);
    let e = v.mknod(someone, top, b"p", libc::S_IFIFO | 0o600, 0, 0).unwrap();
    assert_eq!(made(e.node, [6, 7, 5, 0, 0], false), 0o600);
    let (e, h) = v.tmpfile(someone, top, 0o640, RDWR).unwrap();
    assert_eq!(made(e.node, [6, 7, 5, 4, 0], false), 0o640);
    v.link(e.node, top, b"linked").unwrap();
    v.release(e.node, h).unwrap();
    v.symlink(someone, top, b"s", &[b't'; 3000]).unwrap();
    // A default ACL that is no more than a mode leaves no ACL on files.
    let plain = mkdir(&v, R, b"plain");
    v.setxattr(plain, DEFAULT, &entries(&[(1, 7), (4, 5), (32, 0)]), 0, false).unwrap();
    let (e, h) = v.create(someone, plain, b"f", 0o666, RDWR).unwrap();
    assert_eq!((e.attr.mode & 0o7777, errno(v.getxattr(e.node, ACCESS))), (0o640, libc::ENODATA));
    v.release(e.node, h).unwrap();
    // Without one the umask counts.
    let (e, h) = v.create(someone, R, b"f", 0o6777, RDWR).unwrap();
    assert_eq!(e.attr.mode & 0o7777, 0o6700);
    v.release(e.node, h).unwrap();

    v.close().unwrap();
    drop(v);
    let v = b.open();
    for (dir, at) in [(R, b.path.clone()), (top, root_path(&b, b"top")), (plain, root_path(&b, b"plain"))] {
        for name in list(&v, dir, 9) {
            v.lookup(dir, &name).unwrap();
        }
        for name in names_in(&at).iter().filter(|n| !n.ends_with(".name")) {
            let path = at.join(name);
            let in_record = if path.is_dir() || path.is_file() { Some(record(&path).acl) } else { None };
            let has = (raw(&path, ACCESS), raw(&path, DEFAULT));
            let any = has.0.is_some() || has.1.is_some();
            if let Some(hash) = in_record {
                assert_eq!(hash, any.then(|| acl_hash(has.0.as_deref(), has.1.as_deref())), "{path:?}");
            }
        }
    }
    assert_eq!(b.events(), Vec::<String>::new());
}

/// A volume with file `f` and directory `d`, each with ACLs when `with`, closed.
fn prepared(with: bool) -> (Backing, [PathBuf; 2]) {
    let b = Backing::new();
    let v = b.open();
    let (f, d) = (put(&v, R, b"f", b"x"), mkdir(&v, R, b"d"));
    put(&v, d, b"inner", b"x");
    if with {
        v.setxattr(f, ACCESS, &acl([6, 7, 4, 6, 4]), 0, false).unwrap();
        v.setxattr(d, ACCESS, &acl([7, 7, 5, 5, 5]), 0, false).unwrap();
        v.setxattr(d, DEFAULT, &acl([7, 5, 5, 5, 0]), 0, false).unwrap();
    }
    v.close().unwrap();
    let paths = [root_path(&b, b"f"), root_path(&b, b"d")];
    (b, paths)
}

#[test]
fn an_acl_added_underneath_is_refused_before_it_counts() {
    for name in [&b"f"[..], b"d"] {
        let (b, _) = prepared(false);
        let path = root_path(&b, name);
        let before = mode(&path);
        put_raw(&path, ACCESS, Some(&acl([6, 7, 4, (before >> 3 & 7) as u16, 4])));
        chmod(&path, before);
        let v = b.open();
        let node = v.lookup(R, name).unwrap().node;
        // What the kernel asks before it lets anybody in by an ACL.
        assert_eq!(errno(v.getxattr(node, ACCESS)), libc::EIO);
        assert_eq!(b.events().len(), 1);
        let opened = if name == b"f" { v.open(node, RDWR) } else { v.opendir(node) };
        assert_eq!((errno(opened), errno(v.listxattr(node))), (libc::EIO, libc::EIO));
    }
    let (b, [_, d]) = prepared(false);
    put_raw(&d, DEFAULT, Some(&acl([7; 5])));
    let v = b.open();
    let node = v.lookup(R, b"d").unwrap().node;
    assert_eq!(errno(v.create(ME, node, b"n", 0o644, RDWR)), libc::EIO);
    assert_eq!(errno(v.mkdir(ME, node, b"n", 0o755)), libc::EIO);
    assert_eq!(errno(v.tmpfile(ME, node, 0o644, RDWR)), libc::EIO);
    assert_eq!(names_in(&d).len(), 1, "nothing was made");
    assert!(!b.events().is_empty());

    let (b, _) = prepared(false);
    put_raw(&b.path, DEFAULT, Some(&acl([7; 5])));
    let opened = b.open_with(config(), Options::default());
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "the root's");
}

#[test]
fn an_acl_changed_or_removed_underneath_is_refused() {
    type Change = (&'static [u8], &'static [u8], Option<Vec<u8>>);
    let changes: [Change; 5] = [
        (b"f", ACCESS, Some(acl([6, 6, 4, 6, 4]))),
        (b"f", ACCESS, None),
        (b"d", ACCESS, Some(acl([7, 6, 5, 5, 5]))),
        (b"d", DEFAULT, Some(acl([7, 7, 5, 5, 0]))),
        (b"d", DEFAULT, None),
    ];
    for (name, which, value) in changes {
        let (b, _) = prepared(true);
        let path = root_path(&b, name);
        let before = mode(&path);
        put_raw(&path, which, value.as_deref());
        chmod(&path, before);
        let v = b.open();
        b.events();
        assert_eq!(errno(v.lookup(R, name)), libc::EIO, "{value:?}");
        assert_eq!(errno(v.lookup(R, name)), libc::EIO, "{value:?}");
        assert_eq!(b.events().len(), 1, "{value:?}");
    }
}

/// What a crash can leave of a change: its record as written first, beside the inode of before or of after.
#[test]
fn a_crash_within_a_change_is_no_tampering_and_is_settled() {
    type Change = fn(&Volume, NodeId);
    let changes: [(&str, bool, Change); 7] = [
        ("the first ACL", false, |v, n| v.setxattr(n, ACCESS, &acl([6, 7, 4, 7, 0]), 0, false).unwrap()),
        ("another ACL", true, |v, n| v.setxattr(n, ACCESS, &acl([7, 1, 1, 3, 1]), 0, false).unwrap()),
        ("an ACL that is a mode", true, |v, n| {
            v.setxattr(n, ACCESS, &entries(&[(1, 6), (4, 0), (32, 0)]), 0, false).unwrap();
        }),
        ("no ACL", true, |v, n| v.removexattr(n, ACCESS).unwrap()),
        ("chmod", true, |v, n| set_mode(v, n, 0o4711)),
        ("a default ACL", true, |v, n| v.setxattr(n, DEFAULT, &acl([7; 5]), 0, false).unwrap()),
        ("no default ACL", true, |v, n| v.removexattr(n, DEFAULT).unwrap()),
    ];
    for (what, with, change) in changes {
        for after in [false, true] {
            let (b, [_, path]) = prepared(with);
            let state = || -> State { (mode(&path), raw(&path, ACCESS), raw(&path, DEFAULT)) };
            let hash = |(_, access, default): &State| acl_hash(access.as_deref(), default.as_deref());
            let (was, before) = (state(), record(&path));
            let v = b.open();
            change(&v, v.lookup(R, b"d").unwrap().node);
            v.close().unwrap();
            drop(v);
            let (is, changed) = (state(), record(&path));
            assert_ne!(was, is, "{what}");

            let mut first = changed.clone();
            first.old = (before.owner != changed.owner).then_some(before.owner);
            first.old_acl = (hash(&was) != hash(&is)).then(|| hash(&was));
            rustix::fs::setxattr(&path, "user.kmsfs", &first.encode(&keys()), XattrFlags::empty()).unwrap();
            let now = if after { &is } else { &was };
            put_raw(&path, ACCESS, now.1.as_deref());
            put_raw(&path, DEFAULT, now.2.as_deref());
            chmod(&path, now.0);
            assert_eq!(&state(), now, "{what}");

            let v = b.open();
            b.events();
            let node = v.lookup(R, b"d").unwrap().node;
            assert_eq!(v.getxattr(node, ACCESS).ok(), now.1, "{what}");
            assert_eq!(v.getxattr(node, DEFAULT).ok(), now.2, "{what}");
            assert_eq!(v.getattr(node, None).unwrap().mode & 0o7777, now.0, "{what}");
            put(&v, node, b"new", b"x");
            v.rename(R, b"d", R, b"e", 0).unwrap();
            settled(&root_path(&b, b"e"));
            assert_eq!(b.events(), Vec::<String>::new(), "{what}");
        }
    }
}

#[test]
fn an_acl_that_does_not_fit_leaves_what_was() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"x");
    v.setxattr(f, ACCESS, &acl([6, 7, 4, 6, 4]), 0, false).unwrap();
    let mut huge = vec![(1, 7)];
    huge.extend((0..5000).map(|_| (2, 7)));
    huge.extend([(4, 7), (16, 7), (32, 7)]);
    let refused = v.setxattr(f, ACCESS, &entries(&huge), 0, false);
    if refused.is_err() {
        assert_eq!(v.getxattr(f, ACCESS).unwrap(), acl([6, 7, 4, 6, 4]));
        assert_eq!(v.getattr(f, None).unwrap().mode & 0o7777, 0o664);
    }
    settled(&root_path(&b, b"f"));
    v.lookup(R, b"f").unwrap();
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn files_made_while_the_default_acl_changes_have_one_or_the_other() {
    let b = Backing::new();
    let v = b.open();
    let d = mkdir(&v, R, b"d");
    std::thread::scope(|scope| {
        for t in 0..2 {
            let v = &v;
            scope.spawn(move || {
                for i in 0..200 {
                    let name = format!("{t} {i}");
                    if i % 3 == 0 {
                        v.mkdir(ME, d, name.as_bytes(), 0o777).unwrap();
                    } else if i % 3 == 1 {
                        put(v, d, name.as_bytes(), b"x");
                    } else {
                        let (e, h) = v.tmpfile(ME, d, 0o666, RDWR).unwrap();
                        v.link(e.node, d, name.as_bytes()).unwrap();
                        v.release(e.node, h).unwrap();
                    }
                }
            });
        }
        for i in 0..300 {
            match i % 3 {
                0 => v.setxattr(d, DEFAULT, &acl([7, 7, 5, 7, 4]), 0, false).unwrap(),
                1 => v.setxattr(d, DEFAULT, &acl([7, 1, 5, 7, 4]), 0, false).unwrap(),
                _ => v.removexattr(d, DEFAULT).unwrap(),
            }
        }
    });
    v.close().unwrap();
    drop(v);
    let v = b.open();
    for name in list(&v, d, 100) {
        let node = v.lookup(d, &name).unwrap().node;
        let found = v.getxattr(node, ACCESS);
        assert!(found.is_ok() || errno(found) == libc::ENODATA);
    }
    assert_eq!(list(&v, d, 100).len(), 400);
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_new_volume_takes_on_the_acls_of_its_directory() {
    let b = Backing::new();
    put_raw(&b.path, DEFAULT, Some(&acl([7, 7, 5, 7, 0])));
    put_raw(&b.path, ACCESS, Some(&acl([7, 5, 5, 5, 0])));
    let v = b.open();
    assert_eq!(v.getxattr(R, DEFAULT).unwrap(), acl([7, 7, 5, 7, 0]));
    let f = put(&v, R, b"f", b"x");
    assert_eq!(v.getxattr(f, ACCESS).unwrap(), acl([6, 7, 5, 4, 0]));
    v.close().unwrap();
    drop(v);
    let v = b.open();
    assert_eq!(get_at(&v, R, b"f"), b"x");
    assert_eq!(b.events(), Vec::<String>::new());
}
