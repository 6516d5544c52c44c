//! Someone without the key changes a home: every read of what was changed fails and is reported, the rest stays readable.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, open, open_with, Random, Reports, BLOCK};
use kmsfs_files::memory::{MemoryStore, Sparse};
use kmsfs_files::store::{FileId, Home};
use kmsfs_files::{Error, File, Files, Tamper};
use kmsfs_format::layout::Layout;
use std::sync::Arc;

const ID: FileId = [5; 16];
const OTHER: FileId = [6; 16];
/// Blocks: the direct ones, all of S1, and some below S2.
const BLOCKS: u64 = 300;
const SIZE: u64 = BLOCKS * BLOCK - 1000;

fn byte(block: u64, file: u8) -> u8 {
    (block % 250) as u8 ^ file
}

/// Two files, unmounted.
fn volume() -> MemoryStore {
    let store = Arc::new(MemoryStore::default());
    let files = open_created(&store);
    for (id, n) in [(ID, 1), (OTHER, 2)] {
        let file = files.file(Arc::new(store.home(&id).unwrap())).unwrap();
        for block in 0..BLOCKS {
            let len = BLOCK.min(SIZE - block * BLOCK) as usize;
            file.write(block * BLOCK, &vec![byte(block, n); len]).unwrap();
        }
    }
    files.close().unwrap();
    store.snapshot()
}

fn open_created(store: &Arc<MemoryStore>) -> Arc<Files> {
    store.create(ID);
    store.create(OTHER);
    open(store.clone(), true)
}

struct Mounted {
    _files: Arc<Files>,
    file: Result<Arc<File>, Error>,
    reports: Reports,
}

fn mount(store: &MemoryStore) -> Mounted {
    let store = Arc::new(store.snapshot());
    let (opened, reports) = open_with(config(false), store.clone());
    let files = opened.unwrap().0;
    let file = files.file(Arc::new(store.home(&ID).unwrap()));
    Mounted { _files: files, file, reports }
}

/// Which blocks cannot be read. Each such read is EIO, in small and in large reads, and what is wrong is reported once.
fn unreadable(store: &MemoryStore) -> Vec<u64> {
    let m = mount(store);
    let Ok(file) = &m.file else {
        assert!(matches!(m.file, Err(Error::Tampered(_))));
        assert!(!m.reports.lock().is_empty());
        return (0..BLOCKS).collect();
    };
    let mut bad = Vec::new();
    for block in 0..BLOCKS {
        let mut buf = vec![0xFF; BLOCK as usize];
        match file.read(block * BLOCK, &mut buf) {
            Ok(n) => {
                assert_eq!(n as u64, BLOCK.min(SIZE - block * BLOCK));
                assert!(buf[..n].iter().all(|b| *b == byte(block, 1)), "block {block} is forged");
            }
            Err(e) => {
                assert!(matches!(e, Error::Tampered(_)) && e.errno() == libc::EIO, "{e:?}");
                let reports = m.reports.lock();
                // A node is reported where it is first needed, and stands for all blocks below it.
                let by_itself = |t: &Tamper| t.block == Some(block) || t.block.is_none();
                assert!(reports.iter().any(by_itself), "block {block} was not reported");
                assert!(reports.iter().all(|t| t.file == ID));
                assert!(reports.iter().enumerate().all(|(i, t)| !reports[..i].contains(t)), "{reports:?}");
                assert!(!buf.iter().any(|b| *b == byte(block, 1)), "plaintext of a block that does not authenticate");
                bad.push(block);
            }
        }
    }
    if !bad.is_empty() {
        let mut all = vec![0; SIZE as usize];
        let again = mount(store);
        assert!(again.file.unwrap().read(0, &mut all).is_err(), "one read of everything");
        assert!(!again.reports.lock().is_empty());
    }
    bad
}

fn tampered(with: impl FnOnce(&mut Sparse)) -> MemoryStore {
    let store = volume();
    store.with_home(&ID, with).unwrap();
    store
}

fn flip(home: &mut Sparse, at: u64) {
    let mut b = [0];
    home.read(at, &mut b);
    home.write(at, &[b[0] ^ 0x40]);
}

fn page(home: &Sparse, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    home.read(at, &mut bytes);
    bytes
}

fn layout() -> Layout {
    Layout::new(12).unwrap()
}

const EVERYTHING: std::ops::Range<u64> = 0..BLOCKS;

#[test]
fn an_untouched_volume_reads_whole() {
    assert_eq!(unreadable(&volume()), []);
}

#[test]
fn any_flipped_byte_of_the_header_makes_the_file_unreadable() {
    let store = volume();
    // Every field of the clear part, the entries, the size, the padding, the tag.
    for at in [0, 8, 10, 11, 12, 16, 32, 48, 56, 88, 92, 104, 120, 128, 2000, 3704, 3712, 3872, 4095] {
        let copy = store.snapshot();
        copy.with_home(&ID, |h| flip(h, at));
        assert_eq!(unreadable(&copy), EVERYTHING.collect::<Vec<_>>(), "byte {at}");
    }
}

#[test]
fn a_flipped_byte_of_a_data_block_takes_that_block_alone() {
    let store = volume();
    for block in [0, 50, 111, 112, 200, 239, 240, BLOCKS - 1] {
        let copy = store.snapshot();
        copy.with_home(&ID, |h| flip(h, layout().home(block) + 17));
        assert_eq!(unreadable(&copy), [block]);
    }
}

#[test]
fn a_flipped_byte_of_a_node_takes_what_is_below_it() {
    let s1 = layout().path(112).steps()[0].home;
    assert_eq!(unreadable(&tampered(|h| flip(h, s1))), (112..240).collect::<Vec<_>>());
    let s2 = layout().path(240).steps()[0].home;
    assert_eq!(unreadable(&tampered(|h| flip(h, s2 + 9))), (240..BLOCKS).collect::<Vec<_>>());
}

#[test]
fn blocks_that_changed_places_do_not_open() {
    let swap = |a: u64, b: u64| {
        tampered(|h| {
            let (x, y) = (page(h, layout().home(a)), page(h, layout().home(b)));
            h.write(layout().home(a), &y);
            h.write(layout().home(b), &x);
        })
    };
    assert_eq!(unreadable(&swap(3, 4)), [3, 4]);
    assert_eq!(unreadable(&swap(100, 150)), [100, 150]);
}

#[test]
fn a_block_of_another_file_or_none_at_all_does_not_open() {
    let store = volume();
    let theirs = store.with_home(&OTHER, |h| page(h, layout().home(7))).unwrap();
    store.with_home(&ID, |h| h.write(layout().home(7), &theirs));
    store.with_home(&ID, |h| h.punch(layout().home(130), BLOCK));
    assert_eq!(unreadable(&store), [7, 130]);
}

/// As it was, and with blocks 5 and 150 written anew.
fn before_and_after() -> (MemoryStore, MemoryStore) {
    let old = volume();
    let new = Arc::new(old.snapshot());
    let files = open(new.clone(), false);
    let file = files.file(Arc::new(new.home(&ID).unwrap())).unwrap();
    for block in [5, 150] {
        file.write(block * BLOCK, &vec![byte(block, 1); BLOCK as usize]).unwrap();
    }
    files.close().unwrap();
    (old, new.snapshot())
}

#[test]
fn a_block_or_node_rolled_back_alone_does_not_open() {
    let s1 = layout().path(112).steps()[0].home;
    let home = |b| layout().home(b);
    for (at, bad) in [(home(5), vec![5]), (home(150), vec![150]), (s1, (112..240).collect())] {
        let (old, new) = before_and_after();
        let bytes = old.with_home(&ID, |h| page(h, at)).unwrap();
        new.with_home(&ID, |h| h.write(at, &bytes));
        assert_eq!(unreadable(&new), bad);
    }
}

#[test]
fn a_header_rolled_back_alone_does_not_open_what_is_newer() {
    let (old, new) = before_and_after();
    let bytes = old.with_home(&ID, |h| page(h, 0)).unwrap();
    new.with_home(&ID, |h| h.write(0, &bytes));
    let bad = unreadable(&new);
    assert!(bad.contains(&5) && (112..240).all(|b| bad.contains(&b)), "{bad:?}");
    assert!(!bad.contains(&4));
}

#[test]
fn the_header_of_another_file_is_refused() {
    let store = volume();
    let theirs = store.with_home(&OTHER, |h| page(h, 0)).unwrap();
    store.with_home(&ID, |h| h.write(0, &theirs));
    assert_eq!(unreadable(&store), EVERYTHING.collect::<Vec<_>>());
}

#[test]
fn a_home_of_any_other_length_is_refused() {
    let full = layout().physical(SIZE);
    for len in [0, 1, 4095, 4096, full - 1, full + 1, full - BLOCK, full + BLOCK, layout().home(112), 1 << 45] {
        let store = tampered(|h| h.set_len(len));
        assert_eq!(unreadable(&store), EVERYTHING.collect::<Vec<_>>(), "length {len}");
    }
}

#[test]
fn a_cut_home_whose_flag_was_forged_back_to_growing_gives_no_wrong_byte() {
    // The record authenticates the flag; should it be set all the same, what is missing does not open.
    let store = tampered(|h| h.set_len(layout().home(200)));
    store.home(&ID).unwrap().set_growing(true).unwrap();
    let m = mount(&store);
    let file = m.file.unwrap();
    let mut buf = vec![0; BLOCK as usize];
    assert_eq!(file.read(0, &mut buf).unwrap(), BLOCK as usize);
    assert!(matches!(file.read(220 * BLOCK, &mut buf), Err(Error::Tampered(_))));
    assert!(!m.reports.lock().is_empty());
}

#[test]
fn writing_to_a_tampered_file_never_launders_it() {
    let store = tampered(|h| {
        flip(h, layout().home(9));
        let s1 = layout().path(112).steps()[0].home;
        flip(h, s1);
    });
    let m = mount(&store);
    let file = m.file.unwrap();
    // Part of a broken block, and anything below a broken node.
    assert!(matches!(file.write(9 * BLOCK + 5, b"x"), Err(Error::Tampered(_))));
    assert!(matches!(file.write(130 * BLOCK, &vec![1; BLOCK as usize]), Err(Error::Tampered(_))));
    assert!(matches!(file.truncate(9 * BLOCK + 100), Err(Error::Tampered(_))));
    assert!(matches!(file.punch(9 * BLOCK + 1, 10), Err(Error::Tampered(_))));
    file.sync(false).unwrap();
    let mut buf = vec![0; BLOCK as usize];
    assert!(file.read(9 * BLOCK, &mut buf).is_err());
    // Written whole, it is whole again.
    file.write(9 * BLOCK, &vec![byte(9, 1); BLOCK as usize]).unwrap();
    file.sync(false).unwrap();
    assert_eq!(file.read(9 * BLOCK, &mut buf).unwrap(), BLOCK as usize);
    assert!(buf.iter().all(|b| *b == byte(9, 1)));
}

#[test]
fn garbage_of_any_kind_is_refused_without_a_panic() {
    let mut random = Random::new(11);
    let store = volume();
    for round in 0..150 {
        let copy = store.snapshot();
        copy.with_home(&ID, |h| {
            match round % 3 {
                0 => {
                    let len = random.below(20_000) as usize;
                    h.set_len(0);
                    let bytes = random.bytes(len);
                    h.write(0, &bytes);
                }
                1 => {
                    let at = random.below(4096);
                    let bytes = random.bytes(40);
                    h.write(at, &bytes);
                }
                _ => h.set_len(random.next() >> (18 + random.below(40))),
            };
        });
        let growing = round % 2 == 0;
        copy.home(&ID).unwrap().set_growing(growing).unwrap();
        let m = mount(&copy);
        if let Ok(file) = m.file {
            let mut buf = vec![0; 10_000];
            let _ = (file.read(0, &mut buf), file.read(u64::MAX, &mut buf), file.read(SIZE - 5, &mut buf));
            let _ = (file.seek(0, true), file.seek(0, false), file.truncate(random.below(SIZE)));
            let _ = (file.write(random.below(SIZE), &[1; 5000]), file.punch(3, u64::MAX), file.sync(false));
            let _ = (file.write(u64::MAX - 3, &[1; 5000]), file.allocate(u64::MAX - 3, 9, false));
        } else {
            assert!(!m.reports.lock().is_empty());
        }
    }
}
