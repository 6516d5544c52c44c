//! Memory for plaintext: mapped once, locked where the limit allows, kept out of core dumps, wiped at the end.

use crate::wipe::wipe;
use std::io;
use std::ptr::NonNull;

/// `slots` pieces of `slot_len` bytes. Access is by slot number; the caller keeps users of a slot apart.
pub struct Arena {
    base: NonNull<u8>,
    slot_len: usize,
    slots: usize,
    locked: bool,
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
                libc::mlock(base, len) == 0
            };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Arena { base, slot_len, slots: slots.max(1), locked })
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
        // SAFETY: in bounds by the check above; &mut self makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(n * self.slot_len), self.slot_len) }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for n in 0..self.slots {
            wipe(self.slot_mut(n));
        }
        // SAFETY: unmaps exactly what `new` mapped; no borrow outlives self.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.slot_len * self.slots) };
    }
}
