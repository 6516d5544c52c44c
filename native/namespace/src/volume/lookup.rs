//! Finding entries by name.

use super::Volume;
use crate::backing::inode::Inode;
use crate::backing::{handle, path};
use crate::fault::{Fault, Result};
use crate::ops::{Entry, NodeId, ROOT};
use crate::table::Node;
use kmsfs_format::record::Kind;
use rustix::fs::{fstat, Mode, OFlags};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How often a lookup follows a name that keeps changing under it before it calls that tampering.
const TRIES: usize = 8;

impl Volume {
    pub(super) fn look_up(&self, parent: NodeId, name: &[u8]) -> Result<Entry> {
        match name {
            b"." => {
                let node = self.node(parent)?;
                let attr = self.attr_of(&node)?;
                self.table.looked_up(&node);
                Ok(Entry { node: node.id, generation: 0, attr })
            }
            b".." => self.look_up_parent(parent),
            _ => {
                let (dir, dir_fd) = self.directory(parent)?;
                let stored = self.seal(&dir, name)?.stored;
                let inode = self.find(&dir, &dir_fd, &stored)?;
                self.entry_for_kernel(&inode)
            }
        }
    }

    /// An entry that the kernel will hold a reference to.
    pub(super) fn entry_for_kernel(&self, inode: &Inode) -> Result<Entry> {
        let node = self.enter(inode)?;
        self.entry_of_node(&node, inode)
    }

    /// The same of an inode that has its node already.
    pub(super) fn entry_of_node(&self, node: &Arc<Node>, inode: &Inode) -> Result<Entry> {
        let entry = self.report(&inode.record.id, || self.backing.place(&inode.fd), self.entry(node, inode))?;
        self.table.looked_up(node);
        Ok(entry)
    }

    /// The parent of a directory, for handles that come back after a remount (NFS): lookup of "..".
    fn look_up_parent(&self, id: NodeId) -> Result<Entry> {
        let (dir, dir_fd) = self.directory(id)?;
        if dir.id == ROOT {
            return Err(Fault::errno(libc::EINVAL));
        }
        // Not under RESOLVE_BENEATH, which forbids "..": what is reached must have a record of this volume instead.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = Arc::new(rustix::fs::openat(&dir_fd, "..", flags, Mode::empty())?);
        if handle::of(&fd)? == self.backing.root_handle {
            let node = self.node(ROOT)?;
            return Ok(Entry { node: ROOT, generation: 0, attr: self.attr_of(&node)? });
        }
        let inode = self.report(&[0; 16], || self.backing.place(&fd), self.backing.inspect_settled(fd.clone()))?;
        self.entry_for_kernel(&inode)
    }

    /// The verified entry `stored` of a directory. ENOENT; EIO, with an event, when it does not verify.
    pub(super) fn find(&self, dir: &Node, dir_fd: &OwnedFd, stored: &str) -> Result<Inode> {
        let inode = self.report_entry(dir, dir_fd, stored, self.find_settled(dir, dir_fd, stored))?;
        self.drop_stale_bindings(dir, dir_fd, stored, &inode)?;
        Ok(inode)
    }

    /// What does not verify may be changing at this moment: it is looked at again under its lock.
    pub(super) fn find_settled(&self, dir: &Node, dir_fd: &OwnedFd, stored: &str) -> Result<Inode> {
        let mut last = Fault::errno(libc::EIO);
        for _ in 0..TRIES {
            match self.backing.inspect_entry(dir_fd, &dir.file, stored) {
                Err(Fault::Tampered(what)) => last = Fault::Tampered(what),
                other => return other,
            }
            let fd = self.backing.entry(dir_fd, stored)?;
            let stat = fstat(&fd)?;
            let kind = Kind::from_mode(stat.st_mode).ok_or_else(|| Fault::tampered("is of no known type"))?;
            let id = self.backing.record(&fd, kind)?.id;
            let _held = self.backing.inode_locks.lock(&[&id]);
            match self.backing.inspect_entry(dir_fd, &dir.file, stored) {
                // Not the inode whose lock is held: the name went to another one meanwhile.
                Err(Fault::Tampered(_)) if fstat(path::entry(dir_fd, stored)?)?.st_ino != stat.st_ino => {}
                other => return other,
            }
        }
        Err(last)
    }

    /// A directory, or a file with one link, has one name: bindings that a crash left behind go.
    fn drop_stale_bindings(&self, dir: &Node, dir_fd: &OwnedFd, stored: &str, inode: &Inode) -> Result<()> {
        let single = |stat: &rustix::fs::Stat, kind: Kind| kind == Kind::Directory || stat.st_nlink == 1;
        if inode.record.bindings.len() < 2
            || self.backing.closed_for_writing()
            || !single(&inode.stat, inode.record.kind)
        {
            return Ok(());
        }
        let id = inode.record.id;
        let _held = self.backing.inode_locks.lock(&[&id]);
        // Under the lock no rename or link of this inode is under way; it may be over, though.
        match self.backing.inspect_entry(dir_fd, &dir.file, stored) {
            Ok(now) if now.stat.st_ino == inode.stat.st_ino && single(&now.stat, now.record.kind) => {
                let binding = self.binding(dir, stored);
                self.backing.update_record(&now.fd, &id, |record| {
                    record.bindings = vec![binding];
                    Ok(())
                })?;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
