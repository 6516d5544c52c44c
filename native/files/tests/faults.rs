//! A store that fails: every call of every kind in turn. Never a panic; once the fault is gone, or after a remount, each file is
//! as some call left it, and not older than its last successful fsync.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, keys, open, open_with, BLOCK, SEGMENT};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::store::{FileId, Handle, Home, RootIdentity, Segment, Store};
use kmsfs_files::{Error, File, Files};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Read,
    Write,
    SetLen,
    Punch,
    Reserve,
    Growing,
    Sync,
    LogRead,
    LogWrite,
    LogSync,
    SyncAll,
}

const KINDS: [Kind; 11] = [
    Kind::Read,
    Kind::Write,
    Kind::SetLen,
    Kind::Punch,
    Kind::Reserve,
    Kind::Growing,
    Kind::Sync,
    Kind::LogRead,
    Kind::LogWrite,
    Kind::LogSync,
    Kind::SyncAll,
];

#[derive(Default)]
struct Plan {
    /// Fails calls of this kind from the n-th (from 0) on, this many of them, with this errno.
    fault: Option<(Kind, usize, usize, i32)>,
    seen: usize,
    hit: usize,
}

#[derive(Clone)]
struct Faults(Arc<Mutex<Plan>>);

impl Faults {
    fn call(&self, kind: Kind) -> io::Result<()> {
        let mut plan = self.0.lock();
        let Some((which, first, count, errno)) = plan.fault else { return Ok(()) };
        if which != kind {
            return Ok(());
        }
        let n = plan.seen;
        plan.seen += 1;
        if n >= first && n - first < count {
            plan.hit += 1;
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(())
    }
}

struct FaultyStore {
    live: MemoryStore,
    faults: Faults,
}
struct FaultyHome(Arc<dyn Home>, Faults);
struct FaultySegment(Arc<dyn Segment>, Faults);

impl Home for FaultyHome {
    fn id(&self) -> FileId {
        self.0.id()
    }
    fn handle(&self) -> io::Result<Handle> {
        self.0.handle()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.call(Kind::Read)?;
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if let Err(e) = self.1.call(Kind::Write) {
            // Half of it got there.
            self.0.write_at(&buf[..buf.len() / 2], offset)?;
            return Err(e);
        }
        self.0.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.1.call(Kind::SetLen)?;
        self.0.set_len(len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.1.call(Kind::Punch)?;
        self.0.punch(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.1.call(Kind::Reserve)?;
        self.0.reserve(offset, len)
    }
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()> {
        self.0.set_mtime(secs, nanos)
    }
    fn mtime(&self) -> io::Result<(i64, u32)> {
        self.0.mtime()
    }
    fn growing(&self) -> io::Result<bool> {
        self.0.growing()
    }
    fn set_growing(&self, growing: bool) -> io::Result<()> {
        self.1.call(Kind::Growing)?;
        self.0.set_growing(growing)
    }
    fn sync(&self, data_only: bool) -> io::Result<()> {
        self.1.call(Kind::Sync)?;
        self.0.sync(data_only)
    }
}

impl Segment for FaultySegment {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.1.call(Kind::LogRead)?;
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        if let Err(e) = self.1.call(Kind::LogWrite) {
            // All of it got there all the same.
            self.0.write_at(buf, offset)?;
            return Err(e);
        }
        self.0.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.1.call(Kind::LogSync)?;
        self.0.sync()
    }
}

impl FaultyStore {
    fn home(&self, id: &FileId) -> Option<Arc<dyn Home>> {
        Some(Arc::new(FaultyHome(Arc::new(self.live.home(id)?), self.faults.clone())))
    }
}

impl Store for FaultyStore {
    fn identity(&self) -> io::Result<RootIdentity> {
        self.live.identity()
    }
    fn find(&self, _handle: &Handle, id: &FileId) -> io::Result<Option<Arc<dyn Home>>> {
        Ok(self.home(id))
    }
    fn walk(&self, wanted: &HashSet<FileId>) -> io::Result<HashMap<FileId, Arc<dyn Home>>> {
        Ok(wanted.iter().filter_map(|id| Some((*id, self.home(id)?))).collect())
    }
    fn segments(&self, count: u32, size: u64) -> io::Result<Vec<Arc<dyn Segment>>> {
        let faulty = |s| Arc::new(FaultySegment(s, self.faults.clone())) as Arc<dyn Segment>;
        Ok(self.live.segments(count, size)?.into_iter().map(faulty).collect())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.faults.call(Kind::SyncAll)?;
        self.live.sync_all()
    }
    fn max_home_len(&self) -> u64 {
        self.live.max_home_len()
    }
}

const ID: FileId = [3; 16];
/// Blocks of the file under test: across the border of the direct ones.
const BLOCKS: usize = 130;
/// So many at once are committed at once where they replace others: half of a quarter of a segment.
const LONG: usize = (SEGMENT / 8 / BLOCK) as usize;

/// What each block may hold: the newest value, and every one since the last fsync. A block is filled with one byte.
struct Expected {
    blocks: Vec<Vec<u8>>,
}

impl Expected {
    fn put(&mut self, at: usize, n: usize, value: u8) {
        self.blocks[at..at + n].iter_mut().for_each(|b| b.push(value));
    }
    fn synced(&mut self) {
        self.blocks.iter_mut().for_each(|b| drop(b.drain(..b.len() - 1)));
    }
    fn check(&self, file: &File) {
        let mut block = vec![0; BLOCK as usize];
        for (i, allowed) in self.blocks.iter().enumerate() {
            let n = file.read(i as u64 * BLOCK, &mut block).unwrap();
            if n == 0 {
                assert!(allowed.contains(&0), "block {i} is gone");
                continue;
            }
            assert!(block[..n].iter().all(|b| *b == block[0]), "block {i} is mixed");
            assert!(allowed.contains(&block[0]), "block {i} holds {}, not one of {allowed:?}", block[0]);
        }
    }
}

/// Errors are expected; what succeeded must hold. Returns how many calls failed.
fn work(files: &Arc<Files>, file: &Arc<File>, e: &mut Expected) -> usize {
    let mut failed = 0;
    let mut value = 0;
    let mut write = |e: &mut Expected, at: usize, n: usize| {
        value += 1;
        e.put(at, n, value);
        usize::from(file.write(at as u64 * BLOCK, &vec![value; n * BLOCK as usize]).is_err())
    };
    let sync = |e: &mut Expected| match file.sync(false) {
        Ok(()) => {
            // A write that failed in between may have left its old value.
            let unsure = e.blocks.iter().any(|b| b.len() > 1);
            if unsure {
                settle(file, e);
            }
            e.synced();
            0
        }
        Err(_) => 1,
    };
    failed += write(e, 0, 3);
    failed += sync(e);
    failed += write(e, 100, 30);
    failed += write(e, 1, 1);
    failed += sync(e);
    failed += usize::from(files.checkpoint().is_err());
    failed += write(e, 20, 20);
    failed += write(e, 2, 2);
    failed += usize::from(file.commit().is_err());
    e.put(110, 20, 0);
    failed += usize::from(file.punch(110 * BLOCK, 20 * BLOCK).is_err());
    failed += sync(e);
    failed += write(e, 108, 18);
    e.put(60, 70, 0);
    failed += usize::from(file.truncate(60 * BLOCK).is_err());
    failed += usize::from(files.checkpoint().is_err());
    failed += write(e, 112, 16);
    failed += sync(e);
    // Long enough to be committed at once where they replace what is committed: with nothing else in the way, with a block
    // that waits elsewhere, and over one that waits (then not).
    failed += write(e, 0, LONG + 4);
    failed += sync(e);
    failed += write(e, 0, LONG);
    failed += write(e, 30, 1);
    failed += write(e, 2, LONG);
    failed += write(e, 1, 1);
    failed += write(e, 0, LONG);
    failed += sync(e);
    failed
}

/// After a successful fsync what the file reads as is what is durable: takes it as the one value of each block.
fn settle(file: &File, e: &mut Expected) {
    let mut block = vec![0; BLOCK as usize];
    for (i, allowed) in e.blocks.iter_mut().enumerate() {
        let Ok(n) = file.read(i as u64 * BLOCK, &mut block) else { continue };
        let now = if n == 0 { 0 } else { block[0] };
        assert!(allowed.contains(&now), "block {i} reads {now}, not one of {allowed:?}");
        allowed.push(now);
    }
}

fn case(kind: Kind, nth: usize, count: usize, errno: i32) -> usize {
    let live = MemoryStore::default();
    live.create(ID);
    let faults = Faults(Arc::default());
    let store = Arc::new(FaultyStore { live, faults: faults.clone() });
    let files = open(store.clone(), true);
    let file = files.file(store.home(&ID).unwrap()).unwrap();
    faults.0.lock().fault = Some((kind, nth, count, errno));
    let mut expected = Expected { blocks: vec![vec![0]; BLOCKS] };
    work(&files, &file, &mut expected);
    let hit = std::mem::take(&mut *faults.0.lock()).hit;
    let context = format!("{kind:?} call {nth}, {count} of them, errno {errno}");
    let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // The engine may die right here, with everything still in the log.
        let left = Arc::new(store.live.snapshot());
        expected.check(&open(left.clone(), true).file(Arc::new(left.home(&ID).unwrap())).unwrap());
        if hit > 0 && !files.read_only() {
            // The fault is over: everything works again.
            expected.put(5, 1, 99);
            file.write(5 * BLOCK, &vec![99; BLOCK as usize]).unwrap();
            file.sync(false).unwrap();
            settle(&file, &mut expected);
            expected.synced();
            files.checkpoint().unwrap();
            expected.check(&file);
        } else if hit > 0 {
            assert!(matches!(file.write(0, &[1]), Err(Error::ReadOnly)));
        }
        // The engine dies here; what it wrote stands.
        let left = Arc::new(store.live.snapshot());
        let files = open(left.clone(), true);
        expected.check(&files.file(Arc::new(left.home(&ID).unwrap())).unwrap());
        files.close().unwrap();
        let files = open(left.clone(), false);
        expected.check(&files.file(Arc::new(left.home(&ID).unwrap())).unwrap());
    }));
    assert!(checked.is_ok(), "{context}");
    hit
}

#[test]
fn a_failing_call_of_any_kind_loses_nothing_that_was_synced() {
    for kind in KINDS {
        for errno in [libc::EIO, libc::ENOSPC] {
            for count in [1, 2, usize::MAX] {
                for nth in 0.. {
                    if case(kind, nth, count, errno) == 0 {
                        break;
                    }
                }
            }
        }
    }
}

fn faulty() -> (Arc<FaultyStore>, Arc<Files>, Arc<File>) {
    let live = MemoryStore::default();
    live.create(ID);
    let store = Arc::new(FaultyStore { live, faults: Faults(Arc::default()) });
    let files = open(store.clone(), true);
    let file = files.file(store.home(&ID).unwrap()).unwrap();
    (store, files, file)
}

#[test]
fn a_full_store_is_reported_to_the_writer_and_the_file_goes_on_when_there_is_room() {
    let (store, files, file) = faulty();
    store.faults.0.lock().fault = Some((Kind::Reserve, 0, usize::MAX, libc::ENOSPC));
    assert_eq!(file.write(0, b"abc").unwrap_err().errno(), libc::ENOSPC);
    assert_eq!(file.size(), 0);
    store.faults.0.lock().fault = None;
    file.write(0, b"abc").unwrap();
    file.sync(false).unwrap();
    assert!(!files.read_only());
}

/// What an application does that writes with O_APPEND: what was not taken, or failed, is written once more.
#[test]
fn an_append_that_fails_on_its_way_leaves_no_byte_twice() {
    let mut failed = 0;
    for kind in [Kind::Reserve, Kind::Write, Kind::Growing, Kind::LogWrite] {
        for nth in 0..12 {
            let (store, _files, file) = faulty();
            // New blocks, then more than a direct block's worth of nodes; some straight home, some through the log.
            let data: Vec<u8> = (0..900_000u32).map(|n| (n / 7) as u8).collect();
            store.faults.0.lock().fault = Some((kind, nth, 1, libc::EDQUOT));
            let mut done = 0;
            while done < data.len() {
                let piece = &data[done..data.len().min(done + 150_001)];
                match file.append(piece) {
                    Ok((offset, appended)) => {
                        assert_eq!(offset, done as u64, "{kind:?} {nth}");
                        failed += usize::from(appended < piece.len());
                        done += appended;
                    }
                    Err(_) => failed += 1,
                }
                assert_eq!(file.size(), done as u64, "{kind:?} {nth}");
            }
            // The one failure may be left for it.
            file.sync(false).or_else(|_| file.sync(false)).unwrap();
            let mut read = vec![0; data.len()];
            assert_eq!(file.read(0, &mut read).unwrap(), data.len());
            assert!(read == data, "{kind:?} {nth}");
        }
    }
    assert!(failed > 0);
}

#[test]
fn after_a_failed_flush_fsync_keeps_failing_and_the_mount_is_read_only() {
    let (store, files, file) = faulty();
    file.write(0, b"abc").unwrap();
    store.faults.0.lock().fault = Some((Kind::LogSync, 0, 1, libc::EIO));
    assert_eq!(file.sync(false).unwrap_err().errno(), libc::EIO);
    assert_eq!(file.sync(false).unwrap_err().errno(), libc::EIO);
    assert!(files.read_only());
    assert_eq!(file.write(0, b"x").unwrap_err().errno(), libc::EROFS);
    let mut bytes = [0; 3];
    assert_eq!(file.read(0, &mut bytes).unwrap(), 3);
    assert_eq!(&bytes, b"abc");
}

#[test]
fn a_log_that_cannot_be_written_is_told_for_as_long_as_it_is_so() {
    let (store, files, file) = faulty();
    file.write(0, b"abc").unwrap();
    assert_eq!(files.trouble(), None);
    store.faults.0.lock().fault = Some((Kind::LogWrite, 0, usize::MAX, libc::EIO));
    for _ in 0..2 {
        assert_eq!(file.sync(false).unwrap_err().errno(), libc::EIO);
        assert!(files.trouble().unwrap().starts_with("the log cannot be written: "));
    }
    assert!(!files.read_only());
    store.faults.0.lock().fault = None;
    file.sync(false).unwrap();
    assert_eq!(files.trouble(), None);
}

#[test]
fn a_failed_checkpoint_makes_the_mount_read_only_and_a_remount_recovers() {
    let (store, files, file) = faulty();
    file.write(0, b"abc").unwrap();
    file.sync(false).unwrap();
    store.faults.0.lock().fault = Some((Kind::Write, 0, 1, libc::EIO));
    assert!(files.checkpoint().is_err());
    assert!(files.read_only());
    let left = Arc::new(store.live.snapshot());
    let files = open(left.clone(), false);
    let mut bytes = [0; 3];
    files.file(Arc::new(left.home(&ID).unwrap())).unwrap().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"abc");
}

#[test]
fn a_mount_over_a_store_that_fails_is_refused_and_the_next_one_recovers() {
    let (store, _files, file) = faulty();
    file.write(0, &vec![7; 200_000]).unwrap();
    file.sync(false).unwrap();
    for kind in KINDS {
        for nth in 0.. {
            let live = store.live.snapshot();
            let faults = Faults(Arc::default());
            let store = Arc::new(FaultyStore { live, faults: faults.clone() });
            faults.0.lock().fault = Some((kind, nth, 1, libc::EIO));
            let (opened, reports) = open_with(config(false), store.clone());
            let hit = faults.0.lock().hit;
            assert!(reports.lock().is_empty());
            assert!(hit == 0 || opened.is_err(), "{kind:?} {nth}");
            drop(opened);
            let left = Arc::new(store.live.snapshot());
            let (files, _) = Files::open(config(false), keys(5), left.clone(), Arc::new(|t| panic!("{t:?}"))).unwrap();
            let mut bytes = vec![0; 200_000];
            files.file(Arc::new(left.home(&ID).unwrap())).unwrap().read(0, &mut bytes).unwrap();
            assert!(bytes.iter().all(|b| *b == 7), "{kind:?} {nth}");
            if hit == 0 {
                break;
            }
        }
    }
}

/// The reader of the log finds the record that was said to have failed, and then its number again.
#[test]
fn a_record_that_got_there_though_its_write_failed_is_superseded_by_the_next() {
    for before in [0, 1, 3] {
        let (store, _files, file) = faulty();
        for n in 0..before {
            file.write(0, &[n]).unwrap();
            file.commit().unwrap();
        }
        file.write(0, b"failed").unwrap();
        store.faults.0.lock().fault = Some((Kind::LogWrite, 0, 1, libc::EIO));
        assert!(file.commit().is_err());
        file.write(0, b"good").unwrap();
        file.sync(false).unwrap();
        file.write(4, b"ness").unwrap();
        file.sync(false).unwrap();
        let left = Arc::new(store.live.snapshot());
        let mut bytes = [0; 8];
        let files = open(left.clone(), false);
        files.file(Arc::new(left.home(&ID).unwrap())).unwrap().read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"goodness", "after {before} commits");
    }
}

/// A segment header that failed to flush may be there all the same: what is appended next must not be older than it.
#[test]
fn after_a_segment_that_failed_to_begin_no_commit_goes_to_the_one_before() {
    let mut failed = 0;
    for fill in 35..62 {
        let (store, files, file) = faulty();
        store.live.create([7; 16]);
        let other = files.file(store.home(&[7; 16]).unwrap()).unwrap();
        for n in 0..fill {
            other.write(0, &[n; BLOCK as usize]).unwrap();
            other.commit().unwrap();
        }
        store.faults.0.lock().fault = Some((Kind::LogSync, 0, 1, libc::EIO));
        file.write(0, &[1; 60_000]).unwrap();
        failed += usize::from(file.commit().is_err());
        store.faults.0.lock().fault = None;
        other.write(0, &[200; BLOCK as usize]).unwrap();
        other.sync(false).unwrap();
        let left = Arc::new(store.live.snapshot());
        let mut byte = [0];
        let files = open(left.clone(), false);
        files.file(Arc::new(left.home(&[7; 16]).unwrap())).unwrap().read(0, &mut byte).unwrap();
        assert_eq!(byte, [200], "after {fill} commits");
    }
    assert!(failed > 0);
}

/// A remount read-only, `-o remount,ro`, over a store whose n-th call of a kind fails. Returns how many calls failed.
fn paused_over(kind: Kind, nth: usize, count: usize) -> usize {
    let (store, files, file) = faulty();
    let context = format!("{kind:?} call {nth}, {count} of them");
    let mut expected = Expected { blocks: vec![vec![0]; BLOCKS] };
    let write = |expected: &mut Expected, at: usize, n: usize, value: u8| {
        expected.put(at, n, value);
        file.write(at as u64 * BLOCK, &vec![value; n * BLOCK as usize])
    };
    write(&mut expected, 0, BLOCKS, 1).unwrap();
    file.sync(false).unwrap();
    expected.synced();
    write(&mut expected, 3, 100, 2).unwrap();
    file.commit().unwrap();
    write(&mut expected, 50, 1, 3).unwrap();
    store.faults.0.lock().fault = Some((kind, nth, count, libc::EIO));
    let paused = files.pause();
    let hit = std::mem::take(&mut *store.faults.0.lock()).hit;
    let frozen = || {
        let left = Arc::new(store.live.snapshot());
        let no_tampering = Arc::new(|t| panic!("tampered: {t:?}"));
        let (files, recovery) = Files::open(config(true), keys(5), left.clone(), no_tampering).unwrap();
        (files.file(Arc::new(left.home(&ID).unwrap())).unwrap(), recovery.commits)
    };
    match paused {
        Ok(()) => {
            expected.synced();
            let (copy, commits) = frozen();
            assert_eq!(commits, 0, "{context}: the log is empty");
            expected.check(&copy);
            assert!(files.read_only(), "{context}");
            assert!(matches!(file.write(0, &[9]), Err(Error::ReadOnly)), "{context}");
            files.pause().unwrap();
        }
        Err(_) => {
            assert!(hit > 0, "{context}: nothing else may refuse it");
            // Here the engine may die too.
            expected.check(&frozen().0);
        }
    }
    settle(&file, &mut expected);
    files.resume();
    if files.read_only() {
        assert!(hit > 0, "{context}: read-write again");
        assert!(matches!(file.write(0, &[9]), Err(Error::ReadOnly)), "{context}");
        assert!(files.pause().is_err(), "{context}: what cannot be written home is not said to be there");
    } else {
        write(&mut expected, 7, 2, 4).unwrap();
        file.sync(false).unwrap();
        expected.synced();
        files.pause().unwrap();
        assert_eq!(frozen().1, 0, "{context}: the log is empty, the second time");
        files.resume();
        files.close().unwrap();
    }
    expected.check(&frozen().0);
    hit
}

#[test]
fn a_pause_over_a_store_that_fails_is_refused_or_whole_and_loses_nothing() {
    let mut hits = 0;
    for kind in KINDS {
        for count in [1, 2, usize::MAX] {
            for nth in 0.. {
                let hit = paused_over(kind, nth, count);
                hits += hit;
                if hit == 0 {
                    break;
                }
            }
        }
    }
    assert!(hits > 20, "{hits}");
}
