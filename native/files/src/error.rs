//! Errors of the file layer, each with the errno that the caller of the system call sees.

use std::fmt;
use std::io;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub enum Error {
    /// The store failed, or is full.
    Io(io::Error),
    /// Something does not authenticate or contradicts itself; already reported to `OnTamper`.
    Tampered(String),
    /// The log is damaged: a commit known to be durable is missing or broken (docs/format.md §9).
    LogDamaged(String),
    /// Larger than the format or the backing file system allows.
    TooBig,
    /// The mount is read-only, or became so because a home or the log could not be written.
    ReadOnly,
    /// The call's arguments: an errno value.
    Errno(i32),
}

impl Error {
    /// The errno(3) value to answer with.
    pub fn errno(&self) -> i32 {
        match self {
            Error::Io(e) => e.raw_os_error().unwrap_or(libc::EIO),
            Error::Tampered(_) | Error::LogDamaged(_) => libc::EIO,
            Error::TooBig => libc::EFBIG,
            Error::ReadOnly => libc::EROFS,
            Error::Errno(n) => *n,
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Io(e)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => write!(f, "{e}"),
            Error::Tampered(what) => write!(f, "does not authenticate: {what}"),
            Error::LogDamaged(what) => write!(f, "the commit log is damaged: {what}"),
            Error::TooBig => f.write_str("larger than the volume allows"),
            Error::ReadOnly => f.write_str("the mount is read-only"),
            Error::Errno(n) => write!(f, "{}", io::Error::from_raw_os_error(*n)),
        }
    }
}

impl std::error::Error for Error {}
