//! Who must not wait for whom.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;
#[path = "common/hooked.rs"]
mod hooked;

use common::{open, SEGMENT};
use hooked::{Call, HookedStore};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::recording::RecordingStore;
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;

#[test]
fn a_long_write_of_new_data_does_not_wait_for_a_checkpoint_of_its_file() {
    const ID: [u8; 16] = [4; 16];
    let base = MemoryStore::default();
    base.create(ID);
    let (began, beginning) = mpsc::channel();
    let (wrote, written) = mpsc::channel();
    // The first write home, a checkpoint's, ends only when the writer has written.
    let hold = Mutex::new(Some((began, written)));
    let before = move |call| {
        let held = if call == Call::Write { hold.lock().unwrap().take() } else { None };
        if let Some((began, written)) = held {
            began.send(()).unwrap();
            written.recv_timeout(Duration::from_secs(60)).map_err(|_| std::io::ErrorKind::TimedOut)?;
        }
        Ok(())
    };
    let store = Arc::new(HookedStore { inner: Arc::new(RecordingStore::new(base)), before: Arc::new(before) });
    let files = open(store.clone(), true);
    let file = files.file(store.home(&ID).unwrap()).unwrap();
    file.write(0, b"committed").unwrap();
    file.commit().unwrap();
    let checkpoint = std::thread::spawn(move || files.checkpoint());
    beginning.recv().unwrap();
    file.write(SEGMENT, &vec![1; (SEGMENT / 8) as usize]).unwrap();
    wrote.send(()).unwrap();
    checkpoint.join().unwrap().unwrap();
}
