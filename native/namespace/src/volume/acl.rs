//! POSIX ACLs. The kernel decides by them, as FUSE_POSIX_ACL says it should: it asks for an inode's ACLs by getxattr when
//! they may count, and keeps them until they or the mode change through it (fs/fuse/acl.c). It checked who may set one, and
//! that it is valid. To us fall what a file system does in Linux: the mode that an access ACL brings along
//! (posix_acl_update_mode), what chmod does to it (posix_acl_chmod), and inheritance (posix_acl_create).

use super::Volume;
use crate::acl::{Acl, ACCESS, DEFAULT};
use crate::backing::acl::Acls;
use crate::backing::inode::{owner_of, Inode};
use crate::fault::{Fault, Result};
use crate::ops::NodeId;
use crate::table::Node;
use kmsfs_format::record::Kind;
use rustix::fs::fstat;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

const SGID: u16 = libc::S_ISGID as u16;
const PERMISSIONS: u16 = 0o777;

/// Which of an inode's two ACLs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Which {
    Access,
    Default,
}

impl Which {
    /// The ACL that an xattr's name stands for.
    pub fn of(name: &[u8]) -> Option<Which> {
        match name {
            n if n == ACCESS.as_bytes() => Some(Which::Access),
            n if n == DEFAULT.as_bytes() => Some(Which::Default),
            _ => None,
        }
    }
}

/// An inode must still be the node's.
fn of_node(node: &Node, inode: Inode) -> Result<Inode> {
    if inode.record.id == node.file {
        Ok(inode)
    } else {
        Err(Fault::tampered("has another id than before"))
    }
}

impl Volume {
    /// EOPNOTSUPP where the backing file system keeps no ACLs.
    fn acls_are_kept(&self) -> Result<()> {
        if self.backing.keeps_acls {
            Ok(())
        } else {
            Err(Fault::errno(libc::EOPNOTSUPP))
        }
    }

    /// A node's ACLs, verified. Read once in a node's life: nobody else changes them while the volume is mounted.
    fn acls(&self, node: &Node) -> Result<Arc<Acls>> {
        match node.acls() {
            Some(acls) => Ok(acls),
            None => {
                let fd = self.fd(node)?;
                let _held = self.backing.inode_locks.lock(&[&node.file]);
                self.acls_locked(node, &fd)
            }
        }
    }

    /// The same under the inode's lock.
    fn acls_locked(&self, node: &Node, fd: &Arc<OwnedFd>) -> Result<Arc<Acls>> {
        if let Some(acls) = node.acls() {
            return Ok(acls);
        }
        Ok(self.with_acls(node, fd)?.acls.unwrap_or_default())
    }

    /// The node's inode, verified with its ACLs. The caller holds the inode's lock.
    fn with_acls(&self, node: &Node, fd: &Arc<OwnedFd>) -> Result<Inode> {
        let inode = of_node(node, self.backing.inspect_acls(fd.clone())?)?;
        node.set_acls(inode.acls.clone().unwrap_or_default());
        Ok(inode)
    }

    /// Verifies what is about to be opened, the first time with its ACLs.
    pub(super) fn inspect_node(&self, node: &Node, fd: &Arc<OwnedFd>) -> Result<Inode> {
        let inspected = match node.acls() {
            Some(_) => self.backing.inspect_settled(fd.clone()).and_then(|inode| of_node(node, inode)),
            None => {
                let _held = self.backing.inode_locks.lock(&[&node.file]);
                self.with_acls(node, fd)
            }
        };
        self.report(&node.file, || self.backing.place(fd), inspected)
    }

    /// What is made in a directory inherits this. The caller holds the directory's lock, without which the default ACL
    /// could change before it does.
    pub(super) fn default_acl(&self, dir: &Node) -> Result<Option<Acls>> {
        if !self.backing.keeps_acls {
            return Ok(None);
        }
        let acls = self.acls(dir)?;
        Ok(acls.default.as_ref().map(|_| (*acls).clone()))
    }

    pub(super) fn get_acl(&self, id: NodeId, which: Which) -> Result<Vec<u8>> {
        self.acls_are_kept()?;
        let node = self.node(id)?;
        let acls = self.acls(&node)?;
        let value = match which {
            Which::Access => &acls.access,
            Which::Default => &acls.default,
        };
        value.clone().ok_or_else(|| Fault::errno(libc::ENODATA))
    }

    /// Names of the ACLs that a node has, each ended by NUL.
    pub(super) fn list_acls(&self, node: &Node, out: &mut Vec<u8>) -> Result<()> {
        let acls = self.acls(node)?;
        for (name, value) in [(ACCESS, &acls.access), (DEFAULT, &acls.default)] {
            if value.is_some() {
                out.extend_from_slice(name.as_bytes());
                out.push(0);
            }
        }
        Ok(())
    }

    /// `kill_sgid`: the caller is neither in the group nor privileged. EINVAL, EACCES for a default ACL of no directory.
    pub(super) fn set_acl(&self, id: NodeId, which: Which, value: &[u8], kill_sgid: bool) -> Result<()> {
        self.writable()?;
        self.acls_are_kept()?;
        let acl = Acl::decode(value).ok_or_else(|| Fault::errno(libc::EINVAL))?;
        let node = self.node(id)?;
        match (node.kind, which) {
            (Kind::Symlink, _) => return Err(Fault::errno(libc::EOPNOTSUPP)),
            (Kind::Directory, _) | (_, Which::Access) => {}
            (_, Which::Default) => return Err(Fault::errno(libc::EACCES)),
        }
        let value = acl.encode();
        self.change_acls(&node, which, |before, mode| match which {
            Which::Access => {
                let mode = mode & !PERMISSIONS | acl.permissions();
                let mode = if kill_sgid { mode & !SGID } else { mode };
                let access = Some(value.clone()).filter(|_| !acl.is_mode());
                Ok((Acls { access, ..before.clone() }, mode, Some(&value)))
            }
            Which::Default => Ok((Acls { default: Some(value.clone()), ..before.clone() }, mode, None)),
        })
    }

    /// Not to have had one is no error, as on ext4. The mode stays: the group keeps what the mask had.
    pub(super) fn remove_acl(&self, id: NodeId, which: Which) -> Result<()> {
        self.writable()?;
        self.acls_are_kept()?;
        let node = self.node(id)?;
        self.change_acls(&node, which, |before, mode| {
            let mut after = before.clone();
            match which {
                Which::Access => after.access = None,
                Which::Default => after.default = None,
            }
            Ok((after, mode, None))
        })
    }

    /// `change`: from ACLs and mode to those that are to be, and the access ACL to set where it ends as a mode.
    fn change_acls<'v>(
        &self,
        node: &Node,
        which: Which,
        change: impl FnOnce(&Acls, u16) -> Result<(Acls, u16, Option<&'v Vec<u8>>)>,
    ) -> Result<()> {
        let fd = self.fd(node)?;
        // What is being made in the directory has the default ACL of before or of after, in the backing store too.
        let _dir = (which == Which::Default).then(|| self.dir_locks.lock(&[&node.file]));
        let _held = self.backing.inode_locks.lock(&[&node.file]);
        let before = self.acls_locked(node, &fd)?;
        let (after, mode, access) = change(&before, owner_of(&fstat(&fd)?).mode)?;
        // Execution by the group makes setgid a privilege that a write takes away.
        node.plain.store(false, Ordering::Release);
        let access = access.map(Vec::as_slice);
        let changed = self.backing.change_acls(&fd, &node.file, mode, (&before, &after), access);
        match &changed {
            Ok(()) => node.set_acls(Arc::new(after)),
            // What there is now is read when it next counts.
            Err(_) => node.forget_acls(),
        }
        self.inode_changed(&node.file);
        changed
    }
}
