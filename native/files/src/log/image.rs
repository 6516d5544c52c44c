//! Sealed images that wait in the log, and their way home.

use crate::error::Result;
use crate::store::{Home, Segment};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Runs of images that lie one behind the other at home are written in one piece of at most this.
const RUN: usize = 1 << 20;

/// Sealed bytes in the log.
#[derive(Clone)]
pub struct Located {
    pub segment: Arc<dyn Segment>,
    pub at: u64,
    pub len: u32,
}

impl Located {
    /// Reads the sealed bytes into the front of `out`.
    pub fn read(&self, out: &mut [u8]) -> std::io::Result<()> {
        self.segment.read_at(&mut out[..self.len as usize], self.at)
    }
}

/// By home offset.
pub type Images = BTreeMap<u64, Located>;

/// Writes every image to its home, in order of offset.
pub fn write_home(images: &Images, home: &dyn Home) -> Result<()> {
    let mut run: Vec<u8> = Vec::new();
    let mut start = 0u64;
    for (offset, image) in images {
        let len = image.len as usize;
        if !run.is_empty() && (start + run.len() as u64 != *offset || run.len() + len > RUN) {
            home.write_at(&run, start)?;
            run.clear();
        }
        if run.is_empty() {
            start = *offset;
        }
        let at = run.len();
        run.resize(at + len, 0);
        image.read(&mut run[at..])?;
    }
    if !run.is_empty() {
        home.write_at(&run, start)?;
    }
    Ok(())
}
