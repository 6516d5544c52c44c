//! Which inodes were changed in the backing file system (made, linked, chmodded...) since they were last flushed: the
//! commit log knows nothing of that, so fsync(2) must flush the inode itself as well.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// Beyond this many the set is given up for "all of them".
const MOST: usize = 65_536;

type Id = [u8; 16];

#[derive(Default)]
struct Inner {
    changed: HashSet<Id>,
    /// Flushes under way: until they are done, whoever asks must flush as well.
    flushing: HashMap<Id, usize>,
    /// Too many to remember: every inode counts as changed until all are flushed together.
    all: bool,
    flushing_all: usize,
}

#[derive(Default)]
pub struct Unsynced(Mutex<Inner>);

/// What a flush of one inode has to do beyond its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owed {
    Nothing,
    Inode,
    Everything,
}

impl Unsynced {
    pub fn add(&self, id: &Id) {
        let mut inner = self.0.lock();
        if inner.changed.len() >= MOST {
            inner.changed.clear();
            inner.all = true;
        }
        if !inner.all {
            inner.changed.insert(*id);
        }
    }

    /// Flushes what is owed for `id` by `flush`; after an error it is owed as before.
    pub fn settle<E>(&self, id: &Id, flush: impl FnOnce(Owed) -> Result<(), E>) -> Result<(), E> {
        let owed = self.begin(id);
        let result = flush(owed);
        self.end(id, owed, result.is_err());
        result
    }

    fn begin(&self, id: &Id) -> Owed {
        let mut inner = self.0.lock();
        if std::mem::take(&mut inner.all) || inner.flushing_all > 0 {
            inner.flushing_all += 1;
            return Owed::Everything;
        }
        if inner.changed.remove(id) || inner.flushing.contains_key(id) {
            *inner.flushing.entry(*id).or_default() += 1;
            return Owed::Inode;
        }
        Owed::Nothing
    }

    fn end(&self, id: &Id, owed: Owed, failed: bool) {
        let mut inner = self.0.lock();
        match owed {
            Owed::Nothing => {}
            Owed::Inode => {
                let left = inner.flushing.get_mut(id).map_or(0, |n| {
                    *n -= 1;
                    *n
                });
                if left == 0 {
                    inner.flushing.remove(id);
                }
                if failed {
                    inner.changed.insert(*id);
                }
            }
            Owed::Everything => {
                inner.flushing_all -= 1;
                inner.all |= failed;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_owed_once_and_again_after_a_failure() {
        let u = Unsynced::default();
        let id = [7; 16];
        let ask = |ok: bool| {
            let mut seen = Owed::Nothing;
            let _ = u.settle(&id, |owed| {
                seen = owed;
                if ok { Ok(()) } else { Err(()) }
            });
            seen
        };
        assert_eq!(ask(true), Owed::Nothing);
        u.add(&id);
        assert_eq!(ask(false), Owed::Inode);
        assert_eq!(ask(true), Owed::Inode);
        assert_eq!(ask(true), Owed::Nothing);
    }

    #[test]
    fn too_many_changes_are_owed_together() {
        let u = Unsynced::default();
        for i in 0..=MOST as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&i.to_le_bytes());
            u.add(&id);
        }
        let mut seen = Vec::new();
        for _ in 0..2 {
            let _: Result<(), ()> = u.settle(&[9; 16], |owed| {
                seen.push(owed);
                Ok(())
            });
        }
        assert_eq!(seen, [Owed::Everything, Owed::Nothing]);
    }
}
