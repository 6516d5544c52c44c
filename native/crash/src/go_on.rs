//! Work in a volume that was recovered.

use crate::model::{Seen, Tree};
use crate::see;
use crate::Result;
use kmsfs_namespace::ops::{Caller, Errno, FileSystem, NodeId, Writing, ROOT};
use kmsfs_namespace::Volume;
use kmsfs_random::Random;

const ME: Caller = Caller { uid: 0, gid: 0, pid: 1, umask: 0 };

fn at<T>(what: &str, done: std::result::Result<T, Errno>) -> Result<T> {
    done.map_err(|e| format!("{what}: {e:?}"))
}

/// A new file replaces another, each old file grows, and all is read back.
pub fn go_on(volume: &Volume, tree: &Tree) -> Result<()> {
    let data = Random::new(7).bytes(3 * 65536 + 100);
    let mut made = Vec::new();
    for name in [&b"went on"[..], b"went on."] {
        let (entry, handle) = at("create", volume.create(ME, ROOT, name, 0o644, (libc::O_RDWR | libc::O_EXCL) as u32))?;
        at("write", volume.write(entry.node, handle, 0, &data, Writing::default()))?;
        at("fsync", volume.fsync(entry.node, handle, false))?;
        made.push((entry.node, handle));
    }
    at("rename", volume.rename(ROOT, b"went on.", ROOT, b"went on", 0))?;
    for (node, handle) in made {
        at("flush", volume.flush(node, handle))?;
        at("release", volume.release(node, handle))?;
    }
    let entry = at("lookup", volume.lookup(ROOT, b"went on"))?;
    if see::content(volume, entry.node, "went on")? != data {
        return Err("what was written is not what is read".into());
    }
    for (path, seen) in tree {
        let Seen::File(_, before) = seen else { continue };
        let node = path
            .split('/')
            .try_fold(ROOT, |node, name| at(path, volume.lookup(node, name.as_bytes())).map(|e| e.node))?;
        append(volume, node, path, before.len() as u64)?;
    }
    at("unlink", volume.unlink(ROOT, b"went on"))
}

/// A few bytes at the end; every other file is synced as well.
fn append(volume: &Volume, node: NodeId, path: &str, size: u64) -> Result<()> {
    let handle = at(path, volume.open(node, libc::O_RDWR as u32))?;
    // Of a file with several names, this may have come by another already.
    let end = at(path, volume.getattr(node, Some(handle)))?.size.max(size);
    at(path, volume.write(node, handle, end, b"and on", Writing::default()))?;
    if node.0.is_multiple_of(2) {
        at(path, volume.fsync(node, handle, false))?;
    }
    at(path, volume.flush(node, handle))?;
    at(path, volume.release(node, handle))?;
    let content = see::content(volume, node, path)?;
    if content.ends_with(b"and on") && content.len() as u64 == end + 6 {
        return Ok(());
    }
    Err(format!("{path} does not end with what was appended"))
}
