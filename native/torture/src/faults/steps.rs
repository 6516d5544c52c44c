//! What an application does, each step in a directory of its own. Run on the mount and on the mirror, it is the same.

use kmsfs_random::Random;
use rustix::fs::{
    self, AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags, CWD,
};
use rustix::io::{self, Errno};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;

/// What the calls of a step said that was an error.
#[derive(Default)]
pub struct Errors(pub Vec<(&'static str, Errno)>);

impl Errors {
    fn keep<T>(&mut self, what: &'static str, done: io::Result<T>) -> Option<T> {
        done.map_err(|e| self.0.push((what, e))).ok()
    }
}

pub struct Step {
    pub name: &'static str,
    /// Makes what the step works on. All of it is made durable before anything fails.
    pub prepare: fn(&Path) -> io::Result<()>,
    pub act: fn(&Path, &mut Errors),
    /// Changes content by several calls: after an error, blocks may be of before and of after.
    pub content: bool,
}

const fn step(name: &'static str, prepare: fn(&Path) -> io::Result<()>, act: fn(&Path, &mut Errors)) -> Step {
    Step { name, prepare, act, content: false }
}

const fn content(name: &'static str, prepare: fn(&Path) -> io::Result<()>, act: fn(&Path, &mut Errors)) -> Step {
    Step { name, prepare, act, content: true }
}

/// The longest name, whose sealed form is too long for one.
fn long() -> String {
    "n".repeat(255)
}

fn target() -> String {
    "target/".repeat(300)
}

fn bytes(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

fn put(path: &Path, data: &[u8]) -> io::Result<()> {
    let fd = fs::open(path, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC, Mode::from_raw_mode(0o644))?;
    write_all(&fd, data, 0)?;
    fs::fsync(&fd)
}

fn write_all(fd: &OwnedFd, data: &[u8], at: u64) -> io::Result<()> {
    let mut done = 0;
    while done < data.len() {
        done += io::pwrite(fd, &data[done..], at + done as u64)?;
    }
    Ok(())
}

/// What fails after some of it was written is a short write first: no error, and the rest is to be written again.
fn append_all(fd: &OwnedFd, data: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < data.len() {
        done += io::write(fd, &data[done..])?;
    }
    Ok(())
}

fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: it was owned, and is given up here.
    if unsafe { libc::close(fd.into_raw_fd()) } < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    Ok(())
}

fn nothing(_: &Path) -> io::Result<()> {
    Ok(())
}

fn small(dir: &Path) -> io::Result<()> {
    put(&dir.join("f"), &bytes(11, 5000))
}

fn medium(dir: &Path) -> io::Result<()> {
    put(&dir.join("f"), &bytes(12, 200_000))
}

fn large(dir: &Path) -> io::Result<()> {
    put(&dir.join("f"), &bytes(13, 1_600_000))
}

fn two(dir: &Path) -> io::Result<()> {
    small(dir)?;
    put(&dir.join("g"), &bytes(14, 9000))
}

fn long_file(dir: &Path) -> io::Result<()> {
    put(&dir.join(long()), &bytes(15, 5000))
}

fn long_link(dir: &Path) -> io::Result<()> {
    fs::symlink(target(), dir.join("l"))
}

fn subdirectory(dir: &Path) -> io::Result<()> {
    fs::mkdir(dir.join("d"), Mode::from_raw_mode(0o755))
}

fn with_xattr(dir: &Path) -> io::Result<()> {
    small(dir)?;
    fs::setxattr(dir.join("f"), "user.is", b"there", XattrFlags::empty())
}

/// Opens `f`, has `change` change it, and closes it, whatever fails.
fn opened(
    dir: &Path,
    errors: &mut Errors,
    flags: OFlags,
    change: impl FnOnce(&OwnedFd) -> io::Result<()>,
    sync: Option<fn(&OwnedFd) -> io::Result<()>>,
) {
    let fd = errors.keep("open", fs::open(dir.join("f"), flags, Mode::from_raw_mode(0o640)));
    let Some(fd) = fd else { return };
    errors.keep("change", change(&fd));
    if let Some(sync) = sync {
        errors.keep("sync", sync(&fd));
    }
    errors.keep("close", close(fd));
}

const NEW: OFlags = OFlags::RDWR.union(OFlags::CREATE).union(OFlags::EXCL);

fn fsync(fd: &OwnedFd) -> io::Result<()> {
    fs::fsync(fd)
}

fn fdatasync(fd: &OwnedFd) -> io::Result<()> {
    fs::fdatasync(fd)
}

/// ACL_USER_OBJ rw, a named user r, ACL_GROUP_OBJ r, the mask r, ACL_OTHER none (posix_acl_xattr.h).
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1u16, 6u16, none), (2, 4, 1234), (4, 4, none), (16, 4, none), (32, 0, none)] {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

/// The step that fills the log, so that it is written home in the background: that comes to its end after the step.
pub const CHECKPOINT: &str = "checkpoint";

pub const ALL: &[Step] = &[
    content(CHECKPOINT, large, |d, e| {
        let rounds = |fd: &OwnedFd| {
            (0..6).try_for_each(|n| write_all(fd, &bytes(20 + n, 1_200_000), 8192).and_then(|()| fs::fsync(fd)))
        };
        opened(d, e, OFlags::RDWR, rounds, None);
    }),
    content("create", nothing, |d, e| opened(d, e, NEW, |_| Ok(()), None)),
    content("create synced", nothing, |d, e| opened(d, e, NEW, |_| Ok(()), Some(fsync))),
    content("write little", nothing, |d, e| opened(d, e, NEW, |fd| write_all(fd, &bytes(1, 100), 0), Some(fsync))),
    content("write and close", nothing, |d, e| opened(d, e, NEW, |fd| write_all(fd, &bytes(2, 30_000), 0), None)),
    content("write much", nothing, |d, e| {
        opened(d, e, NEW, |fd| write_all(fd, &bytes(3, 1_500_037), 0), Some(fsync));
    }),
    content("write much and close", nothing, |d, e| {
        opened(d, e, NEW, |fd| write_all(fd, &bytes(3, 700_037), 0), None);
    }),
    content("overwrite", medium, |d, e| {
        opened(d, e, OFlags::RDWR, |fd| write_all(fd, &bytes(4, 9000), 50_001), Some(fdatasync));
    }),
    content("overwrite much", large, |d, e| {
        opened(d, e, OFlags::RDWR, |fd| write_all(fd, &bytes(5, 1_200_000), 8192), Some(fsync));
    }),
    content("append", medium, |d, e| {
        opened(d, e, OFlags::WRONLY | OFlags::APPEND, |fd| append_all(fd, &bytes(6, 70_000)), Some(fsync));
    }),
    content("write over a new beginning", medium, |d, e| {
        opened(d, e, OFlags::RDWR | OFlags::TRUNC, |fd| write_all(fd, &bytes(7, 20_000), 0), Some(fsync));
    }),
    content("shorten", medium, |d, e| opened(d, e, OFlags::RDWR, |fd| fs::ftruncate(fd, 70_003), Some(fsync))),
    content("lengthen", medium, |d, e| opened(d, e, OFlags::RDWR, |fd| fs::ftruncate(fd, 900_003), Some(fsync))),
    content("punch", medium, |d, e| {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        opened(d, e, OFlags::RDWR, |fd| fs::fallocate(fd, how, 8192, 90_000), Some(fsync));
    }),
    content("allocate", small, |d, e| {
        let how = FallocateFlags::empty();
        opened(d, e, OFlags::RDWR, |fd| fs::fallocate(fd, how, 0, 400_000), Some(fsync));
    }),
    content("read", large, |d, e| {
        opened(d, e, OFlags::RDONLY, |fd| read(fd, &bytes(13, 1_600_000)), None);
    }),
    step("mkdir", nothing, |d, e| {
        e.keep("mkdir", fs::mkdir(d.join("d"), Mode::from_raw_mode(0o750)));
    }),
    step("mkdir with a long name", nothing, |d, e| {
        e.keep("mkdir", fs::mkdir(d.join(long()), Mode::from_raw_mode(0o750)));
    }),
    step("rmdir", subdirectory, |d, e| {
        e.keep("rmdir", fs::rmdir(d.join("d")));
    }),
    step("mknod", nothing, |d, e| {
        e.keep("mknod", fs::mknodat(CWD, d.join("p"), FileType::Fifo, Mode::from_raw_mode(0o640), 0));
    }),
    step("symlink", nothing, |d, e| {
        e.keep("symlink", fs::symlink("target", d.join("l")));
    }),
    step("symlink with a long target", nothing, |d, e| {
        e.keep("symlink", fs::symlink(target(), d.join("l")));
    }),
    step("symlink, both long", nothing, |d, e| {
        e.keep("symlink", fs::symlink(target(), d.join(long())));
    }),
    step("readlink", long_link, |d, e| {
        if let Some(read) = e.keep("readlink", fs::readlink(d.join("l"), Vec::new())) {
            e.keep("target", if read.to_bytes() == target().as_bytes() { Ok(()) } else { Err(Errno::BADMSG) });
        }
    }),
    content("create with a long name", nothing, |d, e| {
        if let Some(fd) = e.keep("open", fs::open(d.join(long()), NEW, Mode::from_raw_mode(0o640))) {
            e.keep("close", close(fd));
        }
    }),
    step("link", small, |d, e| {
        e.keep("link", fs::linkat(CWD, d.join("f"), CWD, d.join("g"), AtFlags::empty()));
    }),
    step("link with a long name", small, |d, e| {
        e.keep("link", fs::linkat(CWD, d.join("f"), CWD, d.join(long()), AtFlags::empty()));
    }),
    step("unlink", small, |d, e| {
        e.keep("unlink", fs::unlink(d.join("f")));
    }),
    step("unlink a long name", long_file, |d, e| {
        e.keep("unlink", fs::unlink(d.join(long())));
    }),
    step("unlink a long symlink", long_link, |d, e| {
        e.keep("unlink", fs::unlink(d.join("l")));
    }),
    step(
        "unlink one of two",
        |d| small(d).and_then(|()| fs::linkat(CWD, d.join("f"), CWD, d.join("g"), AtFlags::empty())),
        |d, e| {
            e.keep("unlink", fs::unlink(d.join("g")));
        },
    ),
    step("rename", small, |d, e| {
        e.keep("rename", fs::rename(d.join("f"), d.join("g")));
    }),
    step("rename to a long name", small, |d, e| {
        e.keep("rename", fs::rename(d.join("f"), d.join(long())));
    }),
    step("rename from a long name", long_file, |d, e| {
        e.keep("rename", fs::rename(d.join(long()), d.join("g")));
    }),
    step("rename over a file", two, |d, e| {
        e.keep("rename", fs::rename(d.join("f"), d.join("g")));
    }),
    step(
        "rename over a long symlink",
        |d| small(d).and_then(|()| long_link(d)),
        |d, e| {
            e.keep("rename", fs::rename(d.join("f"), d.join("l")));
        },
    ),
    step(
        "rename over a long name",
        |d| small(d).and_then(|()| long_file(d)),
        |d, e| {
            e.keep("rename", fs::rename(d.join("f"), d.join(long())));
        },
    ),
    step(
        "rename a directory over another",
        |d| subdirectory(d).and_then(|()| fs::mkdir(d.join("e"), Mode::from_raw_mode(0o700))),
        |d, e| {
            e.keep("rename", fs::rename(d.join("d"), d.join("e")));
        },
    ),
    step("exchange", two, |d, e| {
        e.keep("rename", fs::renameat_with(CWD, d.join("f"), CWD, d.join("g"), RenameFlags::EXCHANGE));
    }),
    step("name the unnamed", nothing, |d, e| {
        let unnamed = fs::open(d, OFlags::RDWR | OFlags::TMPFILE, Mode::from_raw_mode(0o640));
        let Some(fd) = e.keep("open", unnamed) else { return };
        let from = format!("/proc/self/fd/{}", fd.as_raw_fd());
        e.keep("link", fs::linkat(CWD, from, CWD, d.join("f"), AtFlags::SYMLINK_FOLLOW));
        e.keep("close", close(fd));
    }),
    step("chmod", small, |d, e| {
        e.keep("chmod", fs::chmod(d.join("f"), Mode::from_raw_mode(0o4711)));
    }),
    step("chown", small, |d, e| {
        let (uid, gid) = (Some(Uid::from_raw(1234)), Some(Gid::from_raw(4321)));
        e.keep("chown", fs::chownat(CWD, d.join("f"), uid, gid, AtFlags::empty()));
    }),
    step("utimes", small, |d, e| {
        let time = Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
        let times = Timestamps { last_access: time, last_modification: time };
        e.keep("utimens", fs::utimensat(CWD, d.join("f"), &times, AtFlags::empty()));
    }),
    step("setxattr", small, |d, e| {
        e.keep("setxattr", fs::setxattr(d.join("f"), "user.new", &bytes(8, 300), XattrFlags::empty()));
    }),
    step("change an xattr", with_xattr, |d, e| {
        e.keep("setxattr", fs::setxattr(d.join("f"), "user.is", b"other", XattrFlags::REPLACE));
    }),
    step("removexattr", with_xattr, |d, e| {
        e.keep("removexattr", fs::removexattr(d.join("f"), "user.is"));
    }),
    step("set an ACL", small, |d, e| {
        e.keep("setxattr", fs::setxattr(d.join("f"), "system.posix_acl_access", &acl(), XattrFlags::empty()));
    }),
    step(
        "chmod with an ACL",
        |d| {
            small(d)?;
            fs::setxattr(d.join("f"), "system.posix_acl_access", &acl(), XattrFlags::empty())
        },
        |d, e| {
            e.keep("chmod", fs::chmod(d.join("f"), Mode::from_raw_mode(0o600)));
        },
    ),
    content(
        "create under a default ACL",
        |d| {
            subdirectory(d)?;
            fs::setxattr(d.join("d"), "system.posix_acl_default", &acl(), XattrFlags::empty())
        },
        |d, e| opened(&d.join("d"), e, NEW, |_| Ok(()), Some(fsync)),
    ),
];

/// Reads what the kernel does not hold.
fn read(fd: &OwnedFd, expected: &[u8]) -> io::Result<()> {
    fs::fadvise(fd, 0, None, fs::Advice::DontNeed)?;
    let mut data = vec![0; expected.len()];
    let mut done = 0;
    while done < data.len() {
        match io::pread(fd, &mut data[done..], done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    // Wrong bytes must not look like a failed read.
    if data == expected {
        Ok(())
    } else {
        Err(Errno::BADMSG)
    }
}
