//! Random operations on one sealed file against a plain sparse array of bytes, around every border of the tree.

#![allow(clippy::unwrap_used, clippy::panic)]

use kmsfs_files::memory::{MemoryHome, MemoryStore, Sparse};
use kmsfs_files::store::Home;
use kmsfs_files::{Config, File, Files};
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_format::layout::Layout;
use std::sync::Arc;

struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        out.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()[..c.len()]));
        out
    }
}

const UUID: [u8; 16] = [9; 16];
const ID: [u8; 16] = [3; 16];

fn open(store: Arc<MemoryStore>, shift: u8, new_volume: bool) -> Arc<Files> {
    let config = Config {
        uuid: UUID,
        block_shift: shift,
        segment_size: if shift == 16 { 4 << 20 } else { 2 << 20 },
        segment_count: 3,
        cache_bytes: 1 << 20,
        read_only: false,
        new_volume,
        volume_generation: 1,
        kernel_keeps_times: false,
        commit_interval_ms: 0,
    };
    let keys = DomainKeys::derive(&UUID, &Secret::take(&mut [5; 32])).unwrap();
    let (files, _) = Files::open(config, Arc::new(keys), store, Arc::new(|t| panic!("tampered: {t:?}"))).unwrap();
    files
}

struct Run {
    shift: u8,
    store: Arc<MemoryStore>,
    files: Arc<Files>,
    home: MemoryHome,
    file: Arc<File>,
    model: Sparse,
    random: Random,
    center: u64,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64, shift: u8) -> Run {
        let store = Arc::new(MemoryStore::default());
        let home = store.create(ID);
        let files = open(store.clone(), shift, true);
        let file = files.file(Arc::new(home.clone())).unwrap();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        let layout = Layout::new(shift).unwrap();
        let mut centers = vec![0, 0, 112, 112, layout.subtree(2).0, layout.subtree(3).0];
        if seed.is_multiple_of(8) && shift == 12 {
            centers.push(layout.subtree(4).0);
        }
        let center = centers[random.below(centers.len() as u64) as usize] << shift;
        Run { shift, store, files, home, file, model: Sparse::default(), random, center, log: Vec::new() }
    }

    fn offset(&mut self) -> u64 {
        let block = 1u64 << self.shift;
        let near = self.center.saturating_sub(3 * block) + self.random.below(6 * block);
        match self.random.below(4) {
            0 => near & !(block - 1),
            1 => self.model.len().saturating_sub(self.random.below(3)),
            2 => self.random.below(self.model.len() + 1),
            _ => near,
        }
    }

    fn len(&mut self) -> u64 {
        let block = 1u64 << self.shift;
        match self.random.below(6) {
            0 => block * (1 + self.random.below(4)),
            1 => (64 << 10) + self.random.below(256 << 10),
            // Whole blocks, enough of them to be committed at once where they replace others.
            2 if self.random.below(2) == 0 => ((256 << 10) + self.random.below(600 << 10)) & !(block - 1),
            2 => self.random.below(5 * block),
            _ => self.random.below(200),
        }
    }

    fn step(&mut self) {
        let what = self.random.below(20);
        let (offset, len) = (self.offset(), self.len());
        self.log.push(format!("{what} at {offset} len {len}"));
        match what {
            0..=7 => {
                let data = self.random.bytes(len as usize);
                self.file.write(offset, &data).unwrap();
                if len > 0 {
                    self.model.write(offset, &data);
                }
            }
            8 => {
                let data = self.random.bytes(len as usize);
                assert_eq!(self.file.append(&data).unwrap(), (self.model.len(), data.len()));
                self.model.write(self.model.len(), &data);
            }
            9 | 10 => {
                self.file.truncate(offset).unwrap();
                self.model.set_len(offset);
            }
            11 | 12 => {
                self.file.punch(offset, len).unwrap();
                self.model.punch(offset, len);
            }
            13 => {
                let keep = self.random.below(2) == 0;
                if len > 0 {
                    self.file.allocate(offset, len, keep).unwrap();
                    if !keep && offset + len > self.model.len() {
                        self.model.set_len(offset + len);
                    }
                }
            }
            14 => self.file.commit().unwrap(),
            15 => self.file.sync(false).unwrap(),
            16 => self.files.checkpoint().unwrap(),
            17 => self.reopen(),
            18 => self.remount(),
            _ => self.die(),
        }
        let len = len.max(100);
        self.compare(offset.saturating_sub(50), len);
        assert_eq!(self.file.size(), self.model.len());
    }

    fn reopen(&mut self) {
        self.file.commit().unwrap();
        self.files.checkpoint().unwrap();
        self.file = self.files.file(Arc::new(self.home.clone())).unwrap();
    }

    fn remount(&mut self) {
        self.files.close().unwrap();
        self.check_home();
        self.files = open(self.store.clone(), self.shift, false);
        self.file = self.files.file(Arc::new(self.home.clone())).unwrap();
    }

    /// kill -9 after close(2): what was committed is there, though nothing was flushed or written home.
    fn die(&mut self) {
        self.file.commit().unwrap();
        self.store = Arc::new(self.store.snapshot());
        self.files = open(self.store.clone(), self.shift, false);
        self.home = self.store.home(&ID).unwrap();
        self.file = self.files.file(Arc::new(self.home.clone())).unwrap();
    }

    /// Nothing waits: the home's length is the one of its size, and the record says so.
    fn check_home(&self) {
        if self.home.growing().unwrap() {
            assert_eq!(self.home.len().unwrap(), 0, "still growing");
        } else {
            let layout = Layout::new(self.shift).unwrap();
            assert_eq!(layout.size_of(self.home.len().unwrap()), Some(self.model.len()));
        }
    }

    fn compare(&self, offset: u64, len: u64) {
        let (mut ours, mut plain) = (vec![0xEE; len as usize], vec![0xEE; len as usize]);
        let n = self.file.read(offset, &mut ours).unwrap();
        assert_eq!(n, self.model.read(offset, &mut plain));
        if let Some(at) = (0..n).find(|i| ours[*i] != plain[*i]) {
            panic!("differs at {} of {}", offset + at as u64, self.model.len());
        }
    }

    fn compare_all(&self) {
        assert_eq!(self.file.size(), self.model.len());
        let pages = self.model.page_offsets();
        for page in &pages {
            self.compare(*page, 4096);
        }
        self.compare(self.center.saturating_sub(300_000), 600_000);
        // SEEK_DATA never passes data by, SEEK_HOLE never gives data.
        let mut at = 0;
        while let Ok(data) = self.file.seek(at, true) {
            assert!(!pages.iter().any(|p| *p + 4096 <= data && *p >= at && self.has_data(*p)), "data before {data}");
            at = self.file.seek(data, false).unwrap();
            assert!(at > data || at == self.model.len());
            if at == self.model.len() {
                break;
            }
            let mut byte = [1];
            self.model.read(at, &mut byte);
            assert_eq!(byte, [0], "a hole at {at} that is none");
        }
    }

    fn has_data(&self, page: u64) -> bool {
        let mut bytes = [0; 4096];
        let n = self.model.read(page, &mut bytes);
        bytes[..n].iter().any(|b| *b != 0)
    }
}

fn seeds() -> u64 {
    std::env::var("KMSFS_MODEL_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1500)
}

fn run(shift: u8, seeds: u64) {
    let only = std::env::var("KMSFS_MODEL_SEED").ok().and_then(|s| s.parse().ok());
    for seed in only.map_or(0..seeds, |s: u64| s..s + 1) {
        let mut run = Run::new(seed, shift);
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..30 {
                run.step();
            }
            run.compare_all();
            run.remount();
            run.compare_all();
        }));
        if ran.is_err() {
            panic!("KMSFS_MODEL_SEED={seed} at shift {shift}:\n{}", run.log.join("\n"));
        }
    }
}

#[test]
fn a_file_of_4096_byte_blocks_reads_as_a_plain_array_would() {
    run(12, seeds());
}

#[test]
fn a_file_of_65536_byte_blocks_reads_as_a_plain_array_would() {
    run(16, seeds() / 2);
}

#[test]
fn a_file_of_16384_byte_blocks_reads_as_a_plain_array_would() {
    run(14, seeds() / 4);
}
