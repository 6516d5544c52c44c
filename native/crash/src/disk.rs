//! The recorded disk as a file system of two files: `disk`, the device's bytes, and `marks`, where each write(2) is
//! a mark.

use crate::record::Recorder;
use kmsfs_namespace::ops::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

const DISK: u64 = 2;
const MARKS: u64 = 3;

pub struct Disk {
    pub bytes: File,
    pub size: u64,
    pub record: Recorder,
}

fn no<T>(errno: i32) -> Result<T> {
    Err(Errno(errno))
}

impl Disk {
    fn attr(&self, node: NodeId) -> Result<Attr> {
        let (mode, size, nlink) = match node.0 {
            1 => (libc::S_IFDIR | 0o700, 0, 2),
            DISK => (libc::S_IFREG | 0o600, self.size, 1),
            MARKS => (libc::S_IFREG | 0o600, 0, 1),
            _ => return no(libc::ESTALE),
        };
        let time = Time::default();
        Ok(Attr {
            ino: node.0,
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            mode,
            nlink,
            uid: 0,
            gid: 0,
            rdev_major: 0,
            rdev_minor: 0,
            blksize: 4096,
        })
    }
    fn entry(&self, node: u64) -> Result<Entry> {
        let node = NodeId(node);
        Ok(Entry { node, generation: 1, attr: self.attr(node)? })
    }
}

impl FileSystem for Disk {
    fn lookup(&self, _parent: NodeId, name: &[u8]) -> Result<Entry> {
        match name {
            b"disk" => self.entry(DISK),
            b"marks" => self.entry(MARKS),
            _ => no(libc::ENOENT),
        }
    }
    fn forget(&self, _node: NodeId, _count: u64) {}
    fn getattr(&self, node: NodeId, _handle: Option<Handle>) -> Result<Attr> {
        self.attr(node)
    }
    /// Whatever is set stays as it was.
    fn setattr(&self, _caller: Caller, node: NodeId, _set: &SetAttr) -> Result<Attr> {
        self.attr(node)
    }
    fn open(&self, node: NodeId, _flags: u32) -> Result<Handle> {
        Ok(Handle(node.0))
    }
    fn read(&self, node: NodeId, _handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if node.0 != DISK {
            return Ok(0);
        }
        let len = buf.len().min(self.size.saturating_sub(offset) as usize);
        let Some(buf) = buf.get_mut(..len) else { return Ok(0) };
        self.bytes.read_exact_at(buf, offset)?;
        Ok(len)
    }
    fn write(&self, node: NodeId, _handle: Handle, offset: u64, data: &[u8], _how: Writing) -> Result<usize> {
        if node.0 == MARKS {
            self.record.mark(data)?;
        } else {
            self.record.write(offset, data, || self.bytes.write_all_at(data, offset))?;
        }
        Ok(data.len())
    }
    fn flush(&self, _node: NodeId, _handle: Handle) -> Result<()> {
        Ok(())
    }
    fn release(&self, _node: NodeId, _handle: Handle) -> Result<()> {
        Ok(())
    }
    fn fsync(&self, _node: NodeId, _handle: Handle, _data_only: bool) -> Result<()> {
        Ok(self.record.flush()?)
    }
    fn destroy(&self) {
        // Who reads the record finds it cut short, and says so.
        let _ = self.record.end();
    }
    fn statfs(&self) -> Result<Statfs> {
        let blocks = self.size / 4096;
        Ok(Statfs { blocks, bfree: 0, bavail: 0, files: 2, ffree: 0, bsize: 4096, namelen: 255, frsize: 4096 })
    }

    // A disk has none of these.
    fn keeps_acls(&self) -> bool {
        false
    }
    fn readlink(&self, _: NodeId) -> Result<Vec<u8>> {
        no(libc::EINVAL)
    }
    fn mknod(&self, _: Caller, _: NodeId, _: &[u8], _: u32, _: u32, _: u32) -> Result<Entry> {
        no(libc::EPERM)
    }
    fn mkdir(&self, _: Caller, _: NodeId, _: &[u8], _: u32) -> Result<Entry> {
        no(libc::EPERM)
    }
    fn symlink(&self, _: Caller, _: NodeId, _: &[u8], _: &[u8]) -> Result<Entry> {
        no(libc::EPERM)
    }
    fn link(&self, _: NodeId, _: NodeId, _: &[u8]) -> Result<Entry> {
        no(libc::EPERM)
    }
    fn unlink(&self, _: NodeId, _: &[u8]) -> Result<()> {
        no(libc::EPERM)
    }
    fn rmdir(&self, _: NodeId, _: &[u8]) -> Result<()> {
        no(libc::EPERM)
    }
    fn rename(&self, _: NodeId, _: &[u8], _: NodeId, _: &[u8], _: u32) -> Result<()> {
        no(libc::EPERM)
    }
    fn create(&self, _: Caller, _: NodeId, _: &[u8], _: u32, _: u32) -> Result<(Entry, Handle)> {
        no(libc::EPERM)
    }
    fn tmpfile(&self, _: Caller, _: NodeId, _: u32, _: u32) -> Result<(Entry, Handle)> {
        no(libc::EOPNOTSUPP)
    }
    /// Without it the loop device has no discard, and writes zeros as data.
    fn fallocate(&self, _: NodeId, _: Handle, _: u32, _: u64, _: u64) -> Result<()> {
        no(libc::EOPNOTSUPP)
    }
    fn lseek(&self, _: NodeId, _: Handle, _: u64, _: u32) -> Result<u64> {
        no(libc::EINVAL)
    }
    fn copy_file_range(&self, _: NodeId, _: Handle, _: u64, _: NodeId, _: Handle, _: u64, _: u64) -> Result<u64> {
        no(libc::EOPNOTSUPP)
    }
    fn opendir(&self, node: NodeId) -> Result<Handle> {
        Ok(Handle(node.0))
    }
    fn readdir(&self, _: NodeId, _: Handle, _: u64, _: &mut dyn DirSink) -> Result<()> {
        Ok(())
    }
    fn releasedir(&self, _: NodeId, _: Handle) -> Result<()> {
        Ok(())
    }
    fn fsyncdir(&self, _: NodeId, _: Handle, _: bool) -> Result<()> {
        Ok(())
    }
    fn getxattr(&self, _: NodeId, _: &[u8]) -> Result<Vec<u8>> {
        no(libc::EOPNOTSUPP)
    }
    fn setxattr(&self, _: NodeId, _: &[u8], _: &[u8], _: u32, _: bool) -> Result<()> {
        no(libc::EOPNOTSUPP)
    }
    fn listxattr(&self, _: NodeId) -> Result<Vec<u8>> {
        no(libc::EOPNOTSUPP)
    }
    fn removexattr(&self, _: NodeId, _: &[u8]) -> Result<()> {
        no(libc::EOPNOTSUPP)
    }
}
