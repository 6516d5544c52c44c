//! link(2).

use super::Volume;
use crate::backing::path;
use crate::fault::{Fault, Result};
use crate::ops::{Entry, NodeId};
use kmsfs_format::record::Kind;
use rustix::io::Errno;

impl Volume {
    pub(super) fn make_link(&self, id: NodeId, parent: NodeId, name: &[u8]) -> Result<Entry> {
        self.writable()?;
        let node = self.node(id)?;
        if node.kind == Kind::Directory {
            return Err(Fault::errno(libc::EPERM));
        }
        let fd = self.fd(&node)?;
        let (dir, dir_fd) = self.directory(parent)?;
        let stored = self.seal(&dir, name)?;
        let binding = self.binding(&dir, &stored.stored);
        {
            let _dir = self.dir_locks.lock(&[&dir.file]);
            match path::entry(&dir_fd, &stored.stored) {
                Ok(_) => return Err(Fault::errno(libc::EEXIST)),
                Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            }
            let _inode = self.backing.inode_locks.lock(&[&node.file]);
            self.put_sidecar(&dir_fd, &stored)?;
            // The record knows the name before the name is there.
            let linked = self
                .backing
                .bind(&fd, &node.file, binding)
                .and_then(|()| Ok(path::link(&fd, &dir_fd, &stored.stored)?));
            if let Err(fault) = linked {
                self.drop_sidecar(&dir_fd, &stored)?;
                self.backing.unbind(&fd, &node.file, binding)?;
                return Err(fault);
            }
            self.inode_changed(&node.file);
        }
        if let Some(home) = self.backing.homes.existing(&node.file) {
            home.adopted();
            home.unpin();
        }
        let inode = self.report(&node.file, || self.backing.place(&fd), self.backing.inspect_settled(fd.clone()))?;
        self.entry_for_kernel(&inode)
    }
}
