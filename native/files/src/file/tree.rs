//! Finding entries in a file's tree, and bringing the nodes above a block into memory before it changes.

use super::{File, State};
use crate::cache::Rank;
use crate::error::{Error, Result};
use crate::page::Page;
use crate::scratch;
use crate::Tamper;
use kmsfs_format::block::Entry;
use kmsfs_format::layout::{Step, DIRECT};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Who asks for more entries of a node at once is a scan: it comes here once.
const SINGLE: u64 = 8;

impl File {
    /// Reads what is sealed at `home` (from the log while it waits there) and opens it into `out`, whose length is the
    /// stored one. Does not authenticate: tampering.
    pub(super) fn open_sealed(
        &self,
        st: &State,
        level: u8,
        index: u64,
        at: u64,
        entry: &Entry,
        out: &mut [u8],
    ) -> Result<()> {
        scratch::with(out.len(), |sealed| {
            match st.images.get(&at) {
                Some(image) if image.len as usize == sealed.len() => image.read(sealed)?,
                _ => {
                    if self.home.read_at(sealed, at)? < sealed.len() {
                        return Err(self.damaged(level, index, "is cut off"));
                    }
                }
            }
            let key = self.keyring.get(entry.epoch())?;
            key.open(level, index, entry, sealed, out).map_err(|_| self.damaged(level, index, "does not authenticate"))
        })
    }

    pub(super) fn damaged(&self, level: u8, index: u64, what: &str) -> Error {
        self.shared.tampered(self.tamper(level, index, what))
    }

    /// What to say of a block or node that `what`.
    pub(super) fn tamper(&self, level: u8, index: u64, what: &str) -> Tamper {
        let piece = if level == 0 { format!("block {index}") } else { format!("node {index} of level {level}") };
        let block = (level == 0).then_some(index);
        Tamper { file: self.id, place: self.home.place(), block, what: format!("{piece} {what}") }
    }

    /// The plaintext of a node that is sealed under `entry`.
    pub(super) fn node(&self, st: &State, step: &Step, entry: &Entry) -> Result<Page> {
        let mut page = Page::zeroed(self.shared.block());
        if !self.shared.cache.get(entry, &mut page) {
            self.open_sealed(st, step.level, step.index, step.home, entry, &mut page)?;
            self.shared.cache.put(entry, &page);
        }
        Ok(page)
    }

    /// The entries of `n` blocks from `first` on, all direct or all below one node. Those of dirty blocks are stale.
    pub(super) fn entries(&self, st: &State, first: u64, n: u64, out: &mut Vec<Entry>) -> Result<()> {
        self.look_up(st, first, n, 0, out)
    }

    /// The same for a reader of these blocks.
    pub(super) fn entries_to_read(&self, st: &State, first: u64, n: u64, out: &mut Vec<Entry>) -> Result<()> {
        self.look_up(st, first, n, n, out)
    }

    /// `fetch`: so many of the blocks are read next.
    fn look_up(&self, st: &State, first: u64, n: u64, fetch: u64, out: &mut Vec<Entry>) -> Result<()> {
        out.clear();
        if first < DIRECT {
            out.extend_from_slice(&st.root.direct[first as usize..(first + n) as usize]);
            return Ok(());
        }
        let path = self.shared.layout.path(first);
        let mut entry = st.root.subtrees[self.shared.layout.subtree_of(first) - 1];
        // Of everything below the first node that has to be fetched.
        let mut told = false;
        for (depth, step) in path.steps().iter().enumerate() {
            let mut pick = |node: &[u8]| {
                if step.level == 1 {
                    out.extend((step.slot..step.slot + n as usize).map(|slot| Entry::at(node, slot)));
                }
                Entry::at(node, step.slot)
            };
            entry = match st.nodes.get(&(step.level, step.index)) {
                Some(dirty) => pick(dirty),
                None if entry.is_hole() => {
                    out.resize(n as usize, Entry::HOLE);
                    return Ok(());
                }
                None => match self.shared.cache.look(&entry, self.shared.block(), &mut pick) {
                    Some(below) => below,
                    None => {
                        told = told || self.fetch_below(st, step, &path.steps()[depth + 1..], first, fetch);
                        let mut page = Page::zeroed(self.shared.block());
                        self.open_sealed(st, step.level, step.index, step.home, &entry, &mut page)?;
                        let single = step.level > 1 || n <= SINGLE;
                        self.shared.cache.put_as(&entry, &page, if single { Rank::Node } else { Rank::Passing });
                        pick(&page)
                    }
                },
            };
        }
        Ok(())
    }

    pub(super) fn entry(&self, st: &State, index: u64) -> Result<Entry> {
        let mut one = Vec::with_capacity(1);
        self.entries(st, index, 1, &mut one)?;
        Ok(one[0])
    }

    /// Brings every node above block `index` into `st.nodes`, so that a commit needs nothing from the store.
    pub(super) fn materialize(&self, st: &mut State, index: u64) -> Result<()> {
        let layout = self.shared.layout;
        if index < DIRECT {
            return Ok(());
        }
        let path = layout.path(index);
        if path.steps().last().is_some_and(|s| st.nodes.contains_key(&(s.level, s.index))) {
            return Ok(());
        }
        let mut entry = st.root.subtrees[layout.subtree_of(index) - 1];
        for step in path.steps() {
            self.load_node(st, step, &entry)?;
            if let Some(node) = st.nodes.get(&(step.level, step.index)) {
                entry = Entry::at(node, step.slot);
            }
        }
        Ok(())
    }

    /// Brings one node, sealed under `entry`, into `st.nodes`; its parents are there. A new one gets its room at home.
    pub(super) fn load_node(&self, st: &mut State, step: &Step, entry: &Entry) -> Result<()> {
        if st.nodes.contains_key(&(step.level, step.index)) {
            return Ok(());
        }
        let page = if entry.is_hole() {
            self.home.reserve(step.home, self.shared.layout.block())?;
            Page::zeroed(self.shared.block())
        } else {
            self.node(st, step, entry)?
        };
        st.nodes.insert((step.level, step.index), page);
        self.shared.stats.dirty_bytes.fetch_add(self.shared.block(), Ordering::Relaxed);
        Ok(())
    }

    /// Sets the entry of a data block whose nodes are materialized.
    pub(super) fn set_entry(&self, st: &mut State, index: u64, entry: Entry) {
        if index < DIRECT {
            st.root.direct[index as usize] = entry;
            return;
        }
        if let Some(step) = self.shared.layout.path(index).steps().last() {
            if let Some(node) = st.nodes.get_mut(&(step.level, step.index)) {
                entry.put(node, step.slot);
            }
        }
    }

    /// A block nobody has ever referred to since the last durable commit, and of which the current tree knows nothing:
    /// it may be written to its home at once (format §9).
    pub(super) fn fresh(&self, st: &mut State, index: u64, entry: &Entry) -> bool {
        if !entry.is_hole() {
            return false;
        }
        if !st.freed_by.1.is_empty() && st.freed_by.0 <= self.shared.log.durable() {
            st.freed_by.1.clear();
        }
        let home = self.shared.layout.home(index);
        !st.freed.contains(home) && !st.freed_by.1.contains(home) && !st.images.contains_key(&home)
    }

    /// The block in clear, writable, in the dirty set: loaded if it is sealed, zero if it is a hole. The caller has reserved
    /// the home of a hole.
    pub(super) fn dirty_block<'a>(self: &Arc<Self>, st: &'a mut State, index: u64) -> Result<&'a mut Page> {
        if !st.dirty.contains_key(&index) {
            self.materialize(st, index)?;
            let entry = self.entry(st, index)?;
            let mut page = Page::zeroed(self.shared.block());
            if !entry.is_hole() {
                let stored = self.shared.layout.stored_len(index, st.root.size);
                self.read_block(st, index, &entry, &mut page[..stored])?;
            }
            self.make_dirty(st, index, page);
        }
        st.changed = true;
        self.keep();
        st.dirty.get_mut(&index).ok_or(Error::Errno(libc::EIO))
    }

    /// A block as it is to be from now on, whatever it was; `data` may be the last one's, shorter than a block. As above
    /// otherwise.
    pub(super) fn replace_block(self: &Arc<Self>, st: &mut State, index: u64, data: &[u8]) -> Result<()> {
        if let Some(page) = st.dirty.get_mut(&index) {
            let (front, behind) = page.split_at_mut(data.len());
            front.copy_from_slice(data);
            behind.fill(0);
            return Ok(());
        }
        self.materialize(st, index)?;
        let page = if data.len() == self.shared.block() {
            Page::copy_of(data)
        } else {
            let mut page = Page::zeroed(self.shared.block());
            page[..data.len()].copy_from_slice(data);
            page
        };
        self.make_dirty(st, index, page);
        Ok(())
    }

    fn make_dirty(&self, st: &mut State, index: u64, page: Page) {
        st.straight.remove(&index);
        st.dirty.insert(index, page);
        self.shared.stats.dirty_bytes.fetch_add(self.shared.block(), Ordering::Relaxed);
    }

    /// One sealed block, all of its stored bytes, through the cache.
    pub(super) fn read_block(&self, st: &State, index: u64, entry: &Entry, out: &mut [u8]) -> Result<()> {
        if self.shared.cache.get(entry, out) {
            return Ok(());
        }
        self.open_sealed(st, 0, index, self.shared.layout.home(index), entry, out)?;
        self.shared.cache.put(entry, out);
        Ok(())
    }
}
