//! Reading ahead of sequential readers, where the store has to wait for its device.
//!
//! The store is told what will be asked for, and fetches it into its own cache: ciphertext, in the backing file system's
//! page cache, which is coherent with every write. So nothing that was fetched is ever stale, damage is noticed by the
//! reader who reaches it, no memory of ours is held and no lock. It is opened ahead as well: the kernel has several
//! requests in flight, each in a thread of the session.

use super::{File, State};
use kmsfs_format::layout::Step;
use std::ops::Range;

/// A shorter request is no part of a scan: the kernel asks for more at once when it reads ahead.
const LEAST: usize = 64 << 10;
/// How far a reader is led. At 1 ms a request, 4 MiB in flight are 4 GB/s.
const FARTHEST: u64 = 4 << 20;
/// Requests of one reader arrive out of order, by as much as the kernel has in flight for it.
const SLACK: u64 = 4 << 20;
/// Readers of one file that are told apart.
const READERS: usize = 4;

#[derive(Clone, Copy, Default)]
struct Reader {
    /// Where it will go on.
    next: u64,
    /// Bytes that it has read in sequence.
    run: u64,
    /// The store was told of everything up to here.
    told: u64,
    /// It had to wait: a reader of what is in memory needs no help.
    waited: bool,
}

/// The sequential readers of one file, by the physical ranges that they ask for.
#[derive(Default)]
pub struct Readers {
    known: [Reader; READERS],
    /// The one to forget next.
    oldest: usize,
}

impl Readers {
    /// `asked` is about to be read; `waits`: the store has to fetch it. Returns what to tell the store.
    fn follow(&mut self, asked: &Range<u64>, waits: bool) -> Option<Range<u64>> {
        let nearest = self.known.iter_mut().filter(|r| r.run > 0).min_by_key(|r| r.next.abs_diff(asked.start));
        let reader = match nearest.filter(|r| r.next.abs_diff(asked.start) <= SLACK) {
            Some(reader) => reader,
            None => {
                let fresh = &mut self.known[self.oldest];
                self.oldest = (self.oldest + 1) % READERS;
                *fresh = Reader { next: asked.end, ..Reader::default() };
                fresh
            }
        };
        let ahead = reader.run.saturating_mul(2).min(FARTHEST);
        reader.next = reader.next.max(asked.end);
        reader.run = reader.run.saturating_add(asked.end - asked.start);
        reader.waited |= waits;
        // Who waits in spite of what was told may be there a second time, after the store has forgotten it.
        let from = if waits { asked.start } else { reader.told.max(asked.end) };
        let to = asked.end.saturating_add(ahead);
        if !reader.waited || to <= from || (!waits && to - from < ahead / 4) {
            return None;
        }
        reader.told = to;
        Some(from..to)
    }
}

impl File {
    /// A request for `len` bytes at `offset` has come. Called without a lock: telling the store may take a moment.
    pub(super) fn read_ahead(&self, offset: u64, len: usize) {
        let size = self.size();
        if len < LEAST || offset >= size {
            return;
        }
        let layout = self.shared.layout;
        let last = (size.min(offset.saturating_add(len as u64)) - 1) >> layout.shift();
        let asked = layout.home(offset >> layout.shift())..layout.home(last) + layout.block();
        let waits = !self.home.ready(asked.start);
        let told = self.readers.lock().follow(&asked, waits);
        if let Some(Range { start, end }) = told {
            let end = end.min(layout.physical(size));
            if start < end {
                self.home.will_read(start, end - start);
            }
        }
    }

    /// `node` is about to be read, which leads over the nodes `below` to `n` blocks from `first` on. Where that waits for the
    /// device, these are fetched meanwhile: each has its place at home, whatever the nodes above it say. `false`: nothing
    /// was asked for.
    pub(super) fn fetch_below(&self, st: &State, node: &Step, below: &[Step], first: u64, n: u64) -> bool {
        if st.images.contains_key(&node.home) || self.home.ready(node.home) {
            return false;
        }
        let layout = self.shared.layout;
        for step in below {
            self.home.will_read(step.home, layout.block());
        }
        // The blocks of a longer request were told already.
        let blocks = layout.home(first);
        let end = (blocks + (n << layout.shift())).min(layout.physical(st.root.size));
        if n << layout.shift() < LEAST as u64 && blocks < end {
            self.home.will_read(blocks, end - blocks);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_reader_who_never_waits_is_left_alone() {
        let mut readers = Readers::default();
        for n in 0..50 {
            assert_eq!(readers.follow(&(n * MIB..(n + 1) * MIB), false), None);
        }
    }

    #[test]
    fn a_reader_who_waited_is_led_and_nothing_is_told_twice() {
        let mut readers = Readers::default();
        // At first nobody knows that it is sequential.
        assert_eq!(readers.follow(&(0..MIB), true), Some(0..MIB));
        let mut told = MIB;
        for n in 1..50 {
            if let Some(range) = readers.follow(&(n * MIB..(n + 1) * MIB), false) {
                assert_eq!(range.start, told.max((n + 1) * MIB));
                told = range.end;
            }
            assert!(told >= (n + 2) * MIB && told <= (n + 1) * MIB + FARTHEST, "{told} at {n}");
        }
    }

    #[test]
    fn requests_out_of_order_are_one_reader() {
        let mut readers = Readers::default();
        for n in [1u64, 0, 3, 2, 5, 4, 7, 6] {
            let asked = n * MIB..(n + 1) * MIB;
            let told = readers.follow(&asked, true).unwrap();
            assert!(told.start == asked.start && told.end >= asked.end);
        }
        assert_eq!(readers.known.iter().filter(|r| r.run > 0).count(), 1);
        assert_eq!(readers.known[0].run, 8 * MIB);
    }

    #[test]
    fn scattered_requests_are_told_as_they_are() {
        let mut readers = Readers::default();
        for n in [900u64, 100, 500, 300, 700, 200, 800] {
            let asked = n * MIB..n * MIB + MIB / 4;
            assert_eq!(readers.follow(&asked, true), Some(asked));
        }
    }

    #[test]
    fn several_readers_are_told_apart() {
        let mut readers = Readers::default();
        for n in 0..20 {
            for reader in 0..READERS as u64 {
                let start = reader * 1000 * MIB + n * MIB;
                let told = readers.follow(&(start..start + MIB), true).unwrap();
                assert_eq!(told, start..start + MIB + (2 * n * MIB).min(FARTHEST));
            }
        }
    }
}
