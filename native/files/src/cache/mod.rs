//! The sector cache: plaintext of blocks and nodes in locked memory, bounded, wiped on the way out.
//!
//! Keyed by the seal itself (nonce and tag of the entry): a block that is sealed anew has another key, so nothing is ever
//! stale and nothing needs to be invalidated. Only what an authenticated parent names is looked up.
//! docs/cache.md tells what stays and for how long, and how often it hits.

mod queue;
mod shard;

use crate::sync::Mutex;
use kmsfs_format::block::Entry;
use shard::Shard;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

const SHARDS: usize = 16;
/// Nonce and tag.
type Key = [u8; 28];

fn key(entry: &Entry) -> Key {
    let mut k = [0; 28];
    k.copy_from_slice(&entry.bytes()[4..]);
    k
}

/// How much what is put here is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rank {
    /// A block of data, or a node that a scan passes by: it has to be used again to stay.
    Passing,
    /// A node that leads to single blocks: without it, each of the many blocks below costs two reads of the store.
    Node,
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
            let shard = Shard::new(block, each)?;
            locked &= shard.locked();
            shards.push(Mutex::new(shard));
        }
        Ok(Cache { shards, stats: CacheStats::default(), locked, block })
    }
    /// Whether all of its memory is locked (RLIMIT_MEMLOCK may forbid it).
    pub fn locked(&self) -> bool {
        self.locked
    }
    /// Bytes that it holds when it is full.
    pub fn capacity(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().slots()).sum::<usize>() * self.block
    }
    /// Bytes of the slots that hold something.
    pub fn used(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().held()).sum::<usize>() * self.block
    }
    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        // The nonce is random: its first byte spreads evenly.
        &self.shards[key[0] as usize % SHARDS]
    }
    /// Calls `f` with the plaintext of `len` bytes that is sealed under `entry`; `None` when it is not here. A lock is
    /// held meanwhile: `f` copies what it needs.
    pub fn look<R>(&self, entry: &Entry, len: usize, f: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let key = key(entry);
        let mut shard = self.shard(&key).lock();
        let found = shard.get(&key).filter(|plain| plain.len() == len).map(f);
        drop(shard);
        let counted = if found.is_some() { &self.stats.hits } else { &self.stats.misses };
        counted.fetch_add(1, Ordering::Relaxed);
        found
    }
    /// Copies the plaintext sealed under `entry` into `out` (of its exact length); `false` when it is not here.
    pub fn get(&self, entry: &Entry, out: &mut [u8]) -> bool {
        self.look(entry, out.len(), |plain| out.copy_from_slice(plain)).is_some()
    }
    /// Whether it is here. Does not count as a use.
    pub fn holds(&self, entry: &Entry) -> bool {
        let key = key(entry);
        self.shard(&key).lock().holds(&key)
    }
    /// Keeps a copy of the plaintext that was sealed or opened under `entry`.
    pub fn put(&self, entry: &Entry, plain: &[u8]) {
        self.put_as(entry, plain, Rank::Passing);
    }
    /// As `put`.
    pub fn put_as(&self, entry: &Entry, plain: &[u8], rank: Rank) {
        let key = key(entry);
        if self.shard(&key).lock().put(&key, plain, rank) {
            self.stats.evictions.fetch_add(1, Ordering::Relaxed);
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
            let rank = if n % 3 == 0 { Rank::Node } else { Rank::Passing };
            cache.put_as(&entry(n), &[n as u8; 64], rank);
            let mut out = [0; 64];
            assert!(cache.get(&entry(n), &mut out));
            assert_eq!(out, [n as u8; 64]);
            assert!(cache.used() <= cache.capacity());
        }
        assert_eq!(cache.used(), 16 * 8 * 64);
        assert_eq!(cache.stats.evictions.load(Ordering::Relaxed), 10_000 - 16 * 8);
    }

    #[test]
    fn what_is_not_there_or_has_another_length_is_a_miss() {
        let cache = Cache::new(16 * 8 * 64, 64).unwrap();
        cache.put(&entry(1), &[1; 20]);
        assert!(!cache.get(&entry(2), &mut [0; 20]));
        assert!(!cache.get(&entry(1), &mut [0; 64]));
        assert!(cache.get(&entry(1), &mut [0; 20]));
        assert_eq!(cache.stats.misses.load(Ordering::Relaxed), 2);
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
    fn nodes_stay_while_blocks_pass() {
        let cache = Cache::new(16 * 100 * 64, 64).unwrap();
        let mut out = [0; 64];
        let mut missed = 0;
        // 1000 nodes in 1600 slots, each used at every thousandth read of a block that is never read again.
        for n in 0..50_000u64 {
            let node = entry(1_000_000 + n % 1000);
            if !cache.get(&node, &mut out) {
                cache.put_as(&node, &[3; 64], Rank::Node);
                missed += 1;
            }
            cache.put(&entry(n), &[4; 64]);
        }
        assert!(missed <= 1000, "{missed} misses of 1000 nodes");
    }

    #[test]
    fn nodes_that_nobody_uses_any_more_make_room() {
        let cache = Cache::new(16 * 100 * 64, 64).unwrap();
        let mut out = [0; 64];
        for n in 0..10_000 {
            cache.put_as(&entry(1_000_000 + n), &[3; 64], Rank::Node);
        }
        for _ in 0..20 {
            for n in 0..1200 {
                if !cache.get(&entry(n), &mut out) {
                    cache.put(&entry(n), &[1; 64]);
                }
            }
        }
        let kept = (0..1200).filter(|n| cache.get(&entry(*n), &mut out)).count();
        assert!(kept > 1000, "{kept} of 1200 blocks found room");
    }
}
