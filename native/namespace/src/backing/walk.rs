//! Listing backing directories, and the walk over all records of a volume.

use super::inode::Inode;
use super::{handle, Backing};
use crate::fault::{Fault, Result};
use kmsfs_files::store::{FileId, Handle};
use kmsfs_format::names::{look, Look};
use kmsfs_format::record::{binding, Kind};
use rustix::fs::{OFlags, RawDir};
use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// Bytes of one getdents64(2).
const BATCH: usize = 32 << 10;

/// All entries of a directory opened for reading: name and DT_*-like type, without "." and "..".
pub fn names(dir: impl AsFd) -> rustix::io::Result<Vec<(Vec<u8>, rustix::fs::FileType)>> {
    let mut buf = Vec::with_capacity(BATCH);
    let mut out = Vec::new();
    let mut raw = RawDir::new(dir, buf.spare_capacity_mut());
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            out.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(out)
}

impl Backing {
    /// Opens the entry `stored` of directory `dir` and verifies it, its binding included. ENOENT when it is not there.
    pub fn inspect_entry(&self, dir: impl AsFd, dir_id: &[u8; 16], stored: &str) -> Result<Inode> {
        let fd = Arc::new(self.entry(dir, stored)?);
        let inode = self.inspect(fd)?;
        if !inode.record.is_bound(&binding(&self.keys, dir_id, stored.as_bytes())) {
            return Err(Fault::tampered("does not belong under its name"));
        }
        Ok(inode)
    }

    /// Goes through all directories and finds the files of `wanted`. What does not verify is reported and passed over.
    pub fn find_all(&self, wanted: &HashSet<FileId>) -> std::io::Result<HashMap<FileId, Handle>> {
        let mut found = HashMap::new();
        let mut todo = vec![(self.uuid, self.root_handle.clone())];
        while let Some((dir_id, dir_handle)) = todo.pop() {
            if found.len() == wanted.len() {
                break;
            }
            let dir = self.open_handle(&dir_handle, OFlags::RDONLY | OFlags::DIRECTORY)?;
            for (name, _) in names(&dir)? {
                if !matches!(look(&name), Look::Direct | Look::Hashed)
                    || dir_id == self.uuid && name == super::LOST_AND_FOUND.as_bytes()
                {
                    continue;
                }
                if let Some((id, kind, handle)) = self.visit(&dir, &dir_id, &name)? {
                    match kind {
                        Kind::Directory => todo.push((id, handle)),
                        Kind::File if wanted.contains(&id) => drop(found.insert(id, handle)),
                        _ => {}
                    }
                }
            }
        }
        Ok(found)
    }

    fn visit(&self, dir: &OwnedFd, dir_id: &[u8; 16], name: &[u8]) -> std::io::Result<Option<(FileId, Kind, Handle)>> {
        let stored = String::from_utf8_lossy(name);
        match self.inspect_entry(dir, dir_id, &stored) {
            Ok(inode) => Ok(Some((inode.record.id, inode.record.kind, handle::of(&inode.fd)?))),
            Err(Fault::Tampered(what)) => {
                self.tampered(dir_id, &format!("{}/{stored}", self.place(dir)), what);
                Ok(None)
            }
            Err(f) if f.is(libc::ENOENT) => Ok(None),
            Err(f) => Err(f.into()),
        }
    }
}
