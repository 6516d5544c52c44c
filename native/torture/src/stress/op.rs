//! One operation on a tree, and doing it below a root: on the mount and on the mirror it is the same call.

use kmsfs_random::Random;
use rustix::fs::{
    self, AtFlags, Dev, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags, CWD,
};
use rustix::io::Errno;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::Path;

#[derive(Clone, Debug)]
pub enum Op {
    Create {
        path: String,
        mode: u32,
        exclusive: bool,
    },
    Mkdir {
        path: String,
        mode: u32,
    },
    Mknod {
        path: String,
        kind: FileType,
        mode: u32,
        dev: Dev,
    },
    Symlink {
        path: String,
        target: String,
    },
    Link {
        from: String,
        to: String,
    },
    Rename {
        from: String,
        to: String,
        flags: u32,
    },
    Unlink {
        path: String,
    },
    Rmdir {
        path: String,
    },
    Chmod {
        path: String,
        mode: u32,
    },
    Chown {
        path: String,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Times {
        path: String,
        atime: (i64, i64),
        mtime: (i64, i64),
    },
    SetXattr {
        path: String,
        name: String,
        value: Vec<u8>,
        flags: u32,
    },
    GetXattr {
        path: String,
        name: String,
    },
    RemoveXattr {
        path: String,
        name: String,
    },
    ListXattr {
        path: String,
    },
    Truncate {
        path: String,
        size: u64,
    },
    Write {
        path: String,
        flags: OFlags,
        at: u64,
        len: usize,
        seed: u64,
        sync: bool,
    },
    Allocate {
        path: String,
        flags: u32,
        at: u64,
        len: u64,
    },
    Copy {
        from: String,
        to: String,
        at: u64,
        len: usize,
    },
    Read {
        path: String,
        at: u64,
        len: usize,
    },
    List {
        path: String,
    },
    Stat {
        path: String,
    },
    ReadLink {
        path: String,
    },
    SyncDir {
        path: String,
    },
    /// O_TMPFILE, written, given a name.
    Unnamed {
        dir: String,
        to: String,
        len: usize,
        seed: u64,
    },
}

/// What an operation gives.
#[derive(Debug)]
pub enum Gave {
    Nothing,
    Bytes(Vec<u8>),
    Names(Vec<String>),
    Stat(Box<Stat>),
}

pub type Done = rustix::io::Result<Gave>;

impl Op {
    /// Every path that it may change.
    pub fn paths(&self) -> Vec<&str> {
        match self {
            Op::Link { from, to } | Op::Rename { from, to, .. } | Op::Copy { from, to, .. } => vec![from, to],
            Op::Unnamed { to, .. } => vec![to],
            Op::Create { path, .. }
            | Op::Mkdir { path, .. }
            | Op::Mknod { path, .. }
            | Op::Symlink { path, .. }
            | Op::Unlink { path }
            | Op::Rmdir { path }
            | Op::Chmod { path, .. }
            | Op::Chown { path, .. }
            | Op::Times { path, .. }
            | Op::SetXattr { path, .. }
            | Op::GetXattr { path, .. }
            | Op::RemoveXattr { path, .. }
            | Op::ListXattr { path }
            | Op::Truncate { path, .. }
            | Op::Write { path, .. }
            | Op::Allocate { path, .. }
            | Op::Read { path, .. }
            | Op::List { path }
            | Op::Stat { path }
            | Op::ReadLink { path }
            | Op::SyncDir { path } => vec![path],
        }
    }

    pub fn run(&self, root: &Path) -> Done {
        let at = |path: &str| root.join(path);
        let mode = |mode: u32| Mode::from_raw_mode(mode);
        // Neither waits for the other end of a fifo.
        let open = |path: &str, flags: OFlags| fs::open(at(path), flags | OFlags::NONBLOCK, mode(0o644));
        match self {
            Op::Create { path, mode: m, exclusive } => {
                let more = if *exclusive { OFlags::EXCL } else { OFlags::empty() };
                fs::open(at(path), OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | more, mode(*m))?;
            }
            Op::Mkdir { path, mode: m } => fs::mkdir(at(path), mode(*m))?,
            Op::Mknod { path, kind, mode: m, dev } => fs::mknodat(CWD, at(path), *kind, mode(*m), *dev)?,
            Op::Symlink { path, target } => fs::symlink(target, at(path))?,
            Op::Link { from, to } => fs::linkat(CWD, at(from), CWD, at(to), AtFlags::empty())?,
            Op::Rename { from, to, flags } => {
                fs::renameat_with(CWD, at(from), CWD, at(to), RenameFlags::from_bits_retain(*flags))?;
            }
            Op::Unlink { path } => fs::unlink(at(path))?,
            Op::Rmdir { path } => fs::rmdir(at(path))?,
            Op::Chmod { path, mode: m } => fs::chmod(at(path), mode(*m))?,
            Op::Chown { path, uid, gid } => {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                fs::chownat(CWD, at(path), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Op::Times { path, atime, mtime } => {
                let time = |(tv_sec, tv_nsec): (i64, i64)| Timespec { tv_sec, tv_nsec };
                let times = Timestamps { last_access: time(*atime), last_modification: time(*mtime) };
                fs::utimensat(CWD, at(path), &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Op::SetXattr { path, name, value, flags } => {
                fs::lsetxattr(at(path), name.as_str(), value, XattrFlags::from_bits_retain(*flags))?;
            }
            Op::GetXattr { path, name } => {
                let mut value = vec![0; 4096];
                let n = fs::lgetxattr(at(path), name.as_str(), &mut value)?;
                value.truncate(n);
                return Ok(Gave::Bytes(value));
            }
            Op::RemoveXattr { path, name } => fs::lremovexattr(at(path), name.as_str())?,
            Op::ListXattr { path } => return Ok(Gave::Names(xattrs(&at(path))?)),
            Op::Truncate { path, size } => {
                let path = std::ffi::CString::new(at(path).into_os_string().into_encoded_bytes()).unwrap_or_default();
                // SAFETY: a system call with a string that outlives it.
                if unsafe { libc::truncate(path.as_ptr(), *size as i64) } < 0 {
                    return Err(last_errno());
                }
            }
            Op::Write { path, flags, at: offset, len, seed, sync } => {
                let fd = open(path, OFlags::RDWR | *flags)?;
                let data = Random::new(*seed).bytes(*len);
                let n = if flags.contains(OFlags::APPEND) {
                    rustix::io::write(&fd, &data)?
                } else {
                    rustix::io::pwrite(&fd, &data, *offset)?
                };
                if *sync {
                    match fs::fsync(&fd) {
                        // A device.
                        Ok(()) | Err(Errno::INVAL) => {}
                        Err(e) => return Err(e),
                    }
                }
                close(fd)?;
                if n != data.len() {
                    return Err(Errno::NOSPC);
                }
            }
            Op::Allocate { path, flags, at: offset, len } => {
                let fd = open(path, OFlags::RDWR)?;
                fs::fallocate(&fd, FallocateFlags::from_bits_retain(*flags), *offset, *len)?;
                close(fd)?;
            }
            Op::Copy { from, to, at: offset, len } => {
                let (source, target) = (open(from, OFlags::RDONLY)?, open(to, OFlags::RDWR)?);
                let (mut done, mut from_at, mut to_at) = (0, 0, *offset);
                while done < *len {
                    let (a, b) = (Some(&mut from_at), Some(&mut to_at));
                    match fs::copy_file_range(&source, a, &target, b, len - done)? {
                        0 => break,
                        n => done += n,
                    }
                }
                close(target)?;
                return Ok(Gave::Bytes(done.to_le_bytes().to_vec()));
            }
            Op::Read { path, at: offset, len } => {
                let fd = open(path, OFlags::RDONLY)?;
                let mut bytes = vec![0; *len];
                let n = rustix::io::pread(&fd, &mut bytes, *offset)?;
                bytes.truncate(n);
                return Ok(Gave::Bytes(bytes));
            }
            Op::List { path } => return Ok(Gave::Names(names(&at(path))?)),
            Op::Stat { path } => return Ok(Gave::Stat(Box::new(fs::lstat(at(path))?))),
            Op::ReadLink { path } => return Ok(Gave::Bytes(fs::readlink(at(path), Vec::new())?.into_bytes())),
            Op::SyncDir { path } => fs::fsync(open(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?,
            Op::Unnamed { dir, to, len, seed } => {
                let fd = fs::open(at(dir), OFlags::RDWR | OFlags::TMPFILE, mode(0o640))?;
                rustix::io::write(&fd, &Random::new(*seed).bytes(*len))?;
                use std::os::fd::AsRawFd;
                let magic = format!("/proc/self/fd/{}", fd.as_raw_fd());
                fs::linkat(CWD, magic, CWD, at(to), AtFlags::SYMLINK_FOLLOW)?;
                close(fd)?;
            }
        }
        Ok(Gave::Nothing)
    }
}

/// close(2), and what it says: that what was written is in the log.
fn close(fd: OwnedFd) -> rustix::io::Result<()> {
    // SAFETY: it was owned, and is given up here.
    if unsafe { libc::close(fd.into_raw_fd()) } < 0 {
        return Err(last_errno());
    }
    Ok(())
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Names and types in a directory, in order; a name that is there twice stays twice.
pub fn names(dir: &Path) -> rustix::io::Result<Vec<String>> {
    let fd = fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let mut all = Vec::new();
    for entry in fs::Dir::new(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            all.push(format!("{name} {:?}", entry.file_type()));
        }
    }
    all.sort();
    Ok(all)
}

/// Names of the xattrs, in order.
pub fn xattrs(path: &Path) -> rustix::io::Result<Vec<String>> {
    let mut list = vec![0; 65536];
    let n = fs::llistxattr(path, &mut list)?;
    let mut all: Vec<String> = list[..n]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    all.sort();
    Ok(all)
}
