//! From node ids to inodes and back.

use super::Volume;
use crate::backing::handle;
use crate::backing::home::BackingHome;
use crate::backing::inode::Inode;
use crate::fault::{Fault, Result};
use crate::ops::{self, Errno, NodeId, ROOT};
use crate::table::Node;
use kmsfs_format::names::{self, StoredName};
use kmsfs_format::record::{self, Binding, Kind};
use rustix::fs::OFlags;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

impl Volume {
    /// The node behind an id; rebuilt from its handle when it is not in memory. ESTALE when it is gone.
    pub(super) fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        if let Some(node) = self.table.get(id) {
            return Ok(node);
        }
        if id == ROOT {
            let handle = self.backing.root_handle.clone();
            return Ok(self.table.enter(Some(ROOT), handle, Kind::Directory, self.backing.uuid, false));
        }
        let handle = self.backing.scheme.handle(id).ok_or_else(|| Fault::errno(libc::ESTALE))?;
        let fd = match self.backing.open_handle(&handle, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => Arc::new(fd),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Err(Fault::errno(libc::ESTALE)),
            Err(e) => return Err(e.into()),
        };
        // Only an inode of this volume has a record that authenticates: a forged id leads nowhere else.
        let place = fd.clone();
        let inode = self.report(&[0; 16], || self.backing.place(&place), self.backing.inspect_settled(fd))?;
        self.enter(&inode)
    }

    /// The node of a verified inode.
    pub(super) fn enter(&self, inode: &Inode) -> Result<Arc<Node>> {
        let handle = handle::of(&inode.fd)?;
        let id = if handle == self.backing.root_handle {
            Some(ROOT)
        } else {
            self.backing.scheme.node(&handle, inode.stat.st_ino)
        };
        let node = self.table.enter(id, handle, inode.record.kind, inode.record.id, inode.plain);
        if let Some(acls) = &inode.acls {
            node.first_acls(acls);
        }
        self.backing.fds.put(node.token, inode.fd.clone());
        Ok(node)
    }

    /// A descriptor of the node: O_PATH, or better.
    pub(super) fn fd(&self, node: &Node) -> Result<Arc<OwnedFd>> {
        if node.id == ROOT {
            return Ok(self.backing.root.clone());
        }
        if let Some(fd) = node.pinned().or_else(|| self.backing.fds.get(node.token)) {
            return Ok(fd);
        }
        let access = match node.kind {
            Kind::File | Kind::Directory => OFlags::RDONLY | OFlags::NONBLOCK,
            _ => OFlags::PATH,
        };
        let fd = Arc::new(self.backing.open_handle(&node.handle, access | OFlags::NOFOLLOW)?);
        self.backing.fds.put(node.token, fd.clone());
        Ok(fd)
    }

    /// The home of a regular file's node.
    pub(super) fn home(&self, node: &Node) -> Result<Arc<BackingHome>> {
        let home = self.backing.home(&node.file, &node.handle)?;
        home.read_by(node.token);
        Ok(home)
    }

    /// The node as a directory. ENOTDIR.
    pub(super) fn directory(&self, id: NodeId) -> Result<(Arc<Node>, Arc<OwnedFd>)> {
        let node = self.node(id)?;
        if node.kind != Kind::Directory {
            return Err(Fault::errno(libc::ENOTDIR));
        }
        let fd = self.fd(&node)?;
        Ok((node, fd))
    }

    /// Seals a name of directory `dir`. ENAMETOOLONG, EINVAL.
    pub(super) fn seal(&self, dir: &Node, name: &[u8]) -> Result<StoredName> {
        if name.len() > names::NAME_MAX {
            return Err(Fault::errno(libc::ENAMETOOLONG));
        }
        if !names::is_name(name) {
            return Err(Fault::errno(libc::EINVAL));
        }
        Ok(names::seal_name(&self.backing.keys, &dir.file, name)?)
    }

    pub(super) fn binding(&self, dir: &Node, stored: &str) -> Binding {
        record::binding(&self.backing.keys, &dir.file, stored.as_bytes())
    }

    /// Reports tampering under its place and turns it into EIO.
    pub(super) fn report<T>(&self, file: &[u8; 16], place: impl FnOnce() -> String, result: Result<T>) -> Result<T> {
        if let Err(Fault::Tampered(what)) = &result {
            self.backing.tampered(file, &place(), what);
            return Err(Fault::errno(libc::EIO));
        }
        result
    }

    /// The same for something found as `stored` in `dir`.
    pub(super) fn report_entry<T>(&self, dir: &Node, dir_fd: impl AsFd, stored: &str, result: Result<T>) -> Result<T> {
        self.report(&dir.file, || format!("{}/{stored}", self.backing.place(dir_fd)), result)
    }

    /// Names, mode, owner or xattrs of an inode changed: the next fsync flushes the inode too. The commit log knows
    /// nothing of these. A file without state in memory is flushed at its first fsync anyhow.
    pub(super) fn inode_changed(&self, id: &[u8; 16]) {
        if let Some(file) = self.files.existing(id) {
            file.inode_changed();
        }
    }

    /// EROFS on a read-only mount.
    pub(super) fn writable(&self) -> Result<()> {
        if self.backing.closed_for_writing() {
            return Err(Fault::errno(libc::EROFS));
        }
        Ok(())
    }
}

/// What the kernel is answered; tampering that nobody reported further in is reported nameless by `volume`.
pub(super) fn answer<T>(volume: &Volume, node: NodeId, result: Result<T>) -> ops::Result<T> {
    result.map_err(|fault| match fault {
        Fault::Errno(e) => e,
        Fault::Tampered(what) => {
            let known = volume.table.get(node);
            let file = known.as_ref().map_or([0; 16], |n| n.file);
            let fd = known.and_then(|n| volume.fd(&n).ok());
            let place = fd.map_or_else(|| "an inode".to_owned(), |fd| volume.backing.place(fd));
            volume.backing.tampered(&file, &place, what);
            Errno(libc::EIO)
        }
    })
}
