//! One regular file: its state in memory, and the calls on it.
//!
//! Locks of a file, in this order: `commit` (one commit or checkpoint of it at a time), `state`. The state stays locked
//! while blocks are read, written and sealed: a reader must not see a block whose seal it does not know yet.
//! Readers share it; another file has another.

mod ahead;
mod checkpoint;
mod commit;
mod keyring;
mod load;
mod overwrite;
mod read;
mod resize;
mod scrub;
mod seek;
mod tree;
mod write;

use crate::error::{Error, Result};
use crate::log::image::Images;
use crate::page::Page;
use crate::ranges::RangeSet;
use crate::shared::Shared;
use crate::store::{FileId, Home};
use crate::sync::{AtomicBool, AtomicU64, Mutex, RwLock};
use crate::Time;
pub(crate) use load::{header_commit, Overlay};
pub use scrub::{Checked, Medium};

use ahead::Readers;
use keyring::Keyring;
use kmsfs_format::block::FileKey;
use kmsfs_format::commit::Straight;
use kmsfs_format::header::Root;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// One regular file's content. All methods may be called from any thread.
pub struct File {
    shared: Arc<Shared>,
    id: FileId,
    home: Arc<dyn Home>,
    keyring: Keyring,
    readers: Mutex<Readers>,
    commit: Mutex<()>,
    state: RwLock<State>,
    /// Copy of the state's size, so that stat(2) waits for nobody.
    size: AtomicU64,
    /// Changes of links, owner, mode or times at home so far, and how many of them an fsync has flushed: the next one
    /// flushes the rest.
    inode_changes: AtomicU64,
    inode_flushed: AtomicU64,
    /// Unlinked and closed: nothing of it is to be written any more.
    gone: AtomicBool,
}

pub(crate) struct State {
    /// The current tree. Entries of dirty blocks and nodes are stale until the next commit seals them.
    root: Root,
    /// Nodes above dirty or newly sealed blocks, by (level, index), in clear.
    nodes: HashMap<(u8, u64), Page>,
    /// Blocks that are in no commit, in clear, zero-filled to B.
    dirty: BTreeMap<u64, Page>,
    /// Blocks written straight home since the last commit.
    straight: BTreeMap<u64, Straight>,
    /// Physical ranges that hold nothing any more, since the last commit.
    punched: RangeSet,
    /// The tree, the size or the times changed since the last commit.
    changed: bool,
    /// Pages of the trees since the last durable commit that the current tree does not refer to: not fresh (format §9).
    freed: RangeSet,
    /// As `freed`, by commits up to `.0`: fresh again once that is durable.
    freed_by: (u64, RangeSet),

    /// The key new seals are made under; drawn at the first seal after loading, and again after 2^31 (format §2).
    sealing: Option<Arc<FileKey>>,
    seals: u64,

    /// Images of committed pages that are not home yet.
    images: Images,
    /// What the last commit says; what the checkpoint brings home.
    last_commit: u64,
    committed_physical: u64,
    committed_mtime: Option<Time>,
    committed_punches: RangeSet,
    /// Something committed is not home yet (images, length, times, punches).
    home_stale: bool,
    /// Physical length at home as of the last checkpoint: writing past it needs the `growing` flag first.
    home_len: u64,
    /// The record's flag (format §4).
    growing: bool,
    /// No header at home and none in the log: nothing was ever committed.
    absent: bool,
    /// Newer than the home's, or known to be the home's.
    mtime: Option<Time>,
    /// What was written last is in the kernel's page cache.
    cached_above: bool,
}

impl State {
    fn dirty_bytes(&self, block: usize) -> usize {
        (self.dirty.len() + self.nodes.len()) * block
    }
    fn clean(&self) -> bool {
        !self.changed && !self.home_stale
    }
}

/// The clock of modification times.
fn now() -> Time {
    let d = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: d.as_secs() as i64, nanos: d.subsec_nanos() }
}

impl File {
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// The modification time, where it is newer here than on the home (it is put there when the home is written).
    pub fn mtime(&self) -> Option<Time> {
        self.state.read().mtime
    }

    /// Answered in memory while something of the file waits to be written, and then rides in the next commit.
    pub fn set_mtime(self: &Arc<Self>, t: Time) -> Result<()> {
        self.writable()?;
        let mut st = self.state.write();
        if st.clean() {
            self.home.set_mtime(t.secs, t.nanos)?;
            st.mtime = None;
            self.inode_changed();
            return Ok(());
        }
        st.mtime = Some(t);
        st.changed = true;
        self.keep();
        Ok(())
    }

    /// fsync(2), fdatasync(2): returns when everything written before is durable.
    pub fn sync(self: &Arc<Self>, _data_only: bool) -> Result<()> {
        self.commit()?;
        let changes = self.inode_changes.load(Ordering::Acquire);
        // Only after the flush: another fsync meanwhile must not return before it either.
        if changes > self.inode_flushed.load(Ordering::Acquire) {
            self.home.sync(false)?;
            self.inode_flushed.fetch_max(changes, Ordering::AcqRel);
        }
        let last = self.state.read().last_commit;
        self.shared.log.make_durable(last)
    }

    /// Whether commits of this file are in the log that are not known durable, or something is in no commit: a rename
    /// over another file syncs first when so.
    pub fn needs_sync(&self) -> bool {
        let st = self.state.read();
        st.changed || st.last_commit > self.shared.log.durable()
    }

    /// Links, owner, mode or names changed: the next fsync makes that durable too, as on ext4.
    pub fn inode_changed(&self) {
        self.inode_changes.fetch_add(1, Ordering::AcqRel);
    }

    /// The last link and the last descriptor are gone: nothing of it needs to be written any more.
    pub fn forget(&self) {
        self.gone.store(true, Ordering::Release);
        let kept = self.shared.pending.lock().remove(&self.id);
        let mut st = self.state.write();
        self.count_dirty(&st, 0);
        st.dirty.clear();
        st.nodes.clear();
        st.images.clear();
        st.changed = false;
        st.home_stale = false;
        drop(st);
        drop(kept);
    }

    fn writable(&self) -> Result<()> {
        if self.shared.read_only() {
            return Err(Error::ReadOnly);
        }
        Ok(())
    }

    /// Something waits to be written: the state stays in memory. Called with the state locked.
    fn keep(self: &Arc<Self>) {
        if !self.gone.load(Ordering::Acquire) {
            self.shared.pending.lock().entry(self.id).or_insert_with(|| self.clone());
        }
    }

    /// Keeps the volume's sum of dirty bytes: `st` had `before`.
    fn count_dirty(&self, st: &State, after: usize) {
        let before = st.dirty_bytes(self.shared.block());
        let sum = &self.shared.stats.dirty_bytes;
        if after >= before {
            sum.fetch_add(after - before, Ordering::Relaxed);
        } else {
            sum.fetch_sub(before - after, Ordering::Relaxed);
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let left = self.state.get_mut().dirty_bytes(self.shared.block());
        self.shared.stats.dirty_bytes.fetch_sub(left, Ordering::Relaxed);
        let mut known = self.shared.known.lock();
        if known.get(&self.id).is_some_and(|weak| weak.strong_count() == 0) {
            known.remove(&self.id);
        }
    }
}
