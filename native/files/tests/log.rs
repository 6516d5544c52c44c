//! Where the log ends: a torn tail is dropped, a hole before something durable is damage, and a log of another volume is none.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, fresh, keys, open, open_with, BLOCK, SEGMENT, UUID};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::recording::{Op, RecordingStore};
use kmsfs_files::store::{FileId, Store};
use kmsfs_files::{Config, Error, File, Files};
use kmsfs_format::keys::{DomainKeys, Secret};
use std::sync::Arc;

const ID: FileId = [4; 16];
const SLOTS: usize = 4;

/// A store and, for each record appended, its slot, offset and length.
struct Logged {
    store: MemoryStore,
    records: Vec<(usize, usize, usize)>,
}

/// `synced` commits that are flushed one by one, then `more` that are not; each sets block 0 to its number (from 1).
fn logged(synced: u8, more: u8) -> Logged {
    let base = MemoryStore::default();
    base.create(ID);
    let store = Arc::new(RecordingStore::new(base));
    let files = open(store.clone(), true);
    let file = files.file(store.home(&ID).unwrap()).unwrap();
    for n in 1..=synced + more {
        file.write(0, &[n; BLOCK as usize]).unwrap();
        file.commit().unwrap();
        if n <= synced {
            file.sync(true).unwrap();
        }
    }
    let records = store.ops().into_iter().filter_map(|op| match op {
        Op::Segment { slot, offset, data } if offset > 0 => Some((slot, offset as usize, data.len())),
        _ => None,
    });
    Logged { records: records.collect(), store: store.crash(store.moment(), usize::MAX, |_, _, _| true) }
}

fn load(store: &Arc<MemoryStore>, files: &Arc<Files>) -> Arc<File> {
    files.file(Arc::new(store.home(&ID).unwrap())).unwrap()
}

/// What block 0 of the file holds after recovery.
fn recovered(store: MemoryStore) -> u8 {
    let store = Arc::new(store);
    let files = open(store.clone(), false);
    let mut byte = [0];
    load(&store, &files).read(0, &mut byte).unwrap();
    byte[0]
}

fn damaged(store: MemoryStore) -> bool {
    matches!(open_with(config(false), Arc::new(store)).0, Err(Error::LogDamaged(_)))
}

#[test]
fn a_last_record_with_any_sector_missing_is_dropped_and_all_before_it_stands() {
    let l = logged(2, 3);
    let (slot, at, len) = *l.records.last().unwrap();
    for sector in (0..len).step_by(512) {
        let torn = l.store.snapshot();
        let changed = torn.with_segment(slot, |s| {
            let before = s[at + sector..at + sector + 512].to_vec();
            s[at + sector..at + sector + 512].fill(0);
            before.iter().any(|b| *b != 0)
        });
        if changed.unwrap() {
            assert_eq!(recovered(torn), 4, "sector {sector} of the last record");
        }
    }
    assert_eq!(recovered(l.store), 5);
}

#[test]
fn a_broken_record_that_nothing_calls_durable_ends_the_log_there() {
    let l = logged(2, 3);
    let (slot, at, _) = l.records[3];
    l.store.with_segment(slot, |s| s[at + 600] ^= 1);
    let store = Arc::new(l.store);
    let (opened, _) = open_with(config(false), store.clone());
    let (files, recovery) = opened.unwrap();
    assert!(recovery.dropped_tail);
    let mut byte = [0];
    load(&store, &files).read(0, &mut byte).unwrap();
    assert_eq!(byte, [3]);
}

#[test]
fn a_broken_record_that_a_later_one_calls_durable_is_damage() {
    for broken in 0..3 {
        let l = logged(4, 1);
        let (slot, at, _) = l.records[broken];
        l.store.with_segment(slot, |s| s[at + 600] ^= 1);
        assert!(damaged(l.store), "record {broken}");
    }
}

#[test]
fn a_segment_whose_header_is_gone_is_damage() {
    for how in 0..3 {
        let l = logged(4, 0);
        let slot = l.records[0].0;
        l.store.with_segment(slot, |s| match how {
            0 => s.fill(0),
            1 => s[..512].fill(0),
            _ => s[300] ^= 1,
        });
        assert!(damaged(l.store), "how {how}");
    }
}

/// Enough commits for three segments, none of them home.
fn three_segments() -> Logged {
    let l = logged(140, 0);
    let slots: std::collections::BTreeSet<usize> = l.records.iter().map(|r| r.0).collect();
    assert!(slots.len() >= 3, "{slots:?}");
    l
}

#[test]
fn a_missing_segment_in_the_middle_or_at_the_beginning_is_damage() {
    let l = three_segments();
    for slot in 0..2 {
        let left = l.store.snapshot();
        left.with_segment(slot, |s| s.fill(0));
        assert!(damaged(left), "slot {slot}");
    }
}

#[test]
fn segment_files_that_changed_places_are_read_in_their_order() {
    let l = three_segments();
    let last = l.records.len() as u8;
    let a = l.store.with_segment(0, |s| s.clone()).unwrap();
    let b = l.store.with_segment(1, |s| std::mem::replace(s, a)).unwrap();
    l.store.with_segment(0, |s| *s = b);
    assert_eq!(recovered(l.store), last);
}

#[test]
fn a_log_of_another_volume_or_key_is_damage_and_no_empty_log() {
    let l = logged(3, 0);
    let store: Arc<dyn Store> = Arc::new(l.store.snapshot());
    let quiet = Arc::new(|_| ());
    let other = Config { uuid: [8; 16], ..config(false) };
    assert!(matches!(Files::open(other, keys(5), store.clone(), quiet.clone()), Err(Error::LogDamaged(_))));
    assert!(matches!(Files::open(config(false), keys(6), store, quiet.clone()), Err(Error::LogDamaged(_))));
    // One foreign segment in an otherwise good log is passed over where it is not needed.
    let foreign = Arc::new(MemoryStore::default());
    let key = DomainKeys::derive(&UUID, &Secret::take(&mut [6; 32])).unwrap();
    drop(Files::open(config(true), Arc::new(key), foreign.clone(), quiet).unwrap());
    let bytes = foreign.with_segment(0, |s| s.clone()).unwrap();
    l.store.with_segment(SLOTS - 1, |s| *s = bytes);
    assert_eq!(recovered(l.store), 3);
}

#[test]
fn an_unused_log_is_damage_on_a_volume_that_was_in_use() {
    assert!(damaged(MemoryStore::default()));
    assert!(open_with(config(true), Arc::new(MemoryStore::default())).0.is_ok());
}

#[test]
fn recovery_that_dies_after_any_of_its_steps_is_done_again_with_the_same_result() {
    let base = MemoryStore::default();
    base.create(ID);
    let first = Arc::new(RecordingStore::new(base));
    let files = open(first.clone(), true);
    let file = files.file(first.home(&ID).unwrap()).unwrap();
    file.write(0, &[1; 300_000]).unwrap();
    file.sync(false).unwrap();
    files.checkpoint().unwrap();
    file.punch(8192, 100_000).unwrap();
    file.write(5, &[2; 5000]).unwrap();
    file.sync(false).unwrap();
    file.truncate(150_000).unwrap();
    file.append(&[3; 100_000]).unwrap();
    file.sync(false).unwrap();
    let left = first.crash(first.moment(), 0, |_, _, _| false);
    let second = Arc::new(RecordingStore::new(left));
    drop(open(second.clone(), false));
    let mut wanted = vec![0; 300_000];
    assert_eq!(file.read(0, &mut wanted).unwrap(), 250_000);
    for cut in 0..=second.moment() {
        for lost in [false, true] {
            let store = Arc::new(second.crash(cut, if lost { 0 } else { cut }, |i, _, s| !lost || (i + s) % 3 == 0));
            let files = open(store.clone(), false);
            let mut bytes = vec![0; 300_000];
            assert_eq!(load(&store, &files).read(0, &mut bytes).unwrap(), 250_000, "cut {cut}");
            assert!(bytes == wanted, "cut {cut}");
        }
    }
}

#[test]
fn a_crash_at_any_moment_of_many_wraps_around_the_log_keeps_the_last_synced_commit() {
    let base = MemoryStore::default();
    base.create(ID);
    let store = Arc::new(RecordingStore::new(base));
    let files = open(store.clone(), true);
    let file = files.file(store.home(&ID).unwrap()).unwrap();
    // Records of about 100 KiB in segments of 512 KiB: every fifth begins a segment, every fifteenth makes room.
    let mut synced = vec![(0, 0u8)];
    for n in 1..=80u8 {
        file.write(0, &vec![n; 96 << 10]).unwrap();
        file.sync(true).unwrap();
        synced.push((store.moment(), n));
    }
    assert!(files.counters().iter().any(|(name, n)| *name == "checkpoints" && *n >= 3));
    for cut in (0..=store.moment()).step_by(7) {
        let left = Arc::new(store.crash(cut, 0, |i, _, _| i % 2 == 0));
        let files = open(left.clone(), true);
        let mut byte = [0];
        load(&left, &files).read(0, &mut byte).unwrap();
        let oldest = synced.iter().filter(|(at, _)| *at <= cut).map(|(_, n)| *n).max().unwrap();
        assert!(byte[0] == oldest || byte[0] == oldest + 1, "cut {cut}: {} and not {oldest}", byte[0]);
    }
}

#[test]
fn numbers_go_on_over_remounts_and_crashes() {
    let store = Arc::new(MemoryStore::default());
    store.create(ID);
    let number = |store: &MemoryStore| {
        // The commit number in the header's clear part.
        store.with_home(&ID, |h| {
            let mut bytes = [0; 8];
            h.read(48, &mut bytes);
            u64::from_le_bytes(bytes)
        })
    };
    let mut store = store;
    let mut last = 0;
    for round in 0..6 {
        let files = open(store.clone(), round == 0);
        let file = load(&store, &files);
        file.write(0, &[round; 10]).unwrap();
        if round % 2 == 0 {
            file.commit().unwrap();
            store = Arc::new(store.snapshot());
            drop(open(store.clone(), false));
        } else {
            files.close().unwrap();
        }
        let now = number(&store).unwrap();
        assert_eq!(now, last + 1);
        last = now;
    }
}

#[test]
fn more_in_one_write_than_a_segment_holds_is_committed_in_pieces() {
    let (store, _files, file) = fresh(ID);
    for fill in [1, 2, 3] {
        file.write(100, &vec![fill; 3 << 20]).unwrap();
        file.sync(false).unwrap();
    }
    let left = Arc::new(store.snapshot());
    let files = open(left.clone(), false);
    let mut bytes = vec![0; 3 << 20];
    load(&left, &files).read(100, &mut bytes).unwrap();
    assert!(bytes.iter().all(|b| *b == 3));
}

#[test]
fn a_long_overwrite_of_whole_blocks_is_committed_at_once_and_no_other_write_is() {
    let (_store, files, file) = fresh(ID);
    let long = (SEGMENT / 8) as usize;
    file.write(0, &vec![1; 2 * long]).unwrap();
    file.sync(false).unwrap();
    let commits = || files.counters().iter().find(|(name, _)| *name == "commits").unwrap().1;
    let before = commits();
    file.write(BLOCK, &vec![2; long]).unwrap();
    assert_eq!(commits(), before + 1, "committed at once");
    // Not aligned, too short, beyond the end: these wait.
    file.write(BLOCK + 1, &vec![3; long]).unwrap();
    file.write(0, &vec![4; long - BLOCK as usize]).unwrap();
    assert_eq!(commits(), before + 1, "these wait");
    file.sync(false).unwrap();
    file.write(2 * long as u64 - BLOCK, &vec![5; long]).unwrap();
    assert_eq!(commits(), before + 2, "growth waits");
    file.sync(false).unwrap();
    for value in [6, 7] {
        file.write(8 * long as u64, &vec![value; long]).unwrap();
        assert_eq!(commits(), before + 3, "new blocks that went home at once are in no commit yet");
    }
}
