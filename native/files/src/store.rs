//! The backing store as the file layer sees it: homes of files, and the segments of the log. A directory on a real
//! file system implements it (namespace crate), and so do the in-memory, recording and faulty ones of the tests.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// A file's id as its record and header bear it (docs/format.md §4).
pub type FileId = [u8; 16];

/// A file handle, as name_to_handle_at(2) gives it; at most 128 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Handle {
    pub kind: i32,
    pub bytes: Vec<u8>,
}

/// Which directory on which file system holds the volume: tells a copy or a restore from the original (§9, segment).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RootIdentity {
    pub handle: Handle,
    /// f_fsid (8 bytes) || st_dev u64.
    pub file_system: [u8; 16],
}

/// The home of one regular file. Offsets and lengths are physical, in bytes.
#[allow(clippy::len_without_is_empty)] // a physical length, not a collection's
pub trait Home: Send + Sync {
    fn id(&self) -> FileId;
    fn handle(&self) -> io::Result<Handle>;
    /// Where it lies in the store, for people; no name in clear.
    fn place(&self) -> Option<String> {
        None
    }
    fn len(&self) -> io::Result<u64>;
    /// Fills `buf`; returns less than its length only at the end of the home.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Whether what is at `offset` can be read without waiting for a device. A store in memory never waits.
    fn ready(&self, _offset: u64) -> bool {
        true
    }
    /// The range will be read soon: the store may fetch it, and does not wait for it.
    fn will_read(&self, _offset: u64, _len: u64) {}
    /// Writes all of `buf` or fails.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Frees the range without changing the length. A store that cannot may do nothing.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes sure a later write of the range does not fail for want of space; does not change the length.
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()>;
    /// Seconds and nanoseconds.
    fn mtime(&self) -> io::Result<(i64, u32)>;
    /// The record's `growing` flag (docs/format.md §4).
    fn growing(&self) -> io::Result<bool>;
    fn set_growing(&self, growing: bool) -> io::Result<()>;
    /// fsync(2), or fdatasync(2) when `data_only`.
    fn sync(&self, data_only: bool) -> io::Result<()>;
}

/// One segment of the log, of the fixed length it was created with.
pub trait Segment: Send + Sync {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Of what lies at `from` or behind it and was set aside but never written, writes zeros over the first, at most
    /// `most` bytes. Returns where it stopped; `None` where there is nothing of the kind, or no way to know.
    fn write_ahead(&self, _from: u64, _most: u64) -> io::Result<Option<u64>> {
        Ok(None)
    }
    /// fdatasync(2).
    fn sync(&self) -> io::Result<()>;
}

pub trait Store: Send + Sync {
    fn identity(&self) -> io::Result<RootIdentity>;
    /// The home behind `handle`, if it still is a regular, linked file whose record authenticates and has this id.
    fn find(&self, handle: &Handle, id: &FileId) -> io::Result<Option<Arc<dyn Home>>>;
    /// One walk over all records: the homes of those of `wanted` that are there.
    fn walk(&self, wanted: &HashSet<FileId>) -> io::Result<HashMap<FileId, Arc<dyn Home>>>;
    /// The log's segments, by slot; each is made (and preallocated, zeroed) when it is not there.
    fn segments(&self, count: u32, size: u64) -> io::Result<Vec<Arc<dyn Segment>>>;
    /// Makes everything written so far durable: syncfs(2).
    fn sync_all(&self) -> io::Result<()>;
    /// The longest home the store can hold, in bytes.
    fn max_home_len(&self) -> u64;
}
