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

impl Located {
    /// Whether it stands in the log right behind the `len` bytes from `first` on.
    fn follows(&self, first: &Located, len: usize) -> bool {
        Arc::ptr_eq(&self.segment, &first.segment) && self.at == first.at + len as u64
    }
}

/// By home offset.
pub type Images = BTreeMap<u64, Located>;

/// Writes every image to its home, in order of offset. What lies one behind the other at home is written in one piece,
/// and what does so in the log, as a commit leaves it, is read in one.
pub fn write_home(images: &Images, home: &dyn Home) -> Result<()> {
    let mut images = images.iter().peekable();
    // Grows to the longest run, whose first `filled` bytes wait to be written at `start`.
    let mut run: Vec<u8> = Vec::new();
    let (mut start, mut filled) = (0u64, 0);
    while let Some((offset, image)) = images.next() {
        let mut len = image.len as usize;
        while let Some((_, next)) = images.next_if(|(at, next)| {
            **at == offset + len as u64 && len + next.len as usize <= RUN && next.follows(image, len)
        }) {
            len += next.len as usize;
        }
        if filled > 0 && (start + filled as u64 != *offset || filled + len > RUN) {
            home.write_at(&run[..filled], start)?;
            filled = 0;
        }
        if filled == 0 {
            start = *offset;
        }
        if run.len() < filled + len {
            run.resize(filled + len, 0);
        }
        image.segment.read_at(&mut run[filled..filled + len], image.at)?;
        filled += len;
    }
    if filled > 0 {
        home.write_at(&run[..filled], start)?;
    }
    Ok(())
}
