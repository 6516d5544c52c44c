//! Directory listings. Offsets are the backing file system's own, so that seekdir(3) and changes during a listing
//! behave as they do there.

use super::sidecar::remove_if_there;
use super::Volume;
use crate::backing::{path, LOST_AND_FOUND, SPECIAL};
use crate::fault::{Fault, Result};
use crate::ops::{DirEntry, DirSink, Entry, Handle, NodeId, ROOT};
use crate::table::Node;
use kmsfs_format::names::{look, open_name, Look};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, SeekFrom};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Bytes of one getdents64(2).
const BATCH: usize = 32 << 10;
/// Leftovers remembered per listing.
const MOST_LEFTOVERS: usize = 256;

struct Raw {
    name: Vec<u8>,
    ino: u64,
    kind: u8,
    next: u64,
}

#[derive(Default)]
struct Listing {
    /// Read and not yet handed out.
    ahead: VecDeque<Raw>,
    /// The offset that `ahead` goes on from, as the caller knows it.
    at: u64,
    /// Temporary names seen on the way.
    leftovers: Vec<String>,
}

pub(super) struct OpenDir {
    node: Arc<Node>,
    fd: OwnedFd,
    /// Held while a batch is read and handed out: one handle is one stream, and the kernel serialises its calls.
    listing: Mutex<Listing>,
}

fn dt(kind: FileType) -> u8 {
    match kind {
        FileType::RegularFile => libc::DT_REG,
        FileType::Directory => libc::DT_DIR,
        FileType::Symlink => libc::DT_LNK,
        FileType::Fifo => libc::DT_FIFO,
        FileType::Socket => libc::DT_SOCK,
        FileType::CharacterDevice => libc::DT_CHR,
        FileType::BlockDevice => libc::DT_BLK,
        FileType::Unknown => libc::DT_UNKNOWN,
    }
}

impl OpenDir {
    fn refill(&self, listing: &mut Listing) -> Result<()> {
        let mut buf = Vec::with_capacity(BATCH);
        let mut raw = RawDir::new(&self.fd, buf.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            listing.ahead.push_back(Raw {
                name: entry.file_name().to_bytes().to_vec(),
                ino: entry.ino(),
                kind: dt(entry.file_type()),
                next: entry.next_entry_cookie(),
            });
            if raw.is_buffer_empty() {
                break;
            }
        }
        Ok(())
    }
}

impl Volume {
    pub(super) fn open_dir(&self, id: NodeId) -> Result<Handle> {
        let (node, fd) = self.directory(id)?;
        if node.id != ROOT {
            self.inspect_node(&node, &fd)?;
        }
        let fd = path::open(&fd, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        node.opens.fetch_add(1, Ordering::AcqRel);
        Ok(self.open_dirs.add(OpenDir { node, fd, listing: Mutex::default() }))
    }

    pub(super) fn close_dir(&self, handle: Handle) -> Result<()> {
        let dir = self.open_dirs.remove(handle).ok_or_else(|| Fault::errno(libc::EBADF))?;
        dir.node.opens.fetch_sub(1, Ordering::AcqRel);
        let leftovers = std::mem::take(&mut dir.listing.lock().leftovers);
        if leftovers.is_empty() || self.backing.closed_for_writing() {
            return Ok(());
        }
        // Whoever uses a temporary name holds this lock: what is there now is left over.
        let _held = self.dir_locks.lock(&[&dir.node.file]);
        for name in leftovers {
            match rustix::fs::unlinkat(&dir.fd, &*name, AtFlags::REMOVEDIR) {
                Err(rustix::io::Errno::NOTDIR) => remove_if_there(&dir.fd, &name)?,
                _ => continue,
            }
        }
        Ok(())
    }

    pub(super) fn sync_dir(&self, handle: Handle) -> Result<()> {
        let dir = self.open_dirs.get(handle).ok_or_else(|| Fault::errno(libc::EBADF))?;
        if self.backing.closed_for_writing() {
            return Ok(());
        }
        Ok(rustix::fs::fsync(&dir.fd)?)
    }

    pub(super) fn list(&self, handle: Handle, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        let dir = self.open_dirs.get(handle).ok_or_else(|| Fault::errno(libc::EBADF))?;
        let mut listing = dir.listing.lock();
        if listing.at != offset || offset == 0 {
            rustix::fs::seek(&dir.fd, SeekFrom::Start(offset))?;
            listing.ahead.clear();
            listing.at = offset;
        }
        loop {
            if listing.ahead.is_empty() {
                dir.refill(&mut listing)?;
            }
            let Some(raw) = listing.ahead.front() else { return Ok(()) };
            let next = raw.next;
            if let Some(name) = self.visible(&dir, raw)? {
                if !self.hand_entry(&dir, raw, &name, sink)? {
                    return Ok(());
                }
                listing.at = next;
            } else if look(&raw.name) == Look::Temporary && listing.leftovers.len() < MOST_LEFTOVERS {
                let name = String::from_utf8_lossy(&raw.name).into_owned();
                listing.leftovers.push(name);
            }
            listing.ahead.pop_front();
        }
    }

    /// The plain name of an entry; `None` for what is no entry of the volume's. What is not sealed is reported.
    fn visible(&self, dir: &OpenDir, raw: &Raw) -> Result<Option<Vec<u8>>> {
        if raw.name == b"." || raw.name == b".." {
            return Ok(Some(raw.name.clone()));
        }
        if dir.node.id == ROOT && (raw.name == SPECIAL.as_bytes() || raw.name == LOST_AND_FOUND.as_bytes()) {
            return Ok(None);
        }
        let opened = self.plain_name(&dir.node, &dir.fd, &raw.name);
        if let Err(Fault::Tampered(_)) = &opened {
            let stored = String::from_utf8_lossy(&raw.name);
            // Reported; the rest of the directory is still listed.
            let _ = self.report_entry(&dir.node, &dir.fd, &stored, opened);
            return Ok(None);
        }
        opened
    }

    /// The plain name of an entry; `None` for what is no entry, or none any more. Tampering, of which nobody is told
    /// here, for what is no sealed name.
    pub(super) fn plain_name(&self, dir: &Node, dir_fd: &OwnedFd, name: &[u8]) -> Result<Option<Vec<u8>>> {
        let stored = String::from_utf8_lossy(name);
        let sidecar = match look(name) {
            Look::Temporary | Look::Sidecar => return Ok(None),
            Look::Hashed => match self.sidecar(dir_fd, &stored) {
                Ok(sealed) => Some(sealed),
                // Removed since it was listed, and its sidecar with it.
                Err(f) if f.is(libc::ENOENT) && path::entry(dir_fd, &stored).is_err() => return Ok(None),
                Err(f) if f.is(libc::ENOENT) || matches!(f, Fault::Tampered(_)) => None,
                Err(f) => return Err(f),
            },
            Look::Direct | Look::Foreign => None,
        };
        let opened = open_name(&self.backing.keys, &dir.file, name, sidecar.as_deref());
        opened.map(Some).map_err(|_| Fault::tampered("is no sealed name of this directory"))
    }

    fn hand_entry(&self, dir: &OpenDir, raw: &Raw, name: &[u8], sink: &mut dyn DirSink) -> Result<bool> {
        let dots = name == b"." || name == b"..";
        let entry = if sink.plus() && !dots { self.entry_of(dir, raw) } else { None };
        let taken = sink.add(&DirEntry { ino: raw.ino, offset: raw.next, kind: raw.kind, name }, entry.as_ref());
        if let (true, Some(node)) = (taken, entry.and_then(|e| self.table.get(e.node))) {
            self.table.looked_up(&node);
        }
        Ok(taken)
    }

    /// Attributes for readdirplus. What does not verify, or is gone, is listed without: its lookup will say why.
    fn entry_of(&self, dir: &OpenDir, raw: &Raw) -> Option<Entry> {
        let stored = String::from_utf8_lossy(&raw.name);
        let inode = self.find(&dir.node, &dir.fd, &stored).ok()?;
        self.enter(&inode).and_then(|node| self.entry(&node, &inode)).ok()
    }
}
