//! Writing over, ahead of its use, what a segment only has set aside. fallocate(2) leaves ext4 and XFS extents that are
//! not written yet; each flush of a record into one then waits for a commit of their journal as well, which doubles it.

use super::Log;
use crate::error::Result;
use crate::sync::AtomicBool;
use std::sync::atomic::Ordering;

/// Bytes between two flushes: a commit that waits for one is not held up by much.
const PIECE: u64 = 1 << 18;

/// How far it is; one goes over all segments that are free, and over the rest of the current one.
pub struct Preparation {
    slots: Vec<usize>,
    from: u64,
}

impl Log {
    pub fn preparation(&self) -> Preparation {
        let current = self.appender.lock().current.as_ref().map_or(0, |c| c.slot);
        let count = self.segments.len();
        // In the order in which they come into use.
        Preparation { slots: (0..count).rev().map(|i| (current + i) % count).collect(), from: 0 }
    }

    /// Writes the next piece, and flushes it. False when all is done, `paused`, or nothing is written any more. Only a failed
    /// flush is an error.
    pub fn prepare(&self, preparation: &mut Preparation, paused: &AtomicBool) -> Result<bool> {
        let Some(slot) = preparation.slots.last().copied() else {
            return Ok(false);
        };
        let (wrote, flushes) = {
            // Held while it is written: a segment must not come into use meanwhile, nor a record be appended to it.
            let mut a = self.appender.lock();
            if paused.load(Ordering::Acquire) || self.failed() {
                return Ok(false);
            }
            let used = match &a.current {
                Some(current) if current.slot == slot => Some(current.offset),
                _ if a.live.iter().any(|l| l.slot == slot) => None,
                _ => Some(0),
            };
            let from = used.map(|used| used.max(preparation.from));
            // What cannot be written ahead is left to who appends there.
            let wrote = from.and_then(|from| self.segments[slot].write_ahead(from, PIECE).ok().flatten());
            if wrote.is_some() && !a.unsynced.contains(&slot) {
                a.unsynced.push(slot);
            }
            (wrote, self.flushes.load(Ordering::Relaxed))
        };
        match wrote {
            Some(end) => {
                preparation.from = end;
                // By who flushes the log: an error of a flush is told once, and must reach those whose records it was about.
                self.flush_while(|| self.flushes.load(Ordering::Relaxed) == flushes)?;
            }
            None => {
                preparation.slots.pop();
                preparation.from = 0;
            }
        }
        Ok(true)
    }
}
