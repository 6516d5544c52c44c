//! Symbolic links (docs/format.md §7).

use super::sidecar::{get_file, put_file, remove_if_there};
use super::Volume;
use crate::backing::path;
use crate::fault::{Fault, Result};
use crate::ops::{Caller, Entry, NodeId};
use crate::table::Node;
use kmsfs_format::names::{open_target, seal_target, target_is_aside, SALTED_OVERHEAD};
use kmsfs_format::record::{Device, Kind};
use rustix::fs::{fstat, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Longest target: PATH_MAX without its NUL (symlink(7)).
const LONGEST: usize = 4095;
const LINKS: &str = "links";

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|b| format!("{b:02x}")).collect()
}

impl Volume {
    pub(super) fn make_symlink(&self, caller: Caller, parent: NodeId, name: &[u8], target: &[u8]) -> Result<Entry> {
        if target.len() > LONGEST {
            return Err(Fault::errno(libc::ENAMETOOLONG));
        }
        if target.is_empty() || target.contains(&0) {
            return Err(Fault::errno(if target.is_empty() { libc::ENOENT } else { libc::EINVAL }));
        }
        let sidecar = std::cell::Cell::new(None);
        let made = self.make_other(caller, parent, name, (Kind::Symlink, 0o777, Device::default()), &|dir, at, id| {
            let stored = seal_target(&self.backing.keys, id, target)?;
            if let Some(sealed) = &stored.sidecar {
                put_file(self.links()?, &hex(id), sealed)?;
                sidecar.set(Some(*id));
            }
            Ok(rustix::fs::symlinkat(&*stored.stored, dir, at)?)
        });
        if let (Err(_), Some(id)) = (&made, sidecar.get()) {
            self.drop_target(&id)?;
        }
        self.entry_for_kernel(&made?)
    }

    pub(super) fn read_link(&self, id: NodeId) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        if node.kind != Kind::Symlink {
            return Err(Fault::errno(libc::EINVAL));
        }
        let fd = self.fd(&node)?;
        self.link_target(&fd, &node)
    }

    /// The target of a symlink.
    pub(super) fn link_target(&self, fd: &OwnedFd, node: &Node) -> Result<Vec<u8>> {
        let stored = rustix::fs::readlinkat(fd, "", Vec::new())?;
        let stored = stored.to_bytes();
        let sidecar = match target_is_aside(stored) {
            true => Some(self.target_sidecar(node)?),
            false => None,
        };
        open_target(&self.backing.keys, &node.file, stored, sidecar.as_deref())
            .map_err(|_| Fault::tampered("has a target that does not authenticate"))
    }

    /// `.kmsfs/links`, made when it is first needed.
    fn links(&self) -> Result<OwnedFd> {
        let special = &self.backing.special;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        match path::open(special, LINKS, flags, 0) {
            Err(Errno::NOENT) if !self.backing.closed_for_writing() => {
                match rustix::fs::mkdirat(special, LINKS, Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
                Ok(path::open(special, LINKS, flags, 0)?)
            }
            other => Ok(other?),
        }
    }

    fn stored_target(&self, id: &[u8; 16]) -> Result<Vec<u8>> {
        self.links().and_then(|links| get_file(links, &hex(id), LONGEST + SALTED_OVERHEAD))
    }

    fn target_sidecar(&self, node: &Node) -> Result<Vec<u8>> {
        match self.stored_target(&node.file) {
            Err(f) if f.is(libc::ENOENT) => self.target_without_name(node),
            other => other,
        }
    }

    /// Length of the target in the sidecar of a symlink.
    pub(super) fn target_sidecar_len(&self, node: &Node) -> Result<u64> {
        let len = match self.links().and_then(|links| Ok(path::entry(links, &hex(&node.file))?)) {
            Err(f) if f.is(libc::ENOENT) => self.target_without_name(node)?.len() as u64,
            other => fstat(other?)?.st_size as u64,
        };
        let len = len.checked_sub(SALTED_OVERHEAD as u64);
        len.ok_or_else(|| Fault::tampered("has a target too short to be sealed"))
    }

    /// What is kept of a removed symlink that is still open (O_PATH). One with a name must have its sidecar.
    fn target_without_name(&self, node: &Node) -> Result<Vec<u8>> {
        match node.kept_target() {
            Some(sealed) => Ok(sealed),
            None if fstat(self.fd(node)?)?.st_nlink == 0 => Err(Fault::errno(libc::ESTALE)),
            None => Err(Fault::tampered("has lost the sidecar of its target")),
        }
    }

    /// Keeps the target of a symlink that is about to lose its sidecar, for whoever has it open.
    pub(super) fn keep_target(&self, node: &Node) {
        // What cannot be read now could not be read later either.
        if let Ok(sealed) = self.stored_target(&node.file) {
            node.keep_target(sealed);
        }
    }

    /// Removes the sidecar of a symlink whose last link is gone.
    pub(super) fn drop_target(&self, id: &[u8; 16]) -> Result<()> {
        match self.links() {
            Ok(links) => remove_if_there(links, &hex(id)),
            Err(f) if f.is(libc::ENOENT) => Ok(()),
            Err(f) => Err(f),
        }
    }
}
