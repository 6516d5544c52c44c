//! The backing directory as the file layer's store.

use super::{path, Backing};
use crate::fault::Fault;
use kmsfs_files::store::{FileId, Handle, Home, RootIdentity, Segment, Store};
use kmsfs_format::record::Kind;
use rustix::fs::{fstat, fstatvfs, ftruncate, OFlags};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

pub struct BackingStore {
    backing: Arc<Backing>,
    longest: OnceLock<u64>,
}

impl BackingStore {
    pub fn new(backing: Arc<Backing>) -> Self {
        BackingStore { backing, longest: OnceLock::new() }
    }

    fn is_home_of(&self, fd: &OwnedFd, id: &FileId) -> io::Result<bool> {
        let stat = fstat(fd)?;
        if Kind::from_mode(stat.st_mode) != Some(Kind::File) || stat.st_nlink == 0 {
            return Ok(false);
        }
        match self.backing.record(fd, Kind::File) {
            Ok(record) => Ok(record.id == *id && record.kind == Kind::File),
            Err(Fault::Tampered(_)) => Ok(false),
            Err(Fault::Errno(e)) => Err(io::Error::from_raw_os_error(e.0)),
        }
    }
}

impl Store for BackingStore {
    fn identity(&self) -> io::Result<RootIdentity> {
        let mut file_system = [0; 16];
        file_system[..8].copy_from_slice(&fstatvfs(&self.backing.root)?.f_fsid.to_le_bytes());
        file_system[8..].copy_from_slice(&fstat(&self.backing.root)?.st_dev.to_le_bytes());
        Ok(RootIdentity { handle: self.backing.root_handle.clone(), file_system })
    }

    fn find(&self, handle: &Handle, id: &FileId) -> io::Result<Option<Arc<dyn Home>>> {
        let fd = match self.backing.open_handle(handle, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            // EINVAL, EOPNOTSUPP: a handle of another kind of file system, so of a copy.
            Err(e)
                if matches!(e.raw_os_error(), Some(libc::ESTALE | libc::ENOENT | libc::EINVAL | libc::EOPNOTSUPP)) =>
            {
                return Ok(None)
            }
            Err(e) => return Err(e),
        };
        if !self.is_home_of(&fd, id)? {
            return Ok(None);
        }
        Ok(Some(self.backing.home(id, handle)?))
    }

    fn walk(&self, wanted: &HashSet<FileId>) -> io::Result<HashMap<FileId, Arc<dyn Home>>> {
        let mut homes: HashMap<FileId, Arc<dyn Home>> = HashMap::new();
        for (id, handle) in self.backing.find_all(wanted)? {
            homes.insert(id, self.backing.home(&id, &handle)?);
        }
        Ok(homes)
    }

    fn segments(&self, count: u32, size: u64) -> io::Result<Vec<Arc<dyn Segment>>> {
        (0..count).map(|slot| Ok(Arc::from(self.backing.segment(slot, size)?))).collect()
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.backing.root)?)
    }

    fn max_home_len(&self) -> u64 {
        *self.longest.get_or_init(|| longest_file(&self.backing).unwrap_or(SURE))
    }
}

/// A length that any file system worth the name holds (ext4 with 1 KiB blocks: 16 GiB and more; 4 KiB: 16 TiB).
const SURE: u64 = 16 << 30;
/// Where the search ends: lengths are below 2^63.
const ABSURD: u64 = 1 << 62;

/// The longest file that can be, by trying lengths on one without a name.
fn longest_file(backing: &Backing) -> io::Result<u64> {
    if backing.read_only {
        return Ok(ABSURD);
    }
    let fd = match path::open(&backing.special, ".", OFlags::TMPFILE | OFlags::RDWR, 0o600) {
        Ok(fd) => fd,
        Err(_) => {
            let fd = path::open(&backing.special, PROBE, OFlags::RDWR | OFlags::CREATE, 0o600)?;
            rustix::fs::unlinkat(&backing.special, PROBE, rustix::fs::AtFlags::empty())?;
            fd
        }
    };
    let (mut low, mut high) = (0, ABSURD);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if ftruncate(&fd, middle).is_ok() {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    // Nothing can be larger than what was probed; a limit of RLIMIT_FSIZE shows here as well.
    Ok(low)
}

const PROBE: &str = ".t-longest";
