//! What is written, and where: the same again for the same seed.

use kmsfs_random::Random;
use std::path::Path;

const PAGE: usize = 4096;
/// Long enough that a block differs from its neighbours in most of its bytes.
const POOL: usize = 4 << 20;

/// Incompressible bytes, page-aligned, from which blocks are cut: making each anew would cost more than writing it.
pub struct Pool {
    memory: Vec<u8>,
    start: usize,
    random: Random,
}

impl Pool {
    pub fn new(longest: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut memory = vec![0; longest.max(POOL) + PAGE + longest];
        random.fill(&mut memory);
        let start = (PAGE - memory.as_ptr() as usize % PAGE) % PAGE;
        Pool { memory, start, random }
    }

    /// A block unlike those before: its first bytes are new.
    pub fn block(&mut self, length: usize) -> &mut [u8] {
        let pages = (self.memory.len() - self.start - length) / PAGE;
        let at = self.start + self.random.below(pages as u64) as usize * PAGE;
        let stamp = self.random.next().to_le_bytes();
        // `at + length` lies within: there are so many whole pages in front of the last `length` bytes.
        let block = self.memory.get_mut(at..at + length).unwrap_or_default();
        for (byte, new) in block.iter_mut().zip(stamp) {
            *byte = new;
        }
        block
    }
}

/// Names what failed.
pub fn at<T, E: std::fmt::Display>(path: &Path, what: &str, result: std::result::Result<T, E>) -> crate::Result<T> {
    result.map_err(|e| format!("{what} {}: {e}", path.display()))
}
