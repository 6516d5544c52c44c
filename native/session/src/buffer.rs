//! The two buffers of a session thread: allocated once, so that no request needs heap to arrive or to be answered.

use std::ffi::c_void;
use zeroize::Zeroize;

const PAGE: usize = 4096;

/// Memory in which the byte behind a message's fixed part lies on a page border; zeroized on drop: it has held plaintext.
pub struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` bytes, of which the one at `lead` is page-aligned.
    pub fn new(lead: usize, len: usize) -> Self {
        let memory = vec![0u8; len + 2 * PAGE].into_boxed_slice();
        let skew = (memory.as_ptr() as usize + lead) % PAGE;
        let start = (PAGE - skew) % PAGE;
        keep_out_of_dumps(&memory);
        Buffer { memory, start, len }
    }

    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// Best effort: the engine is not dumpable to begin with.
fn keep_out_of_dumps(memory: &[u8]) {
    // Miri has no madvise.
    if cfg!(miri) {
        return;
    }
    let skew = memory.as_ptr() as usize % PAGE;
    let first = (PAGE - skew) % PAGE;
    let Some(whole) = memory.len().checked_sub(first) else { return };
    // SAFETY: the range lies within `memory`, and MADV_DONTDUMP changes no content.
    let _ = unsafe {
        rustix::mm::madvise(
            memory.as_ptr().add(first).cast_mut().cast::<c_void>(),
            whole / PAGE * PAGE,
            rustix::mm::Advice::LinuxDontDump,
        )
    };
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.zeroize();
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
}
