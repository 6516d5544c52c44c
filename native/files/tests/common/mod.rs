//! What the tests of this crate share: one volume's keys, opening it, random numbers.
#![allow(dead_code)]

use kmsfs_files::memory::{MemoryStore, Sparse};
use kmsfs_files::store::{FileId, Store};
use kmsfs_files::{Config, File, Files, Recovery, Result, Tamper};
use kmsfs_format::keys::{DomainKeys, Secret};
use parking_lot::Mutex;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;

pub const UUID: [u8; 16] = [9; 16];
pub const BLOCK: u64 = 4096;

pub struct Random(u64);
impl Random {
    pub fn new(seed: u64) -> Random {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        r.next();
        r
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    /// From 0 to n - 1. The high bits: the low ones of a xorshift are weaker.
    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 11) % n.max(1)
    }
    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        out.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()[..c.len()]));
        out
    }
}

/// Bytes of a segment of the log.
pub const SEGMENT: u64 = 512 << 10;

pub fn config(new_volume: bool) -> Config {
    Config {
        uuid: UUID,
        block_shift: 12,
        segment_size: SEGMENT,
        segment_count: 4,
        cache_bytes: 1 << 20,
        read_only: false,
        new_volume,
        volume_generation: 1,
        kernel_keeps_times: false,
        commit_interval_ms: 0,
    }
}

pub fn keys(seed: u8) -> Arc<DomainKeys> {
    Arc::new(DomainKeys::derive(&UUID, &Secret::take(&mut [seed; 32])).unwrap())
}

/// Reports of tampering so far.
pub type Reports = Arc<Mutex<Vec<Tamper>>>;

pub fn open_with(config: Config, store: Arc<dyn Store>) -> (Result<(Arc<Files>, Recovery)>, Reports) {
    let reports = Reports::default();
    let told = reports.clone();
    let opened = Files::open(config, keys(5), store, Arc::new(move |t| told.lock().push(t)));
    (opened, reports)
}

/// Opens a volume that must be in order.
pub fn open(store: Arc<dyn Store>, new_volume: bool) -> Arc<Files> {
    let no_tampering = Arc::new(|t| panic!("tampered: {t:?}"));
    Files::open(config(new_volume), keys(5), store, no_tampering).unwrap().0
}

/// A new volume in memory, with one file.
pub fn fresh(id: FileId) -> (Arc<MemoryStore>, Arc<Files>, Arc<File>) {
    let store = Arc::new(MemoryStore::default());
    let home = store.create(id);
    let files = open(store.clone(), true);
    let file = files.file(Arc::new(home)).unwrap();
    (store, files, file)
}

pub fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|s| s.parse().ok()).unwrap_or(default)
}

/// Tells contents apart.
fn content(len: u64, read: impl Fn(u64, &mut [u8]) -> usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(len);
    let mut buf = vec![0; 64 << 10];
    let mut at = 0;
    while at < len {
        let n = read(at, &mut buf);
        assert!(n > 0, "read ends at {at} of {len}");
        hasher.write(&buf[..n]);
        at += n as u64;
    }
    hasher.finish()
}

pub fn model_hash(model: &Sparse) -> u64 {
    content(model.len(), |at, buf| model.read(at, buf))
}

pub fn file_hash(file: &File) -> u64 {
    content(file.size(), |at, buf| file.read(at, buf).unwrap())
}
