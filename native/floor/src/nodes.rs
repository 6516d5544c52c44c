//! Inodes that the kernel knows, each by a descriptor as long as there are any, so that none of their numbers is used again
//! meanwhile.

use kmsfs_files::store::Handle;
use kmsfs_namespace::backing::handle;
use kmsfs_namespace::ops::{Attr, Entry, Errno, NodeId, Result, Time, ROOT};
use parking_lot::RwLock;
use rustix::fs::{fstat, openat, statat, AtFlags, Mode, OFlags, Stat};
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Descriptors left for files that are open, when inodes have taken theirs.
const FOR_OPEN_FILES: u64 = 2048;

pub struct Node {
    /// O_PATH.
    pub fd: OwnedFd,
}

impl Node {
    /// A path that leads to the inode itself, for calls that take no O_PATH descriptor.
    pub fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }
}

/// By handle where no descriptors are left for inodes: slower than the floor should be, but it goes on.
enum Kept {
    Open(Arc<Node>),
    Closed(Handle),
}

struct Known {
    kept: Kept,
    references: AtomicU64,
}

pub struct Nodes {
    /// Not O_PATH, for open_by_handle_at(2).
    mount: OwnedFd,
    root_ino: u64,
    most_open: usize,
    known: RwLock<HashMap<u64, Known>>,
}

fn system(e: std::io::Error) -> Errno {
    Errno(e.raw_os_error().unwrap_or(libc::EIO))
}

pub fn os(e: rustix::io::Errno) -> Errno {
    Errno(e.raw_os_error())
}

/// One descriptor for each inode that the kernel remembers: as many as the system allows.
pub fn raise_descriptor_limit() {
    let most = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
    let most: u64 = most.unwrap_or(1 << 20);
    if setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: Some(most) }).is_err() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        // What it is already is then enough or the error of an open tells.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

impl Nodes {
    pub fn open(backing: &Path) -> Result<Nodes> {
        let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mount = rustix::fs::open(backing, directory, Mode::empty()).map_err(os)?;
        let fd = openat(&mount, ".", directory | OFlags::PATH, Mode::empty()).map_err(os)?;
        let root_ino = fstat(&fd).map_err(os)?.st_ino;
        let root = Known { kept: Kept::Open(Arc::new(Node { fd })), references: AtomicU64::new(1) };
        let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most_open = usize::try_from(allowed.saturating_sub(FOR_OPEN_FILES)).unwrap_or(usize::MAX);
        Ok(Nodes { mount, root_ino, most_open, known: RwLock::new(HashMap::from([(ROOT.0, root)])) })
    }

    fn id(&self, ino: u64) -> NodeId {
        if ino == self.root_ino {
            ROOT
        } else {
            NodeId(ino)
        }
    }

    pub fn get(&self, id: NodeId) -> Result<Arc<Node>> {
        let handle = match &self.known.read().get(&id.0).ok_or(Errno(libc::ESTALE))?.kept {
            Kept::Open(node) => return Ok(node.clone()),
            Kept::Closed(handle) => handle.clone(),
        };
        let fd = handle::open(&self.mount, &handle, OFlags::PATH).map_err(system)?;
        Ok(Arc::new(Node { fd }))
    }

    /// The entry `name` of a directory, referred to once more.
    pub fn look_up(&self, parent: &Node, name: &[u8]) -> Result<Entry> {
        let stat = statat(&parent.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(os)?;
        if let Some(entry) = self.refer(&stat) {
            return Ok(entry);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&parent.fd, name, flags, Mode::empty()).map_err(os)?;
        self.enter(fd)
    }

    /// An inode that is known already.
    fn refer(&self, stat: &Stat) -> Option<Entry> {
        let node = self.id(stat.st_ino);
        let known = self.known.read();
        known.get(&node.0)?.references.fetch_add(1, Ordering::Relaxed);
        Some(Entry { node, generation: 0, attr: attr(stat) })
    }

    /// The inode of an O_PATH descriptor, referred to once more.
    pub fn enter(&self, fd: OwnedFd) -> Result<Entry> {
        let stat = fstat(&fd).map_err(os)?;
        let node = self.id(stat.st_ino);
        let full = self.known.read().len() >= self.most_open;
        let kept =
            if full { Kept::Closed(handle::of(&fd).map_err(system)?) } else { Kept::Open(Arc::new(Node { fd })) };
        let mut known = self.known.write();
        let entered = known.entry(node.0).or_insert(Known { kept, references: AtomicU64::new(0) });
        entered.references.fetch_add(1, Ordering::Relaxed);
        Ok(Entry { node, generation: 0, attr: attr(&stat) })
    }

    pub fn forget(&self, id: NodeId, count: u64) {
        if id == ROOT {
            return;
        }
        let mut known = self.known.write();
        if known.get(&id.0).is_some_and(|node| node.references.fetch_sub(count, Ordering::Relaxed) <= count) {
            known.remove(&id.0);
        }
    }
}

#[allow(clippy::unnecessary_cast)] // The fields' types differ between architectures.
pub fn attr(stat: &Stat) -> Attr {
    let time = |secs, nanos| Time { secs, nanos };
    Attr {
        ino: stat.st_ino,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime as i64, stat.st_atime_nsec as u32),
        mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u32),
        ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        mode: stat.st_mode,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev_major: rustix::fs::major(stat.st_rdev),
        rdev_minor: rustix::fs::minor(stat.st_rdev),
        blksize: stat.st_blksize as u32,
    }
}
