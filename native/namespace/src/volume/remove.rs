//! unlink(2), rmdir(2), and what becomes of an inode that lost a name.

use super::Volume;
use crate::backing::{handle, path};
use crate::fault::{Fault, Result};
use crate::ops::{NodeId, ROOT};
use crate::table::Node;
use kmsfs_files::store::Handle;
use kmsfs_format::record::{Binding, Kind};
use rustix::fs::{fstat, AtFlags, Mode, OFlags, Stat};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An inode about to lose a name. What does not verify has no id here: it can still be removed.
pub(super) struct Victim {
    pub fd: Arc<OwnedFd>,
    pub stat: Stat,
    /// The record's.
    id: Option<[u8; 16]>,
    handle: Handle,
}

impl Victim {
    pub(super) fn is_directory(&self) -> bool {
        self.stat.st_mode & libc::S_IFMT == libc::S_IFDIR
    }
    pub(super) fn id(&self) -> Option<&[u8; 16]> {
        self.id.as_ref()
    }
}

impl Volume {
    /// What is under `stored`, verified as far as it can be. ENOENT.
    pub(super) fn victim(&self, dir_fd: &OwnedFd, stored: &str) -> Result<Victim> {
        let fd = Arc::new(self.backing.entry(dir_fd, stored)?);
        let stat = fstat(&fd)?;
        let kind = Kind::from_mode(stat.st_mode);
        let handle = handle::of(&fd)?;
        let node = self.known(&handle, &stat).filter(|node| Some(node.kind) == kind);
        let id = match (kind, node) {
            // Its last name, so nothing in the record counts any more but the id, which was verified with the node.
            (Some(Kind::File), Some(node)) if stat.st_nlink == 1 => Some(node.file),
            (Some(kind), _) => match self.backing.record(&fd, kind) {
                Ok(record) => Some(record.id).filter(|_| record.kind == kind),
                Err(Fault::Tampered(_)) => None,
                Err(f) => return Err(f),
            },
            (None, _) => None,
        };
        Ok(Victim { fd, stat, id, handle })
    }

    pub(super) fn remove_file(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        self.writable()?;
        let (dir, dir_fd) = self.directory(parent)?;
        let stored = self.seal(&dir, name)?;
        let victim = {
            let _held = self.dir_locks.lock(&[&dir.file]);
            let victim = self.victim(&dir_fd, &stored.stored)?;
            if victim.is_directory() {
                return Err(Fault::errno(libc::EISDIR));
            }
            let _inode = victim.id().map(|id| self.backing.inode_locks.lock(&[id]));
            rustix::fs::unlinkat(&dir_fd, &stored.stored, AtFlags::empty())?;
            self.drop_sidecar(&dir_fd, &stored)?;
            self.lost_name(&victim, self.binding(&dir, &stored.stored))?;
            victim
        };
        self.bury(&victim)
    }

    pub(super) fn remove_directory(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        self.writable()?;
        let (dir, dir_fd) = self.directory(parent)?;
        let stored = self.seal(&dir, name)?;
        let victim = self.victim(&dir_fd, &stored.stored)?;
        if !victim.is_directory() {
            return Err(Fault::errno(libc::ENOTDIR));
        }
        let _held = match victim.id() {
            Some(id) => self.dir_locks.lock(&[&dir.file, id]),
            None => self.dir_locks.lock(&[&dir.file]),
        };
        self.remove_empty(&victim, || Ok(rustix::fs::unlinkat(&dir_fd, &stored.stored, AtFlags::REMOVEDIR)?))?;
        self.drop_sidecar(&dir_fd, &stored)?;
        self.bury(&victim)
    }

    /// Does what needs `dir` to be empty; when it is not, once more after leftovers of a crash are swept out. The caller
    /// holds the directory's lock.
    pub(super) fn remove_empty(&self, dir: &Victim, act: impl Fn() -> Result<()>) -> Result<()> {
        match act() {
            Err(f) if f.is(libc::ENOTEMPTY) || f.is(libc::EEXIST) => {
                self.sweep(&dir.fd)?;
                // xfs says EEXIST where ext4 says ENOTEMPTY; both are right (rename(2)), one is enough.
                act().map_err(|f| if f.is(libc::EEXIST) { Fault::errno(libc::ENOTEMPTY) } else { f })
            }
            other => other,
        }
    }

    /// The node of an inode, if it is in memory.
    fn known(&self, handle: &Handle, stat: &Stat) -> Option<Arc<Node>> {
        let id = match self.backing.scheme.node(handle, stat.st_ino) {
            Some(id) => Some(id),
            None => self.table.synthetic(handle),
        };
        let node = id.filter(|id| *id != ROOT).and_then(|id| self.table.get(id));
        node.filter(|node| node.handle == *handle)
    }

    /// After an inode lost the name `binding`: it leaves the record, or the inode is an orphan. The caller holds the
    /// inode's lock.
    pub(super) fn lost_name(&self, victim: &Victim, binding: Binding) -> Result<()> {
        let Some(id) = victim.id() else { return Ok(()) };
        if victim.is_directory() {
            return Ok(());
        }
        if fstat(&victim.fd)?.st_nlink > 0 {
            self.inode_changed(id);
            return self.backing.unbind(&victim.fd, id, binding);
        }
        if Kind::from_mode(victim.stat.st_mode) == Some(Kind::Symlink) {
            if let Some(node) = self.known(&victim.handle, &victim.stat) {
                self.keep_target(&node);
            }
            return self.drop_target(id);
        }
        Ok(())
    }

    /// Once no lock is held: whoever uses an inode without a name keeps it; a file that nobody has open needs not be
    /// written any more.
    pub(super) fn bury(&self, victim: &Victim) -> Result<()> {
        if fstat(&victim.fd)?.st_nlink > 0 {
            return Ok(());
        }
        if let Some(node) = self.known(&victim.handle, &victim.stat) {
            node.pin(victim.fd.clone());
            // The pin ends when the kernel forgets the node; a cached descriptor would hold the blocks for longer.
            self.backing.fds.remove(node.token);
        }
        let Some(id) = victim.id().filter(|_| !victim.is_directory()) else { return Ok(()) };
        let Some(home) = self.backing.homes.existing(id) else { return Ok(()) };
        let open = || Ok(rustix::fs::open(path::of_fd(&victim.fd), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?);
        if !home.orphan(open)? {
            if let Some(file) = self.files.existing(id) {
                file.forget();
            }
        }
        Ok(())
    }
}
