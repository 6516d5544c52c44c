//! A mounted volume: the namespace over its backing directory and the file layer.

mod acl;
mod attr;
mod copy;
mod create;
mod dir;
mod filesystem;
mod io;
mod link;
mod lookup;
mod mount;
mod nodes;
mod open;
mod remove;
mod rename;
mod scrub;
mod setattr;
mod sidecar;
mod symlink;
mod xattr;

pub use mount::{OpenError, Options, MOST_FDS};
pub use scrub::{Cursor, Finding, ScrubCounts, ScrubEnd, Scrubbing};

use crate::backing::locks::Stripes;
use crate::backing::Backing;
use crate::table::Table;
use dir::OpenDir;
use kmsfs_files::Files;
use open::{Handles, OpenFile};
use parking_lot::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;

/// Counts for `kmsfs status`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    pub nodes: usize,
    pub descriptors: usize,
    pub open_files: usize,
    pub open_directories: usize,
}

pub struct Volume {
    backing: Arc<Backing>,
    files: Arc<Files>,
    options: Options,
    /// B, bytes.
    block_size: u32,
    table: Table,
    open_files: Handles<OpenFile>,
    open_dirs: Handles<OpenDir>,
    /// Held over a change of a directory's entries, so over backing system calls: an entry, its sidecar and its
    /// temporary name change together. Taken before inode locks; never while the file layer is called.
    dir_locks: Stripes,
    /// The volume is being closed: a scrub ends.
    closing: AtomicBool,
    /// Held for as long as a scrub runs: one at a time, and closing waits for it.
    scrubbing: Mutex<()>,
    /// flock(2) on `.kmsfs/lock`: one mount at a time.
    _lock: std::os::fd::OwnedFd,
}

impl Volume {
    pub fn stats(&self) -> Stats {
        Stats {
            nodes: self.table.count(),
            descriptors: self.backing.fds.count(),
            open_files: self.open_files.count(),
            open_directories: self.open_dirs.count(),
        }
    }

    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }
}
