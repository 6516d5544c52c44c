//! Open files: open, create, O_TMPFILE, release.

use super::create::Making;
use super::Volume;
use crate::backing::home::BackingHome;
use crate::backing::inode::Inode;
use crate::fault::{Fault, Result};
use crate::ops::{Caller, Entry, Handle, NodeId};
use crate::table::Node;
use kmsfs_files::{File, Time};
use kmsfs_format::record::{Device, Kind};
use parking_lot::RwLock;
use rustix::fs::{fstat, Stat};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// What the kernel holds by number.
pub(super) struct Handles<T> {
    open: RwLock<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Handles { open: RwLock::default(), next: AtomicU64::new(1) }
    }
}

impl<T> Handles<T> {
    pub fn add(&self, value: T) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().insert(handle, Arc::new(value));
        Handle(handle)
    }
    pub fn get(&self, handle: Handle) -> Option<Arc<T>> {
        self.open.read().get(&handle.0).cloned()
    }
    pub fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        self.open.write().remove(&handle.0)
    }
    pub fn count(&self) -> usize {
        self.open.read().len()
    }
}

pub(super) struct OpenFile {
    pub node: Arc<Node>,
    pub file: Arc<File>,
    pub home: Arc<BackingHome>,
    /// Writes go to the end: O_APPEND, where the kernel does not see to it.
    pub append: bool,
    pub writable: bool,
    /// O_DIRECT: what is read goes past the kernel's page cache.
    pub direct: bool,
}

fn writes(flags: u32) -> bool {
    flags as i32 & libc::O_ACCMODE != libc::O_RDONLY
}

impl Volume {
    pub(super) fn open_file(&self, id: NodeId, flags: u32) -> Result<Handle> {
        if writes(flags) || flags as i32 & libc::O_TRUNC != 0 {
            self.writable()?;
        }
        let node = self.node(id)?;
        match node.kind {
            Kind::File => {}
            Kind::Directory => return Err(Fault::errno(libc::EISDIR)),
            Kind::Symlink => return Err(Fault::errno(libc::ELOOP)),
            _ => return Err(Fault::errno(libc::ENXIO)),
        }
        let (home, file) = self.hold_with(
            &node,
            |fd, home| {
                let inode = self.inspect_node(&node, fd)?;
                home.saw_growing(inode.record.growing);
                Ok(inode.stat)
            },
            |home| Ok(self.files.file(home)?),
        )?;
        if flags as i32 & libc::O_TRUNC != 0 {
            if let Err(e) = file.truncate(0) {
                self.let_go(&home, &file);
                return Err(e.into());
            }
            home.touch();
        }
        Ok(self.hand_out(node, (home, file), flags))
    }

    /// Takes hold of a file's state. ESTALE when its last name went while nobody had it open: what was not at home then
    /// is forgotten. Given back by [`Volume::let_go`].
    pub(super) fn hold(&self, node: &Node) -> Result<(Arc<BackingHome>, Arc<File>)> {
        self.hold_with(node, |fd, _| Ok(fstat(fd)?), |home| Ok(self.files.file(home)?))
    }

    /// The same of a file that was made just now.
    fn hold_new(&self, node: &Node, inode: &Inode) -> Result<(Arc<BackingHome>, Arc<File>)> {
        let mtime = Time { secs: inode.stat.st_mtime, nanos: inode.stat.st_mtime_nsec as u32 };
        self.hold_with(node, |fd, _| Ok(fstat(fd)?), |home| Ok(self.files.made(home, mtime)?))
    }

    /// `look`: the inode as it is now; it may be verified on the way.
    fn hold_with(
        &self,
        node: &Node,
        look: impl FnOnce(&Arc<OwnedFd>, &BackingHome) -> Result<Stat>,
        state: impl FnOnce(Arc<BackingHome>) -> Result<Arc<File>>,
    ) -> Result<(Arc<BackingHome>, Arc<File>)> {
        let home = self.home(node)?;
        // First counted, then asked for its links: whoever takes the last link away asks in the other order.
        let suspect = home.opened();
        let held = self.fd(node).and_then(|fd| {
            if look(&fd, &home)?.st_nlink == 0 && suspect {
                return Err(Fault::errno(libc::ESTALE));
            }
            state(home.clone())
        });
        match held {
            Ok(file) => Ok((home, file)),
            Err(fault) => {
                home.closed();
                Err(fault)
            }
        }
    }

    /// Gives a held file back; nobody can reach it any more when it has no name and this was the last hold.
    pub(super) fn let_go(&self, home: &BackingHome, file: &File) -> bool {
        let gone = home.closed();
        if gone {
            file.forget();
            home.unpin();
        }
        gone
    }

    fn hand_out(&self, node: Arc<Node>, (home, file): (Arc<BackingHome>, Arc<File>), flags: u32) -> Handle {
        let append = flags as i32 & libc::O_APPEND != 0 && !self.options.writeback;
        node.opens.fetch_add(1, Ordering::AcqRel);
        let direct = flags as i32 & libc::O_DIRECT != 0;
        self.open_files.add(OpenFile { node, file, home, append, writable: writes(flags), direct })
    }

    pub(super) fn create_file(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        flags: u32,
    ) -> Result<(Entry, Handle)> {
        match self.make_file(caller, parent, name, mode) {
            Ok(inode) => {
                let node = self.enter(&inode)?;
                let entry = self.entry_of_node(&node, &inode)?;
                let handle = self.open_new(node, &inode, flags)?;
                Ok((entry, handle))
            }
            Err(f) if f.is(libc::EEXIST) && flags as i32 & libc::O_EXCL == 0 => {
                let entry = self.look_up(parent, name)?;
                let handle = self.open_file(entry.node, flags)?;
                Ok((self.get_attr(entry.node).map(|attr| Entry { attr, ..entry })?, handle))
            }
            Err(f) => Err(f),
        }
    }

    /// Opens what was just made: nothing to verify, and its descriptor is there.
    fn open_new(&self, node: Arc<Node>, inode: &Inode, flags: u32) -> Result<Handle> {
        let home = self.home(&node)?;
        home.adopt(inode.fd.clone());
        let held = self.hold_new(&node, inode)?;
        Ok(self.hand_out(node, held, flags))
    }

    pub(super) fn create_unnamed(
        &self,
        caller: Caller,
        parent: NodeId,
        mode: u32,
        flags: u32,
    ) -> Result<(Entry, Handle)> {
        self.writable()?;
        let (dir, dir_fd) = self.directory(parent)?;
        let inode = {
            let _held = self.dir_locks.lock(&[&dir.file]);
            let inherits = self.default_acl(&dir)?;
            self.unnamed_file(&Making::new(&dir_fd, inherits, caller, Kind::File, mode, Device::default())?)?
        };
        self.inode_changed(&inode.record.id);
        let node = self.enter(&inode)?;
        node.pin(inode.fd.clone());
        // The pins end when nobody has it any more; a cached descriptor would hold its blocks for longer.
        self.backing.fds.remove(node.token);
        let home = self.home(&node)?;
        home.nameless(inode.fd.clone());
        let entry = self.entry_of_node(&node, &inode)?;
        let held = self.hold_new(&node, &inode)?;
        let handle = self.hand_out(node, held, flags);
        Ok((entry, handle))
    }

    pub(super) fn close_file(&self, handle: Handle) -> Result<()> {
        let Some(open) = self.open_files.remove(handle) else { return Err(Fault::errno(libc::EBADF)) };
        open.node.opens.fetch_sub(1, Ordering::AcqRel);
        // What a mapping wrote after the last close(2).
        let gone = self.let_go(&open.home, &open.file);
        if open.writable && !gone && !open.home.is_orphan() {
            open.file.commit()?;
        }
        Ok(())
    }

    pub(super) fn open_handle(&self, handle: Handle) -> Result<Arc<OpenFile>> {
        self.open_files.get(handle).ok_or_else(|| Fault::errno(libc::EBADF))
    }
}
