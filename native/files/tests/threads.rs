//! Many threads on one file and on many, while the committer flushes and writes home: every byte ends up right.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{config, keys, Random, BLOCK};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::{Config, File, Files};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::time::Duration;

const THREADS: u64 = 6;
/// Blocks of each thread's part of the shared file.
const PART: u64 = 60;

fn mount(store: &Arc<MemoryStore>, new_volume: bool) -> Arc<Files> {
    let config = Config { commit_interval_ms: 3, ..config(new_volume) };
    Files::open(config, keys(5), store.clone(), Arc::new(|t| panic!("tampered: {t:?}"))).unwrap().0
}

/// Ends the whole test process when `f` hangs: a deadlock shows as a message, not as a job that never ends.
fn watched(f: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        f();
        let _ = done.send(());
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(Duration::from_secs(180)) {
        eprintln!("deadlock: still running after 180 s");
        std::process::abort();
    }
    worker.join().unwrap();
}

fn id(n: u64) -> [u8; 16] {
    [n as u8 + 1; 16]
}

fn load(store: &Arc<MemoryStore>, files: &Arc<Files>, n: u64) -> Arc<File> {
    files.file(Arc::new(store.home(&id(n)).unwrap())).unwrap()
}

/// Blocks are filled with one byte each, so that a reader can tell a torn one.
fn whole(file: &File, block: u64) -> u8 {
    let mut buf = vec![0; BLOCK as usize];
    let n = file.read(block * BLOCK, &mut buf).unwrap();
    assert!(buf[..n].iter().all(|b| *b == buf[0]), "block {block} is torn");
    buf[0]
}

#[test]
fn writers_of_distinct_parts_and_readers_agree_while_the_log_wraps_around() {
    watched(|| {
        let store = Arc::new(MemoryStore::default());
        (0..=THREADS).for_each(|n| drop(store.create(id(n))));
        let files = mount(&store, true);
        let over = Arc::new(AtomicBool::new(false));
        let background = {
            let (files, over) = (files.clone(), over.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Acquire) {
                    files.checkpoint().unwrap();
                    files.sync_all().unwrap();
                }
            })
        };
        let work = |n: u64| {
            let (files, store) = (files.clone(), store.clone());
            move || {
                let shared = load(&store, &files, 0);
                let mut mine = vec![0u8; PART as usize];
                let mut random = Random::new(n);
                for round in 0..150 {
                    // A file of its own, let go of and loaded again and again.
                    let own = load(&store, &files, n);
                    let (at, len) = (random.below(PART), 1 + random.below(20));
                    let len = len.min(PART - at);
                    let value = 1 + random.below(255) as u8;
                    let data = vec![value; (len * BLOCK) as usize];
                    if random.below(5) == 0 {
                        shared.punch(((n - 1) * PART + at) * BLOCK, len * BLOCK).unwrap();
                        own.punch(at * BLOCK, len * BLOCK).unwrap();
                        mine[at as usize..(at + len) as usize].fill(0);
                    } else {
                        shared.write(((n - 1) * PART + at) * BLOCK, &data).unwrap();
                        own.write(at * BLOCK, &data).unwrap();
                        mine[at as usize..(at + len) as usize].fill(value);
                    }
                    match round % 10 {
                        3 => shared.sync(false).unwrap(),
                        6 => own.commit().unwrap(),
                        8 => own.sync(true).unwrap(),
                        _ => {}
                    }
                    let check = random.below(PART);
                    assert_eq!(whole(&shared, (n - 1) * PART + check), mine[check as usize]);
                    assert_eq!(whole(&own, check), mine[check as usize]);
                    whole(&shared, random.below(THREADS * PART));
                }
                mine
            }
        };
        let threads: Vec<_> = (1..=THREADS).map(|n| std::thread::spawn(work(n))).collect();
        let parts: Vec<Vec<u8>> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        over.store(true, Ordering::Release);
        background.join().unwrap();
        let check = |files: &Arc<Files>, store: &Arc<MemoryStore>| {
            let shared = load(store, files, 0);
            for (n, part) in parts.iter().enumerate() {
                let own = load(store, files, n as u64 + 1);
                for (block, value) in part.iter().enumerate() {
                    assert_eq!(whole(&shared, n as u64 * PART + block as u64), *value);
                    assert_eq!(whole(&own, block as u64), *value);
                }
            }
        };
        check(&files, &store);
        files.close().unwrap();
        let dirty = files.counters().into_iter().find(|(name, _)| *name == "dirty_bytes").unwrap();
        assert_eq!(dirty.1, 0, "the sum of dirty bytes drifted");
        drop(files);
        check(&mount(&store, false), &store);
    });
}

#[test]
fn writers_faster_than_commits_never_make_a_record_too_long_for_a_segment() {
    watched(|| {
        let store = Arc::new(MemoryStore::default());
        store.create(id(0));
        let files = mount(&store, true);
        let file = load(&store, &files, 0);
        file.write(0, &vec![1; 4 << 20]).unwrap();
        file.sync(false).unwrap();
        // All at once, each an overwrite that goes through the log.
        let threads: Vec<_> = (0..8u64)
            .map(|n| {
                let file = file.clone();
                std::thread::spawn(move || {
                    for round in 0..20 {
                        file.write(n * (512 << 10) + round * 100, &vec![n as u8; 120 << 10]).unwrap();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        file.sync(false).unwrap();
        assert!(!files.read_only());
    });
}

#[test]
fn files_forgotten_while_the_committer_works_leave_nothing_behind() {
    watched(|| {
        let store = Arc::new(MemoryStore::default());
        let files = mount(&store, true);
        let threads: Vec<_> = (0..4u64)
            .map(|t| {
                let (files, store) = (files.clone(), store.clone());
                std::thread::spawn(move || {
                    for n in 0..50u64 {
                        let mut id = [t as u8; 16];
                        id[8..].copy_from_slice(&n.to_le_bytes());
                        let file = files.file(Arc::new(store.create(id))).unwrap();
                        file.write(0, &vec![1; 20_000]).unwrap();
                        if n % 3 == 0 {
                            file.commit().unwrap();
                        }
                        file.forget();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        files.sync_all().unwrap();
        files.checkpoint().unwrap();
        for (name, value) in files.counters() {
            assert!(value == 0 || !matches!(name, "dirty_bytes" | "pending_files"), "{name} {value}");
        }
    });
}
