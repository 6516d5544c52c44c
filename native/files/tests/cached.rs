//! What a commit leaves in the sector cache.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{open, BLOCK};
use kmsfs_files::memory::MemoryStore;
use std::sync::Arc;

#[test]
fn a_commit_caches_what_was_written_unless_the_kernel_has_it_in_its_own_cache() {
    let store = Arc::new(MemoryStore::default());
    let home = Arc::new(store.create([4; 16]));
    let files = open(store, true);
    let file = files.file(home).unwrap();
    let used = || files.counters().iter().find(|(name, _)| *name == "cache_used_bytes").unwrap().1;
    let page = vec![1; BLOCK as usize];
    file.write_back(0, &page).unwrap();
    file.commit().unwrap();
    assert_eq!(used(), 0);
    file.write(0, &page).unwrap();
    file.commit().unwrap();
    assert!(used() >= BLOCK);
    let mut read = page.clone();
    file.read(0, &mut read).unwrap();
    assert_eq!(read, page);
}
