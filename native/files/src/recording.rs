//! A store that keeps every write, truncation, punch, flag and flush in order, and makes of them what a loss of power could
//! have left. For tests, here and in the layers above.
//!
//! The rules are ext4's (data=ordered, delayed allocation). Of data not flushed, every sector may be there or not.
//! Metadata (flags, lengths, punches) is there up to some moment, and whole up to the last flush that had some to write.
//! A write that makes a file longer does so when its data arrive, never before older metadata, maybe after newer.

use crate::memory::MemoryStore;
use crate::store::{FileId, Handle, Home, RootIdentity, Segment, Store};
use crate::sync::Mutex;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// Data is lost or kept in pieces of this many bytes.
pub const SECTOR: usize = 512;

/// One call that changed something, or asked for it to be durable.
#[derive(Clone)]
pub enum Op {
    /// `grows`: its end was past the length.
    Write {
        id: FileId,
        offset: u64,
        data: Arc<[u8]>,
        grows: bool,
    },
    SetLen {
        id: FileId,
        len: u64,
    },
    Punch {
        id: FileId,
        offset: u64,
        len: u64,
    },
    Mtime {
        id: FileId,
        secs: i64,
        nanos: u32,
    },
    Growing {
        id: FileId,
        growing: bool,
    },
    Sync {
        id: FileId,
        data_only: bool,
    },
    Segment {
        slot: usize,
        offset: u64,
        data: Arc<[u8]>,
    },
    SyncSegment {
        slot: usize,
    },
    SyncAll,
}

impl Op {
    /// Changes what the file system itself keeps of a home; a growing write changes the length.
    fn is_metadata(&self) -> bool {
        matches!(
            self,
            Op::Write { grows: true, .. }
                | Op::SetLen { .. }
                | Op::Punch { .. }
                | Op::Mtime { .. }
                | Op::Growing { .. }
        )
    }
}

/// What was not flushed at some moment.
pub struct Unflushed {
    /// Writes: the number of the operation, and how many sectors it has.
    pub writes: Vec<(usize, usize)>,
    /// Moments up to which metadata may be there, oldest first: the last is the moment itself.
    pub metadata: Vec<usize>,
}

/// Records what is done to a store in memory.
pub struct RecordingStore {
    base: MemoryStore,
    live: Arc<MemoryStore>,
    ops: Arc<Mutex<Vec<Op>>>,
}

impl RecordingStore {
    /// Everything in `base` is durable.
    pub fn new(base: MemoryStore) -> Self {
        RecordingStore { live: Arc::new(base.snapshot()), base, ops: Arc::default() }
    }
    /// How many operations there were so far.
    pub fn moment(&self) -> usize {
        self.ops.lock().len()
    }
    pub fn ops(&self) -> Vec<Op> {
        self.ops.lock().clone()
    }
    pub fn home(&self, id: &FileId) -> Option<Arc<dyn Home>> {
        let inner = self.live.home(id)?;
        Some(Arc::new(RecordedHome { inner: Arc::new(inner), ops: self.ops.clone() }))
    }

    /// What a loss of power after `cut` operations may take.
    pub fn unflushed(&self, cut: usize) -> Unflushed {
        let ops = self.ops.lock();
        let flushed = Flushed::by(&ops[..cut]);
        let mut writes = Vec::new();
        let mut metadata = Vec::new();
        for (i, op) in ops[..cut].iter().enumerate() {
            let (data, through) = match op {
                Op::Write { id, data, .. } => (data, flushed.homes.get(id)),
                Op::Segment { slot, data, .. } => (data, flushed.segments.get(slot)),
                _ => {
                    if i >= flushed.metadata && op.is_metadata() {
                        metadata.push(i);
                    }
                    continue;
                }
            };
            if through.is_none_or(|f| i >= *f) {
                writes.push((i, data.len().div_ceil(SECTOR)));
                if i >= flushed.metadata && op.is_metadata() {
                    metadata.push(i);
                }
            }
        }
        metadata.push(cut);
        Unflushed { writes, metadata }
    }

    /// What a loss of power after `cut` operations leaves. Of metadata that was not flushed, what came after the first
    /// `metadata` operations is lost. `keep` is asked for every sector of every write that was not flushed.
    pub fn crash(&self, cut: usize, metadata: usize, mut keep: impl FnMut(usize, &Op, usize) -> bool) -> MemoryStore {
        let ops = self.ops.lock();
        let ops = &ops[..cut];
        let flushed = Flushed::by(ops);
        let metadata = metadata.min(cut).max(flushed.metadata);
        let store = self.base.snapshot();
        for (i, op) in ops.iter().enumerate() {
            match op {
                Op::Write { id, offset, data, .. } => {
                    let durable = flushed.homes.get(id).is_some_and(|f| i < *f);
                    store.with_home(id, |home| {
                        let len = home.len();
                        pieces(
                            data,
                            |sector| durable || keep(i, op, sector),
                            |at, piece| {
                                let start = offset + at as u64;
                                let room = if durable || i < metadata { u64::MAX } else { len.saturating_sub(start) };
                                let piece = &piece[..piece.len().min(room.min(usize::MAX as u64) as usize)];
                                if !piece.is_empty() {
                                    home.write(start, piece);
                                }
                            },
                        );
                    });
                }
                Op::Segment { slot, offset, data } => {
                    let durable = flushed.segments.get(slot).is_some_and(|f| i < *f);
                    store.with_segment(*slot, |segment| {
                        pieces(
                            data,
                            |sector| durable || keep(i, op, sector),
                            |at, piece| {
                                let at = *offset as usize + at;
                                segment[at..at + piece.len()].copy_from_slice(piece);
                            },
                        );
                    });
                }
                _ if i >= metadata => {}
                Op::SetLen { id, len } => drop(store.with_home(id, |home| home.set_len(*len))),
                Op::Punch { id, offset, len } => drop(store.with_home(id, |home| home.punch(*offset, *len))),
                Op::Growing { id, growing } => {
                    let _ = store.home(id).map(|home| home.set_growing(*growing));
                }
                Op::Mtime { id, secs, nanos } => {
                    let _ = store.home(id).map(|home| home.set_mtime(*secs, *nanos));
                }
                Op::Sync { .. } | Op::SyncSegment { .. } | Op::SyncAll => {}
            }
        }
        store
    }
}

/// Calls `write` with each run of sectors that `keep` keeps: where in `data` it begins, and its bytes.
fn pieces(data: &[u8], mut keep: impl FnMut(usize) -> bool, mut write: impl FnMut(usize, &[u8])) {
    let (mut start, mut at) = (0, 0);
    while at < data.len() {
        let end = (at + SECTOR).min(data.len());
        if !keep(at / SECTOR) {
            if start < at {
                write(start, &data[start..at]);
            }
            start = end;
        }
        at = end;
    }
    if start < at {
        write(start, &data[start..at]);
    }
}

/// How many of the operations are known to have arrived.
#[derive(Default)]
struct Flushed {
    metadata: usize,
    homes: HashMap<FileId, usize>,
    segments: HashMap<usize, usize>,
}

impl Flushed {
    fn by(ops: &[Op]) -> Flushed {
        let mut f = Flushed::default();
        // Homes with metadata not flushed: of any kind, and of the kind that fdatasync(2) cares for.
        let (mut any, mut needed): (HashSet<FileId>, HashSet<FileId>) = Default::default();
        for (i, op) in ops.iter().enumerate() {
            match op {
                Op::Write { id, grows: true, .. } | Op::SetLen { id, .. } | Op::Punch { id, .. } => {
                    any.insert(*id);
                    needed.insert(*id);
                }
                Op::Mtime { id, .. } | Op::Growing { id, .. } => {
                    any.insert(*id);
                }
                Op::Sync { id, data_only } => {
                    f.homes.insert(*id, i);
                    let unflushed = if *data_only { &needed } else { &any };
                    if unflushed.contains(id) {
                        f.metadata = i;
                        any.clear();
                        needed.clear();
                    }
                }
                Op::SyncSegment { slot } => {
                    f.segments.insert(*slot, i);
                }
                Op::SyncAll => {
                    f.metadata = i;
                    any.clear();
                    needed.clear();
                    for op in &ops[..i] {
                        match op {
                            Op::Write { id, .. } => drop(f.homes.insert(*id, i)),
                            Op::Segment { slot, .. } => drop(f.segments.insert(*slot, i)),
                            _ => {}
                        }
                    }
                }
                Op::Write { .. } | Op::Segment { .. } => {}
            }
        }
        f
    }
}

struct RecordedHome {
    inner: Arc<dyn Home>,
    ops: Arc<Mutex<Vec<Op>>>,
}

impl RecordedHome {
    /// Done and recorded as one step, so that the record has the order in which things happened.
    fn record<T>(
        &self,
        make: impl FnOnce(&dyn Home) -> io::Result<Op>,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut ops = self.ops.lock();
        let op = make(&*self.inner)?;
        let done = act()?;
        ops.push(op);
        Ok(done)
    }
}

impl Home for RecordedHome {
    fn id(&self) -> FileId {
        self.inner.id()
    }
    fn handle(&self) -> io::Result<Handle> {
        self.inner.handle()
    }
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let id = self.id();
        let op = |home: &dyn Home| {
            let grows = offset + buf.len() as u64 > home.len()?;
            Ok(Op::Write { id, offset, data: buf.into(), grows })
        };
        self.record(op, || self.inner.write_at(buf, offset))
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.record(|h| Ok(Op::SetLen { id: h.id(), len }), || self.inner.set_len(len))
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.record(|h| Ok(Op::Punch { id: h.id(), offset, len }), || self.inner.punch(offset, len))
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.reserve(offset, len)
    }
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()> {
        self.record(|h| Ok(Op::Mtime { id: h.id(), secs, nanos }), || self.inner.set_mtime(secs, nanos))
    }
    fn mtime(&self) -> io::Result<(i64, u32)> {
        self.inner.mtime()
    }
    fn growing(&self) -> io::Result<bool> {
        self.inner.growing()
    }
    fn set_growing(&self, growing: bool) -> io::Result<()> {
        self.record(|h| Ok(Op::Growing { id: h.id(), growing }), || self.inner.set_growing(growing))
    }
    fn sync(&self, data_only: bool) -> io::Result<()> {
        self.record(|h| Ok(Op::Sync { id: h.id(), data_only }), || self.inner.sync(data_only))
    }
}

struct RecordedSegment {
    slot: usize,
    inner: Arc<dyn Segment>,
    ops: Arc<Mutex<Vec<Op>>>,
}

impl Segment for RecordedSegment {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut ops = self.ops.lock();
        self.inner.write_at(buf, offset)?;
        ops.push(Op::Segment { slot: self.slot, offset, data: buf.into() });
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.inner.sync()?;
        self.ops.lock().push(Op::SyncSegment { slot: self.slot });
        Ok(())
    }
}

impl Store for RecordingStore {
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
        // Made once and preallocated: there from the beginning.
        self.base.segments(count, size)?;
        let ops = &self.ops;
        let recorded = |(slot, inner)| Arc::new(RecordedSegment { slot, inner, ops: ops.clone() }) as Arc<dyn Segment>;
        Ok(self.live.segments(count, size)?.into_iter().enumerate().map(recorded).collect())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.live.sync_all()?;
        self.ops.lock().push(Op::SyncAll);
        Ok(())
    }
    fn max_home_len(&self) -> u64 {
        self.live.max_home_len()
    }
}
