//! The sector cache itself, and what it is compared with.

use crate::traces::{Lookup, Trace};
use kmsfs_files::cache::{Cache, Rank};
use kmsfs_format::block::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes of a block here: content does not matter.
const LEN: usize = 16;

pub trait Policy {
    /// Looks it up, and puts it in when it is not there.
    fn hits(&mut self, lookup: &Lookup) -> bool;
}

pub struct Sectors {
    cache: Cache,
    prefer_nodes: bool,
}

impl Sectors {
    pub fn new(slots: usize, prefer_nodes: bool) -> Self {
        Sectors { cache: Cache::new(slots * LEN, LEN).unwrap(), prefer_nodes }
    }
}

/// A seal as random as real ones are (splitmix64).
fn seal(id: u64) -> Entry {
    let mut nonce = [0; 12];
    for (n, piece) in nonce.chunks_mut(8).enumerate() {
        let mut x = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(n as u64 * 0x1234_5678_9abc_def1);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        piece.copy_from_slice(&(x ^ (x >> 31)).to_le_bytes()[..piece.len()]);
    }
    Entry::new(1, &nonce, &[0; 16])
}

impl Policy for Sectors {
    fn hits(&mut self, lookup: &Lookup) -> bool {
        let entry = seal(lookup.id);
        let hit = self.cache.look(&entry, LEN, |_| ()).is_some();
        if !hit {
            let rank = if lookup.node && self.prefer_nodes { Rank::Node } else { Rank::Passing };
            self.cache.put_as(&entry, &[0; LEN], rank);
        }
        hit
    }
}

/// What was used least recently goes.
pub struct Lru {
    slots: usize,
    now: u64,
    used: HashMap<u64, u64>,
    order: BTreeMap<u64, u64>,
}

impl Lru {
    pub fn new(slots: usize) -> Self {
        Lru { slots, now: 0, used: HashMap::new(), order: BTreeMap::new() }
    }
}

impl Policy for Lru {
    fn hits(&mut self, lookup: &Lookup) -> bool {
        self.now += 1;
        let before = self.used.insert(lookup.id, self.now);
        self.order.insert(self.now, lookup.id);
        match before {
            Some(before) => drop(self.order.remove(&before)),
            None if self.used.len() > self.slots => {
                let (_, gone) = self.order.pop_first().unwrap();
                self.used.remove(&gone);
            }
            None => {}
        }
        before.is_some()
    }
}

/// Knows the future: what is needed last goes (Belady), be it what has just come.
pub struct Optimal {
    slots: usize,
    now: usize,
    /// For each lookup, the next one of the same.
    next: Vec<usize>,
    held: HashMap<u64, usize>,
    order: BTreeSet<(usize, u64)>,
}

impl Optimal {
    pub fn new(slots: usize, trace: &Trace) -> Self {
        let mut next = vec![usize::MAX; trace.lookups.len()];
        let mut seen = HashMap::new();
        for (n, lookup) in trace.lookups.iter().enumerate().rev() {
            if let Some(later) = seen.insert(lookup.id, n) {
                next[n] = later;
            }
        }
        Optimal { slots, now: 0, next, held: HashMap::new(), order: BTreeSet::new() }
    }
}

impl Policy for Optimal {
    fn hits(&mut self, lookup: &Lookup) -> bool {
        let next = self.next[self.now];
        self.now += 1;
        let before = self.held.insert(lookup.id, next);
        if let Some(before) = before {
            self.order.remove(&(before, lookup.id));
        }
        self.order.insert((next, lookup.id));
        if self.held.len() > self.slots {
            let (_, gone) = self.order.pop_last().unwrap();
            self.held.remove(&gone);
        }
        before.is_some()
    }
}
