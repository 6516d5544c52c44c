//! Reading: runs of sealed blocks in one piece, opened straight into the caller's buffer.

use super::{File, State};
use crate::error::Result;
use crate::page::Page;
use crate::scratch;
use kmsfs_format::block::Entry;

/// Reads up to this go through the sector cache, unless they are for the kernel's own; larger ones are scans.
const CACHED_READ: usize = 32 << 10;
/// Blocks are looked up and read in groups of at most this many bytes.
const GROUP: u64 = 1 << 20;

impl File {
    /// Fills `buf` from `offset`; less only at the end of the file.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_through(offset, buf, buf.len() <= CACHED_READ)
    }

    /// As `read`, of pages for the kernel's own cache: ours is left to the nodes above them, and to other blocks.
    pub fn read_for_kernel(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.read_through(offset, buf, false)
    }

    /// `cached`: blocks that are at home are looked for in the sector cache, and put there.
    fn read_through(&self, offset: u64, buf: &mut [u8], cached: bool) -> Result<usize> {
        self.read_ahead(offset, buf.len());
        let st = self.state.read();
        let n = st.root.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..n];
        let layout = self.shared.layout;
        let mut entries = Vec::new();
        let mut done = 0;
        while done < n {
            let index = (offset + done as u64) >> layout.shift();
            let last = (offset + n as u64 - 1) >> layout.shift();
            let count = layout.contiguous(index, (last - index + 1).min(GROUP >> layout.shift()));
            self.entries_to_read(&st, index, count, &mut entries)?;
            let end = (((index + count) << layout.shift()) - offset).min(n as u64) as usize;
            self.read_group(&st, offset, index, &entries, &mut buf[..end], done, cached)?;
            done = end;
        }
        Ok(n)
    }

    /// Blocks `first..` with `entries`, which lie one behind the other at home. `buf` is what was asked from `offset` on,
    /// up to the end of this group; what is before `done` is filled.
    #[allow(clippy::too_many_arguments)]
    fn read_group(
        &self,
        st: &State,
        offset: u64,
        first: u64,
        entries: &[Entry],
        buf: &mut [u8],
        done: usize,
        cached: bool,
    ) -> Result<()> {
        let layout = self.shared.layout;
        let cache = &self.shared.cache;
        let sealed_at_home = |i: usize| {
            let index = first + i as u64;
            !entries[i].is_hole() && !st.dirty.contains_key(&index) && !st.images.contains_key(&layout.home(index))
        };
        let mut at = done;
        let mut i = 0;
        while i < entries.len() && at < buf.len() {
            let index = first + i as u64;
            let within = ((offset + at as u64) - (index << layout.shift())) as usize;
            let take = (self.shared.block() - within).min(buf.len() - at);
            let out = &mut buf[at..at + take];
            let stored = layout.stored_len(index, st.root.size);
            if let Some(page) = st.dirty.get(&index) {
                out.copy_from_slice(&page[within..within + take]);
            } else if entries[i].is_hole() {
                out.fill(0);
            } else if !sealed_at_home(i) {
                let mut page = Page::zeroed(stored);
                self.read_block(st, index, &entries[i], &mut page)?;
                out.copy_from_slice(&page[within..within + take]);
            } else {
                let mut copy = |plain: &[u8]| out.copy_from_slice(&plain[within..within + take]);
                if !cached || cache.look(&entries[i], stored, &mut copy).is_none() {
                    let missing = |j: &usize| sealed_at_home(*j) && !(cached && cache.holds(&entries[*j]));
                    let run = 1 + (i + 1..entries.len()).take_while(missing).count();
                    at = self.read_run(st, offset, index, &entries[i..i + run], buf, at, cached)?;
                    i += run;
                    continue;
                }
            }
            at += take;
            i += 1;
        }
        Ok(())
    }

    /// A run of sealed blocks at home, read at once. Returns how far `buf` is filled. `keep`: they go into the cache.
    #[allow(clippy::too_many_arguments)]
    fn read_run(
        &self,
        st: &State,
        offset: u64,
        first: u64,
        entries: &[Entry],
        buf: &mut [u8],
        at: usize,
        keep: bool,
    ) -> Result<usize> {
        let layout = self.shared.layout;
        let last = first + entries.len() as u64 - 1;
        let len = ((last - first) << layout.shift()) as usize + layout.stored_len(last, st.root.size);
        scratch::with(len, |sealed| {
            let got = self.home.read_at(sealed, layout.home(first))?;
            let mut at = at;
            let mut key = self.keyring.get(entries[0].epoch())?;
            for (i, entry) in entries.iter().enumerate() {
                if at == buf.len() {
                    break;
                }
                let index = first + i as u64;
                let stored = layout.stored_len(index, st.root.size);
                let from = i << layout.shift();
                if from + stored > got {
                    return Err(self.damaged(0, index, "is cut off"));
                }
                if key.epoch != entry.epoch() {
                    key = self.keyring.get(entry.epoch())?;
                }
                let block = &sealed[from..from + stored];
                let within = ((offset + at as u64) - (index << layout.shift())) as usize;
                let take = (stored - within).min(buf.len() - at);
                let out = &mut buf[at..at + take];
                let opened = if within == 0 && take == stored {
                    key.open(0, index, entry, block, out).map(|()| {
                        if keep {
                            self.shared.cache.put(entry, out);
                        }
                    })
                } else {
                    let mut page = Page::zeroed(stored);
                    key.open(0, index, entry, block, &mut page).map(|()| {
                        out.copy_from_slice(&page[within..within + take]);
                        if keep {
                            self.shared.cache.put(entry, &page);
                        }
                    })
                };
                opened.map_err(|_| self.damaged(0, index, "does not authenticate"))?;
                at += take;
            }
            Ok(at)
        })
    }
}
