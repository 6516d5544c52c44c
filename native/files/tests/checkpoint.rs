//! What a checkpoint makes durable: what it wrote home, and no more than the log's reuse needs.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{open, BLOCK};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::recording::{Op, RecordingStore};
use kmsfs_files::store::FileId;
use kmsfs_files::{File, Files};
use std::sync::Arc;

struct Rig {
    store: Arc<RecordingStore>,
    files: Arc<Files>,
    open: Vec<Arc<File>>,
}

/// As many files, each with a commit in the log.
fn committed(count: u8) -> Rig {
    let base = MemoryStore::default();
    let ids: Vec<FileId> = (1..=count).map(|n| [n; 16]).collect();
    ids.iter().for_each(|id| drop(base.create(*id)));
    let store = Arc::new(RecordingStore::new(base));
    let files = open(store.clone(), true);
    let open = ids.iter().map(|id| {
        let file = files.file(store.home(id).unwrap()).unwrap();
        file.write(0, &[id[0]; BLOCK as usize]).unwrap();
        file.commit().unwrap();
        file
    });
    Rig { open: open.collect(), store, files }
}

/// The flushes of the store, of all of it and of single homes, after the last write to any home.
fn flushes(store: &RecordingStore) -> (usize, Vec<(FileId, bool)>) {
    let ops = store.ops();
    let last = ops.iter().rposition(|op| matches!(op, Op::Write { .. })).unwrap();
    let of_all = ops[last..].iter().filter(|op| matches!(op, Op::SyncAll)).count();
    let of_homes = ops[last..].iter().filter_map(|op| match op {
        Op::Sync { id, data_only } => Some((*id, *data_only)),
        _ => None,
    });
    (of_all, of_homes.collect())
}

#[test]
fn of_few_files_flushes_each_whole_and_nothing_else() {
    let rig = committed(3);
    rig.files.checkpoint().unwrap();
    let (all, mut homes) = flushes(&rig.store);
    homes.sort_unstable();
    assert_eq!((all, homes), (0, vec![([1; 16], false), ([2; 16], false), ([3; 16], false)]));
}

#[test]
fn of_many_files_flushes_the_store_once() {
    let rig = committed(40);
    rig.files.checkpoint().unwrap();
    assert_eq!(flushes(&rig.store), (1, vec![]));
}

#[test]
fn after_a_file_lost_its_last_name_makes_that_durable_too() {
    let rig = committed(3);
    rig.open[1].forget();
    rig.files.checkpoint().unwrap();
    assert_eq!(flushes(&rig.store), (1, vec![]));
    // Once is enough.
    rig.open[0].write(0, &[9; BLOCK as usize]).unwrap();
    rig.open[0].commit().unwrap();
    rig.files.checkpoint().unwrap();
    assert_eq!(flushes(&rig.store), (0, vec![([1; 16], false)]));
}

#[test]
fn at_a_pause_and_at_the_end_makes_everything_durable() {
    let rig = committed(1);
    rig.files.pause().unwrap();
    assert_eq!(flushes(&rig.store), (1, vec![]));
    rig.files.resume();
    rig.open[0].write(0, &[9; BLOCK as usize]).unwrap();
    rig.files.close().unwrap();
    assert_eq!(flushes(&rig.store), (1, vec![]));
}
