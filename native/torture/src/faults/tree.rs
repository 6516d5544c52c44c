//! What a directory holds, as far as it must be the same on mount and mirror; and whether it is what a step may leave.

use crate::stress::xattrs;
use rustix::fs::{self, FileType};
use rustix::io;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes that come or go as one.
const BLOCK: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Kind, mode, owner, links, target, xattrs.
    about: String,
    content: Option<Vec<u8>>,
}

pub type Tree = BTreeMap<String, Item>;

pub fn describe(dir: &Path) -> io::Result<Tree> {
    let mut tree = Tree::new();
    add(dir, "", &mut tree)?;
    Ok(tree)
}

fn add(dir: &Path, under: &str, tree: &mut Tree) -> io::Result<()> {
    let fd = fs::open(dir, fs::OFlags::RDONLY | fs::OFlags::DIRECTORY, fs::Mode::empty())?;
    for entry in fs::Dir::new(fd)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == "." || name == ".." {
            continue;
        }
        let path = dir.join(&name);
        let stat = fs::lstat(&path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut about = format!("{kind:?} {:o} {}:{}", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
        if kind != FileType::Directory {
            about += &format!(" links {}", stat.st_nlink);
        }
        if kind == FileType::Symlink {
            about += &format!(" to {}", fs::readlink(&path, Vec::new())?.to_string_lossy());
        }
        for name in xattrs(&path)? {
            let mut value = vec![0; 4096];
            let n = fs::lgetxattr(&path, name.as_str(), &mut value)?;
            about += &format!(" {name}={:?}", &value[..n]);
        }
        let content = if kind == FileType::RegularFile { Some(read(&path)?) } else { None };
        let key = format!("{under}{name}");
        if kind == FileType::Directory {
            add(&path, &format!("{key}/"), tree)?;
        }
        tree.insert(key, Item { about, content });
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| io::Errno::from_io_error(&e).unwrap_or(io::Errno::IO))
}

/// Whether a step that said it failed may have left `seen`.
pub fn is_between(before: &Tree, after: &Tree, seen: &Tree, blocks_may_mix: bool) -> bool {
    if seen == before || seen == after {
        return true;
    }
    blocks_may_mix
        && before.keys().chain(after.keys()).chain(seen.keys()).all(|name| {
            let (b, a, s) = (before.get(name), after.get(name), seen.get(name));
            s == b || s == a || s.is_some_and(|s| mixes(b, a, s))
        })
}

fn mixes(before: Option<&Item>, after: Option<&Item>, seen: &Item) -> bool {
    if ![before, after].into_iter().flatten().any(|item| item.about == seen.about) {
        return false;
    }
    let old = before.and_then(|item| item.content.as_deref()).unwrap_or_default();
    let new = after.and_then(|item| item.content.as_deref()).unwrap_or_default();
    let Some(seen) = seen.content.as_deref() else { return false };
    // Cut short on the way (O_TRUNC, or a write that did not come to its end), never longer than both.
    seen.len() <= old.len().max(new.len())
        && seen.chunks(BLOCK).enumerate().all(|(i, block)| {
            let is = |of: &[u8]| {
                let of = of.get(i * BLOCK..).unwrap_or_default();
                let of = &of[..of.len().min(block.len())];
                block.starts_with(of) && block[of.len()..].iter().all(|byte| *byte == 0)
            };
            is(old) || is(new) || block.iter().all(|byte| *byte == 0)
        })
}

/// The first difference, for a person to read.
pub fn difference(expected: &Tree, seen: &Tree) -> String {
    for name in expected.keys().chain(seen.keys()) {
        let (e, s) = (expected.get(name), seen.get(name));
        if e != s {
            let short = |item: Option<&Item>| match item {
                Some(Item { about, content }) => {
                    let length = content.as_ref().map_or(String::new(), |c| format!(", {} bytes", c.len()));
                    about.chars().take(300).collect::<String>() + &length
                }
                None => "nothing".to_owned(),
            };
            return format!("{}: expected {}, found {}", &name[..name.len().min(40)], short(e), short(s));
        }
    }
    "no difference".to_owned()
}
