//! Opening a volume: the lock, the probe, the root's record, recovery.

use super::open::Handles;
use super::Volume;
use crate::backing::acl::Acls;
use crate::backing::inode::owner_of;
use crate::backing::locks::Stripes;
use crate::backing::root::Root;
use crate::backing::store::BackingStore;
use crate::backing::{path, probe, walk, About, Backing, LOST_AND_FOUND, SPECIAL};
use crate::fault::Fault;
use crate::table::Table;
use kmsfs_files::{Config, Files, OnTamper, Recovery};
use kmsfs_format::keys::DomainKeys;
use kmsfs_format::record::{Device, Kind, Record};
use parking_lot::Mutex;
use rustix::fs::{flock, fstat, FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// How a volume is mounted, beyond what the file layer needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The kernel caches writes (FUSE_WRITEBACK_CACHE): it does O_APPEND itself then.
    pub writeback: bool,
    /// Nodes kept in memory beside those in use.
    pub max_nodes: usize,
    /// Descriptors cached; what is open by its nature (directory handles, unlinked files) comes on top. 0: as many as
    /// the descriptor limit allows, within reason.
    pub max_fds: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options { writeback: true, max_nodes: 65_536, max_fds: 0 }
    }
}

/// Cached descriptors where the limit would allow more.
pub const MOST_FDS: u32 = 16_384;
const DIR_LOCKS: usize = 1024;

/// Why a volume is not opened. Nothing was changed on disk, but for `Files` errors after recovery began.
#[derive(Debug)]
pub enum OpenError {
    /// Another engine has the volume.
    InUse,
    /// The backing file system lacks something; what.
    Unsupported(String),
    /// The root or the log is damaged or was tampered with.
    Damaged(String),
    /// Its root has no record yet, and the mount may not write it one.
    NeverMounted,
    Files(kmsfs_files::Error),
    Io(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse => f.write_str("the volume is mounted already (its .kmsfs/lock is held)"),
            OpenError::Unsupported(what) => write!(f, "the backing file system cannot hold a volume: {what}"),
            OpenError::Damaged(what) => write!(f, "the volume is damaged: {what}"),
            OpenError::NeverMounted => f.write_str("the volume was never mounted: its first mount has to write"),
            OpenError::Files(e) => write!(f, "{e}"),
            OpenError::Io(e) => write!(f, "{e}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl From<io::Error> for OpenError {
    fn from(e: io::Error) -> Self {
        // Of the system's own errors none is of this kind: it is what does not verify.
        match e.kind() {
            io::ErrorKind::InvalidData => OpenError::Damaged(e.to_string()),
            _ => OpenError::Io(e),
        }
    }
}

impl From<Errno> for OpenError {
    fn from(e: Errno) -> Self {
        OpenError::Io(e.into())
    }
}

impl From<Fault> for OpenError {
    fn from(f: Fault) -> Self {
        match f {
            Fault::Errno(e) => OpenError::Io(io::Error::from_raw_os_error(e.0)),
            Fault::Tampered(what) => OpenError::Damaged(format!("its root directory {what}")),
        }
    }
}

impl From<kmsfs_files::Error> for OpenError {
    fn from(e: kmsfs_files::Error) -> Self {
        match e {
            kmsfs_files::Error::LogDamaged(_) => OpenError::Damaged(e.to_string()),
            kmsfs_files::Error::Io(e) => e.into(),
            e => OpenError::Files(e),
        }
    }
}

impl Volume {
    /// Opens the volume in `backing` with default [`Options`].
    pub fn open(
        backing: &Path,
        keys: Arc<DomainKeys>,
        config: Config,
        on_tamper: OnTamper,
    ) -> Result<(Arc<Volume>, Recovery), OpenError> {
        Self::open_with(Root::open(backing)?, keys, config, on_tamper, Options::default())
    }

    /// Opens the volume in `root`: takes its lock, recovers what a crash left. A volume that was never mounted gets
    /// its root's record here. The process's descriptor limit is raised as far as it may be.
    pub fn open_with(
        root: Root,
        keys: Arc<DomainKeys>,
        mut config: Config,
        on_tamper: OnTamper,
        options: Options,
    ) -> Result<(Arc<Volume>, Recovery), OpenError> {
        let special = path::open(&root.dir, SPECIAL, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        let lock = take_lock(&special, config.read_only)?;
        if let Some(what) = probe::missing(&root.dir, &special, config.read_only)? {
            return Err(OpenError::Unsupported(what));
        }
        let about = About {
            keys: keys.clone(),
            uuid: config.uuid,
            read_only: config.read_only,
            max_fds: descriptors(options.max_fds),
            on_tamper: on_tamper.clone(),
        };
        let backing = Arc::new(Backing::new(root, special, about)?);
        config.new_volume |= is_unused(&backing)?;
        check_root(&backing, config.new_volume)?;
        let store = Arc::new(BackingStore::new(backing.clone()));
        let block_size = 1 << config.block_shift;
        let (files, recovery) = Files::open(config, keys, store, on_tamper)?;
        let volume = Volume {
            backing,
            files,
            options,
            block_size,
            table: Table::new(options.max_nodes),
            open_files: Handles::default(),
            open_dirs: Handles::default(),
            dir_locks: Stripes::new(DIR_LOCKS),
            closing: AtomicBool::new(false),
            scrubbing: Mutex::new(()),
            _lock: lock,
        };
        Ok((Arc::new(volume), recovery))
    }

    /// Remounted read-only: everything is written home, the log is empty, and nothing is written from here on. The kernel
    /// lets nobody write any more. After an error the volume is as it was.
    pub fn pause(&self) -> kmsfs_files::Result<()> {
        if self.backing.closed_for_writing() {
            return Ok(());
        }
        self.files.pause()?;
        if let Err(e) = rustix::fs::syncfs(&self.backing.root) {
            self.files.resume();
            return Err(io::Error::from(e).into());
        }
        self.backing.paused.store(true, Ordering::Release);
        Ok(())
    }

    /// Remounted read-write. `ReadOnly` when the volume was opened read-only, or may not be written after a failure.
    pub fn resume(&self) -> kmsfs_files::Result<()> {
        if self.backing.read_only {
            return Err(kmsfs_files::Error::ReadOnly);
        }
        self.files.resume();
        self.backing.paused.store(false, Ordering::Release);
        if self.files.read_only() {
            return Err(kmsfs_files::Error::ReadOnly);
        }
        Ok(())
    }

    /// The mount is going away: writes everything home and makes it durable.
    pub fn close(&self) -> kmsfs_files::Result<()> {
        self.closing.store(true, Ordering::Release);
        drop(self.scrubbing.lock());
        self.files.close()?;
        if !self.backing.closed_for_writing() {
            rustix::fs::syncfs(&self.backing.root).map_err(io::Error::from)?;
        }
        Ok(())
    }
}

fn take_lock(special: &OwnedFd, read_only: bool) -> Result<OwnedFd, OpenError> {
    let flags = if read_only { OFlags::RDONLY } else { OFlags::RDWR | OFlags::CREATE };
    // openat2(2) takes no mode where nothing is made.
    let mode = if read_only { 0 } else { 0o600 };
    let lock = match path::regular(special, "lock", flags, mode) {
        // A volume on read-only media that was never mounted: the directory itself does as well.
        Err(Errno::NOENT | Errno::ROFS) if read_only => {
            path::open(special, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?
        }
        other => other?.ok_or_else(|| OpenError::Damaged(".kmsfs/lock is no regular file".into()))?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(Errno::WOULDBLOCK) => Err(OpenError::InUse),
        Err(e) => Err(e.into()),
    }
}

/// Raises the limit to what is allowed and says how many descriptors may be cached.
fn descriptors(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Refusal is no loss: the cache then fits the limit that there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let current = getrlimit(Resource::Nofile).current.unwrap_or(u64::from(MOST_FDS) * 2);
    let fits = (current / 2).clamp(64, u64::from(MOST_FDS)) as usize;
    if wanted == 0 {
        fits
    } else {
        wanted.min(fits)
    }
}

/// Whether the volume holds nothing and its log was never begun. A first mount that died half-way leaves it so.
fn is_unused(backing: &Backing) -> io::Result<bool> {
    let dir = path::open(&backing.root, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let nothing =
        walk::names(dir)?.iter().all(|(name, _)| name == SPECIAL.as_bytes() || name == LOST_AND_FOUND.as_bytes());
    Ok(nothing && !backing.log_is_begun()?)
}

/// The root must bear the volume's id. Only an unused volume gets its record now.
fn check_root(backing: &Arc<Backing>, unused: bool) -> Result<(), OpenError> {
    let bare = crate::backing::xattr::get(&backing.root, Kind::Directory.record_xattr())?.is_none();
    if bare && unused {
        if backing.read_only {
            return Err(OpenError::NeverMounted);
        }
        let stat = fstat(&backing.root)?;
        let mut record = Record::new(Kind::Directory, backing.uuid, owner_of(&stat), Device::default());
        // As its mode is: ACLs that the directory was given for the volume.
        record.acl = Acls::read(&backing.root, Kind::Directory)?.hash();
        backing.put_record(&backing.root, &record, 0)?;
        rustix::fs::fsync(&backing.root)?;
    }
    let root = backing.inspect_acls(backing.root.clone())?;
    if root.record.id != backing.uuid || !root.record.bindings.is_empty() {
        return Err(OpenError::Damaged("its root directory has the record of another".into()));
    }
    Ok(())
}
