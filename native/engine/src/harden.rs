//! What the process gives up and asks for before it sees a key: no dumps, locked memory, no fatal signals, a sandbox.

use crate::failure::Failure;
use crate::protocol::{FailureCode, Mlock};
use crate::sandbox;
use rustix::fs::Mode;
use rustix::mm::{mlockall, MlockAllFlags};
use rustix::process::{getrlimit, setrlimit, DumpableBehavior, Resource, Rlimit};
use rustix::thread::CapabilitySet;
use std::io;

const UNLIMITED: Rlimit = Rlimit { current: None, maximum: None };

/// Before anything secret is in memory, and before any thread is started: threads inherit the I/O flusher state, the
/// capabilities and the network namespace.
/// Returns what could not be had and is no reason to stop.
pub fn process() -> Result<Vec<String>, Failure> {
    let internal = |what: &str, e: io::Error| Failure::new(FailureCode::Internal, format!("{what}: {e}"));
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| internal("PR_SET_DUMPABLE", e.into()))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|e| internal("RLIMIT_CORE", e.into()))?;
    // Modes come from the callers of the file system, whose own masks the kernel has applied.
    rustix::process::umask(Mode::empty());
    rustix::process::chdir("/").map_err(|e| internal("chdir", e.into()))?;
    ignore_signals();
    raise_to_hard_limit(Resource::Nofile);
    kmsfs_session::widen_descriptor_table(kmsfs_namespace::MOST_FDS * 2);
    raise_to_hard_limit(Resource::Fsize);
    let mut warnings = Vec::new();
    // prctl(2): the write-out path must not wait for memory that only writing out can free.
    if let Err(e) = rustix::process::configure_io_flusher_behavior(true) {
        warnings.push(format!("PR_SET_IO_FLUSHER: {e}: under memory pressure the mount may stall"));
    }
    warnings.extend(sandbox::enter());
    Ok(warnings)
}

/// The unmount is what ends the engine, so that nothing that was written is lost: the daemon unmounts when it is told
/// to stop. SIGPIPE and SIGXFSZ come as errors of the call.
fn ignore_signals() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE, libc::SIGXFSZ] {
        // SAFETY: SIG_IGN installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

fn raise_to_hard_limit(resource: Resource) {
    let limit = getrlimit(resource);
    // A refusal leaves the limit as it was, which the caches below fit themselves to.
    let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Locks all memory, as it is and as it comes. `Ok(Some)`: a warning, memory is not locked and need not be.
pub fn lock_memory(mlock: Mlock) -> Result<Option<String>, Failure> {
    match lock_all() {
        Ok(()) => {
            kmsfs_format::keys::all_memory_is_locked();
            Ok(None)
        }
        Err(reason) if mlock == Mlock::Try => {
            Ok(Some(format!("memory is not locked, plaintext and keys may reach the swap: {reason}")))
        }
        Err(reason) => Err(Failure::new(FailureCode::MemoryLock, format!("memory cannot be locked: {reason}"))),
    }
}

fn lock_all() -> Result<(), String> {
    if setrlimit(Resource::Memlock, UNLIMITED).is_err() {
        raise_to_hard_limit(Resource::Memlock);
    }
    // Under a finite limit, locking future memory would make a later allocation fail.
    let limit = getrlimit(Resource::Memlock).current;
    let exempt = rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(bytes), false) = (limit, exempt) {
        return Err(format!("RLIMIT_MEMLOCK is {bytes} bytes"));
    }
    // Pages are locked when they are first touched, so that thread stacks do not take their full size.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|e| format!("mlockall: {e}"))
}

/// A panic's message may quote data: only its place is told. The request that it hit gets EIO.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        eprintln!("kmsfs-engine: a panic at {}", place.as_deref().unwrap_or("an unknown place"));
    }));
}
