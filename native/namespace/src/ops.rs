//! The operations a mounted volume answers: what the session layer calls and the namespace implements.
//! Free of FUSE's wire format, so that another transport (FUSE over io_uring) needs no change here.

use std::fmt;

/// An errno value (errno(3)), always positive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl From<std::io::Error> for Errno {
    fn from(e: std::io::Error) -> Self {
        Errno(e.raw_os_error().unwrap_or(libc::EIO))
    }
}

pub type Result<T> = std::result::Result<T, Errno>;

/// The kernel's name for an inode; 1 is the root.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct NodeId(pub u64);

pub const ROOT: NodeId = NodeId(1);

/// An open file or directory, as handed to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Handle(pub u64);

/// Who asks. `uid` and `gid` are those for file access (fsuid, fsgid).
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub uid: u32,
    pub gid: u32,
    pub pid: u32,
    /// Of a request that makes something; else 0.
    pub umask: u32,
}

impl Caller {
    pub fn writer(self) -> Writer {
        Writer { gid: self.gid, pid: self.pid }
    }

    /// The same unless it is root, who stands for those that may keep setgid (CAP_FSETID): the kernel does not say who has it.
    pub fn unprivileged(self) -> Option<Writer> {
        (self.uid != 0).then(|| self.writer())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Time {
    pub secs: i64,
    pub nanos: u32,
}

/// stat(2)'s fields; `mode` has the type bits, `blocks` are of 512 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    pub ino: u64,
    pub size: u64,
    pub blocks: u64,
    pub atime: Time,
    pub mtime: Time,
    pub ctime: Time,
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    pub rdev_major: u32,
    pub rdev_minor: u32,
    pub blksize: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub node: NodeId,
    pub generation: u64,
    pub attr: Attr,
}

#[derive(Clone, Copy, Debug)]
pub enum SetTime {
    Now,
    At(Time),
}

/// FUSE's write flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writing {
    /// FUSE_WRITE_CACHE: pages that the kernel writes back, by any handle that may write; no write(2) of now.
    pub from_cache: bool,
    /// FUSE_WRITE_KILL_SUIDGID.
    pub kill_suidgid: bool,
    /// Who writes; nobody in particular where it is `from_cache`.
    pub by: Writer,
}

/// Whose groups decide whether setgid stays at a write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writer {
    pub gid: u32,
    /// 0 where it is of another pid namespace.
    pub pid: u32,
}

/// Only what is `Some` changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    pub handle: Option<Handle>,
    /// FATTR_CTIME: the kernel, where it keeps times (FUSE_WRITEBACK_CACHE), has set ctime.
    pub ctime: bool,
    /// FATTR_KILL_SUIDGID: clear setuid and, if group-executable or not the caller's group, setgid; the kernel leaves it to us (KILLPRIV_V2).
    pub kill_suidgid: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Statfs {
    pub blocks: u64,
    pub bfree: u64,
    pub bavail: u64,
    pub files: u64,
    pub ffree: u64,
    pub bsize: u32,
    pub namelen: u32,
    pub frsize: u32,
}

/// One directory entry. `offset` is what readdir continues from after it.
pub struct DirEntry<'a> {
    pub ino: u64,
    pub offset: u64,
    /// DT_* of readdir(3).
    pub kind: u8,
    pub name: &'a [u8],
}

/// Takes directory entries until it is full.
pub trait DirSink {
    /// `false`: no room, the entry was not taken, stop. `entry` is `None` for readdir, and for "." and "..".
    fn add(&mut self, dirent: &DirEntry<'_>, entry: Option<&Entry>) -> bool;
    /// Whether the caller wants attributes (readdirplus).
    fn plus(&self) -> bool;
}

/// A mounted volume. Every method may be called from any number of threads. Errors are those of the system call of
/// the same name (man section 2). With `default_permissions` the kernel has checked access before it asks.
pub trait FileSystem: Send + Sync {
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Entry>;
    /// The kernel dropped `count` references; only a hint that the node may be let go.
    fn forget(&self, node: NodeId, count: u64);
    fn getattr(&self, node: NodeId, handle: Option<Handle>) -> Result<Attr>;
    fn setattr(&self, caller: Caller, node: NodeId, set: &SetAttr) -> Result<Attr>;
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>>;
    /// Whether ACLs are kept, as the `system.posix_acl_*` xattrs. They are for the kernel to check, and for the file system
    /// to change with the mode and to hand down from directories.
    fn keeps_acls(&self) -> bool;
    /// `mode` has the type bits; the umask is not applied yet, as with a default ACL it has no part.
    fn mknod(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, major: u32, minor: u32) -> Result<Entry>;
    fn mkdir(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Entry>;
    fn symlink(&self, caller: Caller, parent: NodeId, name: &[u8], target: &[u8]) -> Result<Entry>;
    fn link(&self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Entry>;
    fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()>;
    fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()>;
    /// `flags`: RENAME_NOREPLACE, RENAME_EXCHANGE of renameat2(2); others are EINVAL.
    fn rename(&self, parent: NodeId, name: &[u8], new_parent: NodeId, new_name: &[u8], flags: u32) -> Result<()>;

    /// `flags` are open(2)'s.
    fn open(&self, node: NodeId, flags: u32) -> Result<Handle>;
    fn create(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, flags: u32) -> Result<(Entry, Handle)>;
    /// O_TMPFILE: a regular file without a name yet; `link` may give it one.
    fn tmpfile(&self, caller: Caller, parent: NodeId, mode: u32, flags: u32) -> Result<(Entry, Handle)>;
    /// Fills `buf` from `offset`; less than its length only at the end of the file.
    fn read(&self, node: NodeId, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize>;
    /// All of `data` or an error.
    fn write(&self, node: NodeId, handle: Handle, offset: u64, data: &[u8], how: Writing) -> Result<usize>;
    /// close(2) of one descriptor: commits what was written to the log (no flush).
    fn flush(&self, node: NodeId, handle: Handle) -> Result<()>;
    fn release(&self, node: NodeId, handle: Handle) -> Result<()>;
    fn fsync(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()>;
    fn fallocate(&self, node: NodeId, handle: Handle, mode: u32, offset: u64, length: u64) -> Result<()>;
    /// `whence`: SEEK_DATA or SEEK_HOLE.
    fn lseek(&self, node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64>;
    #[allow(clippy::too_many_arguments)]
    fn copy_file_range(
        &self,
        from: NodeId,
        from_handle: Handle,
        from_offset: u64,
        to: NodeId,
        to_handle: Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<u64>;

    fn opendir(&self, node: NodeId) -> Result<Handle>;
    fn readdir(&self, node: NodeId, handle: Handle, offset: u64, sink: &mut dyn DirSink) -> Result<()>;
    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()>;
    fn fsyncdir(&self, node: NodeId, handle: Handle, data_only: bool) -> Result<()>;

    fn statfs(&self) -> Result<Statfs>;
    fn getxattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>>;
    /// `flags`: XATTR_CREATE, XATTR_REPLACE. `kill_sgid`: setgid goes with an access ACL (FUSE_SETXATTR_ACL_KILL_SGID).
    fn setxattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32, kill_sgid: bool) -> Result<()>;
    /// Names, each ended by NUL, as listxattr(2) gives them.
    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>>;
    fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<()>;

    /// The mount is going away: write everything home and make it durable.
    fn destroy(&self);
}
