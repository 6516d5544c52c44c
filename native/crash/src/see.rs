//! What a volume holds, read through its own operations.

use crate::model::{Seen, Tree};
use crate::Result;
use kmsfs_namespace::ops::{DirEntry, DirSink, Entry, Errno, FileSystem, NodeId, ROOT};
use kmsfs_namespace::Volume;

#[derive(Default)]
struct Names {
    names: Vec<Vec<u8>>,
    last: u64,
    full: usize,
}

impl DirSink for Names {
    fn add(&mut self, dirent: &DirEntry<'_>, _entry: Option<&Entry>) -> bool {
        if self.full == 0 {
            return false;
        }
        self.full -= 1;
        self.last = dirent.offset;
        self.names.push(dirent.name.to_vec());
        true
    }
    fn plus(&self) -> bool {
        false
    }
}

fn at<T>(place: &str, done: std::result::Result<T, Errno>) -> Result<T> {
    done.map_err(|e| format!("{place}: {e:?}"))
}

fn names(volume: &Volume, dir: NodeId, place: &str) -> Result<Vec<String>> {
    let handle = at(place, volume.opendir(dir))?;
    let mut all = Vec::new();
    let mut offset = 0;
    loop {
        let mut some = Names { full: 100, ..Names::default() };
        at(place, volume.readdir(dir, handle, offset, &mut some))?;
        if some.names.is_empty() {
            break;
        }
        offset = some.last;
        all.extend(some.names.iter().map(|name| String::from_utf8_lossy(name).into_owned()));
    }
    at(place, volume.releasedir(dir, handle))?;
    all.retain(|name| name != "." && name != "..");
    Ok(all)
}

pub fn content(volume: &Volume, node: NodeId, place: &str) -> Result<Vec<u8>> {
    let handle = at(place, volume.open(node, libc::O_RDONLY as u32))?;
    let size = at(place, volume.getattr(node, None))?.size;
    // A size that no workload makes: rather an error than all the memory.
    if size > 1 << 24 {
        return Err(format!("{place} has {size} bytes"));
    }
    let mut bytes = vec![0; size as usize + 1];
    let got = at(place, volume.read(node, handle, 0, &mut bytes))?;
    at(place, volume.release(node, handle))?;
    if got as u64 != size {
        return Err(format!("{place} has {size} bytes, {got} of them to read"));
    }
    bytes.truncate(got);
    Ok(bytes)
}

fn walk(volume: &Volume, dir: NodeId, place: &str, tree: &mut Tree) -> Result<()> {
    for name in names(volume, dir, place)? {
        let below = format!("{place}{name}");
        let entry = at(&below, volume.lookup(dir, name.as_bytes()))?;
        let seen = match entry.attr.mode & libc::S_IFMT {
            libc::S_IFDIR => {
                walk(volume, entry.node, &format!("{below}/"), tree)?;
                Seen::Dir
            }
            libc::S_IFLNK => Seen::Symlink(at(&below, volume.readlink(entry.node))?),
            _ => Seen::File(entry.attr.ino, content(volume, entry.node, &below)?),
        };
        if tree.insert(below.clone(), seen).is_some() {
            return Err(format!("{below} is listed twice"));
        }
    }
    Ok(())
}

/// Everything, by path.
pub fn everything(volume: &Volume) -> Result<Tree> {
    let mut tree = Tree::new();
    walk(volume, ROOT, "", &mut tree)?;
    Ok(tree)
}
