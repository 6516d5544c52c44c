//! Truncation, holes and reservations.

use super::{File, State};
use crate::error::{Error, Result};
use kmsfs_format::block::Entry;
use kmsfs_format::layout::{Step, DIRECT, SUBTREES};
use std::sync::atomic::Ordering;
use std::sync::Arc;

impl File {
    pub fn truncate(self: &Arc<Self>, size: u64) -> Result<()> {
        if size > self.shared.max_size {
            return Err(Error::TooBig);
        }
        let mut st = self.changing()?;
        self.touch(&mut st, 0)?;
        let resized = self.resize(&mut st, size);
        self.done(st)?;
        resized
    }

    /// Makes the range (clipped to the size) read as zeros and frees its whole blocks.
    pub fn punch(self: &Arc<Self>, offset: u64, len: u64) -> Result<()> {
        let mut st = self.changing()?;
        let end = offset.saturating_add(len).min(st.root.size);
        // A punch of nothing makes the time now, as on ext4.
        self.touch(&mut st, 0)?;
        let punched = if offset < end { self.punch_locked(&mut st, offset, end) } else { Ok(()) };
        self.done(st)?;
        punched
    }

    /// Reserves room for the range; grows the size to its end unless `keep_size`.
    pub fn allocate(self: &Arc<Self>, offset: u64, len: u64, keep_size: bool) -> Result<()> {
        let end = offset.checked_add(len).ok_or(Error::TooBig)?;
        if len == 0 || end > self.shared.max_size {
            return Err(if len == 0 { Error::Errno(libc::EINVAL) } else { Error::TooBig });
        }
        let layout = self.shared.layout;
        let mut st = self.changing()?;
        let (first, last) = (offset >> layout.shift(), (end - 1) >> layout.shift());
        let from = layout.home(first);
        self.home.reserve(from, layout.home(last) + layout.block() - from)?;
        self.touch(&mut st, 0)?;
        let grown = if !keep_size && end > st.root.size { self.resize(&mut st, end) } else { Ok(()) };
        self.done(st)?;
        grown
    }

    fn resize(self: &Arc<Self>, st: &mut State, size: u64) -> Result<()> {
        let layout = self.shared.layout;
        if size >= st.root.size {
            self.extend_last(st, size)?;
        } else {
            let keep = layout.blocks(size);
            let within = (size % layout.block()) as usize;
            if within != 0 {
                self.zero_in_block(st, keep - 1, within, self.shared.block())?;
            }
            self.clear_blocks(st, keep, u64::MAX)?;
        }
        st.root.size = size;
        Ok(())
    }

    fn punch_locked(self: &Arc<Self>, st: &mut State, offset: u64, end: u64) -> Result<()> {
        let layout = self.shared.layout;
        let block = layout.block();
        let to_the_end = end == st.root.size;
        let first_whole = offset.div_ceil(block);
        let after_whole = if to_the_end { layout.blocks(end) } else { end >> layout.shift() };
        if first_whole > after_whole
            || (first_whole == after_whole && offset >> layout.shift() == end >> layout.shift())
        {
            // Within one block.
            let index = offset >> layout.shift();
            let start = (offset % block) as usize;
            return self.zero_in_block(st, index, start, start + (end - offset) as usize);
        }
        if !offset.is_multiple_of(block) {
            self.zero_in_block(st, first_whole - 1, (offset % block) as usize, block as usize)?;
        }
        if !to_the_end && !end.is_multiple_of(block) {
            self.zero_in_block(st, after_whole, 0, (end % block) as usize)?;
        }
        self.clear_blocks(st, first_whole, after_whole)
    }

    /// Zeroes part of a block unless it is a hole.
    fn zero_in_block(self: &Arc<Self>, st: &mut State, index: u64, from: usize, to: usize) -> Result<()> {
        if !st.dirty.contains_key(&index) && self.entry(st, index)?.is_hole() {
            return Ok(());
        }
        self.dirty_block(st, index)?[from..to].fill(0);
        Ok(())
    }

    /// Makes blocks `from..to` holes. Whole subtrees go at once: the cost does not grow with what is dropped.
    fn clear_blocks(&self, st: &mut State, from: u64, to: u64) -> Result<()> {
        let layout = self.shared.layout;
        if from >= to {
            return Ok(());
        }
        for index in from..to.min(DIRECT) {
            if !st.root.direct[index as usize].is_hole() {
                st.root.direct[index as usize] = Entry::HOLE;
                self.free_pages(st, layout.home(index), layout.block());
            }
        }
        let past = layout.blocks(st.root.size);
        for k in 1..=SUBTREES {
            let (index, home) = layout.subtree(k);
            if index >= past {
                break;
            }
            let step = Step { level: k as u8, index, home, slot: 0 };
            let entry = st.root.subtrees[k - 1];
            if self.clear_below(st, step, entry, from, to)? {
                st.root.subtrees[k - 1] = Entry::HOLE;
            }
        }
        let block = self.shared.block();
        let gone: Vec<u64> = st.dirty.range(from..to).map(|(i, _)| *i).collect();
        self.shared.stats.dirty_bytes.fetch_sub(gone.len() * block, Ordering::Relaxed);
        for index in gone {
            st.dirty.remove(&index);
        }
        let gone: Vec<u64> = st.straight.range(from..to).map(|(i, _)| *i).collect();
        for index in gone {
            st.straight.remove(&index);
        }
        Ok(())
    }

    /// `true`: nothing is left below the node, its entry becomes a hole.
    fn clear_below(&self, st: &mut State, node: Step, entry: Entry, from: u64, to: u64) -> Result<bool> {
        let layout = self.shared.layout;
        let end = node.index.saturating_add(layout.covers(node.level));
        let here = (node.level, node.index);
        if to <= node.index || from >= end || (entry.is_hole() && !st.nodes.contains_key(&here)) {
            return Ok(false);
        }
        if from <= node.index && to >= end {
            let gone: Vec<(u8, u64)> =
                st.nodes.keys().filter(|(l, i)| *l <= node.level && *i >= node.index && *i < end).copied().collect();
            self.shared.stats.dirty_bytes.fetch_sub(gone.len() * self.shared.block(), Ordering::Relaxed);
            for key in gone {
                st.nodes.remove(&key);
            }
            self.free_pages(st, node.home, layout.span(node.level));
            return Ok(true);
        }
        self.load_node(st, &node, &entry)?;
        let below = layout.covers(node.level - 1);
        for slot in 0..layout.fanout() as usize {
            let index = node.index + slot as u64 * below;
            if index >= to || index.saturating_add(below) <= from {
                continue;
            }
            let Some(child) = st.nodes.get(&here).map(|page| Entry::at(page, slot)) else { continue };
            let home = node.home + layout.block() + slot as u64 * layout.span(node.level - 1);
            let hole = if node.level == 1 {
                if !child.is_hole() {
                    self.free_pages(st, home, layout.block());
                }
                true
            } else {
                self.clear_below(st, Step { level: node.level - 1, index, home, slot: 0 }, child, from, to)?
            };
            if hole {
                if let Some(page) = st.nodes.get_mut(&here) {
                    Entry::HOLE.put(page, slot);
                }
            }
        }
        Ok(false)
    }

    /// Pages that the current tree refers to no more: free at home once that is committed, fresh once it is durable.
    fn free_pages(&self, st: &mut State, home: u64, len: u64) {
        let end = home.saturating_add(len);
        st.freed.insert(home, end);
        st.punched.insert(home, end);
    }
}
