//! Replies as the kernel reads them (linux/fuse.h), built in place behind room for their header.

use crate::abi;
use kmsfs_namespace::ops::{Attr, DirEntry, DirSink, Entry, Errno, Statfs};
use std::time::Duration;

/// How long the kernel may keep what it was told.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    pub entry: Duration,
    pub attr: Duration,
    /// Of a name that does not exist; zero: not remembered.
    pub negative: Duration,
}

/// A reply's payload under construction.
pub struct Reply<'a> {
    bytes: &'a mut [u8],
    used: usize,
}

/// No room: the request asked for more than one reply holds.
const TOO_LONG: Errno = Errno(libc::EIO);

impl<'a> Reply<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Reply { bytes, used: 0 }
    }
    pub fn len(&self) -> usize {
        self.used
    }
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(&mut self, from: &[u8]) -> Result<(), Errno> {
        let end = self.used.checked_add(from.len()).ok_or(TOO_LONG)?;
        self.bytes.get_mut(self.used..end).ok_or(TOO_LONG)?.copy_from_slice(from);
        self.used = end;
        Ok(())
    }
    pub fn u32(&mut self, value: u32) -> Result<(), Errno> {
        self.bytes(&value.to_ne_bytes())
    }
    pub fn u64(&mut self, value: u64) -> Result<(), Errno> {
        self.bytes(&value.to_ne_bytes())
    }
    fn zeros(&mut self, count: usize) -> Result<(), Errno> {
        let end = self.used.checked_add(count).ok_or(TOO_LONG)?;
        self.bytes.get_mut(self.used..end).ok_or(TOO_LONG)?.fill(0);
        self.used = end;
        Ok(())
    }

    /// Lets `fill` write up to `size` bytes in place and say how many it wrote.
    pub fn fill(&mut self, size: usize, fill: impl FnOnce(&mut [u8]) -> Result<usize, Errno>) -> Result<usize, Errno> {
        let end = self.used.checked_add(size).ok_or(TOO_LONG)?;
        let filled = fill(self.bytes.get_mut(self.used..end).ok_or(TOO_LONG)?)?;
        if filled > size {
            return Err(TOO_LONG);
        }
        self.used += filled;
        Ok(filled)
    }

    fn attr(&mut self, attr: &Attr) -> Result<(), Errno> {
        self.u64(attr.ino)?;
        self.u64(attr.size)?;
        self.u64(attr.blocks)?;
        for time in [attr.atime, attr.mtime, attr.ctime] {
            self.bytes(&time.secs.to_ne_bytes())?;
        }
        for time in [attr.atime, attr.mtime, attr.ctime] {
            self.u32(time.nanos)?;
        }
        let device = abi::encode_device(attr.rdev_major, attr.rdev_minor);
        for value in [attr.mode, attr.nlink, attr.uid, attr.gid, device, attr.blksize, 0] {
            self.u32(value)?;
        }
        Ok(())
    }

    /// `fuse_attr_out`.
    pub fn attr_out(&mut self, attr: &Attr, lifetimes: &Lifetimes) -> Result<(), Errno> {
        self.u64(lifetimes.attr.as_secs())?;
        self.u32(lifetimes.attr.subsec_nanos())?;
        self.u32(0)?;
        self.attr(attr)
    }

    /// `fuse_entry_out`.
    pub fn entry_out(&mut self, entry: &Entry, lifetimes: &Lifetimes) -> Result<(), Errno> {
        self.u64(entry.node.0)?;
        self.u64(entry.generation)?;
        self.u64(lifetimes.entry.as_secs())?;
        self.u64(lifetimes.attr.as_secs())?;
        self.u32(lifetimes.entry.subsec_nanos())?;
        self.u32(lifetimes.attr.subsec_nanos())?;
        self.attr(&entry.attr)
    }

    /// `fuse_entry_out` with node 0: the name does not exist, and need not be asked for again for a while.
    pub fn negative_entry(&mut self, lifetimes: &Lifetimes) -> Result<(), Errno> {
        self.zeros(16)?;
        self.u64(lifetimes.negative.as_secs())?;
        self.u64(0)?;
        self.u32(lifetimes.negative.subsec_nanos())?;
        self.zeros(abi::ENTRY_OUT - 36)
    }

    /// `fuse_open_out`.
    pub fn open_out(&mut self, handle: u64, flags: u32) -> Result<(), Errno> {
        self.u64(handle)?;
        self.u32(flags)?;
        self.u32(0)
    }

    /// A `u32` and its padding: `fuse_write_out`, `fuse_getxattr_out`.
    pub fn count(&mut self, count: usize) -> Result<(), Errno> {
        self.u32(u32::try_from(count).map_err(|_| TOO_LONG)?)?;
        self.u32(0)
    }

    /// `fuse_statfs_out`.
    pub fn statfs(&mut self, s: &Statfs) -> Result<(), Errno> {
        for value in [s.blocks, s.bfree, s.bavail, s.files, s.ffree] {
            self.u64(value)?;
        }
        for value in [s.bsize, s.namelen, s.frsize] {
            self.u32(value)?;
        }
        self.zeros(28)
    }
}

/// Directory entries, `fuse_dirent` or `fuse_direntplus` each, until `limit` bytes are full.
pub struct Listing<'r, 'b> {
    reply: &'r mut Reply<'b>,
    limit: usize,
    plus: bool,
    lifetimes: Lifetimes,
}

impl<'r, 'b> Listing<'r, 'b> {
    pub fn new(reply: &'r mut Reply<'b>, size: usize, plus: bool, lifetimes: Lifetimes) -> Self {
        let limit = size.min(reply.capacity());
        Listing { reply, limit, plus, lifetimes }
    }

    fn put(&mut self, dirent: &DirEntry<'_>, entry: Option<&Entry>, padding: usize) -> Result<(), Errno> {
        if self.plus {
            match entry {
                Some(entry) => self.reply.entry_out(entry, &self.lifetimes)?,
                // Node 0: the kernel takes the name, and looks it up when it needs to.
                None => self.reply.zeros(abi::ENTRY_OUT)?,
            }
        }
        self.reply.u64(dirent.ino)?;
        self.reply.u64(dirent.offset)?;
        self.reply.u32(u32::try_from(dirent.name.len()).map_err(|_| TOO_LONG)?)?;
        self.reply.u32(u32::from(dirent.kind))?;
        self.reply.bytes(dirent.name)?;
        self.reply.zeros(padding)
    }
}

impl DirSink for Listing<'_, '_> {
    fn add(&mut self, dirent: &DirEntry<'_>, entry: Option<&Entry>) -> bool {
        let fixed = abi::DIRENT + if self.plus { abi::ENTRY_OUT } else { 0 };
        let unpadded = fixed + dirent.name.len();
        let padding = unpadded.next_multiple_of(8) - unpadded;
        if self.reply.len() + unpadded + padding > self.limit {
            return false;
        }
        let before = self.reply.used;
        let taken = self.put(dirent, entry, padding).is_ok();
        if !taken {
            self.reply.used = before;
        }
        taken
    }
    fn plus(&self) -> bool {
        self.plus
    }
}
