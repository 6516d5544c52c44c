//! Requests about open directories.

use super::{Call, Done};
use crate::abi;
use crate::reply::Listing;
use kmsfs_namespace::ops::Handle;

impl Call<'_, '_, '_> {
    pub(super) fn opendir(&mut self) -> Done {
        let handle = self.fs.opendir(self.node)?;
        // Safe because every change of a directory passes through this mount: the kernel drops what it kept.
        let flags = if self.context.cache_directories { abi::FOPEN_CACHE_DIR | abi::FOPEN_KEEP_CACHE } else { 0 };
        self.reply.open_out(handle.0, flags)
    }

    pub(super) fn readdir(&mut self, handle: Handle, offset: u64, size: usize, plus: bool) -> Done {
        let mut listing = Listing::new(self.reply, size, plus, self.context.lifetimes);
        self.fs.readdir(self.node, handle, offset, &mut listing)
    }
}
