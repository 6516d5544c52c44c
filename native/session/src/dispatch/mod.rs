//! One request to the file system, its answer into the reply. Split by family: names, contents, directories, records.

mod attributes;
mod contents;
mod directories;
mod names;

use crate::counters::Counters;
use crate::reply::{Lifetimes, Reply};
use crate::request::{Caller, Header, NodeId, Operation};
use crate::writers::Writers;
use kmsfs_namespace::ops::{Errno, FileSystem};

/// What every request needs to know of its session.
pub struct Context<'a> {
    pub fs: &'a dyn FileSystem,
    pub lifetimes: Lifetimes,
    pub cache_directories: bool,
    pub debug: bool,
    /// SETXATTR has its long form (FUSE_SETXATTR_EXT).
    pub long_setxattr: bool,
    pub writers: Writers,
    pub counters: &'a Counters,
}

/// A request that is being answered: whose it is, and where its answer goes.
struct Call<'c, 'r, 'b> {
    context: &'c Context<'c>,
    fs: &'c dyn FileSystem,
    caller: Caller,
    node: NodeId,
    reply: &'r mut Reply<'b>,
}

type Done = Result<(), Errno>;

impl Call<'_, '_, '_> {
    /// With the umask that came with the request.
    fn masked(&mut self, umask: u32) -> &mut Self {
        self.caller.umask = umask;
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The reply's payload, which may be empty.
    Reply,
    /// The kernel expects no reply.
    None,
}

/// Errors are what the caller of the system call gets.
pub fn dispatch(
    context: &Context<'_>,
    header: &Header,
    operation: Operation<'_>,
    reply: &mut Reply<'_>,
) -> Result<Answer, Errno> {
    let mut call = Call { context, fs: context.fs, caller: header.caller, node: header.node, reply };
    match operation {
        Operation::Forget { count } => {
            call.fs.forget(header.node, count);
            return Ok(Answer::None);
        }
        Operation::BatchForget { nodes } => {
            for (node, count) in nodes {
                call.fs.forget(node, count);
            }
            return Ok(Answer::None);
        }
        Operation::Ignored => return Ok(Answer::None),

        Operation::Lookup { name } => call.lookup(name),
        Operation::MkNod { name, mode, device, umask } => call.masked(umask).mknod(name, mode, device),
        Operation::MkDir { name, mode, umask } => call.masked(umask).mkdir(name, mode),
        Operation::Symlink { name, target } => call.symlink(name, target),
        Operation::ReadLink => call.readlink(),
        Operation::Link { node, name } => call.link(node, name),
        Operation::Unlink { name } => call.fs.unlink(call.node, name),
        Operation::RmDir { name } => call.fs.rmdir(call.node, name),
        Operation::Rename { name, new_parent, new_name, flags } => {
            call.fs.rename(call.node, name, new_parent, new_name, flags)
        }

        Operation::GetAttr { handle } => call.getattr(handle),
        Operation::SetAttr { set } => call.setattr(&set),
        Operation::StatFs => call.statfs(),
        Operation::SetXattr { name, value, flags, kill_sgid } => {
            call.fs.setxattr(call.node, name, value, flags, kill_sgid)
        }
        Operation::GetXattr { name, size } => call.getxattr(name, size),
        Operation::ListXattr { size } => call.listxattr(size),
        Operation::RemoveXattr { name } => call.fs.removexattr(call.node, name),

        Operation::Open { flags, kill_suidgid } => call.open(flags, kill_suidgid),
        Operation::Create { name, mode, flags, umask } => call.masked(umask).create(name, mode, flags),
        Operation::TmpFile { mode, flags, umask } => call.masked(umask).tmpfile(mode, flags),
        Operation::Read { handle, offset, size } => call.read(handle, offset, size),
        Operation::Write { handle, offset, data, how } => call.write(handle, offset, data, how),
        Operation::Flush { handle } => call.fs.flush(call.node, handle),
        Operation::Release { handle, flags } => call.release(handle, flags),
        Operation::Fsync { handle, data_only } => call.fs.fsync(call.node, handle, data_only),
        Operation::Fallocate { handle, offset, length, mode } => {
            call.fs.fallocate(call.node, handle, mode, offset, length)
        }
        Operation::Lseek { handle, offset, whence } => call.lseek(handle, offset, whence),
        Operation::CopyFileRange { .. } => call.copy_file_range(header.opcode, &operation),

        Operation::OpenDir => call.opendir(),
        Operation::ReadDir { handle, offset, size, plus } => call.readdir(handle, offset, size, plus),
        Operation::ReleaseDir { handle } => call.fs.releasedir(call.node, handle),
        Operation::FsyncDir { handle, data_only } => call.fs.fsyncdir(call.node, handle, data_only),

        // The session calls the file system's destroy, once, after the last request.
        Operation::Destroy => Ok(()),
        Operation::Ioctl => Err(Errno(libc::ENOTTY)),
        Operation::Unknown => Err(Errno(libc::ENOSYS)),
    }?;
    Ok(Answer::Reply)
}
