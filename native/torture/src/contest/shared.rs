//! Files that all write at once, each its own bytes.

use super::{LOG, RECORD, STRIPED};
use crate::Result;
use kmsfs_random::Random;
use rustix::fs::{open, Mode, OFlags};
use rustix::mm::{mmap, munmap, MapFlags, ProtFlags};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Neither a divisor of a block nor a multiple: each block is of several workers.
const PIECE: u64 = 1000;
/// Of each worker.
const PIECES: u64 = 60;

/// What one worker has in the shared files.
pub struct Mine {
    log: OwnedFd,
    striped: OwnedFd,
    map: *mut u8,
    len: usize,
    number: u64,
    workers: u64,
    /// What its pieces hold.
    held: Vec<u8>,
    appended: u64,
}

impl Mine {
    pub fn new(dir: &Path, number: u64, workers: u64) -> Result<Mine> {
        let file = |name, flags| open(dir.join(name), flags, Mode::empty()).map_err(|e| format!("open {name}: {e}"));
        let striped = file(STRIPED, OFlags::RDWR)?;
        let len = (PIECE * PIECES * workers) as usize;
        rustix::fs::ftruncate(&striped, len as u64).map_err(|e| format!("ftruncate: {e}"))?;
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let map = unsafe { mmap(std::ptr::null_mut(), len, protection, flags, &striped, 0) };
        let map = map.map_err(|e| format!("mmap: {e}"))?.cast();
        let log = file(LOG, OFlags::RDWR | OFlags::APPEND)?;
        Ok(Mine { log, striped, map, len, number, workers, held: vec![0; PIECES as usize], appended: 0 })
    }

    /// Appends the n-th record, and looks at some that are there.
    pub fn append(&mut self, n: u64) -> Result<()> {
        let text = format!("{} {n} ", self.number);
        let record = format!("{text:.<width$}\n", width = RECORD - 1);
        let written = rustix::io::write(&self.log, record.as_bytes()).map_err(|e| format!("append: {e}"))?;
        self.appended += 1;
        let size = rustix::fs::fstat(&self.log).map_err(|e| format!("fstat: {e}"))?.st_size as u64;
        if written != RECORD || !size.is_multiple_of(RECORD as u64) {
            return Err(format!("append wrote {written} bytes, the size is {size}"));
        }
        let mut last = [0; RECORD];
        let n = rustix::io::pread(&self.log, &mut last, size - RECORD as u64).map_err(|e| format!("read: {e}"))?;
        if n == 0 {
            // Without the write cache stat(2) tells of another's append as soon as it is done, read(2) when that returned.
            return Ok(());
        }
        if last[RECORD - 1] != b'\n' || !last[0].is_ascii_digit() {
            return Err(format!("the record at {} is {:?}", size - RECORD as u64, String::from_utf8_lossy(&last)));
        }
        Ok(())
    }

    fn place(&self, piece: u64) -> u64 {
        (piece * self.workers + self.number) * PIECE
    }

    /// Writes or reads one of its pieces, by the file or by the mapping.
    pub fn stripe(&mut self, r: &mut Random) -> Result<()> {
        let piece = r.below(PIECES);
        let at = self.place(piece);
        match r.below(9) {
            0..=2 => {
                let byte = r.below(256) as u8;
                let n = rustix::io::pwrite(&self.striped, &[byte; PIECE as usize], at);
                self.held[piece as usize] = byte;
                match n {
                    Ok(n) if n == PIECE as usize => Ok(()),
                    other => Err(format!("write of a piece: {other:?}")),
                }
            }
            3..=4 => {
                let byte = r.below(256) as u8;
                // SAFETY: within the mapping; the bytes are this worker's alone.
                unsafe { std::ptr::write_bytes(self.map.add(at as usize), byte, PIECE as usize) };
                self.held[piece as usize] = byte;
                Ok(())
            }
            5..=6 => self.check(piece),
            7 => rustix::fs::fsync(&self.striped).map_err(|e| format!("fsync: {e}")),
            _ => {
                let advice = rustix::fs::Advice::DontNeed;
                rustix::fs::fadvise(&self.striped, 0, None, advice).map_err(|e| format!("fadvise: {e}"))
            }
        }
    }

    fn check(&self, piece: u64) -> Result<()> {
        let (at, due) = (self.place(piece), self.held[piece as usize]);
        let mut read = [0; PIECE as usize];
        rustix::io::pread(&self.striped, &mut read, at).map_err(|e| format!("read of a piece: {e}"))?;
        let mut mapped = [0; PIECE as usize];
        // SAFETY: as in `stripe`.
        unsafe { std::ptr::copy_nonoverlapping(self.map.add(at as usize), mapped.as_mut_ptr(), PIECE as usize) };
        for (how, bytes) in [("read", read), ("mapped", mapped)] {
            if let Some(wrong) = bytes.iter().position(|b| *b != due) {
                let offset = at + wrong as u64;
                return Err(format!("its byte at {offset} ({how}) is {} where {due} is due", bytes[wrong]));
            }
        }
        Ok(())
    }

    /// How many records it appended.
    pub fn finish(self) -> Result<u64> {
        (0..PIECES).try_for_each(|piece| self.check(piece)).map(|()| self.appended)
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping; no reference into it outlives a call.
        let _ = unsafe { munmap(self.map.cast(), self.len) };
    }
}
