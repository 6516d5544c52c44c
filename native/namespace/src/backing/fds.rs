//! A bounded cache of open descriptors, so that the descriptor limit bounds nothing else.

use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Names one owner of a cached descriptor, for the life of the process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token(u64);

impl Token {
    /// A token that no one else has.
    pub fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Token(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

struct Slot {
    fd: Arc<OwnedFd>,
    used: bool,
}

#[derive(Default)]
struct Inner {
    slots: HashMap<Token, Slot>,
    /// Every token of `slots` once, and some that are gone.
    clock: VecDeque<Token>,
}

pub struct FdCache {
    limit: usize,
    inner: Mutex<Inner>,
}

impl FdCache {
    /// Keeps at most `limit` descriptors, second chance first.
    pub fn new(limit: usize) -> Self {
        FdCache { limit: limit.max(1), inner: Mutex::default() }
    }

    pub fn get(&self, token: Token) -> Option<Arc<OwnedFd>> {
        let mut inner = self.inner.lock();
        let slot = inner.slots.get_mut(&token)?;
        slot.used = true;
        Some(slot.fd.clone())
    }

    pub fn put(&self, token: Token, fd: Arc<OwnedFd>) {
        let mut closing = Vec::new();
        {
            let mut inner = self.inner.lock();
            match inner.slots.insert(token, Slot { fd, used: false }) {
                Some(before) => closing.push(before),
                None => inner.clock.push_back(token),
            }
            inner.shrink(self.limit, &mut closing);
        }
        // Closed outside of the lock: the last close of an unlinked file frees its blocks.
        drop(closing);
    }

    pub fn remove(&self, token: Token) {
        let slot = self.inner.lock().slots.remove(&token);
        drop(slot);
    }

    /// Lets half of the descriptors go: the process has none left.
    pub fn shed(&self) {
        let mut closing = Vec::new();
        {
            let mut inner = self.inner.lock();
            let half = inner.slots.len() / 2;
            inner.shrink(half, &mut closing);
        }
        drop(closing);
    }

    pub fn count(&self) -> usize {
        self.inner.lock().slots.len()
    }
}

impl Inner {
    fn shrink(&mut self, limit: usize, closing: &mut Vec<Slot>) {
        while self.slots.len() > limit {
            let Some(token) = self.clock.pop_front() else { return };
            match self.slots.get_mut(&token) {
                Some(slot) if slot.used => {
                    slot.used = false;
                    self.clock.push_back(token);
                }
                Some(_) => closing.extend(self.slots.remove(&token)),
                None => {}
            }
        }
        // Removed tokens must not pile up in the clock.
        if self.clock.len() > 2 * self.slots.len() + 64 {
            let slots = &self.slots;
            self.clock.retain(|t| slots.contains_key(t));
        }
    }
}
