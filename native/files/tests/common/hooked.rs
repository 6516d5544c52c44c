//! A store that asks before each operation: what is asked may do something else meanwhile, or fail it.
#![allow(dead_code)]

use kmsfs_files::recording::RecordingStore;
use kmsfs_files::store::{FileId, Handle, Home, RootIdentity, Segment, Store};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    Write,
    SetLen,
    Punch,
    Mtime,
    Growing,
    Sync,
    LogRead,
    LogWrite,
    LogSync,
    SyncAll,
}

pub type Before = Arc<dyn Fn(Call) -> io::Result<()> + Send + Sync>;

pub struct HookedStore {
    pub inner: Arc<RecordingStore>,
    pub before: Before,
}
struct HookedHome(Arc<dyn Home>, Before);
struct HookedSegment(Arc<dyn Segment>, Before);

impl HookedStore {
    pub fn home(&self, id: &FileId) -> Option<Arc<dyn Home>> {
        Some(Arc::new(HookedHome(self.inner.home(id)?, self.before.clone())))
    }
}

impl Home for HookedHome {
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
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (self.1)(Call::Write)?;
        self.0.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        (self.1)(Call::SetLen)?;
        self.0.set_len(len)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        (self.1)(Call::Punch)?;
        self.0.punch(offset, len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.reserve(offset, len)
    }
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()> {
        (self.1)(Call::Mtime)?;
        self.0.set_mtime(secs, nanos)
    }
    fn mtime(&self) -> io::Result<(i64, u32)> {
        self.0.mtime()
    }
    fn growing(&self) -> io::Result<bool> {
        self.0.growing()
    }
    fn set_growing(&self, growing: bool) -> io::Result<()> {
        (self.1)(Call::Growing)?;
        self.0.set_growing(growing)
    }
    fn sync(&self, data_only: bool) -> io::Result<()> {
        (self.1)(Call::Sync)?;
        self.0.sync(data_only)
    }
}

impl Segment for HookedSegment {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (self.1)(Call::LogRead)?;
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        (self.1)(Call::LogWrite)?;
        self.0.write_at(buf, offset)
    }
    fn sync(&self) -> io::Result<()> {
        (self.1)(Call::LogSync)?;
        self.0.sync()
    }
}

impl Store for HookedStore {
    fn identity(&self) -> io::Result<RootIdentity> {
        self.inner.identity()
    }
    fn find(&self, _handle: &Handle, id: &FileId) -> io::Result<Option<Arc<dyn Home>>> {
        Ok(self.home(id))
    }
    fn walk(&self, wanted: &HashSet<FileId>) -> io::Result<HashMap<FileId, Arc<dyn Home>>> {
        Ok(wanted.iter().filter_map(|id| Some((*id, self.home(id)?))).collect())
    }
    fn segments(&self, count: u32, size: u64) -> io::Result<Vec<Arc<dyn Segment>>> {
        let hooked = |s| Arc::new(HookedSegment(s, self.before.clone())) as Arc<dyn Segment>;
        Ok(self.inner.segments(count, size)?.into_iter().map(hooked).collect())
    }
    fn sync_all(&self) -> io::Result<()> {
        (self.before)(Call::SyncAll)?;
        self.inner.sync_all()
    }
    fn max_home_len(&self) -> u64 {
        self.inner.max_home_len()
    }
}
