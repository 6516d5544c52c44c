//! Memory for plaintext: mapped once, locked where the limit allows, kept out of core dumps, wiped at the end.

use crate::wipe::wipe;
use std::io;
use std::ptr::NonNull;

/// Memory comes in pieces of so many bytes: a fault for each page costs more than what is put there.
const PIECE: usize = 64 << 10;
const PAGE: usize = 4096;

/// `slots` pieces of `slot_len` bytes. Access is by slot number; the caller keeps users of a slot apart.
pub struct Arena {
    base: NonNull<u8>,
    slot_len: usize,
    slots: usize,
    locked: bool,
    /// Slots that were ever given out to be written: the others have no memory behind them yet.
    used: Vec<bool>,
    /// Where the memory ends that was asked for: slots come into use in order.
    ready: usize,
}

// SAFETY: the arena is plain memory; `slot` and `slot_mut` take &self and &mut self, so the borrow checker keeps
// readers and writers apart as for a Vec.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    pub fn new(slot_len: usize, slots: usize) -> io::Result<Self> {
        let len = slot_len.checked_mul(slots.max(1)).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh anonymous mapping, not yet known to anyone.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the range is the mapping just made; neither call changes its content. Miri has neither.
        let locked = !cfg!(miri)
            && unsafe {
                libc::madvise(base, len, libc::MADV_DONTDUMP);
                // Each page as it is first used, so that a mount takes neither the time nor the memory for what it never
                // caches.
                libc::mlock2(base, len, libc::MLOCK_ONFAULT) == 0
            };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let slots = slots.max(1);
        Ok(Arena { base, slot_len, slots, locked, used: vec![false; slots], ready: 0 })
    }
    pub fn locked(&self) -> bool {
        self.locked
    }
    pub fn slot_len(&self) -> usize {
        self.slot_len
    }
    pub fn slot(&self, n: usize) -> &[u8] {
        assert!(n < self.slots);
        // SAFETY: in bounds by the check above; the mapping lives as long as self.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(n * self.slot_len), self.slot_len) }
    }
    pub fn slot_mut(&mut self, n: usize) -> &mut [u8] {
        assert!(n < self.slots);
        self.used[n] = true;
        if (n + 1) * self.slot_len > self.ready {
            self.fetch(n * self.slot_len);
        }
        // SAFETY: in bounds by the check above; &mut self makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(n * self.slot_len), self.slot_len) }
    }

    /// Has the kernel put memory behind the next piece, which holds `at`. Where it does not, a page comes at its first use.
    fn fetch(&mut self, at: usize) {
        let from = at.max(self.ready) & !(PAGE - 1);
        let to = (from + PIECE.max(self.slot_len)).min((self.slot_len * self.slots).next_multiple_of(PAGE));
        if !cfg!(miri) && from < to {
            // SAFETY: within the mapping, whose content it does not change (madvise(2), MADV_POPULATE_WRITE, Linux 5.14).
            unsafe { libc::madvise(self.base.as_ptr().add(from).cast(), to - from, libc::MADV_POPULATE_WRITE) };
        }
        self.ready = to;
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for n in 0..self.slots {
            if self.used[n] {
                wipe(self.slot_mut(n));
            }
        }
        // SAFETY: unmaps exactly what `new` mapped; no borrow outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.slot_len * self.slots) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of the arena that have memory (mincore(2)).
    fn resident(arena: &Arena) -> usize {
        let mut pages = vec![0u8; (arena.slot_len * arena.slots).div_ceil(PAGE)];
        let len = arena.slot_len * arena.slots;
        // SAFETY: the range is the arena's mapping, and `pages` has a byte for each of its pages.
        let rc = unsafe { libc::mincore(arena.base.as_ptr().cast(), len, pages.as_mut_ptr()) };
        assert_eq!(rc, 0);
        pages.iter().filter(|page| **page & 1 == 1).count()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no mincore")]
    fn memory_comes_a_piece_at_a_time_as_slots_are_first_written() {
        let mut arena = Arena::new(PAGE, 100).unwrap();
        assert_eq!(resident(&arena), 0);
        for n in 0..100 {
            arena.slot_mut(n).fill(1);
            let pieces = ((n + 1) * PAGE).div_ceil(PIECE);
            assert_eq!(resident(&arena), (pieces * PIECE / PAGE).min(100), "after slot {n}");
        }
    }
}
