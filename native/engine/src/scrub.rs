//! The thread that verifies a mounted volume, at its pace and behind everybody else.

use crate::control::Outbox;
use crate::pace::Pace;
use crate::protocol::{Cursor, Event, ScrubCounts, ScrubState};
use kmsfs_namespace as namespace;
use kmsfs_namespace::{Finding, ScrubEnd, Scrubbing, Volume};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, JoinHandle};
use std::time::{Duration, Instant};

/// How often the daemon is told how far it is.
const REPORT: Duration = Duration::from_secs(1);
/// The longest sleep: a stop is heard after this.
const NAP: Duration = Duration::from_millis(20);
/// Waits are gathered up to this: the shortest that a sleep is worth.
const SHORTEST: Duration = Duration::from_millis(2);
const NICE: libc::c_int = 10;

/// What the daemon asks for.
pub struct ScrubOrder {
    pub rate: u64,
    pub total_bytes: u64,
    pub from: Option<Cursor>,
    pub counts: ScrubCounts,
}

/// The scrub of a mount: none, or one.
#[derive(Default)]
pub struct Scrubber {
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Scrubber {
    /// Starts one. Errors: that of making the thread; AlreadyExists while one runs.
    pub fn start(&self, volume: Arc<Volume>, outbox: Outbox, order: ScrubOrder) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "one is running"));
        }
        self.stop.store(false, Ordering::Release);
        let stop = self.stop.clone();
        *thread = Some(Builder::new().name("scrub".to_owned()).spawn(move || run(&volume, &outbox, order, &stop))?);
        Ok(())
    }

    /// Asks it to end; does not wait.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn run(volume: &Volume, outbox: &Outbox, order: ScrubOrder, stop: &AtomicBool) {
    step_back();
    let started = Instant::now();
    let mut watch = Watch {
        volume,
        outbox,
        stop,
        pace: Pace::new(order.rate),
        started,
        reported: started,
        total_bytes: order.total_bytes,
        counts: order.counts,
        cursor: order.from.clone(),
    };
    if watch.total_bytes == 0 {
        watch.report(ScrubState::Counting, None);
        // An estimate: what cannot be counted will be met again, and told of.
        watch.total_bytes = volume.bytes_at_home(&|| !stop.load(Ordering::Acquire)).unwrap_or(0);
    }
    watch.report(ScrubState::Running, None);
    let from = order.from.map(|Cursor { path, block }| namespace::Cursor { path, block });
    let ended = volume.scrub(from, inner_counts(order.counts), &mut watch);
    let (state, message) = match ended {
        Ok(ScrubEnd::Done) => (ScrubState::Done, None),
        Ok(ScrubEnd::Stopped) => (ScrubState::Stopped, None),
        Ok(ScrubEnd::Running) => (ScrubState::Failed, Some("another scrub is running".to_owned())),
        Err(errno) => (ScrubState::Failed, Some(format!("{errno:?}"))),
    };
    watch.report(state, message);
}

/// Lets everybody else go first. Not idle: a reader that never gets its turn could hold up a writer of the same file.
fn step_back() {
    // linux/ioprio.h: who, this thread; the lowest of the best-effort class.
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const LOWEST: libc::c_int = 2 << 13 | 7;
    // SAFETY: both take numbers alone; 0 is the calling thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, LOWEST);
    }
}

struct Watch<'a> {
    volume: &'a Volume,
    outbox: &'a Outbox,
    stop: &'a AtomicBool,
    pace: Pace,
    started: Instant,
    reported: Instant,
    total_bytes: u64,
    counts: ScrubCounts,
    cursor: Option<Cursor>,
}

impl Watch<'_> {
    fn go_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire) && !self.volume.is_closing()
    }

    fn report(&mut self, state: ScrubState, message: Option<String>) {
        self.reported = Instant::now();
        let (total_bytes, counts, cursor) = (self.total_bytes, self.counts, self.cursor.clone());
        self.outbox.send(Event::Scrub { state, total_bytes, counts, cursor, message });
    }
}

impl Scrubbing for Watch<'_> {
    fn step(&mut self, counts: &namespace::ScrubCounts, cursor: &namespace::Cursor, bytes: u64) -> bool {
        self.counts = outer_counts(counts);
        self.cursor = Some(Cursor { path: cursor.path.clone(), block: cursor.block });
        let mut wait = self.pace.charge(bytes, self.started.elapsed());
        loop {
            if self.reported.elapsed() >= REPORT {
                self.report(ScrubState::Running, None);
            }
            if wait < SHORTEST || !self.go_on() {
                return self.go_on();
            }
            let nap = wait.min(NAP);
            thread::sleep(nap);
            wait -= nap;
        }
    }

    fn found(&mut self, finding: Finding) {
        let Finding { tamper, path } = finding;
        let event = Event::ScrubFinding {
            file: tamper.file.iter().map(|byte| format!("{byte:02x}")).collect(),
            place: tamper.place,
            path: path.map(|path| String::from_utf8_lossy(&path).into_owned()),
            block: tamper.block,
            detail: tamper.what,
        };
        self.outbox.send_patiently(event, || self.go_on());
    }
}

fn outer_counts(c: &namespace::ScrubCounts) -> ScrubCounts {
    let namespace::ScrubCounts { directories, files, symlinks, special, blocks, nodes, bytes } = *c;
    ScrubCounts { directories, files, symlinks, special, blocks, nodes, bytes }
}

fn inner_counts(c: ScrubCounts) -> namespace::ScrubCounts {
    let ScrubCounts { directories, files, symlinks, special, blocks, nodes, bytes } = c;
    namespace::ScrubCounts { directories, files, symlinks, special, blocks, nodes, bytes }
}
