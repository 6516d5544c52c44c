//! SEEK_DATA and SEEK_HOLE (lseek(2)): blocks, not bytes, are data or holes.

use super::{File, State};
use crate::error::{Error, Result};
use kmsfs_format::block::Entry;
use kmsfs_format::layout::DIRECT;

impl File {
    /// First offset >= `offset` that is data (or a hole, for `data` false). ENXIO past the end, or where no data follows.
    pub fn seek(&self, offset: u64, data: bool) -> Result<u64> {
        let st = self.state.read();
        let size = st.root.size;
        if offset >= size {
            return Err(Error::Errno(libc::ENXIO));
        }
        let layout = self.shared.layout;
        let blocks = layout.blocks(size);
        let mut index = offset >> layout.shift();
        let mut entries = Vec::new();
        while index < blocks {
            let empty = self.empty_from(&st, index)?;
            if empty > 0 {
                if !data {
                    return Ok(offset.max(index << layout.shift()));
                }
                index = index.saturating_add(empty);
                continue;
            }
            let count = layout.contiguous(index, blocks - index);
            self.entries(&st, index, count, &mut entries)?;
            for (i, entry) in entries.iter().enumerate() {
                let at = index + i as u64;
                if (!entry.is_hole() || st.dirty.contains_key(&at)) == data {
                    return Ok(offset.max(at << layout.shift()));
                }
            }
            index += count;
        }
        if data {
            Err(Error::Errno(libc::ENXIO))
        } else {
            Ok(size)
        }
    }

    /// How many blocks from `index` on are holes because a whole subtree above them is one; 0 when none is.
    fn empty_from(&self, st: &State, index: u64) -> Result<u64> {
        let layout = self.shared.layout;
        if index < DIRECT {
            return Ok(0);
        }
        let mut entry = st.root.subtrees[layout.subtree_of(index) - 1];
        for step in layout.path(index).steps() {
            let here = (step.level, step.index);
            if entry.is_hole() && !st.nodes.contains_key(&here) {
                return Ok(layout.covers(step.level) - (index - step.index));
            }
            if step.level == 1 {
                break;
            }
            entry = match st.nodes.get(&here) {
                Some(node) => Entry::at(node, step.slot),
                None => Entry::at(&self.node(st, step, &entry)?, step.slot),
            };
        }
        Ok(0)
    }
}
