//! Reading the fields of a message one by one, every bound checked.

use kmsfs_namespace::ops::{Errno, Handle, NodeId};

/// linux/limits.h; a longer name never names anything.
pub const NAME_MAX: usize = 255;
pub const MALFORMED: Errno = Errno(libc::EINVAL);

/// Unread rest of a message, integers in the machine's order.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(*head)
    }
    pub fn u32(&mut self) -> Result<u32, Errno> {
        self.array().map(u32::from_ne_bytes)
    }
    pub fn u64(&mut self) -> Result<u64, Errno> {
        self.array().map(u64::from_ne_bytes)
    }
    pub fn i64(&mut self) -> Result<i64, Errno> {
        self.array().map(i64::from_ne_bytes)
    }
    pub fn handle(&mut self) -> Result<Handle, Errno> {
        self.u64().map(Handle)
    }
    pub fn node(&mut self) -> Result<NodeId, Errno> {
        self.u64().map(NodeId)
    }
    pub fn size(&mut self) -> Result<usize, Errno> {
        usize::try_from(self.u32()?).map_err(|_| MALFORMED)
    }
    pub fn skip(&mut self, bytes: usize) -> Result<(), Errno> {
        self.0 = self.0.get(bytes..).ok_or(MALFORMED)?;
        Ok(())
    }
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    /// A string ended by NUL, at most `most` bytes without it, at least one.
    pub fn string(&mut self, most: usize) -> Result<&'a [u8], Errno> {
        let end = self.0.iter().position(|&byte| byte == 0).ok_or(MALFORMED)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).ok_or(MALFORMED)?;
        match text.len() {
            0 => Err(MALFORMED),
            n if n > most => Err(Errno(libc::ENAMETOOLONG)),
            _ => Ok(text),
        }
    }
    /// A directory entry's name, "." and ".." among them (LOOKUP with EXPORT_SUPPORT).
    pub fn any_name(&mut self) -> Result<&'a [u8], Errno> {
        let name = self.string(NAME_MAX)?;
        if name.contains(&b'/') {
            return Err(MALFORMED);
        }
        Ok(name)
    }
    pub fn name(&mut self) -> Result<&'a [u8], Errno> {
        let name = self.any_name()?;
        if name == b"." || name == b".." {
            return Err(MALFORMED);
        }
        Ok(name)
    }
}
