//! Attributes: stat(2) of a node, from its backing inode and from what the file layer knows better.

use super::Volume;
use crate::backing::inode::Inode;
use crate::fault::{Fault, Result};
use crate::ops::{Attr, Entry, NodeId, Time, ROOT};
use crate::table::Node;
use kmsfs_format::layout::HEADER_LEN;
use kmsfs_format::names;
use kmsfs_format::record::Kind;
use rustix::fs::{fstat, Stat};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Sectors shown for a file that has content but none at home yet: zero would say "all hole" to tar(1) and its like.
const SOME_SECTORS: u64 = 8;
/// Length of "~", which no sealed target is as short as.
const ASIDE_LEN: u64 = 1;

impl Volume {
    pub(super) fn get_attr(&self, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        self.attr_of(&node)
    }

    pub(super) fn attr_of(&self, node: &Node) -> Result<Attr> {
        let fd = self.fd(node)?;
        let stat = fstat(&fd)?;
        self.attr(node, &fd, &stat)
    }

    pub(super) fn entry(&self, node: &Node, inode: &Inode) -> Result<Entry> {
        node.saw_growing(inode.growth, inode.record.growing);
        let attr = self.attr(node, &inode.fd, &inode.stat)?;
        Ok(Entry { node: node.id, generation: 0, attr })
    }

    fn attr(&self, node: &Node, fd: &Arc<OwnedFd>, stat: &Stat) -> Result<Attr> {
        let mut attr = Attr {
            ino: stat.st_ino,
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            atime: Time { secs: stat.st_atime, nanos: stat.st_atime_nsec as u32 },
            mtime: Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            ctime: Time { secs: stat.st_ctime, nanos: stat.st_ctime_nsec as u32 },
            mode: stat.st_mode,
            nlink: stat.st_nlink as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            rdev_major: rustix::fs::major(stat.st_rdev),
            rdev_minor: rustix::fs::minor(stat.st_rdev),
            blksize: self.block_size,
        };
        match node.kind {
            Kind::File => self.file_attr(node, fd, &mut attr)?,
            Kind::Symlink => attr.size = self.target_size(node, attr.size)?,
            // `.kmsfs` is no directory of the volume's.
            Kind::Directory if node.id == ROOT && attr.nlink > 2 => attr.nlink -= 1,
            _ => {}
        }
        Ok(attr)
    }

    fn file_attr(&self, node: &Node, fd: &Arc<OwnedFd>, attr: &mut Attr) -> Result<()> {
        let physical = attr.size;
        let mut file = self.files.existing(&node.file);
        if file.is_none() {
            if !self.is_growing(node, fd)? {
                attr.size = self
                    .files
                    .size_of_len(physical)
                    .ok_or_else(|| Fault::tampered("has a length that no size maps to"))?;
                return Ok(());
            }
            if physical < HEADER_LEN {
                attr.size = 0;
                return Ok(());
            }
            // The header alone knows the size (docs/format.md §4).
            let home = self.home(node)?;
            file = Some(self.files.file(home)?);
        }
        if let Some(file) = file {
            attr.size = file.size();
            if let Some(mtime) = file.mtime() {
                attr.mtime = Time { secs: mtime.secs, nanos: mtime.nanos };
            }
            if attr.size > 0 && attr.blocks == 0 {
                attr.blocks = SOME_SECTORS;
            }
        }
        if let Some(changed) = self.backing.homes.existing(&node.file).and_then(|h| h.changed()) {
            let changed = Time { secs: changed.tv_sec, nanos: changed.tv_nsec as u32 };
            if (changed.secs, changed.nanos) > (attr.ctime.secs, attr.ctime.nanos) {
                attr.ctime = changed;
            }
        }
        Ok(())
    }

    /// The record's flag, read once for as long as no record's changes.
    fn is_growing(&self, node: &Node, fd: &Arc<OwnedFd>) -> Result<bool> {
        let growth = self.backing.growth.load(Ordering::Acquire);
        match node.growing(growth) {
            Some(growing) => Ok(growing),
            None => {
                let growing = self.backing.record(fd, Kind::File)?.growing;
                node.saw_growing(growth, growing);
                Ok(growing)
            }
        }
    }

    /// A symlink's size is its target's length, which its stored length tells. Not by reading it: that would set atime.
    fn target_size(&self, node: &Node, stored: u64) -> Result<u64> {
        if stored == ASIDE_LEN {
            return self.target_sidecar_len(node);
        }
        let len = names::target_len(stored as usize);
        len.map(|n| n as u64).ok_or_else(|| Fault::tampered("has a target too short to be sealed"))
    }
}
