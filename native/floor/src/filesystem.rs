//! Each request is the system call of the same name on the backing directory.

use crate::delay::Delay;
use crate::listing::OpenDir;
use crate::nodes::{attr, os, Node, Nodes};
use kmsfs_namespace::ops::*;
use parking_lot::RwLock;
use rustix::fs::{
    self, fstat, openat, utimensat, AtFlags, Dev, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, SeekFrom,
    Timespec, Timestamps, Uid, XattrFlags, UTIME_NOW, UTIME_OMIT,
};
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// The largest xattr, and the longest list of names (limits.h).
const XATTR_MAX: usize = 64 << 10;

pub struct Floor {
    nodes: Nodes,
    keeps_acls: bool,
    delay: Delay,
    dirs: RwLock<HashMap<u64, Arc<OpenDir>>>,
    next_dir: AtomicU64,
}

/// An open file's handle is its descriptor's number.
fn file(handle: &Handle) -> BorrowedFd<'_> {
    // SAFETY: the kernel hands back only what `opened` gave it, and nothing more of it after RELEASE, which closes it.
    unsafe { BorrowedFd::borrow_raw(handle.0 as RawFd) }
}

fn opened(fd: OwnedFd) -> Handle {
    Handle(fd.into_raw_fd() as u64)
}

/// The kernel reads in files that are open for writing only, to fill pages, and places appends itself.
fn opening(flags: u32) -> OFlags {
    let mut flags = OFlags::from_bits_retain(flags) | OFlags::CLOEXEC;
    if flags & OFlags::RWMODE == OFlags::WRONLY {
        flags = (flags - OFlags::WRONLY) | OFlags::RDWR;
    }
    flags - (OFlags::APPEND | OFlags::NOFOLLOW | OFlags::DIRECT | OFlags::CREATE | OFlags::EXCL)
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(t)) => Timespec { tv_sec: t.secs, tv_nsec: i64::from(t.nanos) },
    }
}

/// What an xattr call fills, cut to its length.
fn filled(call: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>> {
    let mut buf = vec![0; XATTR_MAX];
    let length = call(&mut buf).map_err(os)?;
    buf.truncate(length);
    Ok(buf)
}

impl Floor {
    pub fn open(backing: &Path, delay: Delay) -> Result<Floor> {
        let nodes = Nodes::open(backing)?;
        let asked = fs::getxattr(backing, "system.posix_acl_access", &mut [0u8; 0][..]);
        let keeps_acls = asked != Err(rustix::io::Errno::OPNOTSUPP);
        // Modes come with the caller's umask beside them.
        rustix::process::umask(Mode::empty());
        Ok(Floor { nodes, keeps_acls, delay, dirs: RwLock::default(), next_dir: AtomicU64::new(1) })
    }

    /// The new entry `name`, given to its maker.
    fn made(&self, caller: Caller, parent: &Node, name: &[u8]) -> Result<Entry> {
        if (caller.uid, caller.gid) != (0, 0) {
            let (uid, gid) = (Some(Uid::from_raw(caller.uid)), Some(Gid::from_raw(caller.gid)));
            fs::chownat(&parent.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW).map_err(os)?;
        }
        self.nodes.look_up(parent, name)
    }

    fn dir(&self, handle: Handle) -> Result<Arc<OpenDir>> {
        self.dirs.read().get(&handle.0).cloned().ok_or(Errno(libc::EBADF))
    }

    fn at(&self, offset: u64) -> Result<u64> {
        i64::try_from(offset).map(|_| offset).map_err(|_| Errno(libc::EFBIG))
    }
}

fn permitted(mode: u32, caller: Caller) -> Mode {
    Mode::from_raw_mode(mode & 0o7777 & !caller.umask)
}

impl FileSystem for Floor {
    fn keeps_acls(&self) -> bool {
        self.keeps_acls
    }
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Entry> {
        self.nodes.look_up(&*self.nodes.get(parent)?, name)
    }
    fn forget(&self, node: NodeId, count: u64) {
        self.nodes.forget(node, count);
    }
    fn getattr(&self, node: NodeId, _handle: Option<Handle>) -> Result<Attr> {
        fstat(&self.nodes.get(node)?.fd).map(|stat| attr(&stat)).map_err(os)
    }
    fn setattr(&self, _caller: Caller, node: NodeId, set: &SetAttr) -> Result<Attr> {
        let node = self.nodes.get(node)?;
        if let Some(size) = set.size {
            match &set.handle {
                Some(handle) => fs::ftruncate(file(handle), size).map_err(os)?,
                None => {
                    let fd = fs::open(node.path(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(os)?;
                    fs::ftruncate(fd, size).map_err(os)?;
                }
            }
        }
        if set.uid.is_some() || set.gid.is_some() {
            let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
            fs::chownat(&node.fd, "", uid, gid, AtFlags::EMPTY_PATH).map_err(os)?;
        }
        if let Some(mode) = set.mode {
            fs::chmod(node.path(), Mode::from_raw_mode(mode & 0o7777)).map_err(os)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: timespec(set.atime), last_modification: timespec(set.mtime) };
            utimensat(&node.fd, "", &times, AtFlags::EMPTY_PATH).map_err(os)?;
        }
        fstat(&node.fd).map(|stat| attr(&stat)).map_err(os)
    }
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let target = fs::readlinkat(&self.nodes.get(node)?.fd, "", Vec::new()).map_err(os)?;
        Ok(target.into_bytes())
    }
    fn mknod(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, major: u32, minor: u32) -> Result<Entry> {
        let (parent, kind) = (self.nodes.get(parent)?, FileType::from_raw_mode(mode));
        let device: Dev = fs::makedev(major, minor);
        fs::mknodat(&parent.fd, name, kind, permitted(mode, caller), device).map_err(os)?;
        self.made(caller, &parent, name)
    }
    fn mkdir(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Entry> {
        let parent = self.nodes.get(parent)?;
        fs::mkdirat(&parent.fd, name, permitted(mode, caller)).map_err(os)?;
        self.made(caller, &parent, name)
    }
    fn symlink(&self, caller: Caller, parent: NodeId, name: &[u8], target: &[u8]) -> Result<Entry> {
        let parent = self.nodes.get(parent)?;
        fs::symlinkat(target, &parent.fd, name).map_err(os)?;
        self.made(caller, &parent, name)
    }
    fn link(&self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Entry> {
        let (node, parent) = (self.nodes.get(node)?, self.nodes.get(parent)?);
        fs::linkat(&node.fd, "", &parent.fd, name, AtFlags::EMPTY_PATH).map_err(os)?;
        self.nodes.look_up(&parent, name)
    }
    fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        fs::unlinkat(&self.nodes.get(parent)?.fd, name, AtFlags::empty()).map_err(os)
    }
    fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        fs::unlinkat(&self.nodes.get(parent)?.fd, name, AtFlags::REMOVEDIR).map_err(os)
    }
    fn rename(&self, parent: NodeId, name: &[u8], new_parent: NodeId, new_name: &[u8], flags: u32) -> Result<()> {
        let (from, to) = (self.nodes.get(parent)?, self.nodes.get(new_parent)?);
        fs::renameat_with(&from.fd, name, &to.fd, new_name, RenameFlags::from_bits_retain(flags)).map_err(os)
    }

    fn open(&self, node: NodeId, flags: u32) -> Result<Handle> {
        fs::open(self.nodes.get(node)?.path(), opening(flags), Mode::empty()).map(opened).map_err(os)
    }
    fn create(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, flags: u32) -> Result<(Entry, Handle)> {
        let parent = self.nodes.get(parent)?;
        let exclusive = OFlags::from_bits_retain(flags) & OFlags::EXCL;
        let flags = opening(flags) | OFlags::CREATE | OFlags::NOFOLLOW | exclusive;
        let fd = openat(&parent.fd, name, flags, permitted(mode, caller)).map_err(os)?;
        Ok((self.made(caller, &parent, name)?, opened(fd)))
    }
    fn tmpfile(&self, caller: Caller, parent: NodeId, mode: u32, flags: u32) -> Result<(Entry, Handle)> {
        let parent = self.nodes.get(parent)?;
        let flags = opening(flags) | OFlags::TMPFILE;
        let fd = openat(&parent.fd, ".", flags, permitted(mode, caller)).map_err(os)?;
        let (uid, gid) = (Some(Uid::from_raw(caller.uid)), Some(Gid::from_raw(caller.gid)));
        fs::fchown(&fd, uid, gid).map_err(os)?;
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let entry = self.nodes.enter(fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(os)?)?;
        Ok((entry, opened(fd)))
    }
    fn read(&self, _node: NodeId, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.delay.wait(buf.len());
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(file(&handle), rest, self.at(offset + done as u64)?).map_err(os)? {
                0 => break,
                n => done += n,
            }
        }
        Ok(done)
    }
    fn write(&self, _node: NodeId, handle: Handle, offset: u64, data: &[u8], _how: Writing) -> Result<usize> {
        self.delay.wait(data.len());
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            done += rustix::io::pwrite(file(&handle), rest, self.at(offset + done as u64)?).map_err(os)?;
        }
        Ok(done)
    }
    fn flush(&self, _node: NodeId, _handle: Handle) -> Result<()> {
        Ok(())
    }
    fn release(&self, _node: NodeId, handle: Handle) -> Result<()> {
        // SAFETY: the number is that of `opened`, which gave the descriptor away, and this is its last use.
        unsafe { rustix::io::close(handle.0 as RawFd) };
        Ok(())
    }
    fn fsync(&self, _node: NodeId, handle: Handle, data_only: bool) -> Result<()> {
        self.delay.wait(0);
        let fd = file(&handle);
        if data_only { fs::fdatasync(fd) } else { fs::fsync(fd) }.map_err(os)
    }
    fn fallocate(&self, _node: NodeId, handle: Handle, mode: u32, offset: u64, length: u64) -> Result<()> {
        fs::fallocate(file(&handle), FallocateFlags::from_bits_retain(mode), offset, length).map_err(os)
    }
    fn lseek(&self, _node: NodeId, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        let to = if whence as i32 == libc::SEEK_DATA { SeekFrom::Data(offset) } else { SeekFrom::Hole(offset) };
        fs::seek(file(&handle), to).map_err(os)
    }
    fn copy_file_range(
        &self,
        _from: NodeId,
        from_handle: Handle,
        mut from_offset: u64,
        _to: NodeId,
        to_handle: Handle,
        mut to_offset: u64,
        length: u64,
    ) -> Result<u64> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (from, to) = (file(&from_handle), file(&to_handle));
        let copied = fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), length);
        copied.map(|n| n as u64).map_err(os)
    }

    fn opendir(&self, node: NodeId) -> Result<Handle> {
        let dir = OpenDir::open(self.nodes.get(node)?)?;
        let handle = self.next_dir.fetch_add(1, Ordering::Relaxed);
        self.dirs.write().insert(handle, Arc::new(dir));
        Ok(Handle(handle))
    }
    fn readdir(&self, _node: NodeId, handle: Handle, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        self.dir(handle)?.list(&self.nodes, offset, sink)
    }
    fn releasedir(&self, _node: NodeId, handle: Handle) -> Result<()> {
        self.dirs.write().remove(&handle.0);
        Ok(())
    }
    fn fsyncdir(&self, _node: NodeId, handle: Handle, _data_only: bool) -> Result<()> {
        fs::fsync(self.dir(handle)?.fd.as_fd()).map_err(os)
    }

    fn statfs(&self) -> Result<Statfs> {
        let s = fs::fstatvfs(&self.nodes.get(ROOT)?.fd).map_err(os)?;
        Ok(Statfs {
            blocks: s.f_blocks,
            bfree: s.f_bfree,
            bavail: s.f_bavail,
            files: s.f_files,
            ffree: s.f_ffree,
            bsize: s.f_bsize as u32,
            namelen: s.f_namemax as u32,
            frsize: s.f_frsize as u32,
        })
    }
    fn getxattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        let path = self.nodes.get(node)?.path();
        filled(|buf| fs::getxattr(path, name, buf))
    }
    fn setxattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32, _kill_sgid: bool) -> Result<()> {
        let path = self.nodes.get(node)?.path();
        fs::setxattr(path, name, value, XattrFlags::from_bits_retain(flags)).map_err(os)
    }
    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>> {
        let path = self.nodes.get(node)?.path();
        filled(|buf| fs::listxattr(path, buf))
    }
    fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        fs::removexattr(self.nodes.get(node)?.path(), name).map_err(os)
    }

    fn destroy(&self) {}
}
