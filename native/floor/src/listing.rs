//! Open directories: one handle is one stream, as in kmsfs.

use crate::nodes::{os, Node, Nodes};
use kmsfs_namespace::ops::{DirEntry, DirSink, NodeId, Result};
use parking_lot::Mutex;
use rustix::fs::{openat, FileType, Mode, OFlags, RawDir, SeekFrom};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Bytes of one getdents64(2).
const BATCH: usize = 32 << 10;

struct Raw {
    name: Vec<u8>,
    ino: u64,
    kind: u8,
    next: u64,
}

#[derive(Default)]
struct Listing {
    ahead: VecDeque<Raw>,
    at: u64,
}

pub struct OpenDir {
    node: Arc<Node>,
    pub fd: OwnedFd,
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
    pub fn open(node: Arc<Node>) -> Result<OpenDir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(&node.fd, ".", flags, Mode::empty()).map_err(os)?;
        Ok(OpenDir { node, fd, listing: Mutex::default() })
    }

    fn refill(&self, listing: &mut Listing) -> Result<()> {
        let mut buf = Vec::with_capacity(BATCH);
        let mut raw = RawDir::new(&self.fd, buf.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry.map_err(os)?;
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

    pub fn list(&self, nodes: &Nodes, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        let mut listing = self.listing.lock();
        if listing.at != offset || offset == 0 {
            rustix::fs::seek(&self.fd, SeekFrom::Start(offset)).map_err(os)?;
            listing.ahead.clear();
            listing.at = offset;
        }
        loop {
            if listing.ahead.is_empty() {
                self.refill(&mut listing)?;
            }
            let Some(raw) = listing.ahead.front() else { return Ok(()) };
            let dots = raw.name == b"." || raw.name == b"..";
            let entry = if sink.plus() && !dots { nodes.look_up(&self.node, &raw.name).ok() } else { None };
            let dirent = DirEntry { ino: raw.ino, offset: raw.next, kind: raw.kind, name: &raw.name };
            if !sink.add(&dirent, entry.as_ref()) {
                if let Some(entry) = entry {
                    nodes.forget(NodeId(entry.node.0), 1);
                }
                return Ok(());
            }
            listing.at = raw.next;
            listing.ahead.pop_front();
        }
    }
}
