//! Power is lost at every moment, with every kind of loss: each state left behind opens, holds each file exactly as some
//! commit left it, and none older than its last fsync. Then work goes on, and power is lost again.
//!
//! KMSFS_CRASH_SEEDS: how many workloads; KMSFS_CRASH_SEED: this one alone.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{env, file_hash, model_hash, open, Random, BLOCK};
use kmsfs_files::memory::{MemoryStore, Sparse};
use kmsfs_files::recording::{Op, RecordingStore};
use kmsfs_files::{File, Files};
use std::sync::Arc;

const IDS: [[u8; 16]; 2] = [[1; 16], [2; 16]];

/// A content that a file had, and when.
struct Version {
    hash: u64,
    /// Operations of the store before and after the call that made it.
    began: usize,
    what: String,
}

struct Subject {
    file: Arc<File>,
    model: Sparse,
    versions: Vec<Version>,
    /// (moment, version): from that moment on nothing older is left.
    synced: Vec<(usize, usize)>,
}

struct Session {
    store: Arc<RecordingStore>,
    files: Arc<Files>,
    subjects: Vec<Subject>,
}

impl Session {
    /// `models`: what the files hold in `base`, which may need recovery.
    fn start(base: MemoryStore, models: Vec<Sparse>, new_volume: bool) -> Session {
        let store = Arc::new(RecordingStore::new(base));
        let files = open(store.clone(), new_volume);
        let subjects = IDS.iter().zip(models).map(|(id, model)| {
            let file = files.file(store.home(id).unwrap()).unwrap();
            let first = Version { hash: model_hash(&model), began: 0, what: "as it was".into() };
            Subject { file, model, versions: vec![first], synced: vec![(0, 0)] }
        });
        let subjects = subjects.collect();
        Session { store, files, subjects }
    }

    fn step(&mut self, random: &mut Random) {
        let which = random.below(2) as usize;
        let began = self.store.moment();
        let s = &mut self.subjects[which];
        let size = s.model.len();
        // Around the border of the direct blocks (112) now and then, else near the start.
        let near = if random.below(3) == 0 { 100 * BLOCK + random.below(20 * BLOCK) } else { random.below(40 * BLOCK) };
        let offset = match random.below(5) {
            0 => size,
            1 => near & !(BLOCK - 1),
            2 => random.below(size + 1),
            _ => near,
        };
        let len = match random.below(5) {
            0 => random.below(300),
            1 => BLOCK * (1 + random.below(4)),
            2 | 3 => (64 << 10) + random.below(60 << 10),
            _ => random.below(30_000),
        };
        let what = random.below(25);
        let mut changed = true;
        match what {
            0..=8 => {
                let data = random.bytes(len as usize);
                s.file.write(offset, &data).unwrap();
                if len > 0 {
                    s.model.write(offset, &data);
                }
            }
            9 | 10 => {
                let data = random.bytes(len as usize);
                assert_eq!(s.file.append(&data).unwrap(), (size, data.len()));
                s.model.write(size, &data);
            }
            11..=13 => {
                let to = if random.below(3) == 0 { 0 } else { offset };
                s.file.truncate(to).unwrap();
                s.model.set_len(to);
            }
            14 | 15 => {
                s.file.punch(offset, len).unwrap();
                s.model.punch(offset, len);
            }
            16 | 17 => {
                s.file.commit().unwrap();
                changed = false;
            }
            18..=20 => {
                s.file.sync(what == 20).unwrap();
                s.synced.push((self.store.moment(), s.versions.len() - 1));
                changed = false;
            }
            21 => {
                self.files.checkpoint().unwrap();
                changed = false;
            }
            22 => {
                self.files.sync_all().unwrap();
                let now = self.store.moment();
                self.subjects.iter_mut().for_each(|s| s.synced.push((now, s.versions.len() - 1)));
                changed = false;
            }
            _ => {
                // Unmounted and mounted, or just let go of and loaded anew.
                if random.below(2) == 0 {
                    self.files.close().unwrap();
                    let now = self.store.moment();
                    self.subjects.iter_mut().for_each(|s| s.synced.push((now, s.versions.len() - 1)));
                    self.files = open(self.store.clone(), false);
                    for (id, s) in IDS.iter().zip(&mut self.subjects) {
                        s.file = self.files.file(self.store.home(id).unwrap()).unwrap();
                    }
                    return;
                }
                s.file.commit().unwrap();
                self.files.checkpoint().unwrap();
                let home = self.store.home(&IDS[which]).unwrap();
                self.subjects[which].file = self.files.file(home).unwrap();
                changed = false;
            }
        }
        if changed {
            let s = &mut self.subjects[which];
            let what = format!("{what} at {offset} len {len}");
            s.versions.push(Version { hash: model_hash(&s.model), began, what });
        }
    }

    /// A loss of power at a random moment, or right at the end.
    fn crash(&self, random: &mut Random) -> (MemoryStore, usize, String) {
        let end = self.store.moment();
        let cut = random.below(end as u64 + 1) as usize;
        let metadata = match random.below(3) {
            0 => cut,
            1 => 0,
            _ => random.below(cut as u64 + 1) as usize,
        };
        let mode = random.below(6);
        let salt = random.next();
        let mut dice = Random::new(salt);
        let mut last = (usize::MAX, false);
        let keep = |i: usize, op: &Op, sector: usize| match mode {
            0 => false,
            1 => true,
            // Whole writes.
            2 => {
                if last.0 != i {
                    last = (i, dice.below(2) == 0);
                }
                last.1
            }
            // Single sectors.
            3 => dice.below(2) == 0,
            // The log and not the homes, or the other way round.
            4 => matches!(op, Op::Segment { .. }) != salt.is_multiple_of(2) || dice.below(20) == 0,
            // Nearly everything: one write is lost, or torn.
            _ => i != (salt % (cut as u64 + 1)) as usize || sector < (salt >> 32) as usize % 9,
        };
        let left = self.store.crash(cut, metadata, keep);
        (left, cut, format!("cut {cut} of {end}, metadata {metadata}, mode {mode}, salt {salt}"))
    }

    /// Opens what is left and finds which version of each file it holds.
    fn check(&self, left: &MemoryStore, cut: usize) -> Vec<usize> {
        let copy = Arc::new(left.snapshot());
        let files = open(copy.clone(), true);
        let mut held = Vec::new();
        for (id, s) in IDS.iter().zip(&self.subjects) {
            let file = files.file(Arc::new(copy.home(id).unwrap())).unwrap();
            let hash = file_hash(&file);
            let oldest = s.synced.iter().filter(|(at, _)| *at <= cut).map(|(_, v)| *v).max().unwrap();
            let newest = s.versions.iter().rposition(|v| v.began <= cut).unwrap();
            let Some(version) = (oldest..=newest).rev().find(|v| s.versions[*v].hash == hash) else {
                let older = s.versions.iter().rposition(|v| v.hash == hash);
                panic!("file {} has {} bytes: version {older:?}, not {oldest}..={newest}", id[0], file.size());
            };
            held.push(version);
        }
        held
    }

    fn describe(&self) -> String {
        let list = |s: &Subject| -> Vec<String> {
            s.versions.iter().enumerate().map(|(i, v)| format!("  {i}: op {} {}", v.began, v.what)).collect()
        };
        let all: Vec<String> =
            self.subjects.iter().map(|s| format!("{}\n  synced {:?}", list(s).join("\n"), s.synced)).collect();
        all.join("\n--\n")
    }
}

/// Replays the model of a subject up to a version, by reading it from the state left.
fn models(left: &MemoryStore) -> Vec<Sparse> {
    let copy = Arc::new(left.snapshot());
    let files = open(copy.clone(), true);
    let read = |id: &[u8; 16]| {
        let file = files.file(Arc::new(copy.home(id).unwrap())).unwrap();
        let mut model = Sparse::default();
        let mut bytes = vec![0; file.size() as usize];
        assert_eq!(file.read(0, &mut bytes).unwrap(), bytes.len());
        if !bytes.is_empty() {
            model.write(0, &bytes);
        }
        model
    };
    IDS.iter().map(read).collect()
}

fn run(seed: u64) {
    let mut random = Random::new(seed);
    let base = MemoryStore::default();
    IDS.iter().for_each(|id| drop(base.create(*id)));

    let mut session = Session::start(base, vec![Sparse::default(), Sparse::default()], true);
    for life in 0..4 {
        let steps = 6 + random.below(20);
        (0..steps).for_each(|_| session.step(&mut random));
        let mut next = None;
        for _ in 0..10 {
            let (left, cut, how) = session.crash(&mut random);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.check(&left, cut)));
            if checked.is_err() {
                panic!("KMSFS_CRASH_SEED={seed}, life {life}, {how}\n{}", session.describe());
            }
            next = Some(left);
        }
        let left = next.unwrap();
        let models = models(&left);
        session = Session::start(left, models, true);
    }
}

#[test]
fn what_a_loss_of_power_leaves_is_what_some_commit_since_the_last_fsync_left() {
    let only = std::env::var("KMSFS_CRASH_SEED").ok().and_then(|s| s.parse().ok());
    let seeds = env("KMSFS_CRASH_SEEDS", 50);
    println!("KMSFS_CRASH_SEEDS={seeds}");
    only.map_or(0..seeds, |s: u64| s..s + 1).for_each(run);
}

/// Truncated in the log, then written anew past the end that the log knows, and the home brought up to date meanwhile:
/// the length at home is then that of no committed size, and the record must say so.
#[test]
fn a_new_run_past_a_truncated_end_leaves_a_home_that_opens() {
    let store = Arc::new(MemoryStore::default());
    let home = store.create(IDS[0]);
    let files = open(store.clone(), true);
    let file = files.file(Arc::new(home.clone())).unwrap();
    file.write(0, &vec![1; 1 << 20]).unwrap();
    file.commit().unwrap();
    files.checkpoint().unwrap();
    file.truncate(100_000).unwrap();
    file.sync(false).unwrap();
    file.write(500_000 / BLOCK * BLOCK, &vec![2; 128 << 10]).unwrap();
    files.checkpoint().unwrap();
    // Commits of another file until a new segment says that the truncation is home.
    let other = files.file(Arc::new(store.create(IDS[1]))).unwrap();
    for n in 0..80 {
        other.write(0, &[n; BLOCK as usize]).unwrap();
        other.sync(true).unwrap();
    }
    let left = Arc::new(store.snapshot());
    let files = open(left.clone(), false);
    let file = files.file(Arc::new(left.home(&IDS[0]).unwrap())).unwrap();
    assert_eq!(file.size(), 100_000);
}
