//! The sector cache: plaintext of blocks and nodes in locked memory, bounded, wiped on the way out.
//!
//! Keyed by the seal itself (nonce and tag of the entry): a block that is sealed anew has another key, so nothing is ever
//! stale and nothing needs to be invalidated. Only what an authenticated parent names is looked up.
//! Eviction is S3-FIFO (Yang et al., SOSP 2023): a small queue takes what is new, so that one long scan does not
//! flush what is used again and again.

use crate::arena::Arena;
use crate::sync::Mutex;
use kmsfs_format::block::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroize;

const SHARDS: usize = 16;
type Key = [u8; 28];

fn key(entry: &Entry) -> Key {
    let mut k = [0; 28];
    k.copy_from_slice(&entry.bytes()[4..]);
    k
}

struct Slot {
    key: Key,
    len: usize,
    /// Uses since it was queued, at most 3.
    uses: u8,
}

struct Shard {
    arena: Arena,
    slots: Vec<Slot>,
    free: Vec<usize>,
    at: HashMap<Key, usize>,
    small: VecDeque<usize>,
    main: VecDeque<usize>,
    ghost: HashSet<Key>,
    ghosts: VecDeque<Key>,
}

impl Shard {
    fn remember(&mut self, key: Key) {
        if self.ghost.insert(key) {
            self.ghosts.push_back(key);
        }
        while self.ghosts.len() > self.arena.slots() {
            if let Some(old) = self.ghosts.pop_front() {
                self.ghost.remove(&old);
            }
        }
    }

    fn free_slot(&mut self, n: usize) {
        let len = self.slots[n].len;
        self.arena.slot_mut(n)[..len].zeroize();
        let key = self.slots[n].key;
        self.at.remove(&key);
        self.free.push(n);
    }

    fn evict(&mut self) {
        let small_share = (self.arena.slots() / 10).max(1);
        while self.free.is_empty() {
            if self.small.len() >= small_share || self.main.is_empty() {
                let Some(n) = self.small.pop_front() else { return };
                if self.slots[n].uses > 1 {
                    self.slots[n].uses = 0;
                    self.main.push_back(n);
                } else {
                    self.remember(self.slots[n].key);
                    self.free_slot(n);
                }
            } else {
                let Some(n) = self.main.pop_front() else { return };
                if self.slots[n].uses > 0 {
                    self.slots[n].uses -= 1;
                    self.main.push_back(n);
                } else {
                    self.free_slot(n);
                }
            }
        }
    }
}

/// Counters for `status`.
#[derive(Default)]
pub struct CacheStats {
    pub hits: AtomicU64,
    pub misses: AtomicU64,
    pub evictions: AtomicU64,
}

pub struct Cache {
    shards: Vec<Mutex<Shard>>,
    pub stats: CacheStats,
    locked: bool,
    /// Bytes of a slot.
    block: usize,
}

impl Cache {
    /// At most `bytes` of plaintext in blocks of `block` bytes (at least one a shard).
    pub fn new(bytes: usize, block: usize) -> io::Result<Self> {
        let each = (bytes / block / SHARDS).max(1);
        let mut shards = Vec::with_capacity(SHARDS);
        let mut locked = true;
        for _ in 0..SHARDS {
            let arena = Arena::new(block, each)?;
            locked &= arena.locked();
            shards.push(Mutex::new(Shard {
                arena,
                slots: (0..each).map(|_| Slot { key: [0; 28], len: 0, uses: 0 }).collect(),
                free: (0..each).rev().collect(),
                at: HashMap::with_capacity(each),
                small: VecDeque::with_capacity(each),
                main: VecDeque::with_capacity(each),
                ghost: HashSet::with_capacity(each),
                ghosts: VecDeque::with_capacity(each + 1),
            }));
        }
        Ok(Cache { shards, stats: CacheStats::default(), locked, block })
    }
    /// Whether all of its memory is locked (RLIMIT_MEMLOCK may forbid it).
    pub fn locked(&self) -> bool {
        self.locked
    }
    /// Bytes that it holds when it is full.
    pub fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().arena.slots()).sum::<usize>() * self.block
    }
    /// Bytes of the slots that hold something.
    pub fn used(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().at.len()).sum::<usize>() * self.block
    }
    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        // The nonce is random: its first byte spreads evenly.
        &self.shards[key[0] as usize % SHARDS]
    }
    /// Copies the plaintext sealed under `entry` into `out` (of its exact length); `false` when it is not here.
    pub fn get(&self, entry: &Entry, out: &mut [u8]) -> bool {
        let key = key(entry);
        let mut shard = self.shard(&key).lock();
        let Some(&n) = shard.at.get(&key) else {
            drop(shard);
            self.stats.misses.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        if shard.slots[n].len != out.len() {
            return false;
        }
        shard.slots[n].uses = (shard.slots[n].uses + 1).min(3);
        let len = out.len();
        out.copy_from_slice(&shard.arena.slot(n)[..len]);
        drop(shard);
        self.stats.hits.fetch_add(1, Ordering::Relaxed);
        true
    }
    /// Keeps a copy of the plaintext that was sealed or opened under `entry`.
    pub fn put(&self, entry: &Entry, plain: &[u8]) {
        let key = key(entry);
        let mut shard = self.shard(&key).lock();
        if shard.at.contains_key(&key) {
            return;
        }
        if shard.free.is_empty() {
            shard.evict();
            self.stats.evictions.fetch_add(1, Ordering::Relaxed);
        }
        let Some(n) = shard.free.pop() else { return };
        shard.arena.slot_mut(n)[..plain.len()].copy_from_slice(plain);
        shard.slots[n] = Slot { key, len: plain.len(), uses: 0 };
        shard.at.insert(key, n);
        if shard.ghost.contains(&key) {
            shard.main.push_back(n);
        } else {
            shard.small.push_back(n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u64) -> Entry {
        let mut nonce = [0u8; 12];
        nonce[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        Entry::new(1, &nonce, &[n as u8; 16])
    }

    #[test]
    fn stays_within_its_bound_and_gives_back_what_was_put() {
        let cache = Cache::new(16 * 8 * 64, 64).unwrap();
        for n in 0..10_000u64 {
            cache.put(&entry(n), &[n as u8; 64]);
            let mut out = [0; 64];
            assert!(cache.get(&entry(n), &mut out));
            assert_eq!(out, [n as u8; 64]);
        }
        let held: usize = cache.shards.iter().map(|s| s.lock().at.len()).sum();
        assert!(held <= 16 * 8);
        for shard in &cache.shards {
            let shard = shard.lock();
            assert_eq!(shard.at.len() + shard.free.len(), shard.arena.slots());
        }
    }

    #[test]
    fn a_long_scan_leaves_what_is_used_often() {
        let cache = Cache::new(16 * 100 * 64, 64).unwrap();
        let mut out = [0; 64];
        for _ in 0..4 {
            for n in 0..200 {
                if !cache.get(&entry(n), &mut out) {
                    cache.put(&entry(n), &[1; 64]);
                }
            }
        }
        for n in 1000..50_000 {
            cache.put(&entry(n), &[2; 64]);
        }
        let kept = (0..200).filter(|n| cache.get(&entry(*n), &mut out)).count();
        assert!(kept > 190, "{kept} of 200 survived");
    }

    #[test]
    fn what_is_evicted_is_wiped() {
        let cache = Cache::new(16 * 64, 64).unwrap();
        for n in 0..500 {
            cache.put(&entry(n), &[0xAA; 64]);
        }
        for shard in &cache.shards {
            let shard = shard.lock();
            for &n in &shard.free {
                assert!(shard.arena.slot(n).iter().all(|b| *b == 0));
            }
        }
    }
}
