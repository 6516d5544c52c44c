//! Records on backing inodes: read, verified, rewritten (docs/format.md §4).

use super::acl::Acls;
use super::{path, xattr, Backing};
use crate::fault::{Fault, Result};
use kmsfs_format::record::{acl_hash, Binding, Device, Kind, Owner, Record, MAX_BINDINGS, TWO_STEP_LEN};
use rustix::fs::{fstat, AtFlags, Gid, Mode, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// An open backing inode whose record authenticates and fits it.
#[derive(Clone)]
pub struct Inode {
    /// O_PATH, or better.
    pub fd: Arc<OwnedFd>,
    pub stat: Stat,
    pub record: Record,
    /// [`Backing::growth`] before the record was read.
    pub growth: u64,
    /// Where they were looked at while nobody could change them.
    pub acls: Option<Arc<Acls>>,
    /// A regular file that was made just now, without setuid and setgid: a write has nothing to clear. The kernel lets nobody
    /// reach it before it is told of it.
    pub plain: bool,
}

const OTHER_ACL: Fault = Fault::Tampered("has another ACL than its record");

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

    /// Verifies an inode: type, mode and owner must be those of its record. So must ACLs that the record knows of; whether
    /// there are others is for [`Backing::inspect_acls`], before any ACL counts, so that a lookup costs no more for them.
    pub fn inspect(&self, fd: Arc<OwnedFd>) -> Result<Inode> {
        let stat = fstat(&fd)?;
        let kind = Kind::from_mode(stat.st_mode).ok_or_else(|| Fault::tampered("is of no known type"))?;
        let growth = self.growth.load(Ordering::Acquire);
        let record = self.record(&fd, kind)?;
        if !record.accepts(kind, &owner_of(&stat), device_of(&stat, kind)) {
            return Err(Fault::tampered("has another type, mode or owner than its record"));
        }
        let inode = Inode { fd, stat, record, growth, acls: None, plain: false };
        if inode.record.acl.is_some() || inode.record.old_acl.is_some() {
            self.recorded_acls(&inode.fd, &inode.record)?;
        }
        Ok(inode)
    }

    /// Verifies an inode with its ACLs, or with that it has none. The caller holds the inode's lock.
    pub fn inspect_acls(&self, fd: Arc<OwnedFd>) -> Result<Inode> {
        let mut inode = self.inspect(fd)?;
        let acls = self.recorded_acls(&inode.fd, &inode.record)?;
        inode.acls = Some(Arc::new(acls));
        Ok(inode)
    }

    /// The ACLs that an inode has, which must be its record's.
    fn recorded_acls(&self, fd: impl AsFd, record: &Record) -> Result<Acls> {
        let acls = Acls::read(fd, record.kind)?;
        if record.accepts_acl(acls.hash().as_ref()) {
            Ok(acls)
        } else {
            Err(OTHER_ACL)
        }
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

    /// Rewrites the record of the inode `id`. The caller holds the inode's lock; so no change of mode, owner or ACLs
    /// is under way, and what the record still says of old ones is settled on the way.
    pub fn update_record(
        &self,
        fd: impl AsFd,
        id: &[u8; 16],
        change: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        let stat = fstat(&fd)?;
        self.update_record_of(fd, &stat, id, change)
    }

    /// The same of an inode whose `stat` was taken under the lock.
    fn update_record_of(
        &self,
        fd: impl AsFd,
        stat: &Stat,
        id: &[u8; 16],
        change: impl FnOnce(&mut Record) -> Result<()>,
    ) -> Result<Record> {
        let kind = Kind::from_mode(stat.st_mode).ok_or_else(|| Fault::tampered("is of no known type"))?;
        let before = self.record(&fd, kind)?;
        if before.id != *id {
            return Err(Fault::tampered("has another id than before"));
        }
        let mut record = before.clone();
        let has = owner_of(stat);
        if record.old.is_some() && record.accepts(kind, &has, device_of(stat, kind)) {
            record.owner = has;
            record.old = None;
        }
        if record.old_acl.is_some() {
            record.acl = self.recorded_acls(&fd, &record)?.hash();
            record.old_acl = None;
        }
        change(&mut record)?;
        if record != before {
            self.put_record(&fd, &record, before.encoded_len())?;
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

    /// Changes mode and owner: the record takes the new beside the old, the inode changes, the record drops the old. An
    /// access ACL follows the mode, as in chmod(2). The caller holds the inode's lock and took `stat` under it. The ACLs, when
    /// they are others now.
    pub fn change_owner(&self, fd: impl AsFd, stat: &Stat, id: &[u8; 16], new: Owner) -> Result<Option<Acls>> {
        let fd = fd.as_fd();
        let has = owner_of(stat);
        let mut acls = None;
        self.update_record_of(fd, stat, id, |record| {
            record.owner = new;
            record.old = (has != new).then_some(has);
            if record.acl.is_some() && has.mode & PERMISSIONS != new.mode & PERMISSIONS {
                let before = self.recorded_acls(fd, record)?;
                let after = before.with_mode(new.mode)?;
                set_acl_hash(record, &before, &after);
                acls = Some((before, after));
            }
            Ok(())
        })?;
        if has == new {
            return Ok(None);
        }
        self.settle(fd, id, || {
            if (has.uid, has.gid) == (new.uid, new.gid) && acls.is_none() {
                return set_mode_of(fd, stat, new.mode);
            }
            if (has.uid, has.gid) != (new.uid, new.gid) {
                chown(fd, new.uid, new.gid)?;
            }
            if let Some((before, after)) = &acls {
                // Before the mode, which it brings along: with the mode alone in place the old mask would still count.
                after.replace(fd, before)?;
            }
            // The kernel may have cleared setuid and setgid in chown.
            set_mode(fd, new.mode)
        })?;
        Ok(acls.map(|(_, after)| after))
    }

    /// Changes ACLs, and the mode that an access ACL brings along, in the same three steps. The caller holds the inode's
    /// lock and knows its ACLs, `before`. An access ACL that says no more than a mode is `access` and not in `after`: the
    /// backing file system drops it as it sets the mode. ENOSPC, E2BIG.
    pub fn change_acls(
        &self,
        fd: impl AsFd,
        id: &[u8; 16],
        mode: u16,
        (before, after): (&Acls, &Acls),
        access: Option<&[u8]>,
    ) -> Result<()> {
        let fd = fd.as_fd();
        let has = owner_of(&fstat(fd)?);
        let new = Owner { mode, ..has };
        self.update_record(fd, id, |record| {
            record.owner = new;
            record.old = (has != new).then_some(has);
            set_acl_hash(record, before, after);
            Ok(())
        })?;
        self.settle(fd, id, || {
            let applied = Acls { access: access.map(<[u8]>::to_vec).or_else(|| after.access.clone()), ..after.clone() };
            applied.replace(fd, before)?;
            set_mode(fd, mode)
        })
    }

    /// Changes an inode as its record says it may, then drops from the record what the inode is not. Whoever can write
    /// the disk could go back to it for as long as the record has it.
    fn settle(&self, fd: impl AsFd, id: &[u8; 16], change: impl FnOnce() -> Result<()>) -> Result<()> {
        let changed = change();
        let settled = self.update_record(fd, id, |_| Ok(()));
        changed?;
        settled.map(drop)
    }
}

const PERMISSIONS: u16 = 0o777;

/// The hash of `after` beside that of `before`, where they differ.
fn set_acl_hash(record: &mut Record, before: &Acls, after: &Acls) {
    record.acl = after.hash();
    record.old_acl = (before != after).then(|| before.hash().unwrap_or_else(|| acl_hash(None, None)));
}

/// chmod(2) to `mode`, unless the inode has it.
fn set_mode(fd: impl AsFd, mode: u16) -> Result<()> {
    let has = fstat(&fd)?;
    set_mode_of(fd, &has, mode)
}

fn set_mode_of(fd: impl AsFd, has: &Stat, mode: u16) -> Result<()> {
    if owner_of(has).mode != mode && has.st_mode & libc::S_IFMT != libc::S_IFLNK {
        chmod(&fd, mode)?;
    }
    Ok(())
}

/// chown(2)'s "leave it as it is": nobody's id.
pub const NO_ID: u32 = u32::MAX;

/// EINVAL for ids that are none: to the system call they would mean no change.
pub fn chown(fd: impl AsFd, uid: u32, gid: u32) -> rustix::io::Result<()> {
    if uid == NO_ID || gid == NO_ID {
        return Err(rustix::io::Errno::INVAL);
    }
    rustix::fs::chownat(fd, "", Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), AtFlags::EMPTY_PATH)
}

/// Of anything open; an O_PATH descriptor is only good as a path.
pub fn chmod(fd: impl AsFd, mode: u16) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(u32::from(mode));
    match rustix::fs::fchmod(&fd, mode) {
        Err(Errno::BADF) => rustix::fs::chmod(path::of_fd(fd), mode),
        other => other,
    }
}
