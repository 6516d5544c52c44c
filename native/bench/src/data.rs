//! What is written, and where: the same again for the same seed.

use std::path::Path;

#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        // Near seeds must not begin alike, and zero would stay zero (splitmix64).
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    /// xorshift64* (Vigna 2016).
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 8) % n.max(1)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

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
        for chunk in memory.chunks_mut(8) {
            let bytes = random.next().to_le_bytes();
            chunk.copy_from_slice(bytes.get(..chunk.len()).unwrap_or(&bytes));
        }
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
