//! Records on backing inodes: read, verified, rewritten (docs/format.md §4).

use super::{path, xattr, Backing};
use crate::fault::{Fault, Result};
use kmsfs_format::record::{acl_hash, AclHash, Binding, Device, Kind, Owner, Record, MAX_BINDINGS, TWO_STEP_LEN};
use rustix::fs::{fstat, AtFlags, Gid, Mode, Stat, Uid, XattrFlags};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// An open backing inode whose record authenticates and fits it.
#[derive(Clone)]
pub struct Inode {
    /// O_PATH, or better.
    pub fd: Arc<OwnedFd>,
    pub stat: Stat,
    pub record: Record,
}

/// Mode and owner as the inode has them.
pub fn owner_of(stat: &Stat) -> Owner {
    Owner { mode: (stat.st_mode & 0o7777) as u16, uid: stat.st_uid, gid: stat.st_gid }
}

fn device_of(stat: &Stat, kind: Kind) -> Device {
    if !kind.is_device() {
        return Device::default();
    }
    Device { major: rustix::fs::major(stat.st_rdev), minor: rustix::fs::minor(stat.st_rdev) }
}

fn acl_of(fd: impl AsFd) -> Result<Option<AclHash>> {
    let get = |name| match xattr::get(&fd, name) {
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(None),
        other => other,
    };
    let (access, default) = (get("system.posix_acl_access")?, get("system.posix_acl_default")?);
    let any = access.is_some() || default.is_some();
    Ok(any.then(|| acl_hash(access.as_deref(), default.as_deref())))
}

impl Backing {
    /// Reads and authenticates the record alone.
    pub fn record(&self, fd: impl AsFd, kind: Kind) -> Result<Record> {
        let name = kind.record_xattr();
        let mut why = "has no record";
        for name in [name.to_owned(), format!("{name}.new")] {
            let Some(bytes) = xattr::get(&fd, &name)? else { continue };
            match Record::decode(&self.keys, &bytes) {
                Ok(record) => return Ok(record),
                Err(_) => why = "has a record that does not authenticate",
            }
        }
        Err(Fault::tampered(why))
    }

    /// Verifies an inode: type, mode and owner must be those of its record.
    pub fn inspect(&self, fd: Arc<OwnedFd>) -> Result<Inode> {
        let stat = fstat(&fd)?;
        let kind = Kind::from_mode(stat.st_mode).ok_or_else(|| Fault::tampered("is of no known type"))?;
        let record = self.record(&fd, kind)?;
        if !record.accepts(kind, &owner_of(&stat), device_of(&stat, kind)) {
            return Err(Fault::tampered("has another type, mode or owner than its record"));
        }
        // One that the record does not know of needs no look: ACLs are not served.
        if (record.acl.is_some() || record.old_acl.is_some()) && !record.accepts_acl(acl_of(&fd)?.as_ref()) {
            return Err(Fault::tampered("has another ACL than its record"));
        }
        Ok(Inode { fd, stat, record })
    }

    /// Verifies an inode that no name led to. What does not fit is looked at again under the inode's lock, for it may
    /// have been changing.
    pub fn inspect_settled(&self, fd: Arc<OwnedFd>) -> Result<Inode> {
        match self.inspect(fd.clone()) {
            Err(Fault::Tampered(_)) => {
                let kind =
                    Kind::from_mode(fstat(&fd)?.st_mode).ok_or_else(|| Fault::tampered("is of no known type"))?;
                let id = self.record(&fd, kind)?.id;
                let _held = self.inode_locks.lock(&[&id]);
                self.inspect(fd)
            }
            other => other,
        }
    }

    /// Writes a record. The caller holds the inode's lock, or nobody else knows the inode yet.
    pub fn put_record(&self, fd: impl AsFd, record: &Record, replaces: usize) -> Result<()> {
        let name = record.kind.record_xattr();
        let bytes = record.encode(&self.keys);
        let two_steps = self.converts_xattrs && replaces.max(bytes.len()) > TWO_STEP_LEN && replaces > 0;
        let aside = format!("{name}.new");
        if two_steps {
            // xfs can lose a value that it is converting: then `.new` is the record.
            xattr::set(&fd, &aside, &bytes, XattrFlags::empty())?;
        }
        xattr::set(&fd, name, &bytes, XattrFlags::empty())?;
        if two_steps {
            xattr::remove(&fd, &aside)?;
        }
        Ok(())
    }

    /// Rewrites the record of the inode `id`. The caller holds the inode's lock; so no change of mode or owner is under
    /// way, and what the record still says of old ones is settled on the way.
    pub fn update_record(
        &self,
        fd: impl AsFd,
        id: &[u8; 16],
        change: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        let stat = fstat(&fd)?;
        let kind = Kind::from_mode(stat.st_mode).ok_or_else(|| Fault::tampered("is of no known type"))?;
        let before = self.record(&fd, kind)?;
        if before.id != *id {
            return Err(Fault::tampered("has another id than before"));
        }
        let mut record = before.clone();
        let has = owner_of(&stat);
        if record.old.is_some() && record.accepts(kind, &has, device_of(&stat, kind)) {
            record.owner = has;
            record.old = None;
        }
        change(&mut record)?;
        if record != before {
            self.put_record(&fd, &record, before.encode(&self.keys).len())?;
        }
        Ok(record)
    }

    /// Adds a name to an inode's record. EMLINK beyond 100.
    pub fn bind(&self, fd: impl AsFd, id: &[u8; 16], binding: Binding) -> Result<()> {
        self.update_record(fd, id, |record| {
            if !record.is_bound(&binding) {
                if record.bindings.len() >= MAX_BINDINGS {
                    return Err(Fault::errno(libc::EMLINK));
                }
                record.bindings.push(binding);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Takes a name out of an inode's record.
    pub fn unbind(&self, fd: impl AsFd, id: &[u8; 16], binding: Binding) -> Result<()> {
        self.update_record(fd, id, |record| {
            record.bindings.retain(|b| *b != binding);
            Ok(())
        })?;
        Ok(())
    }

    /// Changes mode and owner: the record takes the new beside the old, the inode changes, the record drops the old.
    /// The caller holds the inode's lock.
    pub fn change_owner(&self, fd: impl AsFd, id: &[u8; 16], new: Owner) -> Result<()> {
        let fd = fd.as_fd();
        let has = owner_of(&fstat(fd)?);
        self.update_record(fd, id, |record| {
            record.owner = new;
            record.old = (has != new).then_some(has);
            Ok(())
        })?;
        if has == new {
            return Ok(());
        }
        if (has.uid, has.gid) != (new.uid, new.gid) {
            chown(fd, new.uid, new.gid)?;
        }
        // The kernel may have cleared setuid and setgid in chown.
        let after = fstat(fd)?;
        if owner_of(&after).mode != new.mode && after.st_mode & libc::S_IFMT != libc::S_IFLNK {
            chmod(fd, new.mode)?;
        }
        // Whoever can write the disk could go back to the old ones for as long as the record has them.
        self.update_record(fd, id, |_| Ok(()))?;
        Ok(())
    }
}

pub fn chown(fd: impl AsFd, uid: u32, gid: u32) -> rustix::io::Result<()> {
    rustix::fs::chownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
}

pub fn chmod(fd: impl AsFd, mode: u16) -> rustix::io::Result<()> {
    rustix::fs::chmod(path::of_fd(fd), Mode::from_raw_mode(u32::from(mode)))
}
