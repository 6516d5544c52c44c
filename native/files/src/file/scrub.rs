//! Verifying all that is sealed of a file from the store, past every cache, while the file is in use.
//!
//! What the current tree refers to is noted under the state's lock, as a reader would; it is read and opened without the
//! lock, so that a slow disk holds nobody up. What does not open may have been written anew meanwhile: it is looked at
//! again under the lock, and only what fails there is damage.

use super::load::open_page;
use super::{File, State};
use crate::error::{Error, Result};
use crate::log::image::Located;
use crate::page::Page;
use crate::Tamper;
use kmsfs_format::block::Entry;
use kmsfs_format::header::Root;
use kmsfs_format::layout::{DIRECT, HEADER_LEN};
use std::io;
use std::sync::atomic::Ordering;

/// Blocks are verified in groups of at most this many bytes.
const GROUP: u64 = 1 << 20;
const UNREADABLE: &str = "cannot be read";

/// Reads a home from where it really lies. Offsets are multiples of 4096.
pub trait Medium {
    /// Fills `buf`; returns less than its length only at the end of the home.
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    pub blocks: u64,
    pub nodes: u64,
    /// Sealed bytes, headers included.
    pub bytes: u64,
}

/// One sealed piece of the tree, as it was noted.
#[derive(Clone)]
struct Piece {
    level: u8,
    index: u64,
    home: u64,
    len: usize,
    entry: Entry,
    /// It waits in the log.
    image: Option<Located>,
}

#[derive(Default)]
struct Noted {
    pieces: Vec<Piece>,
    /// Where to go on; `None` at the end of the file.
    next: Option<u64>,
    /// Damage met on the way to the pieces.
    found: Option<Tamper>,
}

impl File {
    /// Verifies header and length. What is wrong is reported, and returned.
    pub fn scrub_header(&self, medium: &mut dyn Medium, checked: &mut Checked) -> Result<Option<Tamper>> {
        let (noted, length) = {
            let st = self.state.read();
            (self.note_header(&st), self.length_fits(&st))
        };
        let Some((image, root)) = noted else { return Ok(None) };
        checked.bytes += HEADER_LEN;
        if length.is_ok() && self.header_fits(medium, image.as_ref(), root.as_ref()).is_ok() {
            return Ok(None);
        }
        let st = self.state.read();
        let Some((image, root)) = self.note_header(&st) else { return Ok(None) };
        self.settle();
        match self.header_fits(medium, image.as_ref(), root.as_ref()).and_then(|()| self.length_fits(&st)) {
            Ok(()) => Ok(None),
            Err(Error::Tampered(what)) => Ok(Some(self.report(what))),
            Err(e) => Err(e),
        }
    }

    /// Where the sealed header is, and the tree that it must hold; `None` when there is none to look at.
    fn note_header(&self, st: &State) -> Option<(Option<Located>, Option<Root>)> {
        let nothing = st.absent || self.gone.load(Ordering::Acquire);
        (!nothing).then(|| (st.images.get(&0).cloned(), (!st.changed).then(|| st.root.clone())))
    }

    /// `Tampered` is not yet reported.
    fn header_fits(&self, medium: &mut dyn Medium, image: Option<&Located>, expected: Option<&Root>) -> Result<()> {
        let mut page = [0u8; HEADER_LEN as usize];
        match image {
            Some(image) => image.read(&mut page)?,
            None => {
                medium.read_at(&mut page, 0)?;
            }
        }
        let root = open_page(&self.shared, &self.keyring, &self.id, &page)?;
        let same = |e: &Root| e.size == root.size && e.direct == root.direct && e.subtrees == root.subtrees;
        // One that was put back in the place of its successor opens by itself.
        if expected.is_some_and(|e| !same(e)) {
            return Err(Error::Tampered("has a header that is not the last one written".into()));
        }
        Ok(())
    }

    fn length_fits(&self, st: &State) -> Result<()> {
        if st.clean() && !st.growing && self.home.len()? != st.committed_physical {
            return Err(Error::Tampered("has a length that is not that of its size".into()));
        }
        Ok(())
    }

    /// Verifies the blocks from number `from` on, about a MiB of them, and the nodes that begin among them. What is
    /// wrong is reported, and handed to `found`. Returns the number to go on from, or `None` at the end of the file.
    pub fn scrub_blocks(
        &self,
        medium: &mut dyn Medium,
        from: u64,
        checked: &mut Checked,
        found: &mut dyn FnMut(Tamper),
    ) -> Result<Option<u64>> {
        let noted = {
            let st = self.state.read();
            self.note(&st, from)?
        };
        noted.found.into_iter().for_each(&mut *found);
        let mut suspects = Vec::new();
        for run in runs(&noted.pieces) {
            self.verify_run(medium, run, &mut suspects)?;
        }
        for piece in &noted.pieces {
            checked.bytes += piece.len as u64;
            *(if piece.level == 0 { &mut checked.blocks } else { &mut checked.nodes }) += 1;
        }
        if !suspects.is_empty() {
            let st = self.state.read();
            let now = self.note(&st, from)?;
            self.settle();
            for piece in now.pieces.iter().filter(|p| suspects.contains(&(p.level, p.index))) {
                if let Err(what) = self.verify(medium, piece)? {
                    let tamper = self.tamper(piece.level, piece.index, what);
                    // A bad spot of the disk is nobody's doing.
                    if what != UNREADABLE {
                        self.shared.tampered(tamper.clone());
                    }
                    found(tamper);
                }
            }
        }
        Ok(noted.next)
    }

    /// Dirty pages of the home reach the medium: only what fails after that is not in flight.
    fn settle(&self) {
        // An error shows where it matters: what is read next does not open, or the next fsync fails.
        let _ = self.home.sync(true);
    }

    fn report(&self, what: String) -> Tamper {
        let tamper = Tamper { file: self.id, place: self.home.place(), block: None, what };
        self.shared.tampered(tamper.clone());
        tamper
    }

    /// Notes a group of pieces. Nodes on the way come from the cache where they can: what they say is authentic, and
    /// each is a piece itself, once.
    fn note(&self, st: &State, from: u64) -> Result<Noted> {
        let layout = self.shared.layout;
        let blocks = layout.blocks(st.root.size);
        let mut noted = Noted::default();
        if from >= blocks || self.gone.load(Ordering::Acquire) {
            return Ok(noted);
        }
        if from >= DIRECT {
            let mut entry = st.root.subtrees[layout.subtree_of(from) - 1];
            for step in layout.path(from).steps() {
                let past = step.index.saturating_add(layout.covers(step.level));
                let dirty = st.nodes.get(&(step.level, step.index));
                if dirty.is_none() && entry.is_hole() {
                    noted.next = Some(past).filter(|next| *next < blocks);
                    return Ok(noted);
                }
                let loaded;
                let node: &[u8] = match dirty {
                    Some(dirty) => dirty,
                    None => match self.node(st, step, &entry) {
                        Ok(page) => {
                            if from == step.index {
                                noted.pieces.push(self.piece(st, step.level, step.index, step.home, entry));
                            }
                            loaded = page;
                            &loaded
                        }
                        Err(Error::Tampered(_)) => {
                            let what = "does not authenticate";
                            noted.found = Some(self.tamper(step.level, step.index, what));
                            noted.next = Some(past).filter(|next| *next < blocks);
                            return Ok(noted);
                        }
                        Err(e) => return Err(e),
                    },
                };
                entry = Entry::at(node, step.slot);
            }
        }
        let count = layout.contiguous(from, (blocks - from).min(GROUP >> layout.shift()));
        let mut entries = Vec::new();
        self.entries(st, from, count, &mut entries)?;
        for (index, entry) in (from..).zip(entries) {
            // Those of dirty blocks are stale.
            if !entry.is_hole() && !st.dirty.contains_key(&index) {
                noted.pieces.push(self.piece(st, 0, index, layout.home(index), entry));
            }
        }
        noted.next = Some(from + count).filter(|next| *next < blocks);
        Ok(noted)
    }

    fn piece(&self, st: &State, level: u8, index: u64, home: u64, entry: Entry) -> Piece {
        let len = if level == 0 { self.shared.layout.stored_len(index, st.root.size) } else { self.shared.block() };
        let image = st.images.get(&home).filter(|image| image.len as usize == len).cloned();
        Piece { level, index, home, len, entry, image }
    }

    fn verify_run(&self, medium: &mut dyn Medium, run: &[Piece], suspects: &mut Vec<(u8, u64)>) -> Result<()> {
        let Some(first) = run.first() else { return Ok(()) };
        let mut sealed = vec![0u8; run.iter().map(|p| p.len).sum()];
        let got = match &first.image {
            Some(image) => image.read(&mut sealed).map(|()| sealed.len())?,
            // What cannot be read is looked at piece by piece, for the bad spot may be one of them.
            None => medium.read_at(&mut sealed, first.home).unwrap_or(0),
        };
        let mut at = 0;
        for piece in run {
            let opened = sealed.get(at..at + piece.len).filter(|_| at + piece.len <= got);
            if opened.map(|sealed| self.opens(piece, sealed)).transpose()? != Some(true) {
                suspects.push((piece.level, piece.index));
            }
            at += piece.len;
        }
        Ok(())
    }

    fn opens(&self, piece: &Piece, sealed: &[u8]) -> Result<bool> {
        let key = self.keyring.get(piece.entry.epoch())?;
        let mut plain = Page::zeroed(sealed.len());
        Ok(key.open(piece.level, piece.index, &piece.entry, sealed, &mut plain).is_ok())
    }

    /// The inner error is what is wrong with it.
    fn verify(&self, medium: &mut dyn Medium, piece: &Piece) -> Result<std::result::Result<(), &'static str>> {
        let mut sealed = vec![0u8; piece.len];
        let got = match &piece.image {
            Some(image) => image.read(&mut sealed).map(|()| piece.len),
            None => medium.read_at(&mut sealed, piece.home),
        };
        match got {
            Err(_) => Ok(Err(UNREADABLE)),
            Ok(got) if got < piece.len => Ok(Err("is cut off")),
            Ok(_) => Ok(if self.opens(piece, &sealed)? { Ok(()) } else { Err("does not authenticate") }),
        }
    }
}

/// Pieces that lie one behind the other at home, together; each in the log by itself.
fn runs(pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    pieces.chunk_by(|a, b| a.image.is_none() && b.image.is_none() && a.home + a.len as u64 == b.home)
}
