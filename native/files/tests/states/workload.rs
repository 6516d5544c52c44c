//! What is done to a volume: the states it starts from, and every short sequence of operations on one or two files.

use crate::common::{config, keys, model_hash, BLOCK};
use kmsfs_files::memory::{MemoryStore, Sparse};
use kmsfs_files::recording::RecordingStore;
use kmsfs_files::{Config, File, Files};
use std::fmt;
use std::sync::Arc;

pub const IDS: [[u8; 16]; 2] = [[1; 16], [2; 16]];
/// New runs of this many bytes go straight home.
const STRAIGHT: usize = 64 << 10;
/// Blocks around which a large file is changed: the last direct one and the first below a node.
const BORDER: u64 = 111;
/// Bytes of records in a segment, and those of one with a block and a header.
const ROOM: u64 = (256 << 10) - 4096;
const ONE_BLOCK: u64 = 9 << 10;

/// Small, so that a state costs little: a straight write of 64 KiB is still one step (a quarter of a segment).
pub fn small_volume() -> Config {
    Config { segment_size: 256 << 10, cache_bytes: 16 * BLOCK as usize, ..config(true) }
}

pub fn open(store: Arc<dyn kmsfs_files::store::Store>) -> Arc<Files> {
    let no_tampering = Arc::new(|t| panic!("tampered: {t:?}"));
    Files::open(small_volume(), keys(5), store, no_tampering).unwrap().0
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Empty,
    /// Two blocks and a half.
    Small,
    /// More blocks than the header refers to: a node.
    Node,
    /// A log that the next mount recovers: of what it says some is durable, some is not.
    Pending,
    /// The next commit of more than a block begins another segment.
    Turn,
    /// The next commit of more than a block finds no room and writes everything home first.
    Full,
}

pub const STARTS: [Start; 6] = [Start::Empty, Start::Small, Start::Node, Start::Pending, Start::Turn, Start::Full];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Small,
    Block,
    Straight,
    Append,
    Overwrite,
    Shrink,
    Grow,
    Punch,
    Fsync,
    Fdatasync,
    Commit,
    Remount,
    Checkpoint,
}

const OF_A_FILE: [Act; 11] = [
    Act::Small,
    Act::Block,
    Act::Straight,
    Act::Append,
    Act::Overwrite,
    Act::Shrink,
    Act::Grow,
    Act::Punch,
    Act::Fsync,
    Act::Fdatasync,
    Act::Commit,
];
const OF_THE_VOLUME: [Act; 2] = [Act::Remount, Act::Checkpoint];

/// `file` is 0 for what concerns the whole volume.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub act: Act,
    pub file: usize,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if OF_THE_VOLUME.contains(&self.act) {
            return write!(f, "{:?}", self.act);
        }
        write!(f, "{:?} {}", self.act, ["a", "b"][self.file])
    }
}

#[derive(Debug)]
pub struct Workload {
    pub start: Start,
    pub steps: Vec<Step>,
}

/// All workloads of up to three operations, shortest first. Both files start alike: the first that is named is the first.
pub fn all() -> Vec<Workload> {
    let both = (0..2).flat_map(|file| OF_A_FILE.iter().map(move |act| Step { act: *act, file }));
    let steps: Vec<Step> = both.chain(OF_THE_VOLUME.iter().map(|act| Step { act: *act, file: 0 })).collect();
    let mut sequences: Vec<Vec<Step>> = vec![Vec::new()];
    let mut from = 0;
    for _ in 0..3 {
        let end = sequences.len();
        for i in from..end {
            let named = sequences[i].iter().any(|s| OF_A_FILE.contains(&s.act));
            for step in steps.iter().filter(|s| named || s.file == 0) {
                let longer = sequences[i].iter().chain([step]).copied().collect();
                sequences.push(longer);
            }
        }
        from = end;
    }
    let of = |steps: Vec<Step>| STARTS.map(|start| Workload { start, steps: steps.clone() });
    sequences.into_iter().flat_map(of).collect()
}

/// A content that a file had.
pub struct Version {
    pub hash: u64,
    /// Operations of the store before the call that made it.
    pub began: usize,
}

pub struct Subject {
    file: Arc<File>,
    model: Sparse,
    pub versions: Vec<Version>,
    /// (moment, version): from that moment on nothing older is left by a loss of power,
    pub synced: Vec<(usize, usize)>,
    /// and by the death of the process.
    pub committed: Vec<(usize, usize)>,
}

/// A volume that is worked on.
pub struct Session {
    pub store: Arc<RecordingStore>,
    files: Arc<Files>,
    pub subjects: Vec<Subject>,
    steps: usize,
}

impl Session {
    fn begin(base: MemoryStore, models: &[Sparse; 2]) -> Session {
        let store = Arc::new(RecordingStore::new(base));
        let files = open(store.clone());
        let subjects = IDS.iter().zip(models).map(|(id, model)| Subject {
            file: files.file(store.home(id).unwrap()).unwrap(),
            model: model.clone(),
            versions: vec![Version { hash: model_hash(model), began: 0 }],
            synced: vec![(0, 0)],
            committed: vec![(0, 0)],
        });
        let subjects = subjects.collect();
        Session { store, files, subjects, steps: 0 }
    }

    /// What is written differs from step to step, and from place to place.
    fn pattern(&self, len: usize) -> Vec<u8> {
        let first = self.steps * 7 + 1;
        (0..len).map(|i| (first + i / 256) as u8).collect()
    }

    fn write(&mut self, file: usize, offset: u64, len: usize) {
        let data = self.pattern(len);
        let s = &mut self.subjects[file];
        s.file.write(offset, &data).unwrap();
        s.model.write(offset, &data);
    }

    fn truncate(&mut self, file: usize, size: u64) {
        let s = &mut self.subjects[file];
        s.file.truncate(size).unwrap();
        s.model.set_len(size);
    }

    fn durable(&mut self, file: usize) {
        let now = self.store.moment();
        let s = &mut self.subjects[file];
        s.synced.push((now, s.versions.len() - 1));
        s.committed.push((now, s.versions.len() - 1));
    }

    pub fn step(&mut self, step: Step) {
        self.steps += 1;
        let began = self.store.moment();
        let Step { act, file } = step;
        let size = self.subjects[file].model.len();
        let near = if size > BORDER * BLOCK { BORDER } else { 0 };
        match act {
            Act::Small => self.write(file, near * BLOCK + 50, 100),
            Act::Block => self.write(file, (near + 1) * BLOCK, BLOCK as usize),
            // Past a hole of a block.
            Act::Straight => self.write(file, (size.div_ceil(BLOCK) + 1) * BLOCK, STRAIGHT),
            Act::Append => {
                let data = self.pattern(5000);
                let s = &mut self.subjects[file];
                assert_eq!(s.file.append(&data).unwrap(), (size, data.len()));
                s.model.write(size, &data);
            }
            Act::Overwrite => self.write(file, near * BLOCK + BLOCK / 2, 2 * BLOCK as usize),
            Act::Shrink => self.truncate(file, if near > 0 { near * BLOCK + 1000 } else { size / 2 }),
            Act::Grow => self.truncate(file, size + 3 * BLOCK + 17),
            Act::Punch => {
                let s = &mut self.subjects[file];
                let (offset, len) = (near * BLOCK + 100, 2 * BLOCK);
                s.file.punch(offset, len).unwrap();
                s.model.punch(offset, len);
            }
            Act::Fsync | Act::Fdatasync => {
                self.subjects[file].file.sync(act == Act::Fdatasync).unwrap();
                self.durable(file);
                return;
            }
            Act::Commit => {
                let s = &mut self.subjects[file];
                s.file.commit().unwrap();
                s.committed.push((self.store.moment(), s.versions.len() - 1));
                return;
            }
            Act::Checkpoint => return self.files.checkpoint().unwrap(),
            Act::Remount => {
                self.close();
                self.files = open(self.store.clone());
                for (id, s) in IDS.iter().zip(&mut self.subjects) {
                    s.file = self.files.file(self.store.home(id).unwrap()).unwrap();
                }
                return;
            }
        }
        let s = &mut self.subjects[file];
        s.versions.push(Version { hash: model_hash(&s.model), began });
    }

    pub fn close(&mut self) {
        self.files.close().unwrap();
        (0..IDS.len()).for_each(|file| self.durable(file));
    }

    /// Commits overwrites of both files, and flushes them, until only one of a single block fits into the last of `segments`.
    fn fill(&mut self, segments: u64) {
        let counter = |s: &Session, name| s.files.counters().into_iter().find(|(n, _)| *n == name).unwrap().1;
        let (mut used, mut left) = (counter(self, "log_segments_used"), ROOM);
        while used < segments || left > 2 * ONE_BLOCK {
            let file = self.steps % 2;
            self.steps += 1;
            let (began, before) = (self.store.moment(), counter(self, "logged_bytes"));
            self.write(file, 0, if left > 16 * BLOCK { 12 * BLOCK as usize } else { 1 });
            let s = &mut self.subjects[file];
            s.versions.push(Version { hash: model_hash(&s.model), began });
            s.file.commit().unwrap();
            let record = counter(self, "logged_bytes") - before;
            let now = counter(self, "log_segments_used");
            left = if now > used { ROOM } else { left } - record;
            used = now;
        }
        assert!(left >= ONE_BLOCK && counter(self, "checkpoints") == 0);
        self.files.sync_all().unwrap();
        (0..IDS.len()).for_each(|file| self.durable(file));
    }
}

/// The starting states, made once.
pub struct Starts(Vec<(MemoryStore, [Sparse; 2])>);

impl Starts {
    pub fn new() -> Starts {
        Starts(STARTS.iter().map(|start| make(*start)).collect())
    }

    /// A session in a copy of one, and how many operations of the store lie before the workload.
    pub fn session(&self, start: Start) -> (Session, usize) {
        let (store, models) = &self.0[STARTS.iter().position(|s| *s == start).unwrap()];
        let mut session = Session::begin(store.snapshot(), models);
        match start {
            Start::Turn => session.fill(1),
            Start::Full => session.fill(u64::from(small_volume().segment_count) - 1),
            _ => {}
        }
        let before = session.store.moment();
        (session, before)
    }
}

fn make(start: Start) -> (MemoryStore, [Sparse; 2]) {
    let base = MemoryStore::default();
    IDS.iter().for_each(|id| drop(base.create(*id)));
    let mut session = Session::begin(base, &[Sparse::default(), Sparse::default()]);
    let len = match start {
        Start::Empty => 0,
        Start::Node => 120 * BLOCK as usize,
        Start::Small | Start::Pending => 10_000,
        Start::Turn | Start::Full => 50_000,
    };
    for file in 0..IDS.len() {
        (0..len).step_by(STRAIGHT).for_each(|at| session.write(file, at as u64, STRAIGHT.min(len - at)));
    }
    session.close();
    if start == Start::Pending {
        session.files = open(session.store.clone());
        for (file, id) in IDS.iter().enumerate() {
            session.subjects[file].file = session.files.file(session.store.home(id).unwrap()).unwrap();
            for act in [Act::Overwrite, Act::Straight, Act::Fsync, Act::Shrink, Act::Commit, Act::Straight, Act::Commit]
            {
                session.step(Step { act, file });
            }
        }
    }
    let models = [0, 1].map(|file| session.subjects[file].model.clone());
    (session.store.crash(session.store.moment(), usize::MAX, |_, _, _| true), models)
}
