//! The contents of a volume's regular files: trees of sealed blocks, cached, committed through a log, recovered.
//! Knows the backing store through [`store`] alone.

pub mod error;
pub mod store;

pub use error::{Error, Result};

use kmsfs_format::keys::DomainKeys;
use std::sync::Arc;
use store::{FileId, Home, Store};

/// What the file layer needs to know of a volume and its mount.
#[derive(Clone, Debug)]
pub struct Config {
    pub uuid: [u8; 16],
    /// log2 of the block size: 12, 14 or 16.
    pub block_shift: u8,
    pub segment_size: u64,
    pub segment_count: u32,
    /// Bytes of locked memory for plaintext blocks and nodes.
    pub cache_bytes: usize,
    pub read_only: bool,
    /// volume.json's generation, repeated in segment headers.
    pub volume_generation: u64,
    /// Milliseconds between commits of what is dirty; 0: no background thread (tests).
    pub commit_interval_ms: u64,
}

/// Told to the daemon: something on the volume was changed by someone without the key.
#[derive(Clone, Debug)]
pub struct Tamper {
    pub file: FileId,
    pub what: String,
}
pub type OnTamper = Arc<dyn Fn(Tamper) + Send + Sync>;

/// What recovery did at mount.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    pub commits: u64,
    pub files: u64,
    pub gone: u64,
    pub dropped_tail: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Time {
    pub secs: i64,
    pub nanos: u32,
}

/// All regular files of one mounted volume.
pub struct Files {}

impl Files {
    /// Opens the log, recovers what a crash left, starts the committer. The store is exclusively ours from here on.
    pub fn open(_c: Config, _keys: Arc<DomainKeys>, _store: Arc<dyn Store>, _t: OnTamper) -> Result<(Arc<Files>, Recovery)> {
        todo!()
    }
    /// The state of the file at `home`, which is loaded (header read and verified) when there is none in memory yet.
    /// States are shared: two calls give the same `File` as long as someone holds it or it is dirty.
    pub fn file(&self, _home: Arc<dyn Home>) -> Result<Arc<File>> {
        todo!()
    }
    /// The state in memory, if there is any: what it says of size and times stands in for the home's (§5, §9).
    pub fn existing(&self, _id: &FileId) -> Option<Arc<File>> {
        todo!()
    }
    /// Commits and makes durable all files (syncfs).
    pub fn sync_all(&self) -> Result<()> {
        todo!()
    }
    /// Unmount: commits, flushes, writes everything home, leaves an empty log. Stops the threads.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
    /// Plaintext size from a home's physical length; `None` is a length no size maps to (§5).
    pub fn size_of_len(&self, _physical: u64) -> Option<u64> {
        todo!()
    }
    /// The largest plaintext size a file may have here.
    pub fn max_size(&self) -> u64 {
        todo!()
    }
}

/// One regular file's content. All methods may be called from any thread.
pub struct File {}

impl File {
    pub fn size(&self) -> u64 {
        todo!()
    }
    /// The modification time, where it is newer here than on the home (it is put there when the home is written).
    pub fn mtime(&self) -> Option<Time> {
        todo!()
    }
    /// Answered in memory; rides in the next commit.
    pub fn set_mtime(&self, _t: Time) -> Result<()> {
        todo!()
    }
    /// Fills `buf` from `offset`; less only at the end of the file.
    pub fn read(&self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        todo!()
    }
    /// Writes all of `data`; the file grows as needed. Sets the modification time to now.
    pub fn write(&self, _offset: u64, _data: &[u8]) -> Result<()> {
        todo!()
    }
    /// Writes at the current end (O_APPEND without the writeback cache), atomically with finding it. Returns the offset.
    pub fn append(&self, _data: &[u8]) -> Result<u64> {
        todo!()
    }
    pub fn truncate(&self, _size: u64) -> Result<()> {
        todo!()
    }
    /// Makes the range (clipped to the size) read as zeros and frees its whole blocks.
    pub fn punch(&self, _offset: u64, _len: u64) -> Result<()> {
        todo!()
    }
    /// Reserves room for the range; grows the size to its end unless `keep_size`.
    pub fn allocate(&self, _offset: u64, _len: u64, _keep_size: bool) -> Result<()> {
        todo!()
    }
    /// First offset >= `offset` that is data (a hole): SEEK_DATA, SEEK_HOLE. ENXIO past the end.
    pub fn seek(&self, _offset: u64, _data: bool) -> Result<u64> {
        todo!()
    }
    /// close(2): what is dirty is appended to the log, without a flush: survives the engine's death.
    pub fn commit(&self) -> Result<()> {
        todo!()
    }
    /// fsync(2), fdatasync(2): returns when everything written before is durable.
    pub fn sync(&self, _data_only: bool) -> Result<()> {
        todo!()
    }
    /// Whether commits of this file are in the log that are not known durable, or something is dirty: a rename over
    /// another file syncs first when so.
    pub fn needs_sync(&self) -> bool {
        todo!()
    }
    /// The last link and the last descriptor are gone: nothing of it needs to be written any more.
    pub fn forget(&self) {
        todo!()
    }
}
