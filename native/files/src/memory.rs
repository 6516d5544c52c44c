//! A store in memory, for tests of the layers above: homes, a log, and a power switch.

use crate::store::{FileId, Handle, Home, RootIdentity, Segment, Store};
use crate::sync::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

const PAGE: u64 = 4096;
/// The longest home, as on a file system of its own.
const MAX_LEN: u64 = 1 << 46;

fn fits(len: u64) -> io::Result<()> {
    (len <= MAX_LEN).then_some(()).ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))
}

/// Bytes of a sparse file: absent pages are zero. Copies share pages until they are written.
#[derive(Default, Clone)]
pub struct Sparse {
    pages: BTreeMap<u64, Arc<Vec<u8>>>,
    len: u64,
}

impl Sparse {
    pub fn len(&self) -> u64 {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Offsets of the pages that hold something.
    pub fn page_offsets(&self) -> Vec<u64> {
        self.pages.keys().map(|p| p * PAGE).collect()
    }
    fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset + done as u64;
            let within = (at % PAGE) as usize;
            let take = (PAGE as usize - within).min(len - done);
            let piece = (at / PAGE, within, done..done + take);
            done += take;
            Some(piece)
        })
    }
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let n = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        for (page, within, piece) in Self::pieces(offset, n) {
            let out = &mut buf[piece];
            match self.pages.get(&page) {
                Some(data) => out.copy_from_slice(&data[within..within + out.len()]),
                None => out.fill(0),
            }
        }
        n
    }
    pub fn write(&mut self, offset: u64, buf: &[u8]) {
        for (page, within, piece) in Self::pieces(offset, buf.len()) {
            let data = self.pages.entry(page).or_insert_with(|| Arc::new(vec![0; PAGE as usize]));
            Arc::make_mut(data)[within..within + piece.len()].copy_from_slice(&buf[piece]);
        }
        self.len = self.len.max(offset + buf.len() as u64);
    }
    pub fn set_len(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE));
        if let Some(last) = self.pages.get_mut(&(len / PAGE)) {
            Arc::make_mut(last)[(len % PAGE) as usize..].fill(0);
        }
        self.len = len;
    }
    pub fn punch(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len).min(self.len);
        if offset >= end {
            return;
        }
        let touched: Vec<u64> = self.pages.range(offset / PAGE..end.div_ceil(PAGE)).map(|(p, _)| *p).collect();
        for page in touched {
            let from = offset.max(page * PAGE) - page * PAGE;
            let to = end.min((page + 1) * PAGE).saturating_sub(page * PAGE);
            if from == 0 && to == PAGE {
                self.pages.remove(&page);
            } else if let Some(data) = self.pages.get_mut(&page).filter(|_| from < to) {
                Arc::make_mut(data)[from as usize..to as usize].fill(0);
            }
        }
    }
}

#[derive(Default)]
struct Inode {
    data: Sparse,
    growing: bool,
    mtime: Option<(i64, u32)>,
}

/// A home in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryHome {
    id: FileId,
    inode: Arc<Mutex<Inode>>,
}

impl Home for MemoryHome {
    fn id(&self) -> FileId {
        self.id
    }
    fn handle(&self) -> io::Result<Handle> {
        Ok(Handle { kind: 1, bytes: self.id.to_vec() })
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.inode.lock().data.len())
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.inode.lock().data.read(offset, buf))
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        fits(offset.saturating_add(buf.len() as u64))?;
        self.inode.lock().data.write(offset, buf);
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        fits(len)?;
        self.inode.lock().data.set_len(len);
        Ok(())
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inode.lock().data.punch(offset, len);
        Ok(())
    }
    fn reserve(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()> {
        self.inode.lock().mtime = Some((secs, nanos));
        Ok(())
    }
    fn mtime(&self) -> io::Result<(i64, u32)> {
        Ok(self.inode.lock().mtime.unwrap_or_default())
    }
    fn growing(&self) -> io::Result<bool> {
        Ok(self.inode.lock().growing)
    }
    fn set_growing(&self, growing: bool) -> io::Result<()> {
        self.inode.lock().growing = growing;
        Ok(())
    }
    fn sync(&self, _data_only: bool) -> io::Result<()> {
        Ok(())
    }
}

/// Copies share the bytes until they are written.
struct MemorySegment(Mutex<Arc<Vec<u8>>>);

impl Segment for MemorySegment {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let data = self.0.lock();
        let from = offset as usize;
        let bytes = data.get(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(bytes);
        Ok(())
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut data = self.0.lock();
        let from = offset as usize;
        let bytes = Arc::make_mut(&mut data).get_mut(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(buf);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A backing store in memory.
#[derive(Default)]
pub struct MemoryStore {
    homes: Mutex<HashMap<FileId, MemoryHome>>,
    segments: Mutex<Vec<Arc<MemorySegment>>>,
}

impl MemoryStore {
    /// A new, empty home, as creation leaves it: growing.
    pub fn create(&self, id: FileId) -> MemoryHome {
        let inode = Inode { growing: true, ..Inode::default() };
        let home = MemoryHome { id, inode: Arc::new(Mutex::new(inode)) };
        self.homes.lock().insert(id, home.clone());
        home
    }
    pub fn home(&self, id: &FileId) -> Option<MemoryHome> {
        self.homes.lock().get(id).cloned()
    }
    /// Bytes at home, to look at or to tamper with.
    pub fn with_home<R>(&self, id: &FileId, f: impl FnOnce(&mut Sparse) -> R) -> Option<R> {
        let home = self.homes.lock().get(id).cloned()?;
        let mut inode = home.inode.lock();
        Some(f(&mut inode.data))
    }
    /// As `with_home`, for a segment of the log.
    pub fn with_segment<R>(&self, slot: usize, f: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let segment = self.segments.lock().get(slot).cloned()?;
        let mut data = segment.0.lock();
        Some(f(Arc::make_mut(&mut data)))
    }
    /// A copy of everything as it is at this moment: what a process that dies now leaves behind.
    pub fn snapshot(&self) -> MemoryStore {
        let copy = MemoryStore::default();
        for (id, home) in self.homes.lock().iter() {
            let from = home.inode.lock();
            let inode = Inode { data: from.data.clone(), growing: from.growing, mtime: from.mtime };
            copy.homes.lock().insert(*id, MemoryHome { id: *id, inode: Arc::new(Mutex::new(inode)) });
        }
        for segment in self.segments.lock().iter() {
            copy.segments.lock().push(Arc::new(MemorySegment(Mutex::new(segment.0.lock().clone()))));
        }
        copy
    }
}

impl Store for MemoryStore {
    fn identity(&self) -> io::Result<RootIdentity> {
        Ok(RootIdentity { handle: Handle { kind: 1, bytes: b"root".to_vec() }, file_system: [7; 16] })
    }
    fn find(&self, _handle: &Handle, id: &FileId) -> io::Result<Option<Arc<dyn Home>>> {
        Ok(self.homes.lock().get(id).map(|h| Arc::new(h.clone()) as Arc<dyn Home>))
    }
    fn walk(&self, wanted: &HashSet<FileId>) -> io::Result<HashMap<FileId, Arc<dyn Home>>> {
        let homes = self.homes.lock();
        let found = wanted.iter().filter_map(|id| homes.get(id));
        Ok(found.map(|h| (h.id, Arc::new(h.clone()) as Arc<dyn Home>)).collect())
    }
    fn segments(&self, count: u32, size: u64) -> io::Result<Vec<Arc<dyn Segment>>> {
        let mut segments = self.segments.lock();
        while segments.len() < count as usize {
            segments.push(Arc::new(MemorySegment(Mutex::new(Arc::new(vec![0; size as usize])))));
        }
        Ok(segments.iter().map(|s| s.clone() as Arc<dyn Segment>).collect())
    }
    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
    fn max_home_len(&self) -> u64 {
        MAX_LEN
    }
}
