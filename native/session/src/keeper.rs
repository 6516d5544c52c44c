//! Keepers: a thread on each processor that runs when nothing else does (SCHED_IDLE) and only while requests come fast.
//!
//! Waking a virtual processor that has halted costs more than most requests (145 to 216 us a stat against 21, see
//! docs/decisions/0012), on some machines. A keeper keeps it from halting, for client and engine alike, and gives way at once to whoever
//! wants to run. It also sees when a request waits that nobody takes though a processor is free.

use crate::cpu_clock::CpuClock;
use crate::crew::{Crew, Look};
use crate::device::Device;
use rustix::thread::{sched_getaffinity, sched_setaffinity, CpuSet};
use std::hint::spin_loop;
use std::sync::OnceLock;

/// With more processors than this, those that client and engine run on are seldom the ones kept awake.
const MOST: usize = 8;
/// Pauses between two looks: about a microsecond or two.
const PAUSES: usize = 40;

/// The processors to keep awake: those this process may run on; none where they are too many.
pub fn processors() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else { return Vec::new() };
    let allowed: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect();
    if allowed.len() > MOST {
        Vec::new()
    } else {
        allowed
    }
}

/// Runs until the session ends. Returns at once, before `clock` is set, where the scheduler does not let us.
pub fn run(crew: &Crew, device: &Device, processor: usize, clock: &OnceLock<CpuClock>) {
    if !stay_on(processor) || !step_back() || !step_forward() {
        return;
    }
    let Some(own) = CpuClock::of_this_thread() else { return };
    let _ = clock.set(own);
    crew.staffed();
    let mut look = Look::default();
    while crew.sleep() {
        // One that cannot step back would be in the way.
        if !step_back() {
            return;
        }
        while crew.awake() {
            crew.look(&mut look, || device.pending());
            (0..PAUSES).for_each(|_| spin_loop());
        }
        // A process that is killed keeps its /dev/fuse open until its last thread has had a processor to end on: one that
        // sleeps must not have to wait until nobody else wants it.
        if !step_forward() {
            return;
        }
    }
}

fn stay_on(processor: usize) -> bool {
    let mut only = CpuSet::new();
    only.set(processor);
    sched_setaffinity(None, &only).is_ok()
}

/// Behind everybody else.
fn step_back() -> bool {
    set_policy(libc::SCHED_IDLE)
}

/// Among the others again; takes CAP_SYS_NICE, which the engine keeps, or RLIMIT_NICE.
fn step_forward() -> bool {
    set_policy(libc::SCHED_OTHER)
}

fn set_policy(policy: libc::c_int) -> bool {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: `none` is read; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, policy, &none) == 0 }
}
