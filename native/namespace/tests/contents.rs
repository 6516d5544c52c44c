//! Open files through the namespace.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use kmsfs_namespace::ops::{FileSystem, SetAttr, Writing};
use kmsfs_namespace::Options;

const RDWR: u32 = libc::O_RDWR as u32;

#[test]
fn content_and_size_survive_close_and_remount() {
    let b = Backing::new();
    let v = b.open();
    let big: Vec<u8> = (0..1_500_000u32).map(|i| (i.wrapping_mul(7) >> 3) as u8).collect();
    put(&v, R, b"big", &big);
    put(&v, R, b"empty", b"");
    assert_eq!(attr_at(&v, R, b"big").size, big.len() as u64);
    assert_eq!(attr_at(&v, R, b"empty").size, 0);
    v.close().unwrap();
    drop(v);
    let v = b.open();
    assert_eq!(attr_at(&v, R, b"big").size, big.len() as u64);
    assert_eq!(attr_at(&v, R, b"empty").size, 0);
    assert_eq!(get_at(&v, R, b"big"), big);
    assert_eq!(get_at(&v, R, b"empty"), b"");
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn what_was_closed_is_there_after_the_engine_died() {
    let b = Backing::new();
    let v = b.open();
    let dir = mkdir(&v, R, b"dir");
    for i in 0..50u32 {
        put(&v, dir, format!("f{i}").as_bytes(), &vec![i as u8; 100 * i as usize]);
    }
    v.rename(dir, b"f7", R, b"moved", 0).unwrap();
    v.unlink(dir, b"f8").unwrap();
    // No close: what is in memory only is lost with it.
    drop(v);
    let v = b.open();
    for i in (0..50u32).filter(|i| *i != 7 && *i != 8) {
        assert_eq!(get_at(&v, dir, format!("f{i}").as_bytes()), vec![i as u8; 100 * i as usize], "f{i}");
    }
    assert_eq!(get_at(&v, R, b"moved"), vec![7; 700]);
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_copy_of_the_backing_directory_recovers_by_walking() {
    let b = Backing::new();
    let v = b.open();
    let dir = mkdir(&v, R, b"dir");
    put(&v, dir, b"f", b"content");
    put(&v, dir, &[b'n'; 200], b"long");
    drop(v);
    let copy = Backing::new();
    std::fs::remove_dir_all(&copy.path).unwrap();
    let ok = std::process::Command::new("cp").arg("-a").arg(&b.path).arg(&copy.path).status().unwrap();
    assert!(ok.success());
    let v = copy.open();
    let dir = v.lookup(R, b"dir").unwrap().node;
    assert_eq!(get_at(&v, dir, b"f"), b"content");
    assert_eq!(get_at(&v, dir, &[b'n'; 200]), b"long");
    assert_eq!(copy.events(), Vec::<String>::new());
}

#[test]
fn an_unlinked_file_lives_until_it_is_closed() {
    let b = Backing::new();
    let v = b.open_with(config(), Options { max_nodes: 16, max_fds: 4, ..Options::default() }).unwrap();
    let (e, h) = v.create(ME, R, b"f", 0o644, RDWR).unwrap();
    v.write(e.node, h, 0, b"before", Writing::default()).unwrap();
    v.unlink(R, b"f").unwrap();
    // Others push its descriptor out of the cache.
    for i in 0..20 {
        put(&v, R, format!("g{i}").as_bytes(), b"x");
    }
    v.write(e.node, h, 6, b" after", Writing::default()).unwrap();
    v.fsync(e.node, h, false).unwrap();
    v.setattr(ME, e.node, &SetAttr { mode: Some(0o600), ..SetAttr::default() }).unwrap();
    let a = v.getattr(e.node, Some(h)).unwrap();
    assert_eq!((a.nlink, a.size, a.mode & 0o777), (0, 12, 0o600));
    let mut buf = [0; 20];
    assert_eq!(v.read(e.node, h, 0, &mut buf).unwrap(), 12);
    assert_eq!(&buf[..12], b"before after");
    v.release(e.node, h).unwrap();
    v.forget(e.node, 1);
    assert_eq!(errno(v.getattr(e.node, None)), libc::ESTALE);
    v.close().unwrap();
    assert_eq!(b.events(), Vec::<String>::new());
}

#[test]
fn a_file_made_without_a_name_may_get_one() {
    let b = Backing::new();
    let v = b.open();
    let (e, h) = v.tmpfile(ME, R, 0o640, RDWR).unwrap();
    assert_eq!(e.attr.nlink, 0);
    v.write(e.node, h, 0, b"content", Writing::default()).unwrap();
    v.fsync(e.node, h, false).unwrap();
    v.link(e.node, R, b"named").unwrap();
    v.flush(e.node, h).unwrap();
    v.release(e.node, h).unwrap();
    assert_eq!(attr_at(&v, R, b"named").mode & 0o777, 0o640);
    let (e, h) = v.tmpfile(ME, R, 0o640, RDWR).unwrap();
    v.write(e.node, h, 0, b"lost", Writing::default()).unwrap();
    v.release(e.node, h).unwrap();
    drop(v);
    let v = b.open();
    assert_eq!(get_at(&v, R, b"named"), b"content");
    assert_eq!(list(&v, R, 9), [b"named"]);
}

#[test]
fn a_rename_over_a_file_makes_the_new_content_durable_first() {
    let b = Backing::new();
    let v = b.open();
    put(&v, R, b"target", b"old");
    let f = put(&v, R, b"source", b"new");
    let id = record(&root_path(&b, b"source")).id;
    let state = v.files().existing(&id).unwrap();
    assert!(state.needs_sync());
    v.rename(R, b"source", R, b"target", 0).unwrap();
    assert!(!state.needs_sync());
    assert_eq!(get(&v, f), b"new");
    assert_eq!(get_at(&v, R, b"target"), b"new");
}

#[test]
fn append_goes_to_the_end_only_where_the_kernel_does_not_see_to_it() {
    let b = Backing::new();
    for (writeback, expected) in [(false, &b"onetwo"[..]), (true, b"two")] {
        let v = b.open_with(config(), Options { writeback, ..Options::default() }).unwrap();
        let f = put(&v, R, b"f", b"one");
        let h = v.open(f, (libc::O_WRONLY | libc::O_APPEND) as u32).unwrap();
        v.write(f, h, 0, b"two", Writing::default()).unwrap();
        v.release(f, h).unwrap();
        assert_eq!(get(&v, f), expected);
        v.unlink(R, b"f").unwrap();
    }
}

#[test]
fn fallocate_punches_zeroes_extends_and_refuses_the_rest() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", &[1; 20_000]);
    let h = v.open(f, RDWR).unwrap();
    let size = |v: &kmsfs_namespace::Volume| v.getattr(f, None).unwrap().size;
    let (keep, punch, zero) = (1, 2, 0x10);
    v.fallocate(f, h, punch | keep, 4096, 4096).unwrap();
    v.fallocate(f, h, zero | keep, 8192, 100_000).unwrap();
    assert_eq!(size(&v), 20_000);
    let got = get(&v, f);
    assert!(got[..4096].iter().all(|c| *c == 1) && got[4096..].iter().all(|c| *c == 0));
    v.fallocate(f, h, 0, 0, 30_000).unwrap();
    assert_eq!(size(&v), 30_000);
    v.fallocate(f, h, zero, 0, 40_000).unwrap();
    assert_eq!(size(&v), 40_000);
    assert!(get(&v, f).iter().all(|c| *c == 0));
    v.fallocate(f, h, keep, 0, 80_000).unwrap();
    assert_eq!(size(&v), 40_000);
    for mode in [punch, 0x08, 0x20, 0x40] {
        assert_eq!(errno(v.fallocate(f, h, mode, 0, 4096)), libc::EOPNOTSUPP);
    }
    assert_eq!(errno(v.fallocate(f, h, 0, 1 << 60, 4096)), libc::EFBIG);
    assert_eq!(errno(v.lseek(f, h, 50_000, libc::SEEK_DATA as u32)), libc::ENXIO);
    v.release(f, h).unwrap();
}

#[test]
fn copy_file_range_copies_in_pieces_and_refuses_overlap() {
    let b = Backing::new();
    let v = b.open();
    let data: Vec<u8> = (0..2_500_000u32).map(|i| (i >> 5) as u8).collect();
    let (a, c) = (put(&v, R, b"a", &data), put(&v, R, b"c", b""));
    let (ah, ch) = (v.open(a, RDWR).unwrap(), v.open(c, RDWR).unwrap());
    assert_eq!(v.copy_file_range(a, ah, 100, c, ch, 50, 10_000_000).unwrap(), 2_499_900);
    assert_eq!(get(&v, c)[50..], data[100..]);
    assert_eq!(errno(v.copy_file_range(a, ah, 0, a, ah, 99, 100)), libc::EINVAL);
    assert_eq!(v.copy_file_range(a, ah, 0, a, ah, 100, 100).unwrap(), 100);
    v.release(a, ah).unwrap();
    v.release(c, ch).unwrap();
}

#[test]
fn truncating_by_name_is_seen_and_kept() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", &[3; 10_000]);
    let a = v.setattr(ME, f, &SetAttr { size: Some(5000), ..SetAttr::default() }).unwrap();
    assert_eq!(a.size, 5000);
    drop(v);
    let v = b.open();
    assert_eq!(get_at(&v, R, b"f"), [3; 5000]);
    let h = v.open(f, (libc::O_RDWR | libc::O_TRUNC) as u32).unwrap();
    assert_eq!(v.getattr(f, Some(h)).unwrap().size, 0);
    v.release(f, h).unwrap();
    assert_eq!(errno(v.setattr(ME, R, &SetAttr { size: Some(1), ..SetAttr::default() })), libc::EISDIR);
}

#[test]
fn a_large_directory_is_listed_once_each_in_small_batches() {
    let b = Backing::new();
    let v = b.open();
    let dir = mkdir(&v, R, b"dir");
    for i in 0..5000u32 {
        v.mknod(ME, dir, format!("{i}").as_bytes(), libc::S_IFIFO | 0o600, 0, 0).unwrap();
    }
    let listed = list(&v, dir, 100);
    assert_eq!(listed.len(), 5000);
    let mut unique = listed.clone();
    unique.dedup();
    assert_eq!(unique.len(), 5000);
}

#[test]
fn a_file_that_lost_its_last_name_is_not_opened_anew() {
    let b = Backing::new();
    let v = b.open();
    let f = put(&v, R, b"f", b"content");
    v.unlink(R, b"f").unwrap();
    // The kernel may still ask: it looked the name up before. What was only in the log is forgotten by now.
    assert_eq!(errno(v.open(f, RDWR)), libc::ESTALE);
    assert_eq!(errno(v.setattr(ME, f, &SetAttr { size: Some(1), ..SetAttr::default() })), libc::ESTALE);
    v.close().unwrap();
    let f = put(&v, R, b"g", b"content");
    let h = v.open(f, RDWR).unwrap();
    v.unlink(R, b"g").unwrap();
    let again = v.open(f, RDWR).unwrap();
    v.release(f, h).unwrap();
    let mut buf = [0; 10];
    assert_eq!(v.read(f, again, 0, &mut buf).unwrap(), 7);
    v.release(f, again).unwrap();
    assert_eq!(errno(v.open(f, RDWR)), libc::ESTALE);
}

#[test]
fn pages_written_back_by_an_appenders_handle_go_where_they_belong() {
    let b = Backing::new();
    let v = b.open_with(config(), Options { writeback: false, ..Options::default() }).unwrap();
    let node = put(&v, R, b"f", b"0123456789");
    let appender = v.open(node, (libc::O_RDWR | libc::O_APPEND) as u32).unwrap();
    // The kernel writes a mapping's pages back by any handle that may write.
    let back = Writing { from_cache: true, ..Writing::default() };
    v.write(node, appender, 2, b"xy", back).unwrap();
    v.write(node, appender, 2, b"end", Writing::default()).unwrap();
    v.flush(node, appender).unwrap();
    v.release(node, appender).unwrap();
    assert_eq!(get_at(&v, R, b"f"), b"01xy456789end");
}
