//! renameat2(2): every inode that moves knows its new name before it has it, and forgets the old one afterwards.

use super::remove::Victim;
use super::Volume;
use crate::backing::inode::Inode;
use crate::fault::{Fault, Result};
use crate::ops::NodeId;
use crate::table::Node;
use kmsfs_format::names::StoredName;
use kmsfs_format::record::{Binding, Kind};
use rustix::fs::RenameFlags;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One end of a rename.
struct End {
    dir: Arc<Node>,
    dir_fd: Arc<OwnedFd>,
    name: StoredName,
    binding: Binding,
}

impl Volume {
    fn end(&self, dir: NodeId, name: &[u8]) -> Result<End> {
        let (dir, dir_fd) = self.directory(dir)?;
        let name = self.seal(&dir, name)?;
        let binding = self.binding(&dir, &name.stored);
        Ok(End { dir, dir_fd, name, binding })
    }

    pub(super) fn rename_entry(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), flags: u32) -> Result<()> {
        self.writable()?;
        let flags = match flags {
            0 => RenameFlags::empty(),
            libc::RENAME_NOREPLACE => RenameFlags::NOREPLACE,
            libc::RENAME_EXCHANGE => RenameFlags::EXCHANGE,
            _ => return Err(Fault::errno(libc::EINVAL)),
        };
        let (from, to) = (self.end(from.0, from.1)?, self.end(to.0, to.1)?);
        if flags != RenameFlags::EXCHANGE {
            self.flush_replacement(&from, &to)?;
        }
        let replaced = self.rename_locked(&from, &to, flags)?;
        match replaced {
            Some(victim) => self.bury(&victim),
            None => Ok(()),
        }
    }

    /// A file that replaces another is durable before it does: after a crash the name leads to one of the two, whole.
    fn flush_replacement(&self, from: &End, to: &End) -> Result<()> {
        let source = self.find(&from.dir, &from.dir_fd, &from.name.stored)?;
        if source.record.kind != Kind::File {
            return Ok(());
        }
        let Some(file) = self.files.existing(&source.record.id) else { return Ok(()) };
        match self.victim(&to.dir_fd, &to.name.stored) {
            Ok(_) if file.needs_sync() => Ok(file.sync(false)?),
            Ok(_) => Ok(()),
            Err(f) if f.is(libc::ENOENT) => Ok(()),
            Err(f) => Err(f),
        }
    }

    /// Under the locks of both directories. The inode that was replaced, if there was one.
    fn rename_locked(&self, from: &End, to: &End, flags: RenameFlags) -> Result<Option<Victim>> {
        let target = self.target(to)?;
        // A directory that is replaced may have to be swept, which takes its lock.
        let mut dirs = vec![&from.dir.file, &to.dir.file];
        dirs.extend(target.as_ref().filter(|t| t.is_directory()).and_then(Victim::id));
        let _dirs = self.dir_locks.lock(&dirs);

        let source = self.find(&from.dir, &from.dir_fd, &from.name.stored)?;
        let target = self.target(to)?;
        let exchange = flags == RenameFlags::EXCHANGE;
        match &target {
            None if exchange => return Err(Fault::errno(libc::ENOENT)),
            Some(_) if flags == RenameFlags::NOREPLACE => return Err(Fault::errno(libc::EEXIST)),
            // Two names of one inode: rename(2) does nothing.
            Some(t) if t.stat.st_ino == source.stat.st_ino && t.stat.st_dev == source.stat.st_dev => return Ok(None),
            _ => {}
        }
        let mut inodes = vec![&source.record.id];
        inodes.extend(target.as_ref().and_then(Victim::id));
        let _inodes = self.backing.inode_locks.lock(&inodes);

        if exchange {
            let target = self.find_locked(to)?;
            self.exchange(from, to, &source, &target, flags)?;
            return Ok(None);
        }
        self.replace(from, to, &source, target.as_ref(), flags)?;
        Ok(target)
    }

    fn target(&self, to: &End) -> Result<Option<Victim>> {
        match self.victim(&to.dir_fd, &to.name.stored) {
            Ok(victim) => Ok(Some(victim)),
            Err(f) if f.is(libc::ENOENT) => Ok(None),
            Err(f) => Err(f),
        }
    }

    /// Verifies an entry whose inode lock is held already.
    fn find_locked(&self, end: &End) -> Result<Inode> {
        let found = self.backing.inspect_entry(&end.dir_fd, &end.dir.file, &end.name.stored);
        self.report_entry(&end.dir, &end.dir_fd, &end.name.stored, found)
    }

    fn exchange(&self, from: &End, to: &End, source: &Inode, target: &Inode, flags: RenameFlags) -> Result<()> {
        let (a, b) = (&source.record.id, &target.record.id);
        let done = self
            .backing
            .bind(&source.fd, a, to.binding)
            .and_then(|()| self.backing.bind(&target.fd, b, from.binding))
            .and_then(|()| self.rename_backing(from, to, flags));
        let (a_drops, b_drops) = match done {
            Ok(()) => (from.binding, to.binding),
            Err(_) => (to.binding, from.binding),
        };
        let dropped =
            self.backing.unbind(&source.fd, a, a_drops).and_then(|()| self.backing.unbind(&target.fd, b, b_drops));
        self.inode_changed(a);
        self.inode_changed(b);
        done.and(dropped)
    }

    fn replace(&self, from: &End, to: &End, source: &Inode, target: Option<&Victim>, flags: RenameFlags) -> Result<()> {
        let id = &source.record.id;
        let rename = || self.rename_backing(from, to, flags);
        let done = self
            .put_sidecar(&to.dir_fd, &to.name)
            .and_then(|()| self.backing.bind(&source.fd, id, to.binding))
            .and_then(|()| match target {
                Some(victim) if victim.is_directory() => self.remove_empty(victim, rename),
                _ => rename(),
            });
        if let Err(fault) = done {
            self.drop_sidecar(&to.dir_fd, &to.name)?;
            if !source.record.is_bound(&to.binding) {
                self.backing.unbind(&source.fd, id, to.binding)?;
            }
            return Err(fault);
        }
        self.inode_changed(id);
        self.drop_sidecar(&from.dir_fd, &from.name)?;
        self.backing.unbind(&source.fd, id, from.binding)?;
        match target {
            Some(victim) => self.lost_name(victim, to.binding),
            None => Ok(()),
        }
    }

    fn rename_backing(&self, from: &End, to: &End, flags: RenameFlags) -> Result<()> {
        Ok(rustix::fs::renameat_with(&from.dir_fd, &*from.name.stored, &to.dir_fd, &*to.name.stored, flags)?)
    }
}
