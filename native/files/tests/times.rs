//! Modification times: of a write, and of one that only brings what the kernel's cache kept.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, fresh, open_with, BLOCK};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::store::{FileId, Home};
use kmsfs_files::{Config, File, Files, Time};
use std::sync::Arc;

const ID: FileId = [4; 16];
const SET: Time = Time { secs: 1_000_000_000, nanos: 7 };

fn load(store: &Arc<MemoryStore>, files: &Arc<Files>) -> Arc<File> {
    files.file(Arc::new(store.home(&ID).unwrap())).unwrap()
}

fn set() -> Option<Time> {
    Some(SET)
}

#[test]
fn nothing_but_set_mtime_changes_the_time_of_a_file_whose_times_the_kernel_keeps() {
    let store = Arc::new(MemoryStore::default());
    store.create(ID);
    let config = Config { kernel_keeps_times: true, ..config(true) };
    let files = open_with(config, store.clone()).0.unwrap().0;
    let file = load(&store, &files);
    // Long enough to go home at once, which changes the home's own time.
    file.write(0, &[1; 64 * BLOCK as usize]).unwrap();
    file.set_mtime(SET).unwrap();
    file.commit().unwrap();
    // Pages that are written back after the kernel said when they were changed.
    file.write(5, b"later").unwrap();
    assert_eq!(file.mtime(), set());
    file.truncate(3 * BLOCK).unwrap();
    file.punch(0, BLOCK).unwrap();
    file.allocate(0, 9 * BLOCK, false).unwrap();
    assert_eq!(file.mtime(), set());
    file.commit().unwrap();
    files.checkpoint().unwrap();
    let home = store.home(&ID).unwrap();
    assert_eq!(home.mtime().unwrap(), (SET.secs, SET.nanos));
    // It is at home now, and stays when the next pages come.
    file.write(2 * BLOCK, b"more").unwrap();
    assert_eq!(file.mtime(), set());
    files.close().unwrap();
    assert_eq!(home.mtime().unwrap(), (SET.secs, SET.nanos));
}

#[test]
fn a_write_makes_the_time_now_when_the_kernel_does_not_keep_it() {
    let (_store, _files, file) = fresh(ID);
    file.write(0, b"first").unwrap();
    file.set_mtime(SET).unwrap();
    file.write(0, b"second").unwrap();
    assert!(file.mtime().unwrap().secs > SET.secs);
}

#[test]
fn reserving_room_and_punching_nothing_make_the_time_now() {
    let (_store, _files, file) = fresh(ID);
    file.write(0, &[1; 100]).unwrap();
    let changes: [&dyn Fn() -> kmsfs_files::Result<()>; 4] =
        [&|| file.allocate(0, 50, false), &|| file.allocate(0, 5000, true), &|| file.punch(200, 50), &|| {
            file.truncate(100)
        }];
    for change in changes {
        file.set_mtime(SET).unwrap();
        change().unwrap();
        assert!(file.mtime().unwrap().secs > SET.secs);
    }
}
