//! Committing: everything that changed is sealed from the blocks up and appended to the log as one record.

use super::overwrite::Run;
use super::write::STRAIGHT_FROM;
use super::{File, State};
use crate::error::{Error, Result};
use crate::log::image::Located;
use crate::log::{Appended, Appender};
use crate::page::Page;
use crate::scratch;
use crate::volume;
use kmsfs_format::block::{Entry, FileKey, ENTRY_LEN};
use kmsfs_format::commit::{Builder, Commit, SECTOR};
use kmsfs_format::header;
use kmsfs_format::layout::HEADER_LEN;
use kmsfs_format::random::Nonces;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Other files may fill the log again while this one waits for room; more rounds than this and it is really full.
pub(super) const ROUNDS: usize = 8;

/// A commit of more blocks than this is one of many in a row: the kernel's own cache serves who reads them again, and
/// the sector cache keeps what is used.
const CACHED_COMMIT: usize = 32;

/// What went into a record, to be kept in the sector cache.
type Plain = Vec<(Entry, CacheFrom)>;

enum CacheFrom {
    Block(u64, usize),
    Node(u8, u64),
}

/// A record whose header and place in the log are still to come.
struct Sealed {
    record: Builder,
    key: Arc<FileKey>,
    /// Not for the header: its content is in memory only when the place is known.
    nonces: Nonces,
    plain: Plain,
}

impl File {
    /// close(2): what is dirty is appended to the log, without a flush: it survives the engine's death.
    pub fn commit(self: &Arc<Self>) -> Result<()> {
        for _ in 0..ROUNDS {
            let order = self.commit.lock();
            let mut st = self.state.write();
            if !st.changed || self.gone.load(Ordering::Acquire) {
                return Ok(());
            }
            self.writable()?;
            self.send_runs_home(&mut st)?;
            let committed = self.try_to_commit(&mut st, None);
            drop((st, order));
            if committed? {
                return Ok(());
            }
            volume::checkpoint(&self.shared)?;
        }
        Err(Error::Errno(libc::ENOSPC))
    }

    /// Commits what changed, and `run`. `false`: the log has no room for it now.
    pub(super) fn try_to_commit(self: &Arc<Self>, st: &mut State, run: Option<&Run>) -> Result<bool> {
        let bound = self.record_bound(st, run);
        let sealed = self.seal_record(st, run)?;
        let mut appender = self.shared.log.appender();
        if !self.shared.log.has_room(&appender, bound) {
            return Ok(false);
        }
        self.append_record(st, &mut appender, sealed)?;
        // Written home in the background from here on, so that no writer has to wait for a full log.
        if self.shared.log.half_full(&appender) {
            self.shared.wake.notify_one();
        }
        Ok(true)
    }

    /// Long runs of new blocks go home at once and not through the log.
    fn send_runs_home(self: &Arc<Self>, st: &mut State) -> Result<()> {
        let layout = self.shared.layout;
        let least = (STRAIGHT_FROM >> layout.shift()).max(1);
        if st.dirty.len() < least {
            return Ok(());
        }
        let indexes: Vec<u64> = st.dirty.keys().copied().collect();
        let mut i = 0;
        while i < indexes.len() {
            let first = indexes[i];
            let most = layout.contiguous(first, (indexes.len() - i) as u64) as usize;
            let mut run = 0;
            while run < most && indexes[i + run] == first + run as u64 {
                let entry = self.entry(st, first + run as u64)?;
                if !self.fresh(st, first + run as u64, &entry) {
                    break;
                }
                run += 1;
            }
            if run >= least {
                let last = first + run as u64 - 1;
                let len = ((run - 1) << layout.shift()) + layout.stored_len(last, st.root.size);
                scratch::with(len, |sealed| {
                    for (slot, out) in sealed.chunks_mut(self.shared.block()).enumerate() {
                        if let Some(page) = st.dirty.get(&(first + slot as u64)) {
                            out.copy_from_slice(&page[..out.len()]);
                        }
                    }
                    self.seal_straight(st, first, sealed)
                })?;
                for index in first..=last {
                    st.dirty.remove(&index);
                }
                self.shared.stats.dirty_bytes.fetch_sub(run * self.shared.block(), Ordering::Relaxed);
            }
            i += run.max(1);
        }
        Ok(())
    }

    fn images(&self, st: &State, run: Option<&Run>) -> usize {
        st.dirty.len() + st.nodes.len() + run.map_or(0, |run| run.blocks(self.shared.block()) as usize)
    }

    /// No record of the state as it is, with `run`, can be longer.
    fn record_bound(&self, st: &State, run: Option<&Run>) -> u64 {
        let block = self.shared.layout.block() + 16;
        let tables = st.straight.len() as u64 * (16 + ENTRY_LEN as u64) + st.punched.len() as u64 * 16;
        let images = self.images(st, run) as u64 * block + HEADER_LEN + 16;
        // Nodes that turn out empty add a punched range each.
        (112 + 128 + tables + images + st.nodes.len() as u64 * 16).next_multiple_of(SECTOR as u64)
    }

    /// Seals all but the header, which has the commit's number: files seal beside each other, and wait for each other only
    /// to append. Until the record is in the log the dirty blocks and nodes stay, and stand in for the entries set here.
    fn seal_record(self: &Arc<Self>, st: &mut State, run: Option<&Run>) -> Result<Sealed> {
        let images = self.images(st, run) + 1;
        let block = self.shared.block();
        // Nodes that turn out empty add a punched range each.
        let punched = st.punched.len() + st.nodes.len();
        let data = (images - 1) * block + HEADER_LEN as usize;
        let mut record = Builder::begin(self.shared.log.memory(), punched, st.straight.len(), images, data);
        // The header refers to all the others: its place comes first, its content last.
        record.image(0, &[0; HEADER_LEN as usize], |_| Ok(())).map_err(io::Error::from)?;
        let key = self.sealing_key(st, images as u64)?;
        let mut sealed = Sealed { record, key, nonces: Nonces::of(images - 1), plain: Plain::new() };
        self.seal_blocks(st, &mut sealed)?;
        if let Some(run) = run {
            self.seal_run(st, &mut sealed, run)?;
        }
        self.seal_nodes(st, &mut sealed)?;
        Ok(sealed)
    }

    fn append_record(self: &Arc<Self>, st: &mut State, appender: &mut Appender, sealed: Sealed) -> Result<()> {
        let Sealed { mut record, key, plain, .. } = sealed;
        let number = self.shared.log.next_number(appender);
        let page = record.first_image().try_into().map_err(|_| Error::Errno(libc::EIO))?;
        header::seal(self.shared.layout, &self.id, &self.shared.keys.domain_id, number, &st.root, &key, page)
            .map_err(io::Error::from)?;

        let handle = self.home.handle()?;
        let commit = Commit {
            number,
            durable_through: 0,
            file_id: self.id,
            handle_kind: handle.kind,
            handle: handle.bytes,
            physical: self.shared.layout.physical(st.root.size),
            mtime: st.mtime.map(|t| (t.secs, t.nanos)),
            punched: st.punched.iter().map(|(s, e)| (s, e - s)).collect(),
            straight: st.straight.values().copied().collect(),
            images: Vec::new(),
        };
        record.lay_out(&commit);
        let placed: Vec<(u64, u64, u32)> = record.images().iter().map(|i| (i.home, u64::from(i.at), i.len)).collect();
        let len = record.record_len();
        let straight = (!st.straight.is_empty()).then(|| self.home.clone());
        let appended = self.shared.log.append(appender, record, straight)?;
        self.shared.stats.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.stats.logged_bytes.fetch_add(len as u64, Ordering::Relaxed);
        self.committed(st, &commit, &appended, &placed, &plain);
        Ok(())
    }

    fn seal_blocks(&self, st: &mut State, Sealed { record, key, nonces, plain }: &mut Sealed) -> Result<()> {
        let layout = self.shared.layout;
        let mut entries = Vec::with_capacity(st.dirty.len());
        for (index, page) in &st.dirty {
            let stored = layout.stored_len(*index, st.root.size);
            let sealed = record.image(layout.home(*index), &page[..stored], |image| key.seal(0, *index, image, nonces));
            entries.push((*index, sealed.map_err(io::Error::from)?));
        }
        if entries.len() <= CACHED_COMMIT && !st.cached_above {
            let stored = |index| CacheFrom::Block(index, layout.stored_len(index, st.root.size));
            plain.extend(entries.iter().map(|(index, entry)| (*entry, stored(*index))));
        }
        for (index, entry) in entries {
            self.set_entry(st, index, entry);
        }
        Ok(())
    }

    fn seal_run(&self, st: &mut State, Sealed { record, key, nonces, .. }: &mut Sealed, run: &Run) -> Result<()> {
        for (index, plain) in (run.first..).zip(run.data.chunks(self.shared.block())) {
            let home = self.shared.layout.home(index);
            let entry =
                record.image(home, plain, |image| key.seal(0, index, image, nonces)).map_err(io::Error::from)?;
            self.set_entry(st, index, entry);
        }
        Ok(())
    }

    /// From level 1 up, so that a parent holds its children's new entries when it is sealed.
    fn seal_nodes(&self, st: &mut State, Sealed { record, key, nonces, plain }: &mut Sealed) -> Result<()> {
        let layout = self.shared.layout;
        let mut nodes: Vec<(u8, u64)> = st.nodes.keys().copied().collect();
        nodes.sort_unstable();
        for (level, index) in nodes {
            let Some(page) = st.nodes.get(&(level, index)) else { continue };
            let path = layout.path(index);
            let Some(step) = path.steps().iter().find(|s| s.level == level) else { continue };
            let entry = if page.iter().all(|b| *b == 0) {
                st.punched.insert(step.home, step.home + layout.block());
                Entry::HOLE
            } else {
                let sealed = record.image(step.home, page, |image| key.seal(level, index, image, nonces));
                let entry = sealed.map_err(io::Error::from)?;
                plain.push((entry, CacheFrom::Node(level, index)));
                st.punched.remove(step.home, step.home + layout.block());
                entry
            };
            match path.steps().iter().find(|s| s.level == level + 1) {
                Some(parent) => {
                    if let Some(page) = st.nodes.get_mut(&(parent.level, parent.index)) {
                        entry.put(page, parent.slot);
                    }
                }
                None => st.root.subtrees[layout.subtree_of(index) - 1] = entry,
            }
        }
        Ok(())
    }

    /// The record is in the log: what waited in clear is now an image there.
    fn committed(
        &self,
        st: &mut State,
        commit: &Commit,
        appended: &Appended,
        placed: &[(u64, u64, u32)],
        plain: &Plain,
    ) {
        let layout = self.shared.layout;
        st.images.split_off(&commit.physical);
        for (offset, len) in &commit.punched {
            let gone: Vec<u64> = st.images.range(*offset..offset.saturating_add(*len)).map(|(h, _)| *h).collect();
            for home in gone {
                st.images.remove(&home);
            }
        }
        st.committed_punches.extend(&st.punched);
        for s in &commit.straight {
            let home = layout.home(s.index);
            st.images.remove(&home);
            st.committed_punches.remove(home, home + layout.block());
        }
        for (home, at, len) in placed {
            let image = Located { segment: appended.segment.clone(), at: appended.at + at, len: *len };
            st.images.insert(*home, image);
            st.committed_punches.remove(*home, home + layout.block());
        }
        for (entry, from) in plain {
            let page: Option<&Page> = match from {
                CacheFrom::Block(index, _) => st.dirty.get(index),
                CacheFrom::Node(level, index) => st.nodes.get(&(*level, *index)),
            };
            let len = if let CacheFrom::Block(_, stored) = from { *stored } else { self.shared.block() };
            if let Some(page) = page {
                self.shared.cache.put(entry, &page[..len]);
            }
        }
        st.freed_by.0 = commit.number;
        let freed = std::mem::take(&mut st.freed);
        st.freed_by.1.extend(&freed);
        self.count_dirty(st, 0);
        st.dirty.clear();
        st.nodes.clear();
        st.straight.clear();
        st.punched.clear();
        st.changed = false;
        st.absent = false;
        st.last_commit = commit.number;
        st.committed_physical = commit.physical;
        st.committed_mtime = st.mtime;
        st.home_stale = true;
    }
}
