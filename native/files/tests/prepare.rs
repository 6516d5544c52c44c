//! Writing ahead what a segment of the log only has set aside.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, open_with, BLOCK};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::store::{FileId, Handle, Home, RootIdentity, Segment, Store};
use kmsfs_files::{Config, Files, Recovery};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

const ID: FileId = [4; 16];

/// A store whose segments know which of their pages were never written.
struct Unwritten {
    inner: MemoryStore,
    segments: Mutex<Vec<Arc<Extents>>>,
}

struct Extents {
    inner: Arc<dyn Segment>,
    /// Page by page.
    written: Mutex<Vec<bool>>,
    ahead: AtomicU64,
}

impl Unwritten {
    fn of(inner: MemoryStore) -> Unwritten {
        Unwritten { inner, segments: Mutex::default() }
    }
}

impl Extents {
    fn whole(&self) -> bool {
        self.written.lock().iter().all(|w| *w)
    }
}

impl Segment for Extents {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let pages = offset / BLOCK..(offset + buf.len() as u64).div_ceil(BLOCK);
        self.written.lock()[pages.start as usize..pages.end as usize].fill(true);
        self.inner.write_at(buf, offset)
    }
    /// Between looking and writing others have time to write here: who calls must have kept them out.
    fn write_ahead(&self, from: u64, most: u64) -> io::Result<Option<u64>> {
        let written = self.written.lock().clone();
        let unwritten = |page: &u64| !written[*page as usize];
        let Some(page) = (from / BLOCK..written.len() as u64).find(unwritten) else { return Ok(None) };
        let pages = (page..written.len() as u64).take_while(unwritten).count() as u64;
        std::thread::sleep(Duration::from_millis(1));
        let len = (pages * BLOCK).min(most);
        self.write_at(&vec![0; len as usize], page * BLOCK)?;
        self.ahead.fetch_add(len, Ordering::Relaxed);
        Ok(Some(page * BLOCK + len))
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

impl Store for Unwritten {
    fn identity(&self) -> io::Result<RootIdentity> {
        self.inner.identity()
    }
    fn find(&self, handle: &Handle, id: &FileId) -> io::Result<Option<Arc<dyn Home>>> {
        self.inner.find(handle, id)
    }
    fn walk(&self, wanted: &HashSet<FileId>) -> io::Result<HashMap<FileId, Arc<dyn Home>>> {
        self.inner.walk(wanted)
    }
    fn segments(&self, count: u32, size: u64) -> io::Result<Vec<Arc<dyn Segment>>> {
        let mut segments = self.segments.lock();
        if segments.is_empty() {
            let extents = |inner| {
                let written = Mutex::new(vec![false; (size / BLOCK) as usize]);
                Arc::new(Extents { inner, written, ahead: AtomicU64::new(0) })
            };
            segments.extend(self.inner.segments(count, size)?.into_iter().map(extents));
        }
        Ok(segments.iter().map(|s| s.clone() as Arc<dyn Segment>).collect())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
    fn max_home_len(&self) -> u64 {
        self.inner.max_home_len()
    }
}

fn open(store: &Arc<Unwritten>, new_volume: bool) -> (Arc<Files>, Recovery) {
    let config = Config { commit_interval_ms: 3_600_000, segment_size: 1 << 20, ..config(new_volume) };
    let (opened, reports) = open_with(config, store.clone());
    assert!(reports.lock().is_empty());
    opened.unwrap()
}

#[test]
fn the_log_is_written_ahead_beside_commits_and_never_over_them() {
    for _ in 0..8 {
        let store = Arc::new(Unwritten::of(MemoryStore::default()));
        store.inner.create(ID);
        let (files, _) = open(&store, true);
        let file = files.file(Arc::new(store.inner.home(&ID).unwrap())).unwrap();
        let mut n = 0_u64;
        while !store.segments.lock().iter().any(|s| s.ahead.load(Ordering::Relaxed) > 0) {
            std::thread::yield_now();
        }
        while !store.segments.lock().iter().all(|s| s.whole()) {
            n += 1;
            file.write(n % 16 * BLOCK, &content(n)).unwrap();
            file.sync(true).unwrap();
        }
        // As it is now, the last commits are in the log alone.
        let copy = Arc::new(Unwritten::of(store.inner.snapshot()));
        let (files, recovery) = open(&copy, false);
        assert_eq!(recovery.commits > 0, n > 0);
        let file = files.file(Arc::new(copy.inner.home(&ID).unwrap())).unwrap();
        for last in n.saturating_sub(15).max(1)..=n {
            let mut block = vec![0; BLOCK as usize];
            file.read(last % 16 * BLOCK, &mut block).unwrap();
            assert_eq!(block, content(last), "write {last}");
        }
    }
}

fn content(n: u64) -> Vec<u8> {
    n.to_le_bytes().repeat(BLOCK as usize / 8)
}
