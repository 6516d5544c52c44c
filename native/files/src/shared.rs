//! What all files of a volume share: configuration, keys, log, cache, and the list of those that wait to be written.

use crate::cache::Cache;
use crate::file::File;
use crate::log::Log;
use crate::store::{FileId, Store};
use crate::{Config, OnTamper, Tamper};
use kmsfs_format::keys::DomainKeys;
use kmsfs_format::layout::Layout;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Counters for `status`, all since the mount.
#[derive(Default)]
pub struct Stats {
    pub commits: AtomicU64,
    pub checkpoints: AtomicU64,
    pub straight_bytes: AtomicU64,
    pub logged_bytes: AtomicU64,
    pub tampered: AtomicU64,
    /// Plaintext bytes that are in no commit yet.
    pub dirty_bytes: AtomicUsize,
}

pub struct Shared {
    pub config: Config,
    pub layout: Layout,
    pub keys: Arc<DomainKeys>,
    pub store: Arc<dyn Store>,
    pub log: Log,
    pub cache: Cache,
    pub stats: Stats,
    pub max_size: u64,
    /// Every state in memory, by id.
    pub known: Mutex<HashMap<FileId, Weak<File>>>,
    /// States that must stay: dirty, or with images that are not home yet.
    pub pending: Mutex<HashMap<FileId, Arc<File>>>,
    /// One checkpoint at a time.
    pub checkpointing: Mutex<()>,
    /// Wakes the committer: `true` asks it to end.
    pub stop: Mutex<bool>,
    pub wake: Condvar,
    pub on_tamper: OnTamper,
}

impl Shared {
    pub fn block(&self) -> usize {
        self.layout.block() as usize
    }
    /// Bytes in clear at which a file is committed: a record of this and one more change stays below a segment.
    pub fn dirty_max(&self) -> usize {
        (self.config.segment_size as usize / 4).min(1 << 20)
    }
    /// Reports tampering and makes the error for it.
    pub fn tampered(&self, file: FileId, what: String) -> crate::Error {
        self.stats.tampered.fetch_add(1, Ordering::Relaxed);
        (self.on_tamper)(Tamper { file, what: what.clone() });
        crate::Error::Tampered(what)
    }
    pub fn read_only(&self) -> bool {
        self.config.read_only || self.log.failed()
    }
}
