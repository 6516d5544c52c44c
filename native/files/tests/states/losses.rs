//! What a loss of power can leave of what was not flushed, enumerated.

use kmsfs_files::memory::MemoryStore;
use kmsfs_files::recording::{RecordingStore, Unflushed};

/// Which sectors of one write are there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    None,
    All,
    First,
    AllButFirst,
    Last,
    AllButLast,
}

impl Part {
    fn holds(self, sector: usize, sectors: usize) -> bool {
        match self {
            Part::None => false,
            Part::All => true,
            Part::First => sector == 0,
            Part::AllButFirst => sector > 0,
            Part::Last => sector + 1 == sectors,
            Part::AllButLast => sector + 1 < sectors,
        }
    }
}

/// Power is cut after `cut` operations. What was not flushed by then is kept or dropped, all but one write.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    pub cut: usize,
    kept: bool,
    /// The operation, its sectors, and what is there of it.
    but: Option<(usize, usize, Part)>,
    /// Metadata changes from this operation on are lost.
    metadata: usize,
}

impl Loss {
    /// All that was done is there: what a process that dies leaves.
    pub fn is_none(&self) -> bool {
        self.kept && self.but.is_none() && self.metadata == self.cut
    }

    pub fn apply(&self, store: &RecordingStore) -> MemoryStore {
        store.crash(self.cut, self.metadata, |i, _, sector| match self.but {
            Some((but, sectors, part)) if but == i => part.holds(sector, sectors),
            _ => self.kept,
        })
    }
}

/// Every loss at `cut`: all kept and all dropped, with each prefix of the metadata; then each single write dropped, kept
/// alone, and torn, with all of the metadata and with none.
pub fn losses(store: &RecordingStore, cut: usize) -> Vec<Loss> {
    let Unflushed { writes, metadata } = store.unflushed(cut);
    let mut all = Vec::new();
    for kept in [true, false] {
        all.extend(metadata.iter().map(|metadata| Loss { cut, kept, but: None, metadata: *metadata }));
    }
    if writes.is_empty() {
        all.truncate(metadata.len());
    }
    let mut ends = vec![cut];
    ends.extend(metadata.first().filter(|oldest| **oldest < cut));
    for (i, sectors) in &writes {
        let whole = [(true, Part::None), (false, Part::All)];
        let torn = [(true, Part::AllButFirst), (true, Part::AllButLast), (false, Part::First), (false, Part::Last)];
        let whole = whole.iter().filter(|_| writes.len() > 1);
        for (kept, part) in whole.chain(torn.iter().filter(|_| *sectors > 1)) {
            let but = Some((*i, *sectors, *part));
            all.extend(ends.iter().map(|metadata| Loss { cut, kept: *kept, but, metadata: *metadata }));
        }
    }
    all
}
