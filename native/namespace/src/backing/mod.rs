//! The backing directory: everything that touches the file system below.

pub mod acl;
pub mod fds;
pub mod handle;
pub mod home;
pub mod inode;
pub mod locks;
pub mod medium;
pub mod path;
pub mod probe;
pub mod root;
pub mod segment;
pub mod store;
pub mod walk;
pub mod xattr;

use crate::fault::Result;
use fds::FdCache;
use handle::Scheme;
use home::Homes;
use kmsfs_files::store::Handle;
use kmsfs_files::{OnTamper, Tamper};
use kmsfs_format::keys::DomainKeys;
use locks::Stripes;
use parking_lot::Mutex;
use root::Root;
use rustix::fs::OFlags;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// The directory of the root that holds header, lock, log and sidecars (docs/format.md §1).
pub const SPECIAL: &str = ".kmsfs";
/// Where ext4 keeps what fsck finds; a backing root that is a whole file system has it.
pub const LOST_AND_FOUND: &str = "lost+found";

/// Stripes of the inode locks: contention is by chance alone.
const INODE_LOCKS: usize = 1024;
/// XFS_SUPER_MAGIC of statfs(2).
const XFS_MAGIC: rustix::fs::FsWord = 0x5846_5342;
/// Tamper reports remembered, so that each is made once.
const REPORTS: usize = 4096;

pub struct Backing {
    pub keys: Arc<DomainKeys>,
    pub uuid: [u8; 16],
    /// Opened read-only: nothing here is open for writing.
    pub read_only: bool,
    /// Remounted read-only: nothing is written until it is resumed.
    pub paused: AtomicBool,
    /// The backing root, opened for reading: also names the mount to open_by_handle_at.
    pub root: Arc<OwnedFd>,
    opened: Root,
    pub root_handle: Handle,
    /// `.kmsfs`.
    pub special: OwnedFd,
    pub scheme: Scheme,
    /// xfs: a crash can lose an xattr value that is being converted to another form. ext4 replaces values whole, and has
    /// no room for two of the longest.
    pub converts_xattrs: bool,
    /// Whether the backing file system keeps POSIX ACLs: ext4, xfs, btrfs and tmpfs do, unless mounted with noacl.
    pub keeps_acls: bool,
    /// It refused to say whether a read would wait: it is tmpfs, which never does, or a file system that cannot tell.
    pub never_waits: AtomicBool,
    pub fds: FdCache,
    pub homes: Homes,
    /// Counts the changes of records' `growing` flags: what was read of one before holds while this is the same.
    pub growth: AtomicU64,
    /// Held over a change of an inode's record together with the change of the inode or its names that goes with it;
    /// so over backing system calls, which is the point: nobody may see the one without the other. Never while the
    /// file layer is called.
    pub inode_locks: Stripes,
    on_tamper: OnTamper,
    reported: Mutex<HashSet<u64>>,
}

impl Backing {
    pub fn new(opened: Root, special: OwnedFd, about: About) -> Result<Self> {
        let root = opened.dir.clone();
        let root_handle = handle::of(&root)?;
        let ino = rustix::fs::fstat(&root)?.st_ino;
        Ok(Backing {
            keys: about.keys,
            uuid: about.uuid,
            read_only: about.read_only,
            paused: AtomicBool::new(false),
            scheme: Scheme::of(&root_handle, ino),
            keeps_acls: acl::kept_by(&root)?,
            converts_xattrs: rustix::fs::fstatfs(&root)?.f_type == XFS_MAGIC,
            root,
            opened,
            root_handle,
            special,
            never_waits: AtomicBool::new(false),
            fds: FdCache::new(about.max_fds),
            homes: Homes::default(),
            growth: AtomicU64::new(1),
            inode_locks: Stripes::new(INODE_LOCKS),
            on_tamper: about.on_tamper,
            reported: Mutex::default(),
        })
    }

    /// Whether nothing may be changed now.
    pub fn closed_for_writing(&self) -> bool {
        self.read_only || self.paused.load(Ordering::Acquire)
    }

    /// Opens by handle, making room when the process is out of descriptors. ESTALE when the inode is gone.
    pub fn open_handle(&self, handle: &Handle, flags: OFlags) -> std::io::Result<OwnedFd> {
        match handle::open(&self.root, handle, flags) {
            Err(e) if e.raw_os_error() == Some(libc::EMFILE) => {
                self.fds.shed();
                handle::open(&self.root, handle, flags)
            }
            other => other,
        }
    }

    /// Tells the daemon, once, what does not verify. `place` is the thing's place in the backing directory: no
    /// plaintext name leaves the engine.
    pub fn tampered(&self, file: &[u8; 16], place: &str, what: &str) {
        let mut hash = DefaultHasher::new();
        (file, place, what).hash(&mut hash);
        {
            let mut reported = self.reported.lock();
            if reported.len() >= REPORTS {
                reported.clear();
            }
            if !reported.insert(hash.finish()) {
                return;
            }
        }
        (self.on_tamper)(Tamper { file: *file, place: Some(place.to_owned()), block: None, what: what.to_owned() });
    }

    /// Where an open inode is in the backing directory, as far as the kernel knows.
    pub fn place(&self, fd: impl std::os::fd::AsFd) -> String {
        self.opened.place(fd).unwrap_or_else(|_| "an inode".to_owned())
    }

    /// The entry `name` of a directory itself, which may be anything: open for reading, which saves calls that take
    /// paths alone the walk through /proc; O_PATH where it cannot be, as symlinks, sockets and devices. ENOENT.
    pub fn entry(&self, dir: impl std::os::fd::AsFd, name: &str) -> rustix::io::Result<OwnedFd> {
        if self.opened.no_devices {
            match path::open(&dir, name, OFlags::RDONLY, 0) {
                Err(e) if e != rustix::io::Errno::NOENT => {}
                opened => return opened,
            }
        }
        path::entry(dir, name)
    }
}

/// What a [`Backing`] is told when it is made.
pub struct About {
    pub keys: Arc<DomainKeys>,
    pub uuid: [u8; 16],
    pub read_only: bool,
    pub max_fds: usize,
    pub on_tamper: OnTamper,
}
