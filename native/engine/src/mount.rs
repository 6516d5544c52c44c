//! The life of a mount, in the order of docs/engine-protocol.md: start, key, volume, requests, everything home.

use crate::control::{self, Handler, Outbox, Writer};
use crate::descriptors::Inherited;
use crate::failure::Failure;
use crate::frame;
use crate::harden;
use crate::protocol::{Control, Event, EventKind, FailureCode, KeyReply, Latency, Mlock, VERSION};
use crate::scrub::{ScrubOrder, Scrubber};
use crate::unlock::{self, Unlocked};
use crate::volume::{self, Wanted};
use kmsfs_files::histogram::{self, Snapshot};
use kmsfs_files::{OnTamper, Tamper};
use kmsfs_namespace::backing::root::Root;
use kmsfs_namespace::Volume;
use kmsfs_session::{serve, Counters, Ended, Options};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Serves the mount until it is unmounted. `Ok`: everything is home.
pub fn run(inherited: Inherited) -> Result<(), Failure> {
    let Inherited { mut control, key, fuse } = inherited;
    // Before the sandbox, which allows no mount. What goes wrong is told below: to tell takes a thread, and threads come
    // after the sandbox.
    let started =
        frame::read(&mut control).map_err(|e| Failure::usage(format!("control channel: {e}"))).and_then(start);
    let hardened = harden::process();
    let writer = control.try_clone().and_then(Writer::start).map_err(|e| Failure::io("control channel", &e))?;
    let outbox = writer.outbox();
    let served = bring_up(hardened, started, control, key, &outbox).and_then(|mount| mount.serve(fuse, &outbox));
    if let Err(failure) = &served {
        outbox.send(failure.event());
    }
    writer.finish();
    served
}

struct Mount {
    volume: Arc<Volume>,
    state: Arc<State>,
    writeback: bool,
    debug: bool,
}

/// What the control channel's thread shares with the mount.
#[derive(Default)]
struct State {
    volume: OnceLock<Arc<Volume>>,
    session: Arc<Counters>,
    /// The daemon is gone or wants no mount: stop waiting for one.
    cancel: Arc<AtomicBool>,
    /// A key came: from now on the end of the daemon does not end the engine.
    unlocked: AtomicBool,
    /// All memory is locked.
    locked: AtomicBool,
    tampered: AtomicU64,
    scrubber: Scrubber,
}

/// Everything up to the point where requests can be answered. Whoever waits for the key's fate is told.
fn bring_up(
    hardened: Result<Vec<String>, Failure>,
    started: Result<Start, Failure>,
    control: UnixStream,
    mut key: UnixStream,
    outbox: &Outbox,
) -> Result<Mount, Failure> {
    let state = Arc::new(State::default());
    let brought = prepare(hardened, started, outbox, &state).and_then(|Start { wanted, debug, .. }| {
        let watcher = Watcher { state: state.clone(), outbox: outbox.clone() };
        control::listen(control, outbox.clone(), watcher).map_err(|e| Failure::io("control channel", &e))?;
        let unlocked = unlock::receive(&mut key)?;
        state.unlocked.store(true, Ordering::SeqCst);
        open(wanted, unlocked, state, outbox, debug)
    });
    let reply = match &brought {
        Ok(_) => KeyReply::Unlocked {},
        Err(failure) => failure.key_reply(),
    };
    // Who sent the key may be gone by now; the mount does not depend on it.
    let _ = frame::write(&mut key, &reply);
    brought
}

/// What `start` says.
struct Start {
    wanted: Wanted,
    mlock: Mlock,
    debug: bool,
}

/// Checks `start`, and opens the backing directory.
fn start(first: Control) -> Result<Start, Failure> {
    let Control::Start { version, backing, read_only, cache_bytes, writeback, mlock, debug } = first else {
        return Err(Failure::usage("control channel: the first message is not start"));
    };
    if version != VERSION {
        return Err(unlock::wrong_version(version));
    }
    if !backing.starts_with('/') || backing.contains('\0') {
        return Err(Failure::usage("start: backing is not an absolute path"));
    }
    let cache_bytes = usize::try_from(cache_bytes).map_err(|_| Failure::usage("start: cacheBytes is too large"))?;
    let root = Root::open(Path::new(&backing));
    Ok(Start { wanted: Wanted { backing, root, read_only, cache_bytes, writeback }, mlock, debug })
}

/// Tells how far the process is hardened, and locks its memory.
fn prepare(
    hardened: Result<Vec<String>, Failure>,
    started: Result<Start, Failure>,
    outbox: &Outbox,
    state: &State,
) -> Result<Start, Failure> {
    for warning in hardened? {
        outbox.warn(warning);
    }
    let started = started?;
    match harden::lock_memory(started.mlock)? {
        Some(warning) => outbox.warn(warning),
        None => state.locked.store(true, Ordering::Relaxed),
    }
    Ok(started)
}

fn open(wanted: Wanted, unlocked: Unlocked, state: Arc<State>, outbox: &Outbox, debug: bool) -> Result<Mount, Failure> {
    let writeback = wanted.writeback;
    let (volume, recovery) = volume::open(wanted, unlocked, on_tamper(outbox.clone(), state.clone()))?;
    // Set once, here.
    let _ = state.volume.set(volume.clone());
    let warnings = outbox.clone();
    volume.files().on_failure(move |why| {
        warnings.warn(format!("{why}: nothing is written any more; unmount, find out why, and mount again"));
    });
    outbox.send(Event::Opened { recovery });
    Ok(Mount { volume, state, writeback, debug })
}

fn on_tamper(outbox: Outbox, state: Arc<State>) -> OnTamper {
    Arc::new(move |Tamper { file, place, block, what }| {
        state.tampered.fetch_add(1, Ordering::Relaxed);
        let file = file.iter().map(|byte| format!("{byte:02x}")).collect();
        outbox.send(Event::Incident { event: EventKind::Tamper, file: Some(file), place, block, detail: Some(what) });
    })
}

impl Mount {
    fn serve(self, fuse: OwnedFd, outbox: &Outbox) -> Result<(), Failure> {
        let serving = outbox.clone();
        let options = Options {
            writeback: self.writeback,
            debug: self.debug,
            counters: self.state.session.clone(),
            cancel: self.state.cancel.clone(),
            on_serving: Some(Box::new(move || serving.send(Event::Serving {}))),
            ..Options::default()
        };
        let ended = serve(fuse, self.volume.clone(), options);
        // Destroy has written everything home, or failed to: this says which.
        volume::close(&self.volume)?;
        match ended.map_err(|e| Failure::new(FailureCode::Internal, e.to_string()))? {
            Ended::Unmounted => Ok(()),
            Ended::Aborted => Err(Failure::new(FailureCode::Io, "the FUSE connection was aborted")),
            Ended::NeverMounted => Err(Failure::new(FailureCode::Io, "no mount was made")),
        }
    }
}

fn named((name, Snapshot { counts, nanos }): (&str, Snapshot)) -> (String, Latency) {
    (name.to_owned(), Latency { counts, nanos })
}

struct Watcher {
    state: Arc<State>,
    outbox: Outbox,
}

impl Handler for Watcher {
    fn status(&self, id: u64) -> Event {
        let volume = self.state.volume.get();
        let flags = [
            ("events_dropped".to_owned(), self.outbox.dropped()),
            ("tamper_events".to_owned(), self.state.tampered.load(Ordering::Relaxed)),
            ("memory_locked".to_owned(), u64::from(self.state.locked.load(Ordering::Relaxed))),
        ];
        let counters = volume.map_or_else(Vec::new, |volume| volume::counters(volume));
        let latencies = volume.map_or_else(Vec::new, |volume| volume.files().latencies());
        Event::Status {
            id,
            counters: self.state.session.snapshot().into_iter().chain(counters).chain(flags).collect(),
            latency_bounds: histogram::BOUNDS.to_vec(),
            latencies: self.state.session.latencies().into_iter().chain(latencies).map(named).collect(),
            failure: volume.and_then(|volume| volume.files().failure().or_else(|| volume.files().trouble())),
        }
    }

    fn remount(&self, read_only: bool) -> Result<(), String> {
        let volume = self.state.volume.get().ok_or("the mount is not up yet")?;
        volume::remount(volume, read_only).map_err(|failure| failure.message)
    }

    fn flush(&self) -> Result<(), String> {
        let volume = self.state.volume.get().ok_or("the mount is not up yet")?;
        match volume.files().failure() {
            Some(failure) => Err(failure),
            None if volume.files().read_only() => Ok(()),
            None => volume::sync(volume).map_err(|failure| failure.message),
        }
    }

    fn stop(&self) {
        self.state.cancel.store(true, Ordering::SeqCst);
        if let Some(Err(failure)) = self.state.volume.get().map(|volume| volume::sync(volume)) {
            self.outbox.warn(failure.message);
        }
    }

    fn scrub(&self, order: ScrubOrder) {
        let Some(volume) = self.state.volume.get() else {
            return self.outbox.warn("scrub: the volume is not open yet");
        };
        if let Err(e) = self.state.scrubber.start(volume.clone(), self.outbox.clone(), order) {
            self.outbox.warn(format!("scrub: {e}"));
        }
    }

    fn stop_scrub(&self) {
        self.state.scrubber.stop();
    }

    fn closed(&self) {
        // Nobody hears of what it finds.
        self.state.scrubber.stop();
        self.state.cancel.store(true, Ordering::SeqCst);
        if !self.state.unlocked.load(Ordering::SeqCst) {
            // Nobody will mount anything, and there is nothing to write home.
            std::process::exit(1);
        }
    }
}
