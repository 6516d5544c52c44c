//! Overwriting a long run of whole blocks: it is sealed from the request into the record, without waiting in clear.

use super::commit::ROUNDS;
use super::{File, State};
use crate::error::{Error, Result};
use crate::volume;
use kmsfs_format::block::Entry;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Whole blocks that follow each other, in clear.
pub(super) struct Run<'a> {
    pub first: u64,
    pub data: &'a [u8],
}

impl Run<'_> {
    pub fn blocks(&self, block: usize) -> u64 {
        (self.data.len() / block) as u64
    }
}

impl File {
    /// Commits `data` at once where it replaces whole blocks that are in a commit, and so many that they would bring one
    /// about anyhow; `false` where not, and nothing was done. As of any write, nothing of it is left when it fails.
    pub(super) fn overwrite(self: &Arc<Self>, offset: u64, data: &[u8]) -> Result<bool> {
        let block = self.shared.layout.block();
        let long = data.len() >= self.shared.dirty_max() / 2;
        if !long || !offset.is_multiple_of(block) || !(data.len() as u64).is_multiple_of(block) {
            return Ok(false);
        }
        let run = Run { first: offset / block, data };
        // Before the commit lock, which a checkpoint holds for as long as it writes: new data need not wait for it.
        if self.replaced(&self.state.read(), &run)?.is_none() {
            return Ok(false);
        }
        for _ in 0..ROUNDS {
            let order = self.commit.lock();
            let mut st = self.state.write();
            self.writable()?;
            if self.gone.load(Ordering::Acquire) {
                return Ok(false);
            }
            let Some(before) = self.replaced(&st, &run)? else { return Ok(false) };
            if !st.dirty.is_empty() {
                // With these the record might outgrow a segment.
                drop((st, order));
                self.commit()?;
                continue;
            }
            let committed = self.commit_run(&mut st, &run, &before);
            drop((st, order));
            if committed? {
                return Ok(true);
            }
            volume::checkpoint(&self.shared)?;
        }
        Err(Error::Errno(libc::ENOSPC))
    }

    /// The entries that `run` replaces; `None` unless each is of a whole block in a commit.
    fn replaced(&self, st: &State, run: &Run) -> Result<Option<Vec<Entry>>> {
        let layout = self.shared.layout;
        let end = run.first + run.blocks(self.shared.block());
        let known = |index: &u64| st.dirty.contains_key(index) || st.straight.contains_key(index);
        if end << layout.shift() > st.root.size || (run.first..end).any(|index| known(&index)) {
            return Ok(None);
        }
        let (mut all, mut some) = (Vec::new(), Vec::new());
        let mut index = run.first;
        while index < end {
            let count = layout.contiguous(index, end - index);
            self.entries(st, index, count, &mut some)?;
            if some.iter().any(Entry::is_hole) {
                return Ok(None);
            }
            all.extend_from_slice(&some);
            index += count;
        }
        Ok(Some(all))
    }

    /// `false`: there is no room in the log. Unless it is `true`, the tree is as before.
    fn commit_run(self: &Arc<Self>, st: &mut State, run: &Run, before: &[Entry]) -> Result<bool> {
        for index in run.first..run.first + run.blocks(self.shared.block()) {
            self.materialize(st, index)?;
        }
        self.touch(st, 0)?;
        let committed = self.try_to_commit(st, Some(run));
        if !matches!(committed, Ok(true)) {
            // No dirty block stands in for what is not in the log.
            for (index, entry) in (run.first..).zip(before) {
                self.set_entry(st, index, *entry);
            }
        }
        committed
    }
}
