//! Requests as the kernel writes them (linux/fuse.h), read with every bound checked: whatever the bytes are, the worst
//! outcome is an errno.

use crate::abi::{self, fattr, opcode};
use crate::fields::{Fields, MALFORMED, NAME_MAX};
pub use kmsfs_namespace::ops::{Caller, NodeId};
use kmsfs_namespace::ops::{Errno, Handle, SetAttr, SetTime, Time, Writing};

/// What the kernel itself allows for a symlink's target.
const PATH_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub opcode: u32,
    pub unique: u64,
    pub node: NodeId,
    pub caller: Caller,
}

#[derive(Debug)]
pub enum Operation<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        count: u64,
    },
    BatchForget {
        nodes: Forgets<'a>,
    },
    GetAttr {
        handle: Option<Handle>,
    },
    SetAttr {
        set: SetAttr,
    },
    ReadLink,
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    MkNod {
        name: &'a [u8],
        mode: u32,
        device: u32,
        umask: u32,
    },
    MkDir {
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    RmDir {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        new_parent: NodeId,
        new_name: &'a [u8],
        flags: u32,
    },
    Link {
        node: NodeId,
        name: &'a [u8],
    },
    Open {
        flags: u32,
        kill_suidgid: bool,
    },
    Create {
        name: &'a [u8],
        mode: u32,
        flags: u32,
        umask: u32,
    },
    TmpFile {
        mode: u32,
        flags: u32,
        umask: u32,
    },
    Read {
        handle: Handle,
        offset: u64,
        size: usize,
    },
    Write {
        handle: Handle,
        offset: u64,
        data: &'a [u8],
        how: Writing,
    },
    Flush {
        handle: Handle,
    },
    Release {
        handle: Handle,
        flags: u32,
    },
    Fsync {
        handle: Handle,
        data_only: bool,
    },
    Fallocate {
        handle: Handle,
        offset: u64,
        length: u64,
        mode: u32,
    },
    Lseek {
        handle: Handle,
        offset: u64,
        whence: u32,
    },
    CopyFileRange {
        from: Handle,
        from_offset: u64,
        to_node: NodeId,
        to: Handle,
        to_offset: u64,
        length: u64,
    },
    OpenDir,
    ReadDir {
        handle: Handle,
        offset: u64,
        size: usize,
        plus: bool,
    },
    ReleaseDir {
        handle: Handle,
    },
    FsyncDir {
        handle: Handle,
        data_only: bool,
    },
    StatFs,
    SetXattr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
        kill_sgid: bool,
    },
    GetXattr {
        name: &'a [u8],
        size: usize,
    },
    ListXattr {
        size: usize,
    },
    RemoveXattr {
        name: &'a [u8],
    },
    Destroy,
    /// ioctl(2): none is served.
    Ioctl,
    /// Needs no answer and no action.
    Ignored,
    /// The kernel falls back by itself on ENOSYS.
    Unknown,
}

/// The nodes of a BATCH_FORGET, each with its count.
#[derive(Debug)]
pub struct Forgets<'a>(&'a [u8]);

impl Iterator for Forgets<'_> {
    type Item = (NodeId, u64);
    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(self.0);
        let one = (NodeId(fields.u64().ok()?), fields.u64().ok()?);
        self.0 = fields.0;
        Some(one)
    }
}

impl Header {
    /// Header and argument bytes; `None` when there is not even a header to answer to. The second is `Err` when the
    /// lengths contradict each other.
    pub fn parse(message: &[u8]) -> Option<(Header, Result<&[u8], Errno>)> {
        let mut fields = Fields(message);
        let mut read = || -> Result<(u32, Header, u32), Errno> {
            let len = fields.u32()?;
            let opcode = fields.u32()?;
            let unique = fields.u64()?;
            let node = fields.node()?;
            let caller = Caller { uid: fields.u32()?, gid: fields.u32()?, pid: fields.u32()?, umask: 0 };
            let extensions = fields.array().map(u16::from_ne_bytes)?;
            fields.skip(2)?;
            Ok((len, Header { opcode, unique, node, caller }, u32::from(extensions) * 8))
        };
        let (len, header, extensions) = read().ok()?;
        let whole = usize::try_from(len).is_ok_and(|len| len == message.len());
        // Extensions follow the arguments; none is asked for at INIT.
        let arguments = usize::try_from(extensions).ok().and_then(|n| fields.0.len().checked_sub(n));
        let body = arguments.filter(|_| whole).and_then(|n| fields.0.get(..n)).ok_or(MALFORMED);
        Some((header, body))
    }
}

impl<'a> Operation<'a> {
    /// `long_setxattr`: FUSE_SETXATTR_EXT was agreed on. Errors: EINVAL for arguments that are cut short or impossible,
    /// ENAMETOOLONG.
    pub fn parse(header: &Header, body: &'a [u8], long_setxattr: bool) -> Result<Self, Errno> {
        let mut fields = Fields(body);
        let f = &mut fields;
        Ok(match header.opcode {
            opcode::LOOKUP => Operation::Lookup { name: f.any_name()? },
            opcode::FORGET => Operation::Forget { count: f.u64()? },
            opcode::BATCH_FORGET => {
                let count = f.size()?;
                f.skip(4)?;
                let bytes = count.checked_mul(16).and_then(|n| f.0.get(..n)).ok_or(MALFORMED)?;
                Operation::BatchForget { nodes: Forgets(bytes) }
            }
            opcode::GETATTR => {
                let flags = f.u32()?;
                f.skip(4)?;
                let handle = f.handle()?;
                Operation::GetAttr { handle: (flags & abi::GETATTR_FH != 0).then_some(handle) }
            }
            opcode::SETATTR => Operation::SetAttr { set: set_attr(f)? },
            opcode::READLINK => Operation::ReadLink,
            opcode::SYMLINK => Operation::Symlink { name: f.name()?, target: f.string(PATH_MAX - 1)? },
            opcode::MKNOD => {
                let (mode, device, umask) = (f.u32()?, f.u32()?, f.u32()?);
                f.skip(4)?;
                Operation::MkNod { name: f.name()?, mode, device, umask }
            }
            opcode::MKDIR => {
                let (mode, umask) = (f.u32()?, f.u32()?);
                Operation::MkDir { name: f.name()?, mode, umask }
            }
            opcode::UNLINK => Operation::Unlink { name: f.name()? },
            opcode::RMDIR => Operation::RmDir { name: f.name()? },
            opcode::RENAME => {
                let new_parent = f.node()?;
                Operation::Rename { new_parent, name: f.name()?, new_name: f.name()?, flags: 0 }
            }
            opcode::RENAME2 => {
                let (new_parent, flags) = (f.node()?, f.u32()?);
                f.skip(4)?;
                Operation::Rename { new_parent, name: f.name()?, new_name: f.name()?, flags }
            }
            opcode::LINK => Operation::Link { node: f.node()?, name: f.name()? },
            opcode::OPEN => {
                let (flags, open) = (f.u32()?, f.u32()?);
                Operation::Open { flags, kill_suidgid: open & abi::OPEN_KILL_SUIDGID != 0 }
            }
            opcode::CREATE => {
                let (flags, mode, umask) = (f.u32()?, f.u32()?, f.u32()?);
                // OPEN_KILL_SUIDGID means a file that was there before and is truncated. With one mount a CREATE never
                // meets one, and a new file keeps the mode it was asked to have.
                f.skip(4)?;
                Operation::Create { name: f.name()?, mode, flags, umask }
            }
            // A name follows that stands for nothing.
            opcode::TMPFILE => {
                let (flags, mode, umask) = (f.u32()?, f.u32()?, f.u32()?);
                Operation::TmpFile { mode, flags, umask }
            }
            opcode::READ => {
                let (handle, offset, size) = (f.handle()?, f.u64()?, f.size()?);
                Operation::Read { handle, offset, size }
            }
            opcode::READDIR | opcode::READDIRPLUS => {
                let (handle, offset, size) = (f.handle()?, f.u64()?, f.size()?);
                Operation::ReadDir { handle, offset, size, plus: header.opcode == opcode::READDIRPLUS }
            }
            opcode::WRITE => {
                let (handle, offset, size, flags) = (f.handle()?, f.u64()?, f.size()?, f.u32()?);
                f.skip(16)?;
                let data = f.rest();
                if data.len() != size {
                    return Err(MALFORMED);
                }
                let how = Writing {
                    from_cache: flags & abi::WRITE_CACHE != 0,
                    kill_suidgid: flags & abi::WRITE_KILL_SUIDGID != 0,
                    by: header.caller.writer(),
                };
                Operation::Write { handle, offset, data, how }
            }
            opcode::STATFS => Operation::StatFs,
            opcode::RELEASE => Operation::Release { handle: f.handle()?, flags: f.u32()? },
            opcode::RELEASEDIR => Operation::ReleaseDir { handle: f.handle()? },
            opcode::FLUSH => Operation::Flush { handle: f.handle()? },
            opcode::FSYNC => {
                let (handle, flags) = (f.handle()?, f.u32()?);
                Operation::Fsync { handle, data_only: flags & abi::FSYNC_DATA_ONLY != 0 }
            }
            opcode::FSYNCDIR => {
                let (handle, flags) = (f.handle()?, f.u32()?);
                Operation::FsyncDir { handle, data_only: flags & abi::FSYNC_DATA_ONLY != 0 }
            }
            opcode::SETXATTR => {
                let (size, flags) = (f.size()?, f.u32()?);
                let kill_sgid = if long_setxattr {
                    let more = f.u32()?;
                    f.skip(4)?;
                    more & abi::SETXATTR_ACL_KILL_SGID != 0
                } else {
                    // Kernels before 5.13 do not tell who is in the group: on the safe side, only root is.
                    header.caller.uid != 0
                };
                let name = f.string(NAME_MAX)?;
                let value = f.rest();
                if value.len() != size {
                    return Err(MALFORMED);
                }
                Operation::SetXattr { name, value, flags, kill_sgid }
            }
            opcode::GETXATTR => {
                let size = f.size()?;
                f.skip(4)?;
                Operation::GetXattr { name: f.string(NAME_MAX)?, size }
            }
            opcode::LISTXATTR => Operation::ListXattr { size: f.size()? },
            opcode::REMOVEXATTR => Operation::RemoveXattr { name: f.string(NAME_MAX)? },
            opcode::OPENDIR => Operation::OpenDir,
            opcode::FALLOCATE => {
                let (handle, offset, length, mode) = (f.handle()?, f.u64()?, f.u64()?, f.u32()?);
                Operation::Fallocate { handle, offset, length, mode }
            }
            opcode::LSEEK => {
                let (handle, offset, whence) = (f.handle()?, f.u64()?, f.u32()?);
                Operation::Lseek { handle, offset, whence }
            }
            opcode::COPY_FILE_RANGE | opcode::COPY_FILE_RANGE_64 => copy_file_range(f)?,
            opcode::DESTROY => Operation::Destroy,
            opcode::IOCTL => Operation::Ioctl,
            opcode::NOTIFY_REPLY => Operation::Ignored,
            // Nothing here can be interrupted; told ENOSYS, the kernel stops asking.
            opcode::INTERRUPT => Operation::Unknown,
            _ => Operation::Unknown,
        })
    }
}

fn copy_file_range<'a>(f: &mut Fields<'a>) -> Result<Operation<'a>, Errno> {
    let (from, from_offset) = (f.handle()?, f.u64()?);
    let (to_node, to, to_offset) = (f.node()?, f.handle()?, f.u64()?);
    let (length, flags) = (f.u64()?, f.u64()?);
    if flags != 0 {
        return Err(MALFORMED);
    }
    Ok(Operation::CopyFileRange { from, from_offset, to_node, to, to_offset, length })
}

/// `fuse_setattr_in`. The change time is not ours to set: the backing file system keeps it.
fn set_attr(f: &mut Fields<'_>) -> Result<SetAttr, Errno> {
    let valid = f.u32()?;
    f.skip(4)?;
    let (handle, size) = (f.handle()?, f.u64()?);
    f.skip(8)?;
    let (atime, mtime) = (f.i64()?, f.i64()?);
    f.skip(8)?;
    let (atime_nanos, mtime_nanos) = (f.u32()?, f.u32()?);
    f.skip(4)?;
    let mode = f.u32()?;
    f.skip(4)?;
    let (uid, gid) = (f.u32()?, f.u32()?);
    f.skip(4)?;
    let has = |bit: u32| valid & bit != 0;
    let time = |at: u32, now: u32, secs: i64, nanos: u32| match (has(at), has(now)) {
        (_, true) => Ok(Some(SetTime::Now)),
        (true, false) if nanos >= 1_000_000_000 => Err(MALFORMED),
        (true, false) => Ok(Some(SetTime::At(Time { secs, nanos }))),
        (false, false) => Ok(None),
    };
    Ok(SetAttr {
        mode: has(fattr::MODE).then_some(mode & 0o7777),
        uid: has(fattr::UID).then_some(uid),
        gid: has(fattr::GID).then_some(gid),
        size: has(fattr::SIZE).then_some(size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, atime, atime_nanos)?,
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, mtime, mtime_nanos)?,
        handle: has(fattr::FH).then_some(handle),
        ctime: has(fattr::CTIME),
        kill_suidgid: has(fattr::KILL_SUIDGID),
    })
}
