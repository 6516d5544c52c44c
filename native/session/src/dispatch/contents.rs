//! Requests about open files and what is in them.

use super::{Call, Done};
use crate::abi::{self, opcode};
use crate::request::Operation;
use kmsfs_namespace::ops::{Errno, Handle, NodeId, SetAttr, Writing};

impl Call<'_, '_, '_> {
    pub(super) fn open(&mut self, flags: u32, kill_suidgid: bool) -> Done {
        let handle = self.fs.open(self.node, flags)?;
        if kill_suidgid {
            let set = SetAttr { handle: Some(handle), kill_suidgid: true, ..SetAttr::default() };
            if let Err(errno) = self.fs.setattr(self.caller, self.node, &set) {
                // The handle goes back unused; the error to tell is the first one.
                let _ = self.fs.release(self.node, handle);
                return Err(errno);
            }
        }
        self.opened(self.node, handle, flags)
    }

    pub(super) fn release(&mut self, handle: Handle, flags: u32) -> Done {
        self.context.writers.released(self.node, flags);
        self.fs.release(self.node, handle)
    }

    /// `fuse_open_out`. What the kernel has cached of the file stays: only this mount changes it.
    fn opened(&mut self, node: NodeId, handle: Handle, flags: u32) -> Done {
        self.context.writers.opened(node, flags);
        self.reply.open_out(handle.0, abi::FOPEN_KEEP_CACHE)
    }

    pub(super) fn create(&mut self, name: &[u8], mode: u32, flags: u32) -> Done {
        let (entry, handle) = self.fs.create(self.caller, self.node, name, mode, flags)?;
        self.reply.entry_out(&entry, &self.context.lifetimes)?;
        self.opened(entry.node, handle, flags)
    }

    pub(super) fn tmpfile(&mut self, mode: u32, flags: u32) -> Done {
        let (entry, handle) = self.fs.tmpfile(self.caller, self.node, mode, flags)?;
        self.reply.entry_out(&entry, &self.context.lifetimes)?;
        self.opened(entry.node, handle, flags)
    }

    pub(super) fn read(&mut self, handle: Handle, offset: u64, size: usize) -> Done {
        let (fs, node) = (self.fs, self.node);
        let filled = self.reply.fill(size, |buf| fs.read(node, handle, offset, buf))?;
        self.context.counters.read(filled);
        Ok(())
    }

    pub(super) fn write(&mut self, handle: Handle, offset: u64, data: &[u8], how: Writing) -> Done {
        let written = self.fs.write(self.node, handle, offset, data, how)?;
        self.context.counters.written(written);
        self.reply.count(written)
    }

    pub(super) fn lseek(&mut self, handle: Handle, offset: u64, whence: u32) -> Done {
        // The kernel answers the other kinds itself.
        if !matches!(i32::try_from(whence), Ok(libc::SEEK_DATA | libc::SEEK_HOLE)) {
            return Err(Errno(libc::EINVAL));
        }
        let found = self.fs.lseek(self.node, handle, offset, whence)?;
        self.reply.u64(found)
    }

    pub(super) fn copy_file_range(&mut self, opcode: u32, operation: &Operation<'_>) -> Done {
        let Operation::CopyFileRange { from, from_offset, to_node, to, to_offset, length } = *operation else {
            return Err(Errno(libc::EINVAL));
        };
        let wide = opcode == opcode::COPY_FILE_RANGE_64;
        let length = if wide { length } else { length.min(u64::from(u32::MAX)) };
        let copied = self.fs.copy_file_range(self.node, from, from_offset, to_node, to, to_offset, length)?;
        if wide {
            self.reply.u64(copied)
        } else {
            self.reply.count(usize::try_from(copied).map_err(|_| Errno(libc::EIO))?)
        }
    }
}
