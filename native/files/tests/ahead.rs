//! Reading ahead: the store is told what sequential readers will ask for, and what they get is what was written last.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, env, open_with, Random, BLOCK};
use kmsfs_files::memory::{MemoryHome, MemoryStore};
use kmsfs_files::store::{FileId, Handle, Home};
use kmsfs_files::Error;
use kmsfs_format::layout::Layout;
use parking_lot::Mutex;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const ID: FileId = [3; 16];
const MIB: usize = 1 << 20;
const FARTHEST: u64 = 4 << 20;

/// A home on a slow device: it never is ready, and notes what it is told.
struct ColdHome {
    home: MemoryHome,
    told: Arc<Mutex<Vec<Range<u64>>>>,
}

impl Home for ColdHome {
    fn ready(&self, _offset: u64) -> bool {
        false
    }
    fn will_read(&self, offset: u64, len: u64) {
        self.told.lock().push(offset..offset + len);
    }
    fn id(&self) -> FileId {
        self.home.id()
    }
    fn handle(&self) -> io::Result<Handle> {
        self.home.handle()
    }
    fn len(&self) -> io::Result<u64> {
        self.home.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.home.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.home.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.home.set_len(len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.home.punch(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.home.reserve(offset, len)
    }
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()> {
        self.home.set_mtime(secs, nanos)
    }
    fn mtime(&self) -> io::Result<(i64, u32)> {
        self.home.mtime()
    }
    fn growing(&self) -> io::Result<bool> {
        self.home.growing()
    }
    fn set_growing(&self, growing: bool) -> io::Result<()> {
        self.home.set_growing(growing)
    }
    fn sync(&self, data_only: bool) -> io::Result<()> {
        self.home.sync(data_only)
    }
}

/// What was asked of a home, in order.
type Asked = Arc<Mutex<Vec<Range<u64>>>>;

fn cold(store: &MemoryStore) -> (Arc<ColdHome>, Asked) {
    let told = Arc::default();
    (Arc::new(ColdHome { home: store.create(ID), told: Arc::clone(&told) }), told)
}

#[test]
fn what_was_fetched_ahead_is_what_was_written_last() {
    let (seed, rounds) = (env("AHEAD_SEED", 1), env("AHEAD_ROUNDS", 400));
    println!("AHEAD_SEED={seed}");
    let mut random = Random::new(seed);
    let store = Arc::new(MemoryStore::default());
    let (home, told) = cold(&store);
    let (opened, reports) = open_with(config(true), store);
    let files = opened.unwrap().0;
    let file = files.file(home).unwrap();
    let mut model = random.bytes(3 * MIB);
    file.write(0, &model).unwrap();
    file.sync(false).unwrap();
    let layout = Layout::new(12).unwrap();
    let mut reader = 0;
    let mut buf = vec![0; 256 << 10];
    for _ in 0..rounds {
        // Just ahead of the reader, where the store was told to fetch.
        let near = (reader + random.below(MIB as u64) as usize).min(model.len());
        match random.below(8) {
            0 | 1 => {
                let n = 1 + random.below(100 << 10) as usize;
                let data = random.bytes(n);
                file.write(near as u64, &data).unwrap();
                model.resize(model.len().max(near + n), 0);
                model[near..near + n].copy_from_slice(&data);
            }
            2 if model.len() > 2 * MIB => {
                file.truncate(near as u64).unwrap();
                model.truncate(near);
            }
            3 => files.checkpoint().unwrap(),
            4 => file.commit().unwrap(),
            _ => {}
        }
        if reader >= model.len() {
            reader = 0;
        }
        let before = told.lock().len();
        let n = file.read(reader as u64, &mut buf).unwrap();
        assert!(buf[..n] == model[reader..model.len().min(reader + buf.len())], "stale at {reader}");
        for range in &told.lock()[before..] {
            assert!(range.start < range.end);
            assert!(range.end <= layout.physical(model.len() as u64), "told of more than there is");
            assert!(range.end - range.start <= FARTHEST + 2 * buf.len() as u64, "told of too much: {range:?}");
        }
        reader += n;
    }
    assert!(!told.lock().is_empty());
    assert_eq!(reports.lock().len(), 0);
}

#[test]
fn damage_ahead_is_met_by_the_reader_who_reaches_it_and_reported_once() {
    let store = Arc::new(MemoryStore::default());
    let (home, told) = cold(&store);
    let (opened, reports) = open_with(config(true), store.clone());
    let files = opened.unwrap().0;
    let file = files.file(home).unwrap();
    let data = Random::new(1).bytes(4 * MIB);
    file.write(0, &data).unwrap();
    files.checkpoint().unwrap();
    let damaged = 2 * MIB as u64 + 5 * BLOCK;
    let at = Layout::new(12).unwrap().home(damaged / BLOCK);
    store.with_home(&ID, |home| home.write(at, &[0; 16])).unwrap();
    let mut buf = vec![0; 256 << 10];
    for offset in (0..2 * MIB).step_by(buf.len()) {
        assert_eq!(file.read(offset as u64, &mut buf).unwrap(), buf.len());
        assert!(buf == data[offset..offset + buf.len()]);
    }
    assert!(told.lock().iter().any(|range| range.contains(&at)), "nothing was read ahead");
    assert_eq!(reports.lock().len(), 0, "reported before anyone read it");
    for _ in 0..2 {
        assert!(matches!(file.read(2 * MIB as u64, &mut buf), Err(Error::Tampered(_))));
    }
    assert_eq!(reports.lock().len(), 1);
    // Others, behind it, are whole.
    assert_eq!(file.read(3 * MIB as u64, &mut buf).unwrap(), buf.len());
    assert!(buf == data[3 * MIB..3 * MIB + buf.len()]);
}

#[test]
fn small_reads_tell_the_store_nothing_and_are_right_whatever_is_cached() {
    let store = Arc::new(MemoryStore::default());
    let (home, told) = cold(&store);
    let (opened, _) = open_with(config(true), store);
    let files = opened.unwrap().0;
    let file = files.file(home).unwrap();
    let data = Random::new(2).bytes(MIB);
    file.write(0, &data).unwrap();
    files.checkpoint().unwrap();
    let mut random = Random::new(3);
    for _ in 0..300 {
        let at = random.below(data.len() as u64) as usize;
        let mut buf = vec![0; 1 + random.below(32 << 10) as usize];
        let n = file.read(at as u64, &mut buf).unwrap();
        assert!(buf[..n] == data[at..data.len().min(at + buf.len())]);
    }
    assert!(told.lock().is_empty());
}

#[test]
fn what_a_cold_node_leads_to_is_fetched_while_the_node_is_read_and_once() {
    let store = Arc::new(MemoryStore::default());
    let layout = Layout::new(12).unwrap();
    let index = layout.subtree(2).0 + 5;
    let open = |home: MemoryHome, new_volume| {
        let told = Asked::default();
        let home = Arc::new(ColdHome { home, told: told.clone() });
        let files = open_with(config(new_volume), store.clone()).0.unwrap().0;
        (files.file(home).unwrap(), files, told)
    };
    let (file, files, _) = open(store.create(ID), true);
    // The last block of the file, shorter than others.
    file.write(index * BLOCK, &[7; 1000]).unwrap();
    drop(file);
    files.close().unwrap();
    let (file, files, told) = open(store.home(&ID).unwrap(), false);
    let below = layout.path(index).steps()[1].home;
    for _ in 0..2 {
        let mut read = [0; 1000];
        assert_eq!(file.read(index * BLOCK, &mut read).unwrap(), 1000);
        assert_eq!(read, [7; 1000]);
        let block = layout.home(index)..layout.home(index) + 1000;
        assert_eq!(*told.lock(), [below..below + BLOCK, block]);
    }
    drop(file);
    files.close().unwrap();
    // A writer of whole blocks needs the nodes alone.
    let (file, _files, told) = open(store.home(&ID).unwrap(), false);
    file.write(index * BLOCK, &[8; BLOCK as usize]).unwrap();
    let told = told.lock();
    assert!(told.len() == 1 && told[0] == (below..below + BLOCK));
}
