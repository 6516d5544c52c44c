//! The volume as the engine sees it: opened from what the two channels said, counted, closed.

use crate::failure::Failure;
use crate::protocol::{FailureCode, Recovery};
use crate::unlock::Unlocked;
use kmsfs_files::{Config, OnTamper};
use kmsfs_namespace::backing::root::Root;
use kmsfs_namespace::{OpenError, Options, Volume};
use std::sync::Arc;

/// Milliseconds between commits of what is dirty.
const COMMIT_INTERVAL_MS: u64 = 5000;

/// How the volume is to be mounted, as `start` says.
pub struct Wanted {
    pub backing: String,
    /// `backing`, opened; an error tells itself once the volume is asked for.
    pub root: rustix::io::Result<Root>,
    pub read_only: bool,
    pub cache_bytes: usize,
    pub writeback: bool,
}

/// Takes the volume's lock and recovers what a crash left.
pub fn open(wanted: Wanted, unlocked: Unlocked, on_tamper: OnTamper) -> Result<(Arc<Volume>, Recovery), Failure> {
    let Unlocked { volume, keys } = unlocked;
    let config = Config {
        uuid: volume.uuid,
        block_shift: volume.block_shift,
        segment_size: volume.log.segment_size,
        segment_count: volume.log.segments,
        cache_bytes: wanted.cache_bytes,
        read_only: wanted.read_only,
        // The namespace finds out.
        new_volume: false,
        volume_generation: volume.generation,
        kernel_keeps_times: wanted.writeback,
        commit_interval_ms: COMMIT_INTERVAL_MS,
    };
    let options = Options { writeback: wanted.writeback, ..Options::default() };
    let place = wanted.backing;
    let (volume, recovered) = wanted
        .root
        .map_err(OpenError::from)
        .and_then(|root| Volume::open_with(root, Arc::new(keys), config, on_tamper, options))
        .map_err(|e| failure(&place, &e))?;
    let recovery = Recovery {
        commits: recovered.commits,
        files: recovered.files,
        gone: recovered.gone,
        dropped_tail: recovered.dropped_tail,
    };
    Ok((volume, recovery))
}

fn failure(backing: &str, error: &OpenError) -> Failure {
    let code = match error {
        OpenError::InUse => FailureCode::InUse,
        OpenError::Unsupported(_) => FailureCode::Unsupported,
        OpenError::Damaged(_) => FailureCode::Damaged,
        OpenError::NeverMounted => FailureCode::NeverMounted,
        OpenError::Io(e) => return Failure::io(backing, e),
        OpenError::Files(e) => return file_failure(backing, e),
    };
    Failure::new(code, format!("{backing}: {error}"))
}

fn file_failure(what: &str, error: &kmsfs_files::Error) -> Failure {
    use kmsfs_files::Error;
    let code = match error {
        Error::Io(e) => return Failure::io(what, e),
        Error::Tampered(_) | Error::LogDamaged(_) => FailureCode::Damaged,
        Error::TooBig => FailureCode::Unsupported,
        Error::Errno(libc::ENOSPC | libc::EDQUOT) => FailureCode::NoSpace,
        Error::ReadOnly | Error::Errno(_) => FailureCode::Io,
    };
    Failure::new(code, format!("{what}: {error}"))
}

/// Writes what is dirty home and makes it durable; the mount goes on.
pub fn sync(volume: &Volume) -> Result<(), Failure> {
    volume.files().sync_all().map_err(|e| file_failure("writing everything home", &e))
}

/// Writes everything home and stops writing, or begins again. The failure says why nothing has changed.
pub fn remount(volume: &Volume, read_only: bool) -> Result<(), Failure> {
    if read_only {
        volume.pause().map_err(|e| file_failure("writing everything home", &e))
    } else {
        volume.resume().map_err(|e| file_failure("it was mounted read-only, or may not be written any more", &e))
    }
}

/// What the session's destroy did, once it was unmounted: whether everything is home.
pub fn close(volume: &Volume) -> Result<(), Failure> {
    volume.close().map_err(|e| file_failure("closing the volume", &e))
}

/// Counters by name, for `kmsfs status`; bytes where the name says so.
pub fn counters(volume: &Volume) -> Vec<(String, u64)> {
    let stats = volume.stats();
    let counted = [
        ("nodes", stats.nodes as u64),
        ("descriptors", stats.descriptors as u64),
        ("open_files", stats.open_files as u64),
        ("open_directories", stats.open_directories as u64),
        ("cache_locked", u64::from(volume.files().cache_locked())),
        ("read_only", u64::from(volume.files().read_only())),
    ];
    counted.into_iter().chain(volume.files().counters()).map(|(name, count)| (name.to_owned(), count)).collect()
}
