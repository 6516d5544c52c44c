//! The home of a regular file: what the file layer reads and writes, opened when it is needed.

use super::fds::Token;
use super::Backing;
use crate::fault::{Fault, Result};
use kmsfs_files::store::{FileId, Handle, Home};
use kmsfs_format::record::Kind;
use parking_lot::Mutex;
use rustix::fs::{fadvise, fallocate, fstat, Advice, FallocateFlags, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::{preadv2, Errno, ReadWriteFlags};
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// The kernel heeds advice for as much as one request of the device takes (force_page_cache_ra in mm/readahead.c), 256 KiB
/// on EBS, and drops the rest.
const ADVICE: u64 = 256 << 10;

/// Who uses a home, and whether it still has a name.
#[derive(Default)]
struct Use {
    /// Open handles of the mount.
    opens: usize,
    /// No link is left: the descriptor must stay open, or the file is gone.
    orphan: bool,
    /// No link and no handle: its state was forgotten, and nobody may begin to use it again.
    buried: bool,
    pinned: Option<Arc<OwnedFd>>,
}

pub struct BackingHome {
    backing: Arc<Backing>,
    id: FileId,
    handle: Handle,
    token: Token,
    /// Another cached descriptor of the inode, good for reading where it is not O_PATH.
    reading: Mutex<Option<Token>>,
    /// The record's flag, as it was read and as it was written since: nobody else writes it while the home is in use.
    growing: Mutex<Option<bool>>,
    usage: Mutex<Use>,
    /// When content or attributes last changed in memory only.
    changed: Mutex<Option<Timespec>>,
}

/// All homes in use, one for each inode.
#[derive(Default)]
pub struct Homes(Mutex<HashMap<FileId, Weak<BackingHome>>>);

impl Homes {
    pub fn existing(&self, id: &FileId) -> Option<Arc<BackingHome>> {
        self.0.lock().get(id).and_then(Weak::upgrade)
    }
}

impl Backing {
    /// The home of file `id`, shared by all who use it. Tampering when another inode goes by that id.
    pub fn home(self: &Arc<Self>, id: &FileId, handle: &Handle) -> Result<Arc<BackingHome>> {
        let mut homes = self.homes.0.lock();
        if let Some(home) = homes.get(id).and_then(Weak::upgrade) {
            if home.handle != *handle {
                // Dropping the last reference takes this lock.
                drop(homes);
                return Err(Fault::tampered("has the id of another file in use"));
            }
            return Ok(home);
        }
        let home = Arc::new(BackingHome {
            backing: self.clone(),
            id: *id,
            handle: handle.clone(),
            token: Token::fresh(),
            reading: Mutex::default(),
            growing: Mutex::default(),
            usage: Mutex::default(),
            changed: Mutex::default(),
        });
        homes.insert(*id, Arc::downgrade(&home));
        Ok(home)
    }
}

impl Drop for BackingHome {
    fn drop(&mut self) {
        self.backing.fds.remove(self.token);
        let mut homes = self.backing.homes.0.lock();
        if homes.get(&self.id).is_some_and(|w| w.strong_count() == 0) {
            homes.remove(&self.id);
        }
    }
}

impl BackingHome {
    /// A descriptor of the home; read-write unless the mount is read-only.
    pub fn fd(&self) -> io::Result<Arc<OwnedFd>> {
        if let Some(fd) = self.open_fd() {
            return Ok(fd);
        }
        let access = if self.backing.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let fd = Arc::new(self.backing.open_handle(&self.handle, access | OFlags::NOFOLLOW | OFlags::NONBLOCK)?);
        self.backing.fds.put(self.token, fd.clone());
        Ok(fd)
    }

    /// A descriptor for reading, which need not be opened for it where the inode has one already.
    fn read_fd(&self) -> io::Result<Arc<OwnedFd>> {
        if let Some(fd) = self.open_fd() {
            return Ok(fd);
        }
        let reading = *self.reading.lock();
        match reading.and_then(|token| self.backing.fds.get(token)) {
            Some(fd) => Ok(fd),
            None => self.fd(),
        }
    }

    fn open_fd(&self) -> Option<Arc<OwnedFd>> {
        let pinned = self.usage.lock().pinned.clone();
        pinned.or_else(|| self.backing.fds.get(self.token))
    }

    /// The cached descriptor under `token` is of this inode.
    pub fn read_by(&self, token: Token) {
        *self.reading.lock() = Some(token);
    }

    /// The record's `growing` flag was read, after somebody took hold of the home.
    pub fn saw_growing(&self, growing: bool) {
        self.growing.lock().get_or_insert(growing);
    }

    /// Takes over a descriptor that is open already.
    pub fn adopt(&self, fd: Arc<OwnedFd>) {
        self.backing.fds.put(self.token, fd);
    }

    /// The last link is gone: keeps the inode alive for those who have it open, by what `open` gives. Whether anyone has.
    pub fn orphan(&self, open: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<bool> {
        // Held while it is opened anew, which waits for no disk: whoever closes it last must find it pinned.
        let mut usage = self.usage.lock();
        let used = usage.opens > 0;
        usage.pinned = if used { Some(Arc::new(open()?)) } else { None };
        usage.orphan = true;
        usage.buried = !used;
        Ok(used)
    }

    /// There never was a link (O_TMPFILE): keeps the inode alive by `fd`.
    pub fn nameless(&self, fd: Arc<OwnedFd>) {
        let mut usage = self.usage.lock();
        usage.orphan = true;
        usage.pinned = Some(fd);
    }

    /// It has a name after all.
    pub fn adopted(&self) {
        self.usage.lock().orphan = false;
    }

    pub fn is_orphan(&self) -> bool {
        self.usage.lock().orphan
    }

    /// One handle more. Whether it is the first, of a file that may have lost its last link unseen.
    pub fn opened(&self) -> bool {
        let mut usage = self.usage.lock();
        usage.opens += 1;
        usage.opens == 1 && (!usage.orphan || usage.buried)
    }

    /// One handle less. Whether this was the last of a file without a name.
    pub fn closed(&self) -> bool {
        let mut usage = self.usage.lock();
        usage.opens = usage.opens.saturating_sub(1);
        if usage.opens == 0 {
            usage.buried = usage.orphan;
        }
        usage.opens == 0 && usage.orphan
    }

    /// No descriptor needs to be kept any more: there is a link, or nothing will be written.
    pub fn unpin(&self) {
        let pinned = self.usage.lock().pinned.take();
        // Outside of the lock: the last close of an unlinked file frees its blocks.
        drop(pinned);
    }

    /// Content or attributes change now, in memory: what ctime says until the backing inode says later.
    pub fn touch(&self) {
        *self.changed.lock() = Some(rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse));
    }

    pub fn changed(&self) -> Option<Timespec> {
        *self.changed.lock()
    }

    fn record_growing(&self) -> Result<bool> {
        let record = self.backing.record(self.read_fd()?, Kind::File)?;
        if record.id != self.id || record.kind != Kind::File {
            return Err(Fault::tampered("has the record of another inode"));
        }
        Ok(record.growing)
    }
}

impl Home for BackingHome {
    fn id(&self) -> FileId {
        self.id
    }
    fn handle(&self) -> io::Result<Handle> {
        Ok(self.handle.clone())
    }
    fn place(&self) -> Option<String> {
        self.read_fd().ok().map(|fd| self.backing.place(fd))
    }
    fn len(&self) -> io::Result<u64> {
        Ok(fstat(self.read_fd()?)?.st_size as u64)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut fd = self.read_fd()?;
        let mut done = 0;
        while done < buf.len() {
            match rustix::io::pread(&fd, &mut buf[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                // It is O_PATH. The other one is cached, and comes first from then on.
                Err(Errno::BADF) if self.reading.lock().take().is_some() => fd = self.fd()?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(done)
    }
    fn ready(&self, offset: u64) -> bool {
        if self.backing.never_waits.load(Ordering::Relaxed) {
            return true;
        }
        let Ok(fd) = self.read_fd() else { return true };
        let mut byte = [0];
        match preadv2(&fd, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) {
            Err(Errno::OPNOTSUPP) => {
                self.backing.never_waits.store(true, Ordering::Relaxed);
                true
            }
            other => other != Err(Errno::AGAIN),
        }
    }
    fn will_read(&self, offset: u64, len: u64) {
        let Ok(fd) = self.read_fd() else { return };
        let end = offset.saturating_add(len);
        let mut at = offset;
        while let Some(piece) = NonZeroU64::new(end.saturating_sub(at).min(ADVICE)) {
            // It is advice. Where it fails, the read itself tells.
            if fadvise(&fd, at, Some(piece), Advice::WillNeed).is_err() {
                return;
            }
            at += piece.get();
        }
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        write_all(&*self.fd()?, buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        Ok(rustix::fs::ftruncate(self.fd()?, len)?)
    }
    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        optional(fallocate(self.fd()?, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len))
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        optional(fallocate(self.fd()?, FallocateFlags::KEEP_SIZE, offset, len))
    }
    fn set_mtime(&self, secs: i64, nanos: u32) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: secs, tv_nsec: i64::from(nanos) },
        };
        Ok(rustix::fs::futimens(self.fd()?, &times)?)
    }
    fn mtime(&self) -> io::Result<(i64, u32)> {
        let stat = fstat(self.read_fd()?)?;
        Ok((stat.st_mtime, stat.st_mtime_nsec as u32))
    }
    fn growing(&self) -> io::Result<bool> {
        // Known, or held over the reading: what is written meanwhile counts, not what was read before it.
        let mut known = self.growing.lock();
        match *known {
            Some(growing) => Ok(growing),
            None => Ok(*known.insert(self.record_growing()?)),
        }
    }
    fn set_growing(&self, growing: bool) -> io::Result<()> {
        let fd = self.fd()?;
        let _held = self.backing.inode_locks.lock(&[&self.id]);
        let written = self.backing.update_record(&fd, &self.id, |record| {
            record.growing = growing;
            Ok(())
        });
        *self.growing.lock() = written.is_ok().then_some(growing);
        self.backing.growth.fetch_add(1, Ordering::AcqRel);
        written?;
        Ok(())
    }
    fn sync(&self, data_only: bool) -> io::Result<()> {
        let fd = match self.fd() {
            // Removed since: no recovery looks for what it held, and the flush of all others must not fail for it.
            Err(e) if e.raw_os_error() == Some(libc::ESTALE) => return Ok(()),
            other => other?,
        };
        let flushed = if data_only { rustix::fs::fdatasync(fd) } else { rustix::fs::fsync(fd) };
        Ok(flushed?)
    }
}

/// A file system that cannot punch or reserve loses nothing but room.
fn optional(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Writes all of `buf` at `offset`.
pub fn write_all(fd: impl std::os::fd::AsFd, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match rustix::io::pwrite(&fd, buf, offset) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::EIO)),
            Ok(n) => {
                buf = &buf[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
