//! What the micro-benchmarks share: a volume in memory.
#![allow(clippy::expect_used)] // a benchmark that cannot begin has nothing else to say

use kmsfs_files::memory::MemoryStore;
use kmsfs_files::store::FileId;
use kmsfs_files::{Config, File, Files};
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_random::Random;
use std::sync::Arc;

pub const UUID: [u8; 16] = [9; 16];

pub fn keys() -> Arc<DomainKeys> {
    Arc::new(DomainKeys::derive(&UUID, &Secret::take(&mut [5; 32])).expect("keys"))
}

/// A volume with blocks of 4 KiB, a log of 64 MiB and no thread of its own.
pub fn open(store: Arc<MemoryStore>, cache_bytes: usize, new_volume: bool) -> Arc<Files> {
    let config = Config {
        uuid: UUID,
        block_shift: 12,
        segment_size: 8 << 20,
        segment_count: 8,
        cache_bytes,
        read_only: false,
        new_volume,
        volume_generation: 1,
        kernel_keeps_times: true,
        commit_interval_ms: 0,
    };
    Files::open(config, keys(), store, Arc::new(|_| ())).expect("a volume in memory").0
}

pub fn file(files: &Files, store: &MemoryStore, id: FileId) -> Arc<File> {
    let home = store.home(&id).unwrap_or_else(|| store.create(id));
    files.file(Arc::new(home)).expect("a file")
}

/// A volume with one file of so many MiB, all of it at home.
pub fn filled(mebibytes: u64) -> (Arc<MemoryStore>, FileId) {
    let (store, id) = (Arc::new(MemoryStore::default()), [1; 16]);
    let files = open(store.clone(), 1 << 20, true);
    let file = file(&files, &store, id);
    let data = Random::new(1).bytes(1 << 20);
    for n in 0..mebibytes {
        file.write(n << 20, &data).expect("write");
    }
    files.close().expect("close");
    (store, id)
}
