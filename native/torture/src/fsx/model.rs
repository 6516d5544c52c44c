//! What a file must hold: a hole of `base` bytes, then bytes in memory.

pub struct Model {
    pub base: u64,
    pub size: u64,
    /// From `base` on; zeros beyond the size.
    window: Vec<u8>,
}

impl Model {
    pub fn new(base: u64, window: u64) -> Self {
        Model { base, size: base, window: vec![0; window as usize] }
    }

    /// First offset that can never be written.
    pub fn limit(&self) -> u64 {
        self.base + self.window.len() as u64
    }

    /// What read(2) of `len` bytes at `at` must give.
    pub fn read(&self, at: u64, len: usize) -> &[u8] {
        let start = at.clamp(self.base, self.size);
        let end = (at + len as u64).clamp(start, self.size);
        self.slice(start, end)
    }

    /// What lies in memory mapped there: zeros behind the end.
    pub fn mapped(&self, at: u64, len: usize) -> &[u8] {
        self.slice(at, at + len as u64)
    }

    fn slice(&self, start: u64, end: u64) -> &[u8] {
        &self.window[(start - self.base) as usize..(end - self.base) as usize]
    }

    pub fn write(&mut self, at: u64, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let start = (at - self.base) as usize;
        self.window[start..start + data.len()].copy_from_slice(data);
        self.size = self.size.max(at + data.len() as u64);
    }

    pub fn resize(&mut self, size: u64) {
        if size < self.size {
            let (start, end) = ((size - self.base) as usize, (self.size - self.base) as usize);
            self.window[start..end].fill(0);
        }
        self.size = size;
    }

    /// Within the size.
    pub fn zero(&mut self, at: u64, len: u64) {
        let start = at.clamp(self.base, self.size);
        let end = (at + len).clamp(start, self.size);
        self.window[(start - self.base) as usize..(end - self.base) as usize].fill(0);
    }

    /// The first offset in a range that does not hold zero.
    pub fn first_data(&self, start: u64, end: u64) -> Option<u64> {
        let start = start.clamp(self.base, self.limit());
        let end = end.clamp(start, self.limit());
        self.slice(start, end).iter().position(|b| *b != 0).map(|i| start + i as u64)
    }
}
