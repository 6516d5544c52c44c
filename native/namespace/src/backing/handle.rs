//! File handles: name_to_handle_at(2) and open_by_handle_at(2).

use crate::ops::NodeId;
use kmsfs_files::store::Handle;
use rustix::fs::OFlags;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// MAX_HANDLE_SZ of the kernel, and of docs/format.md §9.
const MAX_HANDLE: usize = 128;

/// How often ENOMEM is taken for an inode number that is being reused.
const BEING_CREATED_TRIES: u32 = 100;

/// `struct file_handle` with room for the longest handle.
#[repr(C)]
struct Raw {
    bytes: libc::c_uint,
    kind: libc::c_int,
    data: [u8; MAX_HANDLE],
}

/// The handle of an open (also O_PATH) inode. EOPNOTSUPP where the file system has none.
pub fn of(fd: impl AsFd) -> io::Result<Handle> {
    let mut raw = Raw { bytes: MAX_HANDLE as libc::c_uint, kind: 0, data: [0; MAX_HANDLE] };
    let mut mount_id = 0;
    // SAFETY: the path is an empty C string, `raw` has the layout of struct file_handle with `bytes` bytes behind it.
    let rc = unsafe {
        libc::name_to_handle_at(
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            (&raw mut raw).cast(),
            &mut mount_id,
            libc::AT_EMPTY_PATH,
        )
    };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    let len = (raw.bytes as usize).min(MAX_HANDLE);
    Ok(Handle { kind: raw.kind, bytes: raw.data[..len].to_vec() })
}

/// Opens the inode behind a handle; ESTALE when it is gone. `mount` is any open (not O_PATH) file of its file system.
pub fn open(mount: impl AsFd, handle: &Handle, flags: OFlags) -> io::Result<OwnedFd> {
    let mut raw = Raw { bytes: 0, kind: handle.kind, data: [0; MAX_HANDLE] };
    let room = raw.data.get_mut(..handle.bytes.len()).ok_or_else(stale)?;
    room.copy_from_slice(&handle.bytes);
    raw.bytes = handle.bytes.len() as libc::c_uint;
    let flags = (flags | OFlags::CLOEXEC).bits() as libc::c_int;
    let mut tries = 0;
    loop {
        // SAFETY: `raw` has the layout of struct file_handle, `bytes` of them initialised.
        let fd = unsafe { libc::open_by_handle_at(mount.as_fd().as_raw_fd(), (&raw mut raw).cast(), flags) };
        if fd >= 0 {
            // SAFETY: the call succeeded: the descriptor is new and nobody else's.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        // iget_locked() fails like this while the inode's number is being given to a new one (I_CREATING): no want of
        // memory, and over in a moment.
        tries += 1;
        if error.raw_os_error() != Some(libc::ENOMEM) || tries == BEING_CREATED_TRIES {
            return Err(error);
        }
        std::thread::yield_now();
    }
}

fn stale() -> io::Error {
    io::Error::from_raw_os_error(libc::ESTALE)
}

/// How a file system writes inode number and generation into its handles. Where it is known, a node id is made of the
/// two and needs no entry in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// FILEID_INO32_GEN (ext4): ino u32, generation u32.
    Ino32Gen,
    /// tmpfs: generation u32, ino u64, under the same type.
    GenIno64,
    /// FILEID_INO64_GEN (xfs): ino u64, generation u32.
    Ino64Gen,
    /// Anything else.
    Unknown,
}

const TYPE_INO32_GEN: i32 = 1;
const TYPE_INO64_GEN: i32 = 0x81;

impl Scheme {
    /// The scheme that a handle and the inode number it is for are consistent with.
    pub fn of(handle: &Handle, ino: u64) -> Scheme {
        [Scheme::Ino32Gen, Scheme::GenIno64, Scheme::Ino64Gen]
            .into_iter()
            .find(|s| s.split(handle).is_some_and(|(i, _)| i == ino))
            .unwrap_or(Scheme::Unknown)
    }

    fn split(self, handle: &Handle) -> Option<(u64, u32)> {
        let word = |at: usize| {
            let bytes = handle.bytes.get(at * 4..at * 4 + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        let wide = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
        match (self, handle.kind, handle.bytes.len()) {
            (Scheme::Ino32Gen, TYPE_INO32_GEN, 8) => Some((u64::from(word(0)?), word(1)?)),
            (Scheme::GenIno64, TYPE_INO32_GEN, 12) => Some((wide(word(1)?, word(2)?), word(0)?)),
            (Scheme::Ino64Gen, TYPE_INO64_GEN, 12) => Some((wide(word(0)?, word(1)?), word(2)?)),
            _ => None,
        }
    }

    /// The node id of an inode: generation << 32 | ino. `None` where that would not lead back to the handle, or is 0
    /// or 1, or has no inode number (such ids are synthetic, see the inode table).
    pub fn node(self, handle: &Handle, ino: u64) -> Option<NodeId> {
        let (i, generation) = self.split(handle)?;
        let node = NodeId(u64::from(generation) << 32 | i);
        (i == ino && i != 0 && i <= u64::from(u32::MAX) && node.0 > 1).then_some(node)
    }

    /// The handle behind a node id made by [`Scheme::node`].
    pub fn handle(self, node: NodeId) -> Option<Handle> {
        let (ino, generation) = (node.0 as u32, (node.0 >> 32) as u32);
        let (kind, words): (i32, &[u32]) = match self {
            Scheme::Ino32Gen => (TYPE_INO32_GEN, &[ino, generation]),
            Scheme::GenIno64 => (TYPE_INO32_GEN, &[generation, ino, 0]),
            Scheme::Ino64Gen => (TYPE_INO64_GEN, &[ino, 0, generation]),
            Scheme::Unknown => return None,
        };
        (ino != 0).then(|| Handle { kind, bytes: words.iter().flat_map(|w| w.to_ne_bytes()).collect() })
    }
}
