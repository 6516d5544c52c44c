//! Which of a session's threads take requests (docs/decisions/0012).
//!
//! Either some of them, each asleep in read(2) until its turn, and more where requests wait for a disk (see `demand`); or,
//! while processors are kept awake (see `keeper`), few: then one thread that goes from request to request without ever
//! sleeping serves more than several that wake each other, as long as it has a processor and its requests do not wait
//! for a disk. The others are parked, and one is called when
//! a request waits that nobody takes: at once by the keepers where those who serve are blocked, and within [`PATIENCE`]
//! by the watch in any case. Which of the two it is, trials decide (see `trial`).
//!
//! Invariant: while the session lives, somebody waits for a request, or serves one and the watch is awake.

use crate::cpu_clock::CpuClock;
use crate::demand::Demand;
use crate::trial::{Trial, STEP};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long requests may wait while everybody serves something long and no processor is free to notice.
const PATIENCE: Duration = Duration::from_millis(1);
/// The watch sleeps after so long without a request.
const QUIET: Duration = Duration::from_millis(20);
/// How often the number of threads that stay is thought over.
const WINDOW: Duration = Duration::from_millis(100);

/// Requests that come faster than this, so many in a row, are worth keeping processors awake for.
const FAST: Duration = Duration::from_micros(400);
const FAST_RUN: u32 = 16;

#[derive(Default)]
struct Seat {
    thread: OnceLock<Thread>,
    clock: OnceLock<CpuClock>,
    called: AtomicBool,
    serving: AtomicBool,
}

struct State {
    /// In read(2), or on the way there.
    waiting: usize,
    serving: usize,
    /// So many stay when they have served, while processors are kept awake; more come and go.
    size: usize,
    /// How many stay otherwise.
    demand: Demand,
    parked: Vec<usize>,
    ended: bool,
    /// Requests taken so far.
    taken: u64,
    last: Instant,
    /// Requests in a row that came fast.
    fast: u32,
    watch_asleep: bool,
}

pub struct Crew {
    /// Whether there is a watch: without it nobody is parked.
    watched: AtomicBool,
    /// Whether there are keepers at all.
    staffed: AtomicBool,
    /// Whether processors are kept awake at present.
    keeps: AtomicBool,
    state: Mutex<State>,
    seats: Vec<Seat>,
    watch: Condvar,
    epoch: Instant,
    /// Until when processors are to be kept awake: nanoseconds since `epoch`.
    awake_until: AtomicU64,
    keepers: Mutex<()>,
    rouse: Condvar,
    /// What the keepers saw in this window: looks in all, and those at which a request waited and nobody took it.
    looks: AtomicU64,
    hungry: AtomicU64,
}

impl Crew {
    /// For `threads` threads, and so many `more` where requests wait for a disk.
    pub fn new(threads: usize, more: usize) -> Self {
        let now = Instant::now();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let all = threads + more;
        Crew {
            watched: AtomicBool::new(false),
            staffed: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
            state: Mutex::new(State {
                waiting: 0,
                serving: 0,
                size: 1,
                demand: Demand::new(threads, all, processors),
                parked: Vec::with_capacity(all),
                ended: false,
                taken: 0,
                last: now,
                fast: 0,
                watch_asleep: true,
            }),
            seats: (0..all).map(|_| Seat::default()).collect(),
            watch: Condvar::new(),
            epoch: now,
            awake_until: AtomicU64::new(0),
            keepers: Mutex::new(()),
            rouse: Condvar::new(),
            looks: AtomicU64::new(0),
            hungry: AtomicU64::new(0),
        }
    }

    /// The watch is there, or on its way.
    pub fn watched(&self) {
        self.watched.store(true, Ordering::Release);
    }

    /// A keeper is there, and the watch.
    pub fn staffed(&self) {
        self.staffed.store(true, Ordering::Release);
    }

    /// Called by the thread of `seat`, first.
    pub fn join(&self, seat: usize) {
        let Some(seat) = self.seats.get(seat) else { return };
        let _ = seat.thread.set(std::thread::current());
        if let Some(clock) = CpuClock::of_this_thread() {
            let _ = seat.clock.set(clock);
        }
    }

    /// Returns when the thread of `seat` is to wait for a request. `leave` is called when it is not needed for a while.
    pub fn rest(&self, seat: usize, leave: impl FnOnce()) {
        let Some(own) = self.seats.get(seat) else { return };
        let keeps = self.keeps.load(Ordering::Acquire);
        {
            let mut state = self.state.lock();
            let enough = state.waiting >= 1 && state.waiting + state.serving >= self.wanted(&state);
            if state.ended || !enough || !self.watched.load(Ordering::Acquire) {
                state.waiting += 1;
                return;
            }
            own.called.store(false, Ordering::Release);
            state.parked.push(seat);
        }
        // While processors are kept awake threads come and go with each request that waits for a disk.
        if !keeps {
            leave();
        }
        // Who calls has counted us among those who wait.
        while !own.called.load(Ordering::Acquire) {
            std::thread::park();
        }
    }

    /// So many are to serve or to wait for it.
    fn wanted(&self, state: &State) -> usize {
        if self.keeps.load(Ordering::Acquire) {
            state.size
        } else {
            state.demand.wanted()
        }
    }

    /// The thread of `seat` got a request, at `now`. `write`: it is a WRITE.
    pub fn took(&self, seat: usize, now: Instant, write: bool) {
        let rouse = {
            let mut state = self.state.lock();
            state.waiting = state.waiting.saturating_sub(1);
            state.serving += 1;
            state.taken += 1;
            let fast = now.saturating_duration_since(state.last) < FAST;
            state.fast = if fast { state.fast.saturating_add(1) } else { 0 };
            state.last = now;
            if std::mem::take(&mut state.watch_asleep) {
                self.watch.notify_one();
            }
            let keeps = self.keeps.load(Ordering::Acquire);
            if !keeps {
                let waiting = state.waiting;
                state.demand.left(waiting);
                if waiting == 0 && !write {
                    state.demand.nobody_left(now, || CpuClock::of_the_process().used());
                    self.fill_up(&mut state);
                }
            }
            state.fast >= FAST_RUN && keeps
        };
        if let Some(seat) = self.seats.get(seat) {
            seat.serving.store(true, Ordering::Relaxed);
        }
        if rouse {
            self.keep_awake(now);
        }
    }

    /// The thread of `seat` has answered.
    pub fn served(&self, seat: usize) {
        if let Some(seat) = self.seats.get(seat) {
            seat.serving.store(false, Ordering::Relaxed);
        }
        let mut state = self.state.lock();
        state.serving = state.serving.saturating_sub(1);
    }

    /// A parked thread more is to wait for requests.
    fn call_one(&self, state: &mut State) {
        let Some(seat) = state.parked.pop().and_then(|n| self.seats.get(n)) else { return };
        state.waiting += 1;
        seat.called.store(true, Ordering::Release);
        if let Some(thread) = seat.thread.get() {
            thread.unpark();
        }
    }

    /// As many as are wanted are to serve or to wait for it.
    fn fill_up(&self, state: &mut State) {
        while !state.parked.is_empty() && state.waiting + state.serving < self.wanted(state) {
            self.call_one(state);
        }
    }

    fn call_all(&self, state: &mut State) {
        while !state.parked.is_empty() {
            self.call_one(state);
        }
    }

    /// There will be no more requests: everybody goes and sees for himself.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        self.call_all(&mut state);
        self.watch.notify_all();
        drop(state);
        // Under the lock, so that no keeper is between its look and its sleep.
        let _asleep = self.keepers.lock();
        self.rouse.notify_all();
    }

    fn ended(&self) -> bool {
        self.state.lock().ended
    }
}

/// The watch: calls a thread when all who serve take long, however busy the processors are; and carries trials out.
impl Crew {
    pub fn watch(&self, keepers: &[OnceLock<CpuClock>]) {
        let mut seen = 0;
        let mut window = Window::begin(keepers);
        let (mut trial, mut step, mut before) = (Trial::default(), Instant::now(), 0);
        let mut state = self.state.lock();
        while !state.ended {
            if state.watch_asleep {
                self.watch.wait(&mut state);
                (step, before) = (Instant::now(), state.taken);
                continue;
            }
            let keeps = self.keeps.load(Ordering::Acquire);
            self.watch.wait_for(&mut state, if keeps { PATIENCE } else { STEP });
            if step.elapsed() >= STEP && self.staffed.load(Ordering::Acquire) {
                let keeps = trial.step(state.taken - before, step.elapsed());
                self.keep(&mut state, keeps);
                (step, before) = (Instant::now(), state.taken);
            }
            if state.waiting == 0 && state.taken == seen {
                self.call_one(&mut state);
            } else if state.waiting > 0 && state.taken == seen && state.last.elapsed() > QUIET {
                state.watch_asleep = true;
            }
            seen = state.taken;
            if window.started.elapsed() >= WINDOW {
                state.demand.think_over();
                self.think_over(&mut state, &window, keepers);
                window = Window::begin(keepers);
            }
        }
    }

    fn keep(&self, state: &mut State, keeps: bool) {
        self.keeps.store(keeps, Ordering::Release);
        self.fill_up(state);
    }

    /// More threads stay where processors idle while requests wait, fewer where no processor is idle.
    fn think_over(&self, state: &mut State, window: &Window, keepers: &[OnceLock<CpuClock>]) {
        let (looks, hungry) = (self.looks.swap(0, Ordering::Relaxed), self.hungry.swap(0, Ordering::Relaxed));
        let idle = sum(keepers).saturating_sub(window.idle);
        if idle > WINDOW / 4 && hungry * 5 > looks {
            state.size = (state.size + 1).min(self.seats.len());
        } else if idle < WINDOW / 20 {
            state.size = state.size.saturating_sub(1).max(1);
        }
    }
}

struct Window {
    started: Instant,
    /// Processor time of the keepers so far, which is what nobody else had a use for.
    idle: Duration,
}

impl Window {
    fn begin(keepers: &[OnceLock<CpuClock>]) -> Self {
        Window { started: Instant::now(), idle: sum(keepers) }
    }
}

fn sum(clocks: &[OnceLock<CpuClock>]) -> Duration {
    clocks.iter().filter_map(|clock| Some(clock.get()?.used())).sum()
}

/// What the keepers need to know and may do.
impl Crew {
    fn keep_awake(&self, now: Instant) {
        let now = now.saturating_duration_since(self.epoch).as_nanos() as u64;
        let until = now + 2 * FAST.as_nanos() as u64;
        let before = self.awake_until.swap(until, Ordering::AcqRel);
        if before < now {
            let _asleep = self.keepers.lock();
            self.rouse.notify_all();
        }
    }

    /// Whether processors are to be kept awake at this moment.
    pub fn awake(&self) -> bool {
        (self.epoch.elapsed().as_nanos() as u64) < self.awake_until.load(Ordering::Acquire)
    }

    /// Returns when they are to be kept awake again; `false`: never more.
    pub fn sleep(&self) -> bool {
        let mut asleep = self.keepers.lock();
        while !self.awake() {
            if self.ended() {
                return false;
            }
            self.rouse.wait(&mut asleep);
        }
        true
    }

    /// One look of a keeper, whose processor has nothing else to do: calls a thread when a request waits that nobody
    /// takes, and those who serve do not run.
    pub fn look(&self, look: &mut Look, pending: impl FnOnce() -> bool) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        // Never in the way of those who serve.
        let Some((waiting, parked, taken)) = self.state.try_lock().map(|s| (s.waiting, s.parked.len(), s.taken)) else {
            return;
        };
        if waiting > 0 || parked == 0 || !pending() {
            look.since = None;
            return;
        }
        self.hungry.fetch_add(1, Ordering::Relaxed);
        let used = self.used_by_those_who_serve();
        match look.since {
            Some((since, before, of)) if of == taken => {
                let passed = since.elapsed();
                if passed < BLOCKED {
                    return;
                }
                look.since = None;
                if used.saturating_sub(before) < passed / 4 {
                    let mut state = self.state.lock();
                    if state.waiting == 0 && state.taken == taken {
                        self.call_one(&mut state);
                    }
                }
            }
            _ => look.since = Some((Instant::now(), used, taken)),
        }
    }

    fn used_by_those_who_serve(&self) -> Duration {
        let serving = self.seats.iter().filter(|seat| seat.serving.load(Ordering::Relaxed));
        serving.filter_map(|seat| Some(seat.clock.get()?.used())).sum()
    }
}

/// Threads that serve and have not run for so long are blocked.
const BLOCKED: Duration = Duration::from_micros(15);

/// What a keeper remembers from look to look: since when, processor time of those who serve then, requests taken then.
#[derive(Default)]
pub struct Look {
    since: Option<(Instant, Duration, u64)>,
}
