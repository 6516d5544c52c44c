//! What all files of a volume share: configuration, keys, log, cache, and the list of those that wait to be written.

use crate::cache::Cache;
use crate::file::File;
use crate::histogram::Histogram;
use crate::log::Log;
use crate::store::{FileId, Home, Store};
use crate::sync::{AtomicBool, Condvar, Mutex};
use crate::{Config, OnTamper, Tamper};
use kmsfs_format::keys::DomainKeys;
use kmsfs_format::layout::Layout;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Tamper reports remembered, so that each is made once.
const REPORTS: usize = 4096;

/// Counters for `status`, all since the mount.
#[derive(Default)]
pub struct Stats {
    pub commits: AtomicU64,
    pub checkpoints: AtomicU64,
    pub straight_bytes: AtomicU64,
    pub logged_bytes: AtomicU64,
    /// Of whole checkpoints, and of the ones that wrote nothing as well.
    pub checkpoint_seconds: Histogram,
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
    pub reported: Mutex<HashSet<Tamper>>,
    /// Everything is home and nothing is written until it is resumed.
    pub paused: AtomicBool,
}

impl Shared {
    pub fn block(&self) -> usize {
        self.layout.block() as usize
    }
    /// Bytes in clear at which a file is committed: a record of this and one more change stays below a segment.
    pub fn dirty_max(&self) -> usize {
        (self.config.segment_size as usize / 4).min(1 << 20)
    }
    /// Reports tampering, once, and makes the error for it.
    pub fn tampered(&self, tamper: Tamper) -> crate::Error {
        let what = tamper.what.clone();
        let fresh = {
            let mut reported = self.reported.lock();
            if reported.len() >= REPORTS {
                reported.clear();
            }
            reported.insert(tamper.clone())
        };
        if fresh {
            (self.on_tamper)(tamper);
        }
        crate::Error::Tampered(what)
    }
    /// The same for something in the header or the length of a file.
    pub fn tampered_home(&self, home: &dyn Home, what: String) -> crate::Error {
        self.tampered(Tamper { file: home.id(), place: home.place(), block: None, what })
    }
    pub fn read_only(&self) -> bool {
        self.config.read_only || self.paused.load(Ordering::Acquire) || self.log.failed()
    }
}
