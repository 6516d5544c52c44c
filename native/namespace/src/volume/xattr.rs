//! Extended attributes (docs/format.md §8): all are sealed, so nothing an application names can meet our own.

use super::acl::Which;
use super::Volume;
use crate::backing::xattr;
use crate::fault::{Fault, Result};
use crate::ops::NodeId;
use crate::table::Node;
use kmsfs_format::names::{
    open_xattr_name, open_xattr_value, seal_xattr_name, seal_xattr_value, SALTED_OVERHEAD, XATTR_NAME_MAX,
};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

/// XATTR_SIZE_MAX of xattr(7), less what sealing adds.
const VALUE_MAX: usize = 65536 - SALTED_OVERHEAD;
const CAPABILITY: &[u8] = b"security.capability";
/// Behind the prefix this is no sealed name but the second half of a record's replacement (§4).
const RECORD_ASIDE: &[u8] = b"new";

/// EOPNOTSUPP outside of the namespaces that are sealed; ACLs are not among them.
fn check_namespace(name: &[u8]) -> Result<()> {
    let sealed = [b"user.".as_slice(), b"security.", b"trusted."];
    match sealed.iter().find(|p| name.starts_with(p)) {
        Some(prefix) if name.len() > prefix.len() => Ok(()),
        Some(_) => Err(Fault::errno(libc::EINVAL)),
        None => Err(Fault::errno(libc::EOPNOTSUPP)),
    }
}

impl Volume {
    fn stored_xattr(&self, node: &Node, name: &[u8]) -> Result<String> {
        let sealed = seal_xattr_name(&self.backing.keys, &node.file, name)?;
        Ok(format!("{}{sealed}", node.kind.xattr_prefix()))
    }

    pub(super) fn get_xattr(&self, id: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        if let Some(which) = Which::of(name) {
            return self.get_acl(id, which);
        }
        check_namespace(name)?;
        if name.len() > XATTR_NAME_MAX {
            return Err(Fault::errno(libc::ENODATA));
        }
        let node = self.node(id)?;
        if name == CAPABILITY && node.plain.load(Ordering::Acquire) {
            // The kernel asks at the first write to each file, and again at a chown.
            return Err(Fault::errno(libc::ENODATA));
        }
        let fd = self.fd(&node)?;
        let stored = self.stored_xattr(&node, name)?;
        let value = xattr::get(&fd, &stored)?.ok_or_else(|| Fault::errno(libc::ENODATA))?;
        open_xattr_value(&self.backing.keys, &node.file, name, &value)
            .map_err(|_| Fault::tampered("has an xattr that does not authenticate"))
    }

    /// `kill_sgid` is for ACLs, whose `flags` mean nothing: the kernel sets or replaces them.
    pub(super) fn set_xattr(&self, id: NodeId, name: &[u8], value: &[u8], flags: u32, kill_sgid: bool) -> Result<()> {
        if let Some(which) = Which::of(name) {
            return self.set_acl(id, which, value, kill_sgid);
        }
        self.writable()?;
        check_namespace(name)?;
        if name.len() > XATTR_NAME_MAX {
            return Err(Fault::errno(libc::ERANGE));
        }
        if value.len() > VALUE_MAX {
            return Err(Fault::errno(libc::E2BIG));
        }
        let flags = XattrFlags::from_bits_retain(flags);
        if !(flags - XattrFlags::CREATE - XattrFlags::REPLACE).is_empty() {
            return Err(Fault::errno(libc::EINVAL));
        }
        let node = self.node(id)?;
        let fd = self.fd(&node)?;
        let stored = self.stored_xattr(&node, name)?;
        let sealed = seal_xattr_value(&self.backing.keys, &node.file, name, value)?;
        // The lock that drop_privileges decides under whether there is anything to clear.
        let _held = self.backing.inode_locks.lock(&[&node.file]);
        if name == CAPABILITY {
            node.plain.store(false, Ordering::Release);
        }
        xattr::set(&fd, &stored, &sealed, flags)?;
        self.inode_changed(&node.file);
        Ok(())
    }

    pub(super) fn remove_xattr(&self, id: NodeId, name: &[u8]) -> Result<()> {
        if let Some(which) = Which::of(name) {
            return self.remove_acl(id, which);
        }
        self.writable()?;
        check_namespace(name)?;
        if name.len() > XATTR_NAME_MAX {
            return Err(Fault::errno(libc::ENODATA));
        }
        let node = self.node(id)?;
        let fd = self.fd(&node)?;
        xattr::remove(&fd, &self.stored_xattr(&node, name)?)?;
        self.inode_changed(&node.file);
        Ok(())
    }

    pub(super) fn list_xattrs(&self, id: NodeId) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        let fd = self.fd(&node)?;
        let prefix = node.kind.xattr_prefix().as_bytes();
        let mut out = Vec::new();
        self.list_acls(&node, &mut out)?;
        for stored in xattr::list(&fd)? {
            let Some(sealed) = stored.strip_prefix(prefix).filter(|s| *s != RECORD_ASIDE) else { continue };
            match open_xattr_name(&self.backing.keys, &node.file, sealed) {
                Ok(name) => {
                    out.extend_from_slice(&name);
                    out.push(0);
                }
                Err(_) => {
                    self.backing.tampered(
                        &node.file,
                        &self.backing.place(&fd),
                        "has an xattr whose name does not authenticate",
                    );
                }
            }
        }
        Ok(out)
    }

    /// Removes `security.capability`: what was written is another program.
    pub(super) fn drop_capabilities(&self, node: &Node, fd: &OwnedFd) -> Result<()> {
        match xattr::remove(fd, &self.stored_xattr(node, CAPABILITY)?) {
            Ok(()) => {
                self.inode_changed(&node.file);
                Ok(())
            }
            Err(Errno::NODATA) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}
