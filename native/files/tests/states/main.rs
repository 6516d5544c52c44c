//! Every workload of up to three operations, cut at every operation of the store, with every simple loss: each state that
//! is left opens, and each file reads as some version that is not older than its last fsync. Then recovery is cut, too.
//!
//! A workload's cuts are those within its last operation: those before are another, shorter workload's. Those of three
//! operations are unmounted at their end, and cut there as well.
//!
//! Without KMSFS_STATES_ALL a sample of the states, of all workloads of at most two operations and of
//! KMSFS_STATES_WORKLOADS of three; KMSFS_STATES_SEED says which.
//! KMSFS_STATES_ONLY=N: workload N alone, with all of its states.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
mod losses;
mod workload;

use common::{env, file_hash, Random};
use kmsfs_files::memory::MemoryStore;
use kmsfs_files::recording::RecordingStore;
use losses::{losses, Loss};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;
use workload::{all, open, Session, Starts, Workload, IDS};

#[derive(Default)]
struct Tried {
    workloads: u64,
    cuts: u64,
    states: u64,
    recoveries: u64,
    recovery_states: u64,
}

/// How much of a workload is tried: one in so many.
#[derive(Clone, Copy)]
struct Sample {
    states: u64,
    recoveries: u64,
    recovery_states: u64,
}

/// What both files hold once `store` is opened, which brings the log home in it.
fn held(
    store: Arc<dyn kmsfs_files::store::Store>,
    home: impl Fn(&[u8; 16]) -> Arc<dyn kmsfs_files::store::Home>,
) -> [u64; 2] {
    let files = open(store);
    IDS.map(|id| file_hash(&files.file(home(&id)).unwrap()))
}

fn held_plain(store: MemoryStore) -> [u64; 2] {
    let store = Arc::new(store);
    held(store.clone(), |id| Arc::new(store.home(id).unwrap()))
}

fn check(session: &Session, loss: &Loss, held: &[u64; 2]) {
    for (file, s) in session.subjects.iter().enumerate() {
        let since = if loss.is_none() { &s.committed } else { &s.synced };
        let oldest = since.iter().filter(|(at, _)| *at <= loss.cut).map(|(_, v)| *v).max().unwrap();
        let newest = s.versions.iter().rposition(|v| v.began < loss.cut).unwrap_or(0).max(oldest);
        let fits = s.versions[oldest..=newest].iter().any(|v| v.hash == held[file]);
        let found = s.versions.iter().rposition(|v| v.hash == held[file]);
        assert!(fits, "file {file} is version {found:?}, not {oldest}..={newest}");
    }
}

/// Recovery of what `left` holds is cut at each of its operations: what comes of it is the same.
fn recovery(left: MemoryStore, whole: &[u64; 2], sample: &Sample, dice: &mut Random, tried: &mut Tried) {
    let store = Arc::new(RecordingStore::new(left));
    assert_eq!(held(store.clone(), |id| store.home(id).unwrap()), *whole, "recovered twice");
    tried.recoveries += 1;
    for cut in 0..=store.moment() {
        for loss in losses(&store, cut) {
            if dice.below(sample.recovery_states) == 0 {
                assert_eq!(held_plain(loss.apply(&store)), *whole, "recovery cut: {loss:?}");
                tried.recovery_states += 1;
            }
        }
    }
}

fn try_workload(number: usize, workload: &Workload, starts: &Starts, sample: &Sample, seed: u64, tried: &mut Tried) {
    let mut dice = Random::new(seed ^ (number as u64) << 20);
    let (mut session, mut from) = starts.session(workload.start);
    // The mount itself.
    if workload.steps.is_empty() {
        from = 0;
    }
    for (i, step) in workload.steps.iter().enumerate() {
        if i + 1 == workload.steps.len() {
            from = session.store.moment();
        }
        session.step(*step);
    }
    if workload.steps.len() == 3 {
        session.close();
    }
    tried.workloads += 1;
    for cut in from..=session.store.moment() {
        tried.cuts += 1;
        for loss in losses(&session.store, cut) {
            if dice.below(sample.states) != 0 {
                continue;
            }
            tried.states += 1;
            let recovered = dice.below(sample.recoveries) == 0;
            let tested = catch_unwind(AssertUnwindSafe(|| {
                let held = held_plain(loss.apply(&session.store));
                check(&session, &loss, &held);
                if recovered {
                    recovery(loss.apply(&session.store), &held, sample, &mut dice, tried);
                }
            }));
            assert!(tested.is_ok(), "KMSFS_STATES_ONLY={number}: {workload:?} from operation {from}, {loss:?}");
        }
    }
}

#[test]
fn every_state_that_a_short_workload_can_leave_recovers() {
    let (workloads, starts) = (all(), Starts::new());
    let mut tried = Tried::default();
    let seed = env("KMSFS_STATES_SEED", 1);
    let only = std::env::var("KMSFS_STATES_ONLY").ok().and_then(|n| n.parse::<usize>().ok());
    let everything = env("KMSFS_STATES_ALL", 0) != 0;
    let numbers: Vec<(usize, Sample)> = if let Some(only) = only {
        vec![(only, Sample { states: 1, recoveries: 1, recovery_states: 1 })]
    } else if everything {
        // Slice n of m, counted from 1.
        let (slice, slices) = (env("KMSFS_STATES_SLICE", 1) as usize, env("KMSFS_STATES_SLICES", 1) as usize);
        let whole = Sample { states: 1, recoveries: 200, recovery_states: 1 };
        (0..workloads.len()).filter(|n| n % slices == slice - 1).map(|n| (n, whole)).collect()
    } else {
        let up_to = |len| workloads.iter().take_while(|w| w.steps.len() <= len).count();
        let (one, two) = (up_to(1), up_to(2));
        let few = |states| Sample { states, recoveries: 50, recovery_states: 4 };
        let mut dice = Random::new(seed);
        let longer =
            (0..env("KMSFS_STATES_WORKLOADS", 60)).map(|_| two + dice.below((workloads.len() - two) as u64) as usize);
        (0..one)
            .map(|n| (n, few(6)))
            .chain((one..two).map(|n| (n, few(40))))
            .chain(longer.map(|n| (n, few(8))))
            .collect()
    };
    println!("KMSFS_STATES_SEED={seed}: {} of {} workloads", numbers.len(), workloads.len());
    let (count, mut shown) = (numbers.len(), Instant::now());
    for (done, (number, sample)) in numbers.into_iter().enumerate() {
        if shown.elapsed().as_secs() >= 10 {
            println!("{done} of {count} workloads, {} states", tried.states + tried.recovery_states);
            shown = Instant::now();
        }
        try_workload(number, &workloads[number], &starts, &sample, seed, &mut tried);
    }
    println!(
        "{} workloads, {} cuts, {} states; {} recoveries cut, {} states",
        tried.workloads, tried.cuts, tried.states, tried.recoveries, tried.recovery_states
    );
}
