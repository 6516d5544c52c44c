//! A volume in a fresh directory, and what the tests do with it.
#![allow(dead_code, clippy::unwrap_used)]

use kmsfs_files::Config;
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_namespace::backing::root::Root;
use kmsfs_namespace::ops::{Attr, Caller, DirEntry, DirSink, Entry, Errno, FileSystem, NodeId, Writing, ROOT};
use kmsfs_namespace::{OpenError, Options, Volume};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

pub const UUID: [u8; 16] = *b"kmsfs-test-uuid!";
pub const ME: Caller = Caller { uid: 0, gid: 0, pid: 1, umask: 0 };

pub fn keys() -> Arc<DomainKeys> {
    Arc::new(DomainKeys::derive(&UUID, &Secret::take(&mut [7; 32])).unwrap())
}

pub fn config() -> Config {
    Config {
        uuid: UUID,
        block_shift: 12,
        segment_size: 1 << 20,
        segment_count: 4,
        cache_bytes: 4 << 20,
        read_only: false,
        new_volume: false,
        volume_generation: 1,
        kernel_keeps_times: false,
        commit_interval_ms: 0,
    }
}

/// A backing directory, removed at the end, and what was reported of it.
pub struct Backing {
    pub path: PathBuf,
    pub events: Arc<Mutex<Vec<String>>>,
}

impl Backing {
    /// In /var/tmp, or where KMSFS_TEST_BACKING says: another file system.
    pub fn new() -> Self {
        let parent = std::env::var_os("KMSFS_TEST_BACKING").unwrap_or_else(|| "/var/tmp".into());
        Self::under(Path::new(&parent))
    }
    pub fn under(parent: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("kmsfs-ns-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(path.join(".kmsfs")).unwrap();
        Backing { path, events: Arc::default() }
    }
    pub fn open(&self) -> Arc<Volume> {
        self.open_with(config(), Options::default()).unwrap()
    }
    /// For a volume that no other [`Volume`] of this process has.
    pub fn open_with(&self, config: Config, options: Options) -> Result<Arc<Volume>, OpenError> {
        // A child that another test starts has all descriptors, and the lock with them, until it calls exec.
        for _ in 0..200 {
            match self.try_open_with(config.clone(), options) {
                Err(OpenError::InUse) => std::thread::sleep(std::time::Duration::from_millis(10)),
                other => return other,
            }
        }
        Err(OpenError::InUse)
    }
    pub fn try_open_with(&self, config: Config, options: Options) -> Result<Arc<Volume>, OpenError> {
        let events = self.events.clone();
        let on_tamper = Arc::new(move |t: kmsfs_files::Tamper| {
            events.lock().unwrap().push(format!("{} {}", t.place.unwrap_or_default(), t.what))
        });
        Volume::open_with(Root::open(&self.path)?, keys(), config, on_tamper, options).map(|(v, _)| v)
    }
    pub fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
    /// Names in the backing directory, without `.kmsfs`.
    pub fn names(&self) -> Vec<String> {
        names_in(&self.path)
    }
}

impl Drop for Backing {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

pub fn names_in(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n != ".kmsfs")
        .collect();
    names.sort();
    names
}

#[derive(Default)]
pub struct Listed {
    pub names: Vec<Vec<u8>>,
    pub offsets: Vec<u64>,
    pub entries: Vec<Option<Entry>>,
    pub plus: bool,
    pub room: usize,
}

impl DirSink for Listed {
    fn add(&mut self, dirent: &DirEntry<'_>, entry: Option<&Entry>) -> bool {
        if self.room == 0 {
            return false;
        }
        self.room -= 1;
        self.names.push(dirent.name.to_vec());
        self.offsets.push(dirent.offset);
        self.entries.push(entry.copied());
        true
    }
    fn plus(&self) -> bool {
        self.plus
    }
}

/// All of a directory in batches of `room`, without "." and "..", sorted.
pub fn list(v: &Volume, dir: NodeId, room: usize) -> Vec<Vec<u8>> {
    let handle = v.opendir(dir).unwrap();
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let mut batch = Listed { room, ..Listed::default() };
        v.readdir(dir, handle, offset, &mut batch).unwrap();
        let Some(last) = batch.offsets.last() else { break };
        offset = *last;
        names.extend(batch.names);
    }
    v.releasedir(dir, handle).unwrap();
    names.retain(|n| n != b"." && n != b"..");
    names.sort();
    names
}

pub fn mkdir(v: &Volume, parent: NodeId, name: &[u8]) -> NodeId {
    v.mkdir(ME, parent, name, 0o755).unwrap().node
}

/// A file with content, closed.
pub fn put(v: &Volume, parent: NodeId, name: &[u8], content: &[u8]) -> NodeId {
    let (entry, handle) = v.create(ME, parent, name, 0o644, (libc::O_RDWR | libc::O_CREAT) as u32).unwrap();
    v.write(entry.node, handle, 0, content, Writing::default()).unwrap();
    v.flush(entry.node, handle).unwrap();
    v.release(entry.node, handle).unwrap();
    entry.node
}

pub fn get(v: &Volume, node: NodeId) -> Vec<u8> {
    let handle = v.open(node, libc::O_RDONLY as u32).unwrap();
    let mut buf = vec![0; v.getattr(node, None).unwrap().size as usize + 10];
    let n = v.read(node, handle, 0, &mut buf).unwrap();
    buf.truncate(n);
    v.release(node, handle).unwrap();
    buf
}

pub fn get_at(v: &Volume, parent: NodeId, name: &[u8]) -> Vec<u8> {
    get(v, v.lookup(parent, name).unwrap().node)
}

pub fn attr_at(v: &Volume, parent: NodeId, name: &[u8]) -> Attr {
    v.lookup(parent, name).unwrap().attr
}

pub fn errno<T>(result: Result<T, Errno>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(e) => e.0,
    }
}

/// The record of a backing inode, decoded.
pub fn record(path: &Path) -> kmsfs_format::record::Record {
    let name = if path.is_symlink() { "trusted.kmsfs" } else { "user.kmsfs" };
    let mut buf = vec![0; 2000];
    let len = rustix::fs::lgetxattr(path, name, &mut buf[..]).unwrap();
    kmsfs_format::record::Record::decode(&keys(), &buf[..len]).unwrap()
}

/// Where a name of the root stands in the backing directory.
pub fn stored(backing: &Backing, dir_id: &[u8; 16], name: &[u8]) -> PathBuf {
    backing.path.join(kmsfs_format::names::seal_name(&keys(), dir_id, name).unwrap().stored)
}

pub fn root_path(backing: &Backing, name: &[u8]) -> PathBuf {
    stored(backing, &UUID, name)
}

pub const R: NodeId = ROOT;
