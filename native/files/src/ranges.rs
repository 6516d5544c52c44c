//! Sets of half-open ranges of u64.

use std::collections::BTreeMap;

/// Disjoint, non-adjacent ranges `[start, end)`.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub fn clear(&mut self) {
        self.0.clear();
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().map(|(s, e)| (*s, *e))
    }
    pub fn insert(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut start, mut end) = (start, end);
        // Everything that begins at or before `end` and reaches `start` melts into one.
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            start = start.min(s);
            end = end.max(e);
            self.0.remove(&s);
        }
        self.0.insert(start, end);
    }
    pub fn remove(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..end).next_back() {
            if e <= start {
                break;
            }
            self.0.remove(&s);
            if e > end {
                self.0.insert(end, e);
            }
            if s < start {
                self.0.insert(s, start);
                break;
            }
        }
    }
    pub fn contains(&self, at: u64) -> bool {
        self.0.range(..=at).next_back().is_some_and(|(_, e)| *e > at)
    }
    pub fn extend(&mut self, other: &RangeSet) {
        for (s, e) in other.iter() {
            self.insert(s, e);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_bitmap_under_random_inserts_and_removes() {
        let mut seed = 7u64;
        let mut next = move || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            seed >> 33
        };
        for _ in 0..200 {
            let (mut set, mut model) = (RangeSet::default(), [false; 64]);
            for _ in 0..40 {
                let (a, b) = (next() % 64, next() % 65);
                let insert = next() % 2 == 0;
                if insert {
                    set.insert(a, b);
                } else {
                    set.remove(a, b);
                }
                for at in a..b.max(a) {
                    model[at as usize] = insert;
                }
                for at in 0..64 {
                    assert_eq!(set.contains(at), model[at as usize]);
                }
                let ends: Vec<_> = set.iter().collect();
                assert!(ends.windows(2).all(|w| w[0].1 < w[1].0), "not merged: {ends:?}");
            }
        }
    }
}
