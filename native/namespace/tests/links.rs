//! Names, links and renames, and the bindings that records keep of them.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use kmsfs_namespace::ops::{FileSystem, SetAttr, SetTime, Writing};

const LONG: [u8; 250] = [b'n'; 250];
const LONGER: [u8; 255] = [0xff; 255];

#[test]
fn names_of_every_length_and_byte_come_back_from_the_directory() {
    let b = Backing::new();
    let v = b.open();
    let mut expected = Vec::new();
    for len in 1..=255usize {
        let name: Vec<u8> =
            (0..len).map(|i| 1 + ((i * 7 + len) % 254) as u8).map(|c| if c == b'/' { b'-' } else { c }).collect();
        if name == b"." || name == b".." {
            continue;
        }
        mkdir(&v, R, &name);
        expected.push(name);
    }
    expected.sort();
    assert_eq!(list(&v, R, 1000), expected);
    assert_eq!(list(&v, R, 3), expected);
    for name in &expected {
        v.lookup(R, name).unwrap();
        v.rmdir(R, name).unwrap();
    }
    assert_eq!(b.names(), Vec::<String>::new());
    assert_eq!(errno(v.lookup(R, &[b'x'; 256])), libc::ENAMETOOLONG);
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn nothing_of_a_plain_name_stands_in_the_backing_directory() {
    let b = Backing::new();
    let v = b.open();
    put(&v, R, b"salaries-of-2026.xlsx", b"x");
    assert!(b.names().iter().all(|n| !n.contains("salaries")));
}

#[test]
fn a_rename_moves_the_binding_and_every_kind_goes_by_its_new_name() {
    let b = Backing::new();
    let v = b.open();
    for (i, (old, new)) in
        [(&b"a"[..], &b"b"[..]), (b"a", &LONG), (&LONG, b"b"), (&LONG, &LONGER)].into_iter().enumerate()
    {
        let dir = mkdir(&v, R, format!("d{i}").as_bytes());
        let other = mkdir(&v, R, format!("e{i}").as_bytes());
        let dir_id = record(&root_path(&b, format!("e{i}").as_bytes())).id;
        let file = put(&v, dir, old, b"content");
        v.rename(dir, old, other, new, 0).unwrap();
        assert_eq!(errno(v.lookup(dir, old)), libc::ENOENT);
        assert_eq!(v.lookup(other, new).unwrap().node, file);
        let stored = kmsfs_format::names::seal_name(&keys(), &dir_id, new).unwrap().stored;
        let record = record(&root_path(&b, format!("e{i}").as_bytes()).join(&stored));
        assert_eq!(record.bindings, [kmsfs_format::record::binding(&keys(), &dir_id, stored.as_bytes())]);
        assert_eq!(list(&v, dir, 9), Vec::<Vec<u8>>::new());
        assert_eq!(names_in(&root_path(&b, format!("d{i}").as_bytes())), Vec::<String>::new());
        assert_eq!(list(&v, other, 9), [new]);
        assert_eq!(get_at(&v, other, new), b"content");
    }
    v.symlink(ME, R, b"sym", b"target").unwrap();
    v.mknod(ME, R, b"fifo", libc::S_IFIFO | 0o600, 0, 0).unwrap();
    for name in [&b"sym"[..], b"fifo", b"d0"] {
        let node = v.lookup(R, name).unwrap().node;
        v.rename(R, name, R, &LONG, libc::RENAME_NOREPLACE).unwrap();
        assert_eq!(v.lookup(R, &LONG).unwrap().node, node);
        v.rename(R, &LONG, R, name, 0).unwrap();
    }
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn noreplace_and_exchange_do_what_renameat2_says() {
    let b = Backing::new();
    let v = b.open();
    let (one, two) = (put(&v, R, b"one", b"1"), put(&v, R, &LONG, b"2"));
    let dir = mkdir(&v, R, b"dir");
    assert_eq!(errno(v.rename(R, b"one", R, &LONG, libc::RENAME_NOREPLACE)), libc::EEXIST);
    assert_eq!(errno(v.rename(R, b"one", R, b"none", libc::RENAME_EXCHANGE)), libc::ENOENT);
    assert_eq!(errno(v.rename(R, b"none", R, b"one", 0)), libc::ENOENT);
    assert_eq!(errno(v.rename(R, b"one", R, b"x", libc::RENAME_WHITEOUT)), libc::EINVAL);
    v.rename(R, b"one", R, &LONG, libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(v.lookup(R, b"one").unwrap().node, two);
    assert_eq!(v.lookup(R, &LONG).unwrap().node, one);
    v.rename(R, b"one", R, b"dir", libc::RENAME_EXCHANGE).unwrap();
    assert_eq!(v.lookup(R, b"one").unwrap().node, dir);
    assert_eq!(record(&root_path(&b, b"one")).bindings.len(), 1);
    assert_eq!(record(&root_path(&b, b"dir")).bindings.len(), 1);
    assert_eq!(list(&v, R, 9), [b"dir".to_vec(), LONG.to_vec(), b"one".to_vec()]);
    assert_eq!(errno(v.rename(R, b"dir", R, b"one", 0)), libc::EISDIR);
    assert_eq!(errno(v.rename(R, b"one", R, b"dir", 0)), libc::ENOTDIR);
    let inner = mkdir(&v, dir, b"inner");
    assert_eq!(errno(v.rename(R, b"one", inner, b"x", 0)), libc::EINVAL);
    mkdir(&v, R, b"empty");
    assert_eq!(errno(v.rename(R, b"empty", R, b"one", 0)), libc::ENOTEMPTY);
    v.rmdir(dir, b"inner").unwrap();
    v.rename(R, b"empty", R, b"one", 0).unwrap();
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_failed_rename_leaves_no_binding_and_no_sidecar_behind() {
    let b = Backing::new();
    let v = b.open();
    let dir = mkdir(&v, R, b"dir");
    let inner = mkdir(&v, dir, b"inner");
    assert_eq!(errno(v.rename(R, b"dir", inner, &LONG, 0)), libc::EINVAL);
    assert_eq!(record(&root_path(&b, b"dir")).bindings.len(), 1);
    assert_eq!(names_in(&root_path(&b, b"dir")).len(), 1);
    assert_eq!(list(&v, inner, 9), Vec::<Vec<u8>>::new());
}

#[test]
fn hard_links_are_bound_one_by_one_and_let_go_one_by_one() {
    let b = Backing::new();
    let v = b.open();
    let file = put(&v, R, b"a", b"content");
    let dir = mkdir(&v, R, b"dir");
    assert_eq!(v.link(file, dir, &LONG).unwrap().attr.nlink, 2);
    assert_eq!(errno(v.link(file, dir, &LONG)), libc::EEXIST);
    assert_eq!(errno(v.link(dir, R, b"x")), libc::EPERM);
    assert_eq!(record(&root_path(&b, b"a")).bindings.len(), 2);
    assert_eq!(v.lookup(dir, &LONG).unwrap().node, file);
    // Two names of one inode: nothing happens.
    v.rename(R, b"a", dir, &LONG, 0).unwrap();
    assert_eq!(v.lookup(R, b"a").unwrap().attr.nlink, 2);
    v.unlink(dir, &LONG).unwrap();
    assert_eq!(record(&root_path(&b, b"a")).bindings.len(), 1);
    assert_eq!(names_in(&root_path(&b, b"dir")), Vec::<String>::new());
    // Renamed over, one of two links.
    v.link(file, R, b"b").unwrap();
    put(&v, R, b"c", b"other");
    v.rename(R, b"c", R, b"b", 0).unwrap();
    assert_eq!(record(&root_path(&b, b"a")).bindings.len(), 1);
    assert_eq!(get_at(&v, R, b"a"), b"content");
    assert_eq!(get_at(&v, R, b"b"), b"other");
    let link = v.symlink(ME, R, b"sym", &[b't'; 4000]).unwrap().node;
    v.link(link, R, b"sym2").unwrap();
    v.unlink(R, b"sym").unwrap();
    assert_eq!(v.readlink(v.lookup(R, b"sym2").unwrap().node).unwrap(), [b't'; 4000]);
    v.unlink(R, b"sym2").unwrap();
    assert_eq!(names_in(&b.path.join(".kmsfs/links")), Vec::<String>::new());
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_hundred_links_fit_and_one_more_is_emlink() {
    let b = Backing::new();
    let v = b.open();
    let file = put(&v, R, b"0", b"content");
    for i in 1..100 {
        v.link(file, R, i.to_string().as_bytes()).unwrap();
    }
    assert_eq!(errno(v.link(file, R, b"100")), libc::EMLINK);
    assert_eq!(v.getattr(file, None).unwrap().nlink, 100);
    drop(v);
    let v = b.open();
    for i in 0..100 {
        let name = i.to_string();
        assert_eq!(get_at(&v, R, name.as_bytes()), b"content");
        v.unlink(R, name.as_bytes()).unwrap();
    }
    assert_eq!(b.names(), Vec::<String>::new());
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_lookup_drops_bindings_that_a_crash_left() {
    let b = Backing::new();
    let v = b.open();
    put(&v, R, b"a", b"content");
    let path = root_path(&b, b"a");
    let mut r = record(&path);
    r.bindings.push([9; 8]);
    rustix::fs::setxattr(&path, "user.kmsfs", &r.encode(&keys()), rustix::fs::XattrFlags::empty()).unwrap();
    v.lookup(R, b"a").unwrap();
    assert_eq!(record(&path).bindings.len(), 1);
    v.lookup(R, b"a").unwrap();
}

#[test]
fn symlink_targets_of_every_size_come_back_and_show_their_length() {
    let b = Backing::new();
    let v = b.open();
    for len in [1usize, 2, 3, 15, 16, 17, 734, 735, 736, 1023, 1024, 4094, 4095] {
        let target: Vec<u8> = (0..len).map(|i| 1 + (i % 255) as u8).collect();
        let e = v.symlink(ME, R, b"s", &target).unwrap();
        assert_eq!(e.attr.size, len as u64, "length {len}");
        assert_eq!(v.readlink(e.node).unwrap(), target);
        let aside = names_in(&b.path.join(".kmsfs"));
        assert_eq!(
            aside.contains(&"links".to_owned()) && !names_in(&b.path.join(".kmsfs/links")).is_empty(),
            len > 735
        );
        v.unlink(R, b"s").unwrap();
    }
    assert_eq!(errno(v.symlink(ME, R, b"s", &[b'x'; 4096])), libc::ENAMETOOLONG);
    assert_eq!(names_in(&b.path.join(".kmsfs/links")), Vec::<String>::new());
}

#[test]
fn leftovers_of_a_crash_do_not_show_and_do_not_keep_a_directory() {
    let b = Backing::new();
    let v = b.open();
    let dir = mkdir(&v, R, b"dir");
    let path = root_path(&b, b"dir");
    let leave = || {
        std::fs::write(path.join(".t-1"), b"").unwrap();
        std::fs::create_dir(path.join(".t-2")).unwrap();
    };
    leave();
    assert_eq!(list(&v, dir, 9), Vec::<Vec<u8>>::new());
    assert_eq!(names_in(&path), Vec::<String>::new(), "a listing removes them");
    leave();
    std::fs::write(path.join("~orphan.name"), b"").unwrap();
    v.rmdir(R, b"dir").unwrap();
    assert_eq!(b.names(), Vec::<String>::new());
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_removed_file_with_unflushed_blocks_does_not_fail_the_flush_of_others() {
    let b = Backing::new();
    let v = b.open();
    let rw = libc::O_RDWR as u32;
    let (e, h) = v.tmpfile(ME, R, 0o600, rw).unwrap();
    // More than goes through the log: written straight home, which the next flush of the log includes.
    v.write(e.node, h, 0, &vec![7; 300_000], Writing::default()).unwrap();
    v.link(e.node, R, b"named").unwrap();
    v.flush(e.node, h).unwrap();
    v.release(e.node, h).unwrap();
    v.unlink(R, b"named").unwrap();
    v.forget(e.node, 2);
    let (e, h) = v.create(ME, R, b"other", 0o600, rw).unwrap();
    v.write(e.node, h, 0, b"x", Writing::default()).unwrap();
    v.fsync(e.node, h, false).unwrap();
    v.release(e.node, h).unwrap();
    v.unlink(R, b"other").unwrap();
}

/// The soak found one that stayed for each file that never got a name, and its blocks with it.
#[test]
fn what_has_no_name_and_no_user_keeps_no_descriptor() {
    let b = Backing::new();
    let v = b.open();
    let before = v.stats().descriptors;
    for _ in 0..3 {
        let (e, h) = v.tmpfile(ME, R, 0o644, libc::O_RDWR as u32).unwrap();
        v.write(e.node, h, 0, &[7; 10_000], Writing::default()).unwrap();
        v.flush(e.node, h).unwrap();
        v.release(e.node, h).unwrap();
        v.forget(e.node, 1);
        let (e, h) = v.create(ME, R, b"f", 0o644, libc::O_RDWR as u32).unwrap();
        v.write(e.node, h, 0, &[7; 10_000], Writing::default()).unwrap();
        v.flush(e.node, h).unwrap();
        v.release(e.node, h).unwrap();
        v.unlink(R, b"f").unwrap();
        // The kernel's own time of the removal comes after it.
        v.setattr(ME, e.node, &SetAttr { mtime: Some(SetTime::Now), ..SetAttr::default() }).unwrap();
        v.forget(e.node, 1);
        assert_eq!(v.stats().descriptors, before);
    }
}
