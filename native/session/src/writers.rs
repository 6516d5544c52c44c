//! Which files are open for writing: what the kernel holds of them in its page cache may be newer than what we hold.

use kmsfs_namespace::ops::NodeId;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts of open descriptions that may write, by node.
#[derive(Default)]
pub struct Writers(Mutex<HashMap<u64, u64>>);

/// open(2)'s `flags`.
fn writes(flags: u32) -> bool {
    i32::try_from(flags & libc::O_ACCMODE as u32).is_ok_and(|mode| mode != libc::O_RDONLY)
}

impl Writers {
    fn counts(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        // A count changes in one step: a panic elsewhere leaves nothing half-done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn opened(&self, node: NodeId, flags: u32) {
        if writes(flags) {
            *self.counts().entry(node.0).or_insert(0) += 1;
        }
    }

    /// `flags` are those of the opening: RELEASE repeats them.
    pub fn released(&self, node: NodeId, flags: u32) {
        if !writes(flags) {
            return;
        }
        if let Entry::Occupied(mut count) = self.counts().entry(node.0) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    pub fn any(&self, node: NodeId) -> bool {
        self.counts().contains_key(&node.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_being_written_from_its_first_writable_open_to_the_last_release() {
        let (writers, node) = (Writers::default(), NodeId(7));
        let (ro, wo, rw) = (libc::O_RDONLY as u32, libc::O_WRONLY as u32, libc::O_RDWR as u32);
        writers.opened(node, ro);
        assert!(!writers.any(node));
        writers.opened(node, wo | libc::O_APPEND as u32);
        writers.opened(node, rw);
        writers.released(node, rw);
        writers.released(node, ro);
        assert!(writers.any(node) && !writers.any(NodeId(8)));
        writers.released(node, wo);
        writers.released(node, wo);
        assert!(!writers.any(node));
    }
}
