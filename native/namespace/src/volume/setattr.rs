//! chmod, chown, truncate and utimensat.

use super::Volume;
use crate::backing::inode::{owner_of, NO_ID};
use crate::fault::{Fault, Result};
use crate::ops::{Attr, Caller, NodeId, SetAttr, SetTime, Writer};
use crate::table::Node;
use kmsfs_files::Time;
use kmsfs_format::record::{Kind, Owner};
use rustix::fs::{chownat, fstat, utimensat, AtFlags, Stat, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use rustix::time::{clock_gettime, ClockId};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

const SUID: u16 = libc::S_ISUID as u16;
const SGID: u16 = libc::S_ISGID as u16;
const GROUP_EXECUTES: u16 = libc::S_IXGRP as u16;

/// The mode that is left when privileges are taken away: no setuid, and no setgid where the group may execute, or where
/// `by`, who has not the right to keep it (CAP_FSETID), is no member of the group (setattr_should_drop_sgid, fs/attr.c).
fn without_privileges(has: Owner, by: Option<Writer>) -> u16 {
    let mode = has.mode & !SUID;
    let keeps = || mode & GROUP_EXECUTES == 0 && by.is_none_or(|by| is_member(by, has.gid));
    if mode & SGID != 0 && !keeps() {
        mode & !SGID
    } else {
        mode
    }
}

/// Whether a writer is of the group, which FUSE does not tell of its other groups: its /proc/PID/status does. Where that
/// cannot be seen it counts as one, as fuse.h has it: setgid that nobody executes is no privilege.
fn is_member(by: Writer, gid: u32) -> bool {
    if by.gid == gid {
        return true;
    }
    let Ok(status) = std::fs::read_to_string(format!("/proc/{}/status", by.pid)) else { return true };
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.is_none_or(|groups| groups.split_whitespace().any(|group| group.parse() == Ok(gid)))
}

impl Volume {
    pub(super) fn set_attr(&self, caller: Caller, id: NodeId, set: &SetAttr) -> Result<Attr> {
        self.writable()?;
        let node = self.node(id)?;
        let fd = self.fd(&node)?;
        if let Some(size) = set.size {
            self.truncate(&node, set, size)?;
        }
        let owner_changes = set.uid.is_some() || set.gid.is_some();
        if set.mode.is_some() || owner_changes {
            self.set_owner(caller, &node, &fd, set)?;
        }
        if node.kind != Kind::Directory && (set.kill_suidgid || owner_changes && set.mode.is_none()) {
            // With a chown(2) the kernel asks for it whoever calls, root too.
            let by = if owner_changes { caller.unprivileged() } else { Some(caller.writer()) };
            self.drop_privileges(&node, by)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            self.set_times(&node, &fd, set)?;
        } else if set.size.is_none() && set.mode.is_none() && !owner_changes && !set.kill_suidgid {
            self.change_nothing(caller, &node, &fd, set)?;
        }
        self.attr_of(&node)
    }

    /// Nothing but that privileges go and ctime is set: chown(2) to nobody else, which is the owner's alone where there are
    /// privileges, or the kernel's own preparation for somebody's write (file_remove_privs). With the chown it has set
    /// ctime itself; without the writeback cache the two look the same: then others take nothing away here, for their
    /// writes bring FUSE_WRITE_KILL_SUIDGID. EPERM.
    fn change_nothing(&self, caller: Caller, node: &Node, fd: &OwnedFd, set: &SetAttr) -> Result<()> {
        if node.kind != Kind::Directory {
            let has = owner_of(&fstat(fd)?);
            let by = caller.unprivileged();
            let left = without_privileges(has, by);
            let permitted = caller.uid == 0 || caller.uid == has.uid;
            // Only of regular files does it keep times, and only they are written through it.
            let is_chown = set.ctime || node.kind != Kind::File;
            if is_chown && !permitted && left != has.mode {
                return Err(Fault::errno(libc::EPERM));
            }
            if !permitted && !self.options.writeback && left != has.mode {
                return Ok(());
            }
            self.drop_privileges(node, by)?;
        }
        Ok(chownat(fd, "", None, None, AtFlags::EMPTY_PATH)?)
    }

    fn truncate(&self, node: &Node, set: &SetAttr, size: u64) -> Result<()> {
        if node.kind != Kind::File {
            return Err(Fault::errno(if node.kind == Kind::Directory { libc::EISDIR } else { libc::EINVAL }));
        }
        let open = set.handle.and_then(|h| self.open_files.get(h));
        match open {
            Some(open) => {
                open.file.truncate(size)?;
                open.home.touch();
            }
            None => {
                let (home, file) = self.hold(node)?;
                // truncate(2): there is no close to commit it.
                let done = file.truncate(size).and_then(|()| file.commit());
                home.touch();
                self.let_go(&home, &file);
                done?;
            }
        }
        Ok(())
    }

    fn set_owner(&self, caller: Caller, node: &Node, fd: &OwnedFd, set: &SetAttr) -> Result<()> {
        if set.uid == Some(NO_ID) || set.gid == Some(NO_ID) {
            return Err(Fault::errno(libc::EINVAL));
        }
        let _held = self.backing.inode_locks.lock(&[&node.file]);
        let stat = fstat(fd)?;
        let has = owner_of(&stat);
        let mut new = Owner {
            mode: set.mode.map_or(has.mode, |m| (m & 0o7777) as u16),
            uid: set.uid.unwrap_or(has.uid),
            gid: set.gid.unwrap_or(has.gid),
        };
        if set.mode.is_none() && node.kind != Kind::Directory {
            // chown(2) on Linux clears them whoever calls; the group that may keep setgid is the one of before.
            new.mode = without_privileges(has, caller.unprivileged());
        }
        if new.mode & (SUID | SGID) != 0 {
            // Before it is so. Of capabilities it brings none.
            node.plain.store(false, Ordering::Release);
        }
        self.change_owner(node, fd, &stat, new)?;
        self.inode_changed(&node.file);
        Ok(())
    }

    /// Under the inode's lock, as `stat` was taken.
    fn change_owner(&self, node: &Node, fd: &OwnedFd, stat: &Stat, new: Owner) -> Result<()> {
        match self.backing.change_owner(fd, stat, &node.file, new) {
            Ok(Some(acls)) => node.set_acls(Arc::new(acls)),
            Ok(None) => {}
            Err(fault) => {
                // An ACL may have changed with the mode, or not: it is read when it next counts.
                node.forget_acls();
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Clears setuid, setgid and capabilities, as a write, truncate or chown must. `by`: see [`without_privileges`].
    pub(super) fn drop_privileges(&self, node: &Node, by: Option<Writer>) -> Result<()> {
        if node.plain.load(Ordering::Acquire) {
            return Ok(());
        }
        let fd = self.fd(node)?;
        {
            let _held = self.backing.inode_locks.lock(&[&node.file]);
            let stat = fstat(&fd)?;
            let has = owner_of(&stat);
            let mode = without_privileges(has, by);
            if mode != has.mode {
                self.change_owner(node, &fd, &stat, Owner { mode, ..has })?;
                self.inode_changed(&node.file);
            }
            // Set under the lock that a chmod or setxattr takes to unset it.
            self.drop_capabilities(node, &fd)?;
            // Nor is a member's setgid something to clear at others' writes.
            node.plain.store(mode & SGID == 0, Ordering::Release);
        }
        Ok(())
    }

    fn set_times(&self, node: &Node, fd: &OwnedFd, set: &SetAttr) -> Result<()> {
        let mut mtime = set.mtime;
        if let (Kind::File, Some(time), Some(file)) = (node.kind, mtime, self.files.existing(&node.file)) {
            // The file layer puts it on the inode after the content, whose writing would change it.
            let time = match time {
                SetTime::At(t) => Time { secs: t.secs, nanos: t.nanos },
                SetTime::Now => {
                    let now = clock_gettime(ClockId::RealtimeCoarse);
                    Time { secs: now.tv_sec, nanos: now.tv_nsec as u32 }
                }
            };
            file.set_mtime(time)?;
            if let Some(home) = self.backing.homes.existing(&node.file) {
                home.touch();
            }
            mtime = None;
        }
        if set.atime.is_none() && mtime.is_none() {
            return Ok(());
        }
        let times = Timestamps { last_access: timespec(set.atime), last_modification: timespec(mtime) };
        utimensat(fd, "", &times, AtFlags::EMPTY_PATH)?;
        self.inode_changed(&node.file);
        Ok(())
    }
}

fn timespec(time: Option<SetTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(SetTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(SetTime::At(t)) => Timespec { tv_sec: t.secs, tv_nsec: i64::from(t.nanos) },
    }
}
