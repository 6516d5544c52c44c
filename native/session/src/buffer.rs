//! The two buffers of a session thread: allocated once, so that no request needs heap to arrive or to be answered.

use rustix::mm::Advice;
use std::ffi::c_void;
use zeroize::Zeroize;

const PAGE: usize = 4096;

/// Memory in which the byte behind a message's fixed part lies on a page border; zeroized on drop: it has held plaintext.
pub struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
    untouched: bool,
}

impl Buffer {
    /// `len` bytes, of which the one at `lead` is page-aligned.
    pub fn new(lead: usize, len: usize) -> Self {
        let memory = vec![0u8; len + 2 * PAGE].into_boxed_slice();
        let skew = (memory.as_ptr() as usize + lead) % PAGE;
        let start = (PAGE - skew) % PAGE;
        advise(&memory, Advice::LinuxDontDump);
        Buffer { memory, start, len, untouched: false }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// Wipes it and gives its memory back to the system; its next use takes new. Before Linux 5.18 locked memory stays.
    pub fn give_back(&mut self) {
        self.memory.zeroize();
        // What is read of a page given back is zero, as it is now.
        advise(&self.memory, Advice::LinuxDontneedLocked);
    }

    /// Nothing was put in since it was made or given back: there is nothing to wipe, which would only take memory.
    pub fn untouched(&mut self) {
        self.untouched = true;
    }
}

/// Best effort, for the whole pages of `memory`: nothing depends on it, the engine is not even dumpable.
fn advise(memory: &[u8], advice: Advice) {
    // Miri has no madvise.
    if cfg!(miri) {
        return;
    }
    let skew = memory.as_ptr() as usize % PAGE;
    let first = (PAGE - skew) % PAGE;
    let Some(whole) = memory.len().checked_sub(first) else { return };
    // SAFETY: the range lies within `memory`. MADV_DONTDUMP changes no content, and MADV_DONTNEED_LOCKED is asked for only
    // where all of it is zero, which it then is again.
    let _ = unsafe {
        rustix::mm::madvise(memory.as_ptr().add(first).cast_mut().cast::<c_void>(), whole / PAGE * PAGE, advice)
    };
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.untouched {
            self.memory.zeroize();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_behind_the_lead_is_page_aligned() {
        for lead in [0, 16, 80] {
            let mut buffer = Buffer::new(lead, 1 << 16);
            let bytes = buffer.bytes();
            assert_eq!(bytes.len(), 1 << 16);
            assert_eq!((bytes.as_ptr() as usize + lead) % PAGE, 0);
        }
    }
    #[test]
    fn what_was_given_back_is_zero_and_can_be_used_again() {
        let mut buffer = Buffer::new(16, 1 << 16);
        for _ in 0..2 {
            buffer.bytes().fill(7);
            buffer.give_back();
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
        }
    }
}
