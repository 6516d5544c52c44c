//! Sidecars of long names, and what is left over in directories (docs/format.md §1, §6).

use super::Volume;
use crate::backing::{home, path, walk};
use crate::fault::{Fault, Result};
use kmsfs_format::names::{look, Look, StoredName, SIDECAR_SUFFIX, TEMPORARY_PREFIX};
use kmsfs_format::random;
use rustix::fs::{fstat, AtFlags, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Longest sealed name: V and a name of 255 bytes padded to 256.
const LONGEST: usize = 16 + 256;

/// A fresh temporary name.
pub(super) fn temporary() -> Result<String> {
    let mut name = TEMPORARY_PREFIX.to_owned();
    for byte in random::bytes::<12>()? {
        name.push_str(&format!("{byte:02x}"));
    }
    Ok(name)
}

/// Removes a name that may be gone already.
pub(super) fn remove_if_there(dir: impl AsFd, name: &str) -> Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Writes a small file whole: under a temporary name, then renamed over `name`.
pub(super) fn put_file(dir: impl AsFd, name: &str, content: &[u8]) -> Result<()> {
    let temporary = temporary()?;
    let fd = path::open(&dir, &temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o600)?;
    let written = home::write_all(&fd, content, 0)
        .map_err(Fault::from)
        // Its content must be there when its name is, also after a crash.
        .and_then(|()| Ok(rustix::fs::fdatasync(&fd)?))
        .and_then(|()| Ok(rustix::fs::renameat(&dir, &temporary, &dir, name)?));
    if written.is_err() {
        remove_if_there(&dir, &temporary)?;
    }
    written
}

/// Reads a small regular file whole; ENOENT. What is longer than `most` is tampering.
pub(super) fn get_file(dir: impl AsFd, name: &str, most: usize) -> Result<Vec<u8>> {
    let fd = path::open(dir, name, OFlags::RDONLY, 0)?;
    let stat = fstat(&fd)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_size as u64 > most as u64 {
        return Err(Fault::tampered("has a sidecar that is none"));
    }
    let mut content = vec![0; stat.st_size as usize];
    let mut done = 0;
    while done < content.len() {
        match rustix::io::pread(&fd, &mut content[done..], done as u64)? {
            0 => break,
            n => done += n,
        }
    }
    content.truncate(done);
    Ok(content)
}

impl Volume {
    /// Puts the sidecar of a long name there. The caller holds the directory's lock.
    pub(super) fn put_sidecar(&self, dir: &OwnedFd, name: &StoredName) -> Result<()> {
        match (&name.sidecar, name.sidecar_name()) {
            (Some(sealed), Some(sidecar)) => put_file(dir, &sidecar, sealed),
            _ => Ok(()),
        }
    }

    /// Removes the sidecar of a long name whose entry is gone, or did not come about. The caller holds the
    /// directory's lock.
    pub(super) fn drop_sidecar(&self, dir: &OwnedFd, name: &StoredName) -> Result<()> {
        match name.sidecar_name() {
            Some(sidecar) if matches!(path::entry(dir, &name.stored), Err(Errno::NOENT)) => {
                remove_if_there(dir, &sidecar)
            }
            _ => Ok(()),
        }
    }

    /// The sealed name in the sidecar of `stored`. ENOENT when there is none.
    pub(super) fn sidecar(&self, dir: &OwnedFd, stored: &str) -> Result<Vec<u8>> {
        get_file(dir, &format!("{stored}{SIDECAR_SUFFIX}"), LONGEST)
    }

    /// Removes what a crash left in a directory: temporary names, sidecars without entry. The caller holds the
    /// directory's lock, so none of it is in use.
    pub(super) fn sweep(&self, dir: &OwnedFd) -> Result<()> {
        let listing = path::open(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        for (name, kind) in walk::names(&listing)? {
            let Ok(name) = String::from_utf8(name) else { continue };
            match look(name.as_bytes()) {
                Look::Temporary => remove_temporary(dir, &name, kind)?,
                Look::Sidecar => {
                    let entry = name.strip_suffix(SIDECAR_SUFFIX).unwrap_or_default();
                    if matches!(path::entry(dir, entry), Err(Errno::NOENT)) {
                        remove_if_there(dir, &name)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn remove_temporary(dir: &OwnedFd, name: &str, kind: rustix::fs::FileType) -> Result<()> {
    if kind != rustix::fs::FileType::Directory {
        return remove_if_there(dir, name);
    }
    match rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR) {
        // Ours are empty; what is not was put there by somebody else.
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
