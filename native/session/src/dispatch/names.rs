//! Requests that make, find and remove names.

use super::{Call, Done};
use crate::abi;
use crate::request::NodeId;
use kmsfs_namespace::ops::{Entry, Errno};

impl Call<'_, '_, '_> {
    fn entry(&mut self, entry: &Entry) -> Done {
        self.reply.entry_out(entry, &self.context.lifetimes)
    }

    pub(super) fn lookup(&mut self, name: &[u8]) -> Done {
        match self.fs.lookup(self.node, name) {
            Ok(entry) => self.entry(&entry),
            Err(Errno(libc::ENOENT)) if !self.context.lifetimes.negative.is_zero() => {
                self.reply.negative_entry(&self.context.lifetimes)
            }
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn mknod(&mut self, name: &[u8], mode: u32, device: u32) -> Done {
        let (major, minor) = abi::decode_device(device);
        let entry = self.fs.mknod(self.caller, self.node, name, mode, major, minor)?;
        self.entry(&entry)
    }

    pub(super) fn mkdir(&mut self, name: &[u8], mode: u32) -> Done {
        let entry = self.fs.mkdir(self.caller, self.node, name, mode)?;
        self.entry(&entry)
    }

    pub(super) fn symlink(&mut self, name: &[u8], target: &[u8]) -> Done {
        let entry = self.fs.symlink(self.caller, self.node, name, target)?;
        self.entry(&entry)
    }

    pub(super) fn link(&mut self, node: NodeId, name: &[u8]) -> Done {
        let entry = self.fs.link(node, self.node, name)?;
        self.entry(&entry)
    }

    pub(super) fn readlink(&mut self) -> Done {
        let target = self.fs.readlink(self.node)?;
        self.reply.bytes(&target)
    }
}
