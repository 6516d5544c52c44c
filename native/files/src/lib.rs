//! The contents of a volume's regular files: trees of sealed blocks, cached, committed through a log, recovered.
//! Knows the backing store through [`store`] alone.

mod arena;
pub mod cache;
pub mod error;
mod file;
pub mod histogram;
mod log;
pub mod memory;
mod page;
mod ranges;
pub mod recording;
mod recovery;
mod scratch;
mod shared;
pub mod store;
mod sync;
mod volume;
mod wipe;

pub use error::{Error, Result};
pub use file::{Checked, File, Medium};
pub use volume::Files;

use std::sync::Arc;
use store::FileId;

/// What the file layer needs to know of a volume and its mount.
#[derive(Clone, Debug)]
pub struct Config {
    pub uuid: [u8; 16],
    /// log2 of the block size: 12, 14 or 16.
    pub block_shift: u8,
    pub segment_size: u64,
    pub segment_count: u32,
    /// Bytes of locked memory for plaintext blocks and nodes.
    pub cache_bytes: usize,
    pub read_only: bool,
    /// The volume was never mounted before: an unused log is no damage.
    pub new_volume: bool,
    /// volume.json's generation, repeated in segment headers.
    pub volume_generation: u64,
    /// The kernel gathers writes (FUSE_WRITEBACK_CACHE): it knows when a file was changed, and says so by set_mtime,
    /// before or after what it writes back. Nothing else changes a modification time then.
    pub kernel_keeps_times: bool,
    /// Milliseconds between commits of what is dirty; 0: no background thread (tests).
    pub commit_interval_ms: u64,
}

/// Told to the daemon: something on the volume was changed by someone without the key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tamper {
    pub file: FileId,
    /// Where it lies in the backing directory, as far as that is known; no name in clear.
    pub place: Option<String>,
    /// The number of the data block, where it is one.
    pub block: Option<u64>,
    /// What does not fit, to follow the name of the thing.
    pub what: String,
}
pub type OnTamper = Arc<dyn Fn(Tamper) + Send + Sync>;

/// What recovery did at mount.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    pub commits: u64,
    pub files: u64,
    pub gone: u64,
    pub dropped_tail: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Time {
    pub secs: i64,
    pub nanos: u32,
}
