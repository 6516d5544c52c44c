//! Which states a power cut could leave. What was written before the last flush that completed is there; of what was
//! written since, the disk may have any part, and of each write any of its sectors.

use crate::record::Entry;
use kmsfs_random::Random;
use std::collections::VecDeque;
use std::ops::Range;

/// A write that reached the disk, or the pieces of it that did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub entry: usize,
    pub pieces: Vec<Range<usize>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Entries before this one are on the disk for good.
    pub durable: usize,
    /// Entries before this one had happened.
    pub end: usize,
    pub kept: Vec<Kept>,
    pub how: &'static str,
}

impl Cut {
    pub fn describe(&self, entries: &[Entry]) -> String {
        let writes = entries.get(self.durable..self.end).unwrap_or_default();
        let writes = writes.iter().filter(|e| matches!(e, Entry::Write { .. })).count();
        let (durable, end, kept) = (self.durable, self.end, self.kept.len());
        format!("cut before entry {end}: {kept} of {writes} writes since the flush at {durable} kept, {}", self.how)
    }
}

fn one(piece: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(piece).collect()
}

fn whole(entries: &[Entry], entry: usize) -> Kept {
    let len = match entries.get(entry) {
        Some(Entry::Write { data, .. }) => data.len(),
        _ => 0,
    };
    Kept { entry, pieces: one(0..len) }
}

/// A write of which the disk took some sectors of `tear` bytes: a beginning, an end, or any.
fn torn(kept: &Kept, tear: usize, random: &mut Random) -> Kept {
    let len = kept.pieces.first().map_or(0, |p| p.end);
    let sectors = len / tear;
    if sectors < 2 {
        return kept.clone();
    }
    let at = (1 + random.below(sectors as u64 - 1) as usize) * tear;
    let pieces = match random.below(3) {
        0 => one(0..at),
        1 => one(at..len),
        _ => (0..sectors).filter(|_| random.one_in(2)).map(|s| s * tear..(s + 1) * tear).collect(),
    };
    Kept { entry: kept.entry, pieces }
}

/// Cuts from entry `from` on, in the order of the record. Between two flushes each is at the end, when most was promised:
/// what a cut further ahead could leave, one there can leave as well.
pub fn all(entries: &[Entry], from: usize, seed: u64, tear: usize) -> Vec<Cut> {
    lying(entries, from, seed, tear, 0)
}

/// As of a disk that said so many times too early that all is flushed: to see that what it loses is missed.
pub fn lying(entries: &[Entry], from: usize, seed: u64, tear: usize, lost_flushes: usize) -> Vec<Cut> {
    let mut random = Random::new(seed);
    let mut cuts = Vec::new();
    let mut flushed = VecDeque::from(vec![0; lost_flushes + 1]);
    let mut durable = 0;
    for (n, entry) in entries.iter().enumerate() {
        if *entry == Entry::Flush {
            if n > from {
                between(entries, durable..n, tear, &mut random, &mut cuts);
            }
            flushed.push_back(n + 1);
            flushed.pop_front();
            durable = flushed.front().copied().unwrap_or(0);
        }
    }
    if entries.len() > from {
        between(entries, durable..entries.len(), tear, &mut random, &mut cuts);
    }
    cuts
}

fn between(entries: &[Entry], range: Range<usize>, tear: usize, random: &mut Random, cuts: &mut Vec<Cut>) {
    let (durable, end) = (range.start, range.end);
    if range.is_empty() {
        return;
    }
    let is_write = |n: &usize| matches!(entries.get(*n), Some(Entry::Write { .. }));
    let writes: Vec<Kept> = range.filter(is_write).map(|n| whole(entries, n)).collect();
    let begun = cuts.len();
    let mut add = |kept: Vec<Kept>, how| {
        let cut = Cut { durable, end, kept, how };
        let new = cuts.get(begun..).unwrap_or_default().iter().all(|other| other.kept != cut.kept);
        if new {
            cuts.push(cut);
        }
    };
    add(Vec::new(), "none");
    if writes.is_empty() {
        return;
    }
    add(writes.clone(), "all");
    let upto = random.below(writes.len() as u64) as usize;
    add(writes.iter().take(upto).cloned().collect(), "the first ones");
    let odds = 2 + random.below(3);
    add(writes.iter().filter(|_| random.one_in(odds)).cloned().collect(), "some");
    let missing = random.below(writes.len() as u64) as usize;
    add(writes.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, k)| k.clone()).collect(), "all but one");
    let some: Vec<Kept> = writes
        .iter()
        .filter_map(|kept| match random.below(3) {
            0 => Some(kept.clone()),
            1 => Some(torn(kept, tear, random)),
            _ => None,
        })
        .collect();
    add(some, "torn");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, sectors: usize) -> Entry {
        Entry::Write { offset, data: vec![1; sectors * 512] }
    }

    fn record() -> Vec<Entry> {
        vec![
            write(0, 1),
            Entry::Flush,
            write(4096, 8),
            Entry::Mark("done".into()),
            write(8192, 16),
            write(0, 1),
            Entry::Flush,
            Entry::Mark("end".into()),
        ]
    }

    #[test]
    fn what_was_flushed_is_kept_and_nothing_of_the_future() {
        let entries = record();
        for seed in 0..50 {
            let cuts = all(&entries, 0, seed, 512);
            assert_eq!(cuts, all(&entries, 0, seed, 512));
            for cut in &cuts {
                assert!(cut.durable == 0 || entries[cut.durable - 1] == Entry::Flush);
                assert!(!entries[cut.durable..cut.end].contains(&Entry::Flush));
                for kept in &cut.kept {
                    assert!((cut.durable..cut.end).contains(&kept.entry));
                    let Entry::Write { data, .. } = &entries[kept.entry] else { panic!("no write was kept") };
                    for piece in &kept.pieces {
                        assert!(piece.start % 512 == 0 && piece.end % 512 == 0 && piece.end <= data.len());
                    }
                }
            }
            let lies = lying(&entries, 0, seed, 512, 1);
            assert!(lies.iter().any(|cut| (cut.durable, cut.end, cut.kept.len()) == (2, 8, 0)), "a flush was lost");
            let ends: Vec<_> = cuts.iter().map(|c| (c.durable, c.end, c.kept.len())).collect();
            assert!(ends.contains(&(2, 6, 0)) && ends.contains(&(2, 6, 3)) && ends.contains(&(7, 8, 0)), "{ends:?}");
        }
    }

    #[test]
    fn writes_are_torn_now_and_then() {
        let entries = record();
        let torn =
            |seed| all(&entries, 0, seed, 512).iter().flat_map(|c| &c.kept).any(|k| whole(&entries, k.entry) != *k);
        assert!((0..20).any(torn));
        // None is longer than what this disk writes whole.
        let torn =
            |seed| all(&entries, 0, seed, 8192).iter().flat_map(|c| &c.kept).any(|k| whole(&entries, k.entry) != *k);
        assert!(!(0..20).any(torn));
    }
}
