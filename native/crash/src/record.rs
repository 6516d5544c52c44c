//! The record of a disk: what was written, flushed, and marked by whoever worked on it, in order.
//!
//! An entry is kind u32 | length u32 | offset u64 | data. A write stands before its writer is told that it is done, and a
//! flush before its caller is: what stands before a flush is on the disk for good once that entry stands.

use crate::Result;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Write { offset: u64, data: Vec<u8> },
    Flush,
    Mark(String),
}

const WRITE: u32 = 1;
const FLUSH: u32 = 2;
const MARK: u32 = 3;

pub struct Recorder(Mutex<BufWriter<File>>);

impl Recorder {
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Recorder(Mutex::new(BufWriter::with_capacity(1 << 20, file))))
    }

    /// Does `act` as one with its entry: no other entry stands between the two.
    fn put(
        &self,
        kind: u32,
        offset: u64,
        data: &[u8],
        act: impl FnOnce() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act()?;
        out.write_all(&kind.to_le_bytes())?;
        out.write_all(&(data.len() as u32).to_le_bytes())?;
        out.write_all(&offset.to_le_bytes())?;
        out.write_all(data)
    }
    pub fn write(&self, offset: u64, data: &[u8], act: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        self.put(WRITE, offset, data, act)
    }
    pub fn flush(&self) -> std::io::Result<()> {
        self.put(FLUSH, 0, &[], || Ok(()))
    }
    pub fn mark(&self, text: &[u8]) -> std::io::Result<()> {
        self.put(MARK, 0, text, || Ok(()))
    }
    pub fn end(&self) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

pub fn read(path: &Path) -> Result<Vec<Entry>> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(failed)?);
    let mut entries = Vec::new();
    let mut head = [0u8; 16];
    loop {
        match file.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(entries),
            Err(e) => return Err(failed(e)),
        }
        let [a, b, c, d, e, f, g, h, offset @ ..] = head;
        let (kind, len) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let mut data = vec![0; len as usize];
        file.read_exact(&mut data).map_err(failed)?;
        entries.push(match kind {
            WRITE => Entry::Write { offset: u64::from_le_bytes(offset), data },
            FLUSH => Entry::Flush,
            MARK => Entry::Mark(String::from_utf8_lossy(&data).trim_end().to_owned()),
            other => return Err(format!("{}: an entry of kind {other}", path.display())),
        });
    }
}
