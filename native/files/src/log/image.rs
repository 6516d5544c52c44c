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
    let mut run: Vec<u8> = Vec::new();
    let mut start = 0u64;
    while let Some((offset, image)) = images.next() {
        let mut len = image.len as usize;
        while let Some((_, next)) = images.next_if(|(at, next)| {
            **at == offset + len as u64 && len + next.len as usize <= RUN && next.follows(image, len)
        }) {
            len += next.len as usize;
        }
        if !run.is_empty() && (start + run.len() as u64 != *offset || run.len() + len > RUN) {
            home.write_at(&run, start)?;
            run.clear();
        }
        if run.is_empty() {
            start = *offset;
        }
        let at = run.len();
        run.resize(at + len, 0);
        image.segment.read_at(&mut run[at..], image.at)?;
    }
    if !run.is_empty() {
        home.write_at(&run, start)?;
    }
    Ok(())
}
