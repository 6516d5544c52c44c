//! Making files, directories and nodes: each is whole, with record, owner and mode, before it has a name.

use super::sidecar::{remove_if_there, temporary};
use super::Volume;
use crate::acl::Acl;
use crate::backing::acl::Acls;
use crate::backing::inode::{chmod, chown, owner_of, Inode, NO_ID};
use crate::backing::path;
use crate::fault::{Fault, Result};
use crate::ops::{Caller, Entry, NodeId};
use kmsfs_format::names::StoredName;
use kmsfs_format::random;
use kmsfs_format::record::{Binding, Device, Kind, Owner, Record};
use rustix::fs::{fstat, utimensat, AtFlags, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, UTIME_NOW};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

const PERMISSIONS: u16 = 0o777;

/// What is to be made, and where.
pub(super) struct Making<'a> {
    pub dir_fd: &'a OwnedFd,
    pub record: Record,
    acls: Arc<Acls>,
    /// The directory has a default ACL, so the backing inode may come with ACLs that are not these yet.
    inherits: bool,
}

/// Makes an inode in a directory under a name; the third is the new inode's id.
pub(super) type Make<'a> = dyn Fn(&OwnedFd, &str, &[u8; 16]) -> Result<()> + 'a;

impl<'a> Making<'a> {
    /// The caller owns it; in a setgid directory the directory's group does, and directories pass setgid on. Where the
    /// directory has a default ACL, `inherits`, that counts instead of the caller's umask (posix_acl_create).
    pub(super) fn new(
        dir_fd: &'a OwnedFd,
        inherits: Option<Acls>,
        caller: Caller,
        kind: Kind,
        mode: u32,
        device: Device,
    ) -> Result<Self> {
        if caller.uid == NO_ID || caller.gid == NO_ID {
            // What a user namespace does not map (open(2)).
            return Err(Fault::errno(libc::EOVERFLOW));
        }
        let parent = fstat(dir_fd)?;
        let inherits = inherits.and_then(|acls| acls.default).filter(|_| kind != Kind::Symlink);
        let mut acls = Acls::default();
        let mut mode = (mode & 0o7777) as u16;
        match &inherits {
            None => mode &= !(caller.umask as u16 & PERMISSIONS),
            Some(default) => {
                let acl = Acl::decode(default).ok_or_else(|| Fault::tampered("has an ACL that is none"))?;
                let access;
                (access, mode) = acl.for_new(mode);
                acls.access = Some(access).filter(|a| !a.is_mode()).map(|a| a.encode());
                acls.default = inherits.clone().filter(|_| kind == Kind::Directory);
            }
        }
        let mut owner = Owner { mode, uid: caller.uid, gid: caller.gid };
        if parent.st_mode & libc::S_ISGID != 0 {
            owner.gid = parent.st_gid;
            if kind == Kind::Directory {
                owner.mode |= libc::S_ISGID as u16;
            }
        }
        if kind == Kind::Symlink {
            owner.mode = 0o777;
        }
        let mut record = Record::new(kind, random::bytes()?, owner, device);
        record.acl = acls.hash();
        Ok(Making { dir_fd, record, acls: Arc::new(acls), inherits: inherits.is_some() })
    }
}

impl Volume {
    pub(super) fn make_node(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        device: Device,
    ) -> Result<Entry> {
        let kind = match mode & libc::S_IFMT {
            0 => Kind::File,
            _ => Kind::from_mode(mode).ok_or_else(|| Fault::errno(libc::EINVAL))?,
        };
        let inode = match kind {
            Kind::Directory | Kind::Symlink => return Err(Fault::errno(libc::EPERM)),
            Kind::File => self.make_file(caller, parent, name, mode)?,
            _ => {
                let file_type = FileType::from_raw_mode(mode);
                let device_number = if kind.is_device() { rustix::fs::makedev(device.major, device.minor) } else { 0 };
                self.make_other(caller, parent, name, (kind, mode, device), &|dir, at, _| {
                    Ok(rustix::fs::mknodat(dir, at, file_type, Mode::from_raw_mode(0o600), device_number)?)
                })?
            }
        };
        self.entry_for_kernel(&inode)
    }

    pub(super) fn make_directory(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Entry> {
        let inode =
            self.make_other(caller, parent, name, (Kind::Directory, mode, Device::default()), &|dir, at, _| {
                Ok(rustix::fs::mkdirat(dir, at, Mode::from_raw_mode(0o700))?)
            })?;
        self.entry_for_kernel(&inode)
    }

    /// A regular file under `name`; its descriptor is open for reading and writing. EEXIST.
    pub(super) fn make_file(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Inode> {
        self.writable()?;
        let (dir, dir_fd) = self.directory(parent)?;
        let stored = self.seal(&dir, name)?;
        let _held = self.dir_locks.lock(&[&dir.file]);
        let inherits = self.default_acl(&dir)?;
        let mut making = Making::new(&dir_fd, inherits, caller, Kind::File, mode, Device::default())?;
        making.record.bindings.push(self.binding(&dir, &stored.stored));
        self.put_sidecar(&dir_fd, &stored)?;
        let made = self.place_file(&making, &stored);
        self.placed(&making, &stored, made)
    }

    fn place_file(&self, making: &Making<'_>, stored: &StoredName) -> Result<Inode> {
        match self.unnamed_file(making) {
            Ok(inode) => {
                path::link(&inode.fd, making.dir_fd, &stored.stored)?;
                self.timed(inode).inspect_err(|_| {
                    // Nothing was made, says the error: nor may the name stay.
                    let _ = remove_if_there(making.dir_fd, &stored.stored);
                })
            }
            // No O_TMPFILE here: under a temporary name, then.
            Err(f) if f.is(libc::EOPNOTSUPP) || f.is(libc::EISDIR) || f.is(libc::EINVAL) => {
                let at = temporary()?;
                let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
                let fd = Arc::new(path::open(making.dir_fd, &at, flags, 0o600)?);
                self.finish(making, fd).and_then(|inode| self.name(making, inode, &at, stored)).inspect_err(|_| {
                    // The first error counts; what stays is swept later.
                    let _ = remove_if_there(making.dir_fd, &at);
                })
            }
            Err(f) => Err(f),
        }
    }

    /// A regular file without a name, in the directory's file system.
    pub(super) fn unnamed_file(&self, making: &Making<'_>) -> Result<Inode> {
        // Without a name nobody meets it before its record is there.
        let mode = u32::from(making.record.owner.mode) & 0o777;
        let fd = path::open(making.dir_fd, ".", OFlags::RDWR | OFlags::TMPFILE, mode)?;
        self.finish(making, Arc::new(fd))
    }

    /// Sets the times of a new file that has its name: they are what the kernel's clock says now, which the change of the
    /// directory has moved on where times are multigrain. Else the kernel finds at the first write that the time has
    /// changed, and tells us in a request of its own.
    fn timed(&self, inode: Inode) -> Result<Inode> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        utimensat(&inode.fd, "", &Timestamps { last_access: now, last_modification: now }, AtFlags::EMPTY_PATH)?;
        Ok(Inode { stat: fstat(&inode.fd)?, ..inode })
    }

    /// Gives a new inode its record, owner and mode.
    fn finish(&self, making: &Making<'_>, fd: Arc<OwnedFd>) -> Result<Inode> {
        let Owner { mode, uid, gid } = making.record.owner;
        let kind = making.record.kind;
        self.backing.put_record(&fd, &making.record, 0)?;
        if making.inherits {
            making.acls.put(&fd, kind)?;
        }
        let mut stat = fstat(&fd)?;
        if kind != Kind::Symlink && owner_of(&stat).mode != mode {
            chmod(&fd, mode)?;
            stat = fstat(&fd)?;
        }
        if (stat.st_uid, stat.st_gid) != (uid, gid) {
            chown(&fd, uid, gid)?;
            // The kernel may have cleared setuid and setgid in chown.
            if kind != Kind::Symlink {
                chmod(&fd, mode)?;
            }
            stat = fstat(&fd)?;
        }
        let growth = self.backing.growth.load(Ordering::Acquire);
        let plain = kind == Kind::File && mode & (libc::S_ISUID | libc::S_ISGID) as u16 == 0;
        Ok(Inode { fd, stat, record: making.record.clone(), growth, acls: Some(making.acls.clone()), plain })
    }

    /// Renames what was made under a temporary name to its own. EEXIST.
    fn name(&self, making: &Making<'_>, inode: Inode, at: &str, stored: &StoredName) -> Result<Inode> {
        rustix::fs::renameat_with(making.dir_fd, at, making.dir_fd, &stored.stored, RenameFlags::NOREPLACE)?;
        Ok(inode)
    }

    /// Anything but a regular file: `make` makes it under the temporary name it is given; its id comes with it.
    pub(super) fn make_other(
        &self,
        caller: Caller,
        parent: NodeId,
        name: &[u8],
        (kind, mode, device): (Kind, u32, Device),
        make: &Make<'_>,
    ) -> Result<Inode> {
        self.writable()?;
        let (dir, dir_fd) = self.directory(parent)?;
        let stored = self.seal(&dir, name)?;
        let _held = self.dir_locks.lock(&[&dir.file]);
        let inherits = self.default_acl(&dir)?;
        let mut making = Making::new(&dir_fd, inherits, caller, kind, mode, device)?;
        let binding: Binding = self.binding(&dir, &stored.stored);
        making.record.bindings.push(binding);
        match path::entry(&dir_fd, &stored.stored) {
            Ok(_) => return Err(Fault::errno(libc::EEXIST)),
            Err(Errno::NOENT) => {}
            Err(e) => return Err(e.into()),
        }
        self.put_sidecar(&dir_fd, &stored)?;
        let at = temporary()?;
        let made = make(&dir_fd, &at, &making.record.id).and_then(|()| {
            let fd = Arc::new(self.backing.entry(&dir_fd, &at)?);
            let inode = self.finish(&making, fd)?;
            self.name(&making, inode, &at, &stored)
        });
        if made.is_err() {
            let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            // The first error counts; what stays is swept later.
            let _ = rustix::fs::unlinkat(&dir_fd, &at, flags);
        }
        self.placed(&making, &stored, made)
    }

    /// After an attempt: the sidecar goes when nothing came of it, and the new inode is one to flush at fsync.
    fn placed(&self, making: &Making<'_>, stored: &StoredName, made: Result<Inode>) -> Result<Inode> {
        match made {
            Ok(inode) => {
                self.inode_changed(&inode.record.id);
                Ok(inode)
            }
            Err(fault) => {
                self.drop_sidecar(making.dir_fd, stored)?;
                Err(fault)
            }
        }
    }
}
