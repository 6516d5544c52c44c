//! The descriptors that the daemon hands over: 3 the control channel, 4 the key channel, 5 /dev/fuse.

use rustix::fs::{fstat, FileType};
use rustix::io::{fcntl_getfd, fcntl_setfd, FdFlags};
use rustix::net::sockopt::{set_socket_timeout, socket_domain, socket_peercred, socket_type, Timeout};
use rustix::net::{AddressFamily, SocketType};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const CONTROL: RawFd = 3;
const KEY: RawFd = 4;
const FUSE: RawFd = 5;
/// Device number of /dev/fuse (Documentation/admin-guide/devices.txt).
const FUSE_DEVICE: (u32, u32) = (10, 229);
/// A peer that does not read for so long is given up, so that the engine can end.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

pub struct Inherited {
    pub control: UnixStream,
    pub key: UnixStream,
    pub fuse: OwnedFd,
}

/// Takes over what the daemon handed down, once it is seen to be what it should be. Call it once, before anything else
/// opens a descriptor.
pub fn inherit() -> Result<Inherited, String> {
    let control = adopt(CONTROL).and_then(stream).map_err(|e| format!("descriptor {CONTROL}: {e}"))?;
    let key = adopt(KEY).and_then(stream).map_err(|e| format!("descriptor {KEY}: {e}"))?;
    let fuse = adopt(FUSE).and_then(fuse).map_err(|e| format!("descriptor {FUSE}: {e}"))?;
    Ok(Inherited { control, key, fuse })
}

fn adopt(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: used for the one question whether the descriptor is open; the kernel answers EBADF if not.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let flags = fcntl_getfd(borrowed)?;
    // SAFETY: open, as just seen, and nothing else in this process knows of it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl_setfd(owned.as_fd(), flags | FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// One end of a socket pair that our own user made.
fn stream(fd: OwnedFd) -> io::Result<UnixStream> {
    let local = socket_domain(&fd)? == AddressFamily::UNIX && socket_type(&fd)? == SocketType::STREAM;
    if !local {
        return Err(io::Error::other("not a local stream socket"));
    }
    let peer = socket_peercred(&fd)?.uid;
    if !peer.is_root() && peer != rustix::process::geteuid() {
        return Err(io::Error::other("a socket of another user"));
    }
    set_socket_timeout(&fd, Timeout::Send, Some(WRITE_TIMEOUT))?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn fuse(fd: OwnedFd) -> io::Result<OwnedFd> {
    let stat = fstat(&fd)?;
    let device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != FUSE_DEVICE {
        return Err(io::Error::other("not /dev/fuse"));
    }
    Ok(fd)
}
