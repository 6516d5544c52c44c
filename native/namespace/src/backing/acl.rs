//! ACLs of backing inodes: real ones, under their own names (docs/format.md §8), with their hash in the record (§4).

use super::xattr;
use crate::acl::{Acl, ACCESS, DEFAULT};
use crate::fault::{Fault, Result};
use kmsfs_format::record::{acl_hash, AclHash, Kind};
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use std::os::fd::AsFd;

/// An inode's two ACLs, each the value of its xattr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acls {
    pub access: Option<Vec<u8>>,
    pub default: Option<Vec<u8>>,
}

/// Whether a file system keeps ACLs; `root` is a directory of it.
pub fn kept_by(root: impl AsFd) -> rustix::io::Result<bool> {
    match xattr::get(root, ACCESS) {
        Ok(_) => Ok(true),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(e) => Err(e),
    }
}

impl Acls {
    pub fn read(fd: impl AsFd, kind: Kind) -> Result<Self> {
        let get = |name| match xattr::get(&fd, name) {
            // Mounted without ACLs, or a symlink, which has none.
            Err(Errno::OPNOTSUPP) => Ok(None),
            other => other,
        };
        let access = if kind == Kind::Symlink { None } else { get(ACCESS)? };
        // Only directories can have one (posix_acl_default is EACCES elsewhere).
        let default = if kind == Kind::Directory { get(DEFAULT)? } else { None };
        Ok(Acls { access, default })
    }

    /// As it stands in the record: `None` for an inode without ACLs.
    pub fn hash(&self) -> Option<AclHash> {
        let any = self.access.is_some() || self.default.is_some();
        any.then(|| acl_hash(self.access.as_deref(), self.default.as_deref()))
    }

    /// After chmod(2) to `mode`.
    pub fn with_mode(&self, mode: u16) -> Result<Self> {
        let Some(access) = &self.access else { return Ok(self.clone()) };
        let acl = Acl::decode(access).ok_or_else(|| Fault::tampered("has an ACL that is none"))?;
        Ok(Acls { access: Some(acl.with_mode(mode).encode()), default: self.default.clone() })
    }

    /// Gives these to a new inode, whatever it inherited in the backing directory.
    pub fn put(&self, fd: impl AsFd, kind: Kind) -> Result<()> {
        put(&fd, ACCESS, self.access.as_deref())?;
        if kind == Kind::Directory {
            put(&fd, DEFAULT, self.default.as_deref())?;
        }
        Ok(())
    }

    /// Makes an inode that has `before` have these. An access ACL brings its permission bits along, on ext4 in one
    /// transaction.
    pub fn replace(&self, fd: impl AsFd, before: &Acls) -> Result<()> {
        for (name, had, value) in [(ACCESS, &before.access, &self.access), (DEFAULT, &before.default, &self.default)] {
            if had != value {
                put(&fd, name, value.as_deref())?;
            }
        }
        Ok(())
    }
}

fn put(fd: impl AsFd, name: &str, value: Option<&[u8]>) -> Result<()> {
    match value {
        Some(value) => Ok(xattr::set(fd, name, value, XattrFlags::empty())?),
        None => match xattr::remove(fd, name) {
            Ok(()) | Err(Errno::NODATA) => Ok(()),
            Err(e) => Err(e.into()),
        },
    }
}
