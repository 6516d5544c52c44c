//! Writing: large new runs are sealed and go straight home; everything else waits, in clear, for the next commit.

use super::{now, File, State};
use crate::error::{Error, Result};
use crate::scratch;
use crate::sync::RwLockWriteGuard;
use crate::Time;
use kmsfs_format::block::{self, FileKey};
use kmsfs_format::commit::Straight;
use kmsfs_format::layout::HEADER_LEN;
use kmsfs_format::random::Nonces;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// New runs of at least this go straight home; smaller ones are cheaper in the log.
pub(super) const STRAIGHT_FROM: usize = 64 << 10;
/// A file with this many straight blocks is committed.
const STRAIGHT_MAX: usize = 8192;
/// As `Shared::dirty_max`, over all files of the volume.
const DIRTY_MAX_VOLUME: usize = 32 << 20;
/// Seals under one key before another epoch is drawn (docs/format.md §2).
const SEALS_MAX: u64 = 1 << 31;
/// Key generation of the volume's domain key: re-keying will raise it.
const GENERATION: u8 = 1;

impl File {
    /// Writes all of `data`; the file grows as needed. Sets the modification time to now, unless the kernel does. More than 1 MiB is not one step.
    pub fn write(self: &Arc<Self>, offset: u64, data: &[u8]) -> Result<()> {
        self.write_from(offset, data, false)
    }

    /// As `write`, of pages that the kernel writes back: it has them in its own cache, so ours is left to others.
    pub fn write_back(self: &Arc<Self>, offset: u64, data: &[u8]) -> Result<()> {
        self.write_from(offset, data, true)
    }

    fn write_from(self: &Arc<Self>, offset: u64, data: &[u8], cached_above: bool) -> Result<()> {
        offset.checked_add(data.len() as u64).filter(|end| *end <= self.shared.max_size).ok_or(Error::TooBig)?;
        for (i, piece) in data.chunks(self.shared.dirty_max()).enumerate() {
            let offset = offset + (i * self.shared.dirty_max()) as u64;
            if self.overwrite(offset, piece)? {
                continue;
            }
            let mut st = self.changing()?;
            st.cached_above = cached_above;
            let written = self.write_locked(&mut st, offset, piece);
            self.done(st)?;
            written?;
        }
        Ok(())
    }

    /// The state, to be changed: with room for one more change in the record that will hold it. Writers that come faster
    /// than commits are made wait here.
    pub(super) fn changing(self: &Arc<Self>) -> Result<RwLockWriteGuard<'_, State>> {
        loop {
            self.writable()?;
            let st = self.state.write();
            if !self.much(&st) {
                return Ok(st);
            }
            drop(st);
            self.commit()?;
        }
    }

    /// Enough waits for a commit.
    fn much(&self, st: &State) -> bool {
        st.changed
            && (st.dirty_bytes(self.shared.block()) >= self.shared.dirty_max()
                || st.straight.len() >= STRAIGHT_MAX.min(self.shared.dirty_max() / 128))
    }

    /// Writes at the current end (O_APPEND without the writeback cache), atomically with finding it. Returns the offset and
    /// how much was appended: less than `data` when something failed on the way, since who is told an error writes all of
    /// it once more. An error: nothing was.
    pub fn append(self: &Arc<Self>, data: &[u8]) -> Result<(u64, usize)> {
        let mut st = self.changing()?;
        let offset = st.root.size;
        let written = self.write_locked(&mut st, offset, data);
        let appended = (st.root.size - offset) as usize;
        // A commit that failed left everything as it was, in memory: the next one meets the error again, and reports it.
        let _ = self.done(st);
        match written {
            Err(e) if appended == 0 => Err(e),
            _ => Ok((offset, appended)),
        }
    }

    /// After a change: publishes the size, lets the state go, and commits when much is waiting.
    pub(super) fn done(self: &Arc<Self>, st: RwLockWriteGuard<'_, State>) -> Result<()> {
        self.size.store(st.root.size, Ordering::Release);
        let much = self.much(&st)
            || self.shared.stats.dirty_bytes.load(Ordering::Relaxed) >= DIRTY_MAX_VOLUME
                && st.dirty_bytes(self.shared.block()) > 0;
        drop(st);
        if much {
            self.commit()?;
        }
        Ok(())
    }

    fn write_locked(self: &Arc<Self>, st: &mut State, offset: u64, data: &[u8]) -> Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(data.len() as u64).ok_or(Error::TooBig)?;
        if end > self.shared.max_size {
            return Err(Error::TooBig);
        }
        let old_size = st.root.size;
        // A new small file gets its room with its header's, in one step.
        let last = (end - 1) >> self.shared.layout.shift();
        let small = st.absent && !st.changed && offset == 0 && data.len() < STRAIGHT_FROM;
        let reserved = if small { self.shared.layout.contiguous(0, last + 1) } else { 0 };
        self.touch(st, reserved)?;
        if end > old_size {
            self.extend_last(st, end)?;
            st.root.size = end;
        }
        let mut done = 0;
        let result = self.write_blocks(st, offset, data, reserved, &mut done);
        if result.is_err() {
            // What failed was not changed: the file ends behind what was written.
            st.root.size = old_size.max(if done > 0 { offset + done as u64 } else { 0 });
        }
        result
    }

    /// Something is about to change: times, and room for the header that the commit will bring, with so many blocks behind
    /// it.
    pub(super) fn touch(self: &Arc<Self>, st: &mut State, blocks: u64) -> Result<()> {
        if st.absent && !st.changed {
            self.home.reserve(0, HEADER_LEN + (blocks << self.shared.layout.shift()))?;
        }
        // The kernel's time of a change is not ours; two would show in turn, as caches come and go.
        if !self.shared.config.kernel_keeps_times {
            st.mtime = Some(now());
        } else if st.mtime.is_none() {
            let (secs, nanos) = self.home.mtime()?;
            st.mtime = Some(Time { secs, nanos });
        }
        st.changed = true;
        self.keep();
        Ok(())
    }

    /// Growth to `size` seals a partial last block again at its new length (docs/format.md §5); a hole stays one.
    pub(super) fn extend_last(self: &Arc<Self>, st: &mut State, size: u64) -> Result<()> {
        let shift = self.shared.layout.shift();
        let old = st.root.size;
        if old.is_multiple_of(self.shared.layout.block()) || size <= old {
            return Ok(());
        }
        let last = old >> shift;
        if !st.dirty.contains_key(&last) && !self.entry(st, last)?.is_hole() {
            self.dirty_block(st, last)?;
        }
        Ok(())
    }

    /// `reserved`: blocks from the first on that have room at home.
    fn write_blocks(
        self: &Arc<Self>,
        st: &mut State,
        offset: u64,
        data: &[u8],
        mut reserved: u64,
        done: &mut usize,
    ) -> Result<()> {
        let layout = self.shared.layout;
        let block = self.shared.block();
        // The next run to go straight home, and up to where such were looked for.
        let (mut run, mut looked) = (0..0, 0u64);
        while *done < data.len() {
            let at = offset + *done as u64;
            let index = at >> layout.shift();
            let within = (at - (index << layout.shift())) as usize;
            let rest = &data[*done..];
            if within == 0 && index >= looked && rest.len() >= STRAIGHT_FROM.max(block) {
                (run, looked) = self.fresh_run(st, index, (rest.len() / block) as u64)?;
            }
            if run.start == index && !run.is_empty() {
                let len = (run.end - index) as usize * block;
                self.write_straight(st, index, &rest[..len])?;
                *done += len;
                continue;
            }
            let take = (block - within).min(rest.len());
            if index >= reserved && !st.dirty.contains_key(&index) && self.entry(st, index)?.is_hole() {
                // One reservation for the rest of the request, as far as homes lie one behind the other.
                let last = (offset + data.len() as u64 - 1) >> layout.shift();
                let count = layout.contiguous(index, last - index + 1);
                self.home.reserve(layout.home(index), count << layout.shift())?;
                reserved = index + count;
            }
            if within == 0 && (take == block || at + take as u64 >= st.root.size) {
                self.replace_block(st, index, &rest[..take])?;
            } else {
                self.dirty_block(st, index)?[within..within + take].copy_from_slice(&rest[..take]);
            }
            *done += take;
        }
        Ok(())
    }

    /// The first run, of the `max` blocks from `index` on that lie one behind the other at home, that is fresh, not dirty,
    /// and long enough to go straight home (or an empty one); and up to where none other begins.
    fn fresh_run(&self, st: &mut State, index: u64, max: u64) -> Result<(Range<u64>, u64)> {
        let count = self.shared.layout.contiguous(index, max);
        let least = STRAIGHT_FROM.div_ceil(self.shared.block()) as u64;
        let mut entries = Vec::new();
        self.entries(st, index, count, &mut entries)?;
        let mut start = index;
        for (i, entry) in (index..).zip(&entries) {
            if st.dirty.contains_key(&i) || !self.fresh(st, i, entry) {
                if i - start >= least {
                    return Ok((start..i, i));
                }
                start = i + 1;
            }
        }
        let end = index + count;
        Ok(if end - start >= least { (start..end, end) } else { (0..0, end) })
    }

    /// Seals whole blocks of new data and writes them home at once. Nothing changes when that fails.
    fn write_straight(self: &Arc<Self>, st: &mut State, first: u64, data: &[u8]) -> Result<()> {
        self.materialize(st, first)?;
        scratch::with(data.len(), |sealed| {
            sealed.copy_from_slice(data);
            self.seal_straight(st, first, sealed)
        })
    }

    /// Seals `blocks` (plaintext; the last may be shorter than a block) in place and writes them to their homes.
    pub(super) fn seal_straight(&self, st: &mut State, first: u64, blocks: &mut [u8]) -> Result<()> {
        let block = self.shared.block();
        let home = self.shared.layout.home(first);
        let end = home + blocks.len() as u64;
        if end > st.home_len && !st.growing {
            self.home.set_growing(true)?;
            st.growing = true;
        }
        let key = self.sealing_key(st, blocks.len().div_ceil(block) as u64)?;
        let mut entries = Vec::with_capacity(blocks.len().div_ceil(block));
        let mut nonces = Nonces::of(blocks.len().div_ceil(block));
        for (i, data) in blocks.chunks_mut(block).enumerate() {
            let index = first + i as u64;
            let len = data.len() as u32;
            let entry = key.seal(0, index, data, &mut nonces).map_err(std::io::Error::from)?;
            entries.push(Straight { index, len, entry });
        }
        self.home.write_at(blocks, home)?;
        self.shared.stats.straight_bytes.fetch_add(blocks.len() as u64, Ordering::Relaxed);
        for s in entries {
            self.set_entry(st, s.index, s.entry);
            st.straight.insert(s.index, s);
        }
        Ok(())
    }

    /// The key for `seals` more seals.
    pub(super) fn sealing_key(&self, st: &mut State, seals: u64) -> Result<Arc<FileKey>> {
        st.seals += seals;
        if let Some(key) = st.sealing.as_ref().filter(|_| st.seals < SEALS_MAX) {
            return Ok(key.clone());
        }
        let epoch = block::new_epoch(GENERATION).map_err(std::io::Error::from)?;
        let key = self.keyring.get(epoch)?;
        st.sealing = Some(key.clone());
        st.seals = seals;
        Ok(key)
    }
}
