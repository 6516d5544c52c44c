//! unlink(2), rmdir(2), and what becomes of an inode that lost a name.

use super::Volume;
use crate::backing::{handle, path};
use crate::fault::{Fault, Result};
use crate::ops::{NodeId, ROOT};
use crate::table::Node;
use kmsfs_format::record::{Binding, Kind, Record};
use rustix::fs::{fstat, AtFlags, Mode, OFlags, Stat};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// An inode about to lose a name. What does not verify has no record here: it can still be removed.
pub(super) struct Victim {
    pub fd: Arc<OwnedFd>,
    pub stat: Stat,
    pub record: Option<Record>,
}

impl Victim {
    pub(super) fn is_directory(&self) -> bool {
        self.stat.st_mode & libc::S_IFMT == libc::S_IFDIR
    }
    pub(super) fn id(&self) -> Option<&[u8; 16]> {
        self.record.as_ref().map(|r| &r.id)
    }
}

impl Volume {
    /// What is under `stored`, verified as far as it can be. ENOENT.
    pub(super) fn victim(&self, dir_fd: &OwnedFd, stored: &str) -> Result<Victim> {
        let fd = Arc::new(path::entry(dir_fd, stored)?);
        let stat = fstat(&fd)?;
        let record = match Kind::from_mode(stat.st_mode) {
            Some(kind) => match self.backing.record(&fd, kind) {
                Ok(record) => Some(record).filter(|r| r.kind == kind),
                Err(Fault::Tampered(_)) => None,
                Err(f) => return Err(f),
            },
            None => None,
        };
        Ok(Victim { fd, stat, record })
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
    fn known(&self, victim: &Victim) -> Result<Option<Arc<Node>>> {
        let handle = handle::of(&victim.fd)?;
        let id = match self.backing.scheme.node(&handle, victim.stat.st_ino) {
            Some(id) => Some(id),
            None => self.table.synthetic(&handle),
        };
        Ok(id.filter(|id| *id != ROOT).and_then(|id| self.table.get(id)))
    }

    /// After an inode lost the name `binding`: it leaves the record, or the inode is an orphan. The caller holds the
    /// inode's lock.
    pub(super) fn lost_name(&self, victim: &Victim, binding: Binding) -> Result<()> {
        let Some(record) = &victim.record else { return Ok(()) };
        if fstat(&victim.fd)?.st_nlink > 0 && !victim.is_directory() {
            self.inode_changed(&record.id);
            return self.backing.unbind(&victim.fd, &record.id, binding);
        }
        match record.kind {
            Kind::Symlink if !victim.is_directory() => {
                if let Some(node) = self.known(victim)? {
                    self.keep_target(&node);
                }
                self.drop_target(&record.id)
            }
            _ => Ok(()),
        }
    }

    /// Once no lock is held: whoever uses an inode without a name keeps it; a file that nobody has open needs not be
    /// written any more.
    pub(super) fn bury(&self, victim: &Victim) -> Result<()> {
        if fstat(&victim.fd)?.st_nlink > 0 {
            return Ok(());
        }
        if let Some(node) = self.known(victim)? {
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
