//! Striped locks: one for every inode and every directory, in bounded memory.

use parking_lot::{Mutex, MutexGuard};

/// Locks by 16-byte id. Two ids may share one, so several are always taken together, in one call.
pub struct Stripes {
    locks: Vec<Mutex<()>>,
}

/// Held locks of one to four ids.
pub struct Held<'a>(#[allow(dead_code)] Vec<MutexGuard<'a, ()>>);

impl Stripes {
    pub fn new(count: usize) -> Self {
        Stripes { locks: (0..count.max(1)).map(|_| Mutex::new(())).collect() }
    }

    fn index(&self, id: &[u8; 16]) -> usize {
        // Ids are random (docs/format.md §4), so any two bytes spread.
        usize::from(u16::from_le_bytes([id[0], id[1]])) % self.locks.len()
    }

    /// Locks all of `ids`, in the order that every caller takes them in.
    pub fn lock(&self, ids: &[&[u8; 16]]) -> Held<'_> {
        let mut order: Vec<usize> = ids.iter().map(|id| self.index(id)).collect();
        order.sort_unstable();
        order.dedup();
        Held(order.into_iter().map(|i| self.locks[i].lock()).collect())
    }
}
