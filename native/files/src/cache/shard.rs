//! One part of the cache, under one lock. Eviction is S3-FIFO (Yang et al., SOSP 2023): a small queue takes what is new,
//! so that one long scan does not flush what is used again and again. Nodes do not pass through it, and outlive more rounds.

use super::queue::{Queue, NONE};
use super::{Key, Rank};
use crate::arena::Arena;
use crate::wipe::wipe;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

/// Rounds of the main queue that use can earn.
const BLOCK_LIVES: u8 = 3;
const NODE_LIVES: u8 = 7;
/// Rounds that a node has before it was used a second time.
const NODE_BEGINS: u8 = 3;

/// Eight bytes of the nonce. They are random, drawn by whoever sealed; only what an authenticated parent names is
/// looked up, so who writes to the disk can bring back old ones and choose none: they need no hashing against floods.
fn spread(key: &Key) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&key[4..12]);
    u64::from_le_bytes(bytes)
}

/// A key that is random already is its own hash.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = n;
    }
}

struct Slot {
    key: Key,
    len: u32,
    /// The next slot whose key falls to the same head.
    chain: u32,
    /// Rounds of the queue that it will outlive.
    lives: u8,
    node: bool,
}

pub struct Shard {
    arena: Arena,
    slots: Vec<Slot>,
    /// Of the queues.
    links: Vec<u32>,
    /// First slot by `spread`: a chained table that never grows.
    heads: Vec<u32>,
    held: usize,
    small: Queue,
    main: Queue,
    /// What the small queue let go lately, by `spread`.
    ghost: HashSet<u64, BuildHasherDefault<AsIs>>,
    ghosts: VecDeque<u64>,
}

impl Shard {
    pub fn new(block: usize, slots: usize) -> io::Result<Self> {
        let arena = Arena::new(block, slots)?;
        let empty = || Slot { key: [0; 28], len: 0, chain: NONE, lives: 0, node: false };
        if u32::try_from(slots).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Shard {
            arena,
            slots: (0..slots).map(|_| empty()).collect(),
            links: vec![NONE; slots],
            heads: vec![NONE; slots.next_power_of_two()],
            held: 0,
            small: Queue::new(),
            main: Queue::new(),
            ghost: HashSet::with_capacity_and_hasher(slots, BuildHasherDefault::default()),
            ghosts: VecDeque::with_capacity(slots + 1),
        })
    }
    pub fn locked(&self) -> bool {
        self.arena.locked()
    }
    pub fn slots(&self) -> usize {
        self.slots.len()
    }
    pub fn held(&self) -> usize {
        self.held
    }

    fn head(&mut self, key: &Key) -> &mut u32 {
        let mask = self.heads.len() - 1;
        &mut self.heads[spread(key) as usize & mask]
    }

    fn find(&self, key: &Key) -> Option<usize> {
        let mut n = self.heads[spread(key) as usize & (self.heads.len() - 1)];
        while n != NONE {
            let slot = &self.slots[n as usize];
            if slot.key == *key {
                return Some(n as usize);
            }
            n = slot.chain;
        }
        None
    }

    /// Takes slot `n` out of the table. Its content is still there.
    fn unlink(&mut self, n: u32) {
        let Slot { key, chain, .. } = self.slots[n as usize];
        let mut at = *self.head(&key);
        if at == n {
            *self.head(&key) = chain;
            return;
        }
        while at != NONE {
            let next = self.slots[at as usize].chain;
            if next == n {
                self.slots[at as usize].chain = chain;
                return;
            }
            at = next;
        }
    }

    pub fn holds(&self, key: &Key) -> bool {
        self.find(key).is_some()
    }

    pub fn get(&mut self, key: &Key) -> Option<&[u8]> {
        let n = self.find(key)?;
        let slot = &mut self.slots[n];
        slot.lives = (slot.lives + 1).min(if slot.node { NODE_LIVES } else { BLOCK_LIVES });
        Some(&self.arena.slot(n)[..slot.len as usize])
    }

    /// `true`: something had to go for it.
    pub fn put(&mut self, key: &Key, plain: &[u8], rank: Rank) -> bool {
        if plain.len() > self.arena.slot_len() || self.find(key).is_some() {
            return false;
        }
        let full = self.held == self.slots.len();
        let n = if full {
            let Some(n) = self.evict() else { return false };
            n
        } else {
            self.held += 1;
            // Slots come into use in order, and are in use from then on.
            self.held as u32 - 1
        };
        let old = self.slots[n as usize].len as usize;
        let memory = self.arena.slot_mut(n as usize);
        memory[..plain.len()].copy_from_slice(plain);
        // What was there is wiped by what is there now, and the rest of it here.
        if old > plain.len() {
            wipe(&mut memory[plain.len()..old]);
        }
        let node = rank == Rank::Node;
        let head = self.head(key);
        let chain = std::mem::replace(head, n);
        let lives = if node { NODE_BEGINS } else { 0 };
        self.slots[n as usize] = Slot { key: *key, len: plain.len() as u32, chain, lives, node };
        let queue = if node || self.ghost.contains(&spread(key)) { &mut self.main } else { &mut self.small };
        queue.push(n, &mut self.links);
        full
    }

    /// Gives up one slot: out of table and queues, its content to be overwritten.
    fn evict(&mut self) -> Option<u32> {
        let small_share = (self.slots.len() / 10).max(1);
        loop {
            if self.small.len() >= small_share || self.main.len() == 0 {
                let n = self.small.pop(&self.links)?;
                let slot = &mut self.slots[n as usize];
                if slot.lives > 1 {
                    slot.lives = 0;
                    self.main.push(n, &mut self.links);
                    continue;
                }
                self.remember(n);
                self.unlink(n);
                return Some(n);
            }
            let n = self.main.pop(&self.links)?;
            let slot = &mut self.slots[n as usize];
            if slot.lives == 0 {
                self.unlink(n);
                return Some(n);
            }
            slot.lives -= 1;
            self.main.push(n, &mut self.links);
        }
    }

    fn remember(&mut self, n: u32) {
        let gone = spread(&self.slots[n as usize].key);
        if self.ghost.insert(gone) {
            self.ghosts.push_back(gone);
        }
        if self.ghosts.len() > self.slots.len() {
            if let Some(old) = self.ghosts.pop_front() {
                self.ghost.remove(&old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        let mut key = [0; 28];
        key[4..12].copy_from_slice(&n.to_le_bytes());
        key
    }

    #[test]
    fn what_goes_is_wiped() {
        let mut shard = Shard::new(64, 4).unwrap();
        for n in 0..50 {
            shard.put(&key(n), &[0xAA; 64], Rank::Passing);
        }
        for n in 50..100 {
            shard.put(&key(n), &[0x55; 10], Rank::Passing);
        }
        for n in 0..shard.slots() {
            let len = shard.slots[n].len as usize;
            assert!(shard.arena.slot(n)[..len].iter().all(|b| *b == 0x55 || *b == 0xAA));
            assert!(shard.arena.slot(n)[len..].iter().all(|b| *b == 0), "slot {n} holds more than its {len} bytes");
            assert!(shard.slots[n].key[4] >= 50);
        }
    }

    #[test]
    fn keys_that_fall_together_are_told_apart() {
        let mut shard = Shard::new(64, 8).unwrap();
        // All under one head, and evicted in the middle of its chain.
        let keys: Vec<Key> = (0..200).map(|n| key(n << 32)).collect();
        for (n, key) in keys.iter().enumerate() {
            shard.put(key, &[n as u8; 64], if n % 2 == 0 { Rank::Node } else { Rank::Passing });
            let here = keys.iter().take(n + 1).filter(|key| shard.find(key).is_some()).count();
            assert_eq!(here, shard.held());
            assert_eq!(here, shard.small.len() + shard.main.len());
            assert_eq!(shard.get(key).unwrap(), [n as u8; 64]);
        }
    }
}
