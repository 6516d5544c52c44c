//! Why an operation failed, before it becomes an errno: tampering must first be reported.

use crate::ops::Errno;

/// An errno, or something that does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    Errno(Errno),
    /// What is wrong, to follow the name of the thing.
    Tampered(&'static str),
}

pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub fn errno(n: i32) -> Self {
        Fault::Errno(Errno(n))
    }
    pub fn tampered(what: &'static str) -> Self {
        Fault::Tampered(what)
    }
    pub fn is(&self, n: i32) -> bool {
        matches!(self, Fault::Errno(e) if e.0 == n)
    }
}

impl From<rustix::io::Errno> for Fault {
    fn from(e: rustix::io::Errno) -> Self {
        Fault::Errno(Errno(e.raw_os_error()))
    }
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Self {
        Fault::Errno(e.into())
    }
}

impl From<Errno> for Fault {
    fn from(e: Errno) -> Self {
        Fault::Errno(e)
    }
}

impl From<kmsfs_files::Error> for Fault {
    fn from(e: kmsfs_files::Error) -> Self {
        Fault::errno(e.errno())
    }
}

impl From<kmsfs_format::names::NotSealed> for Fault {
    fn from(_: kmsfs_format::names::NotSealed) -> Self {
        Fault::errno(libc::EIO)
    }
}

impl From<kmsfs_format::random::NoRandom> for Fault {
    fn from(_: kmsfs_format::random::NoRandom) -> Self {
        Fault::errno(libc::EIO)
    }
}

/// For the file layer, which knows io::Error.
impl From<Fault> for std::io::Error {
    fn from(f: Fault) -> Self {
        match f {
            Fault::Errno(e) => std::io::Error::from_raw_os_error(e.0),
            Fault::Tampered(what) => std::io::Error::new(std::io::ErrorKind::InvalidData, what),
        }
    }
}
