//! Verifying a mounted volume: every record, name, target, xattr and block, in the order of the sealed names, while it is
//! in use. What is moved meanwhile may be met twice or not at all; what is damaged and stays where it is, is found.

use super::Volume;
use crate::backing::inode::Inode;
use crate::backing::medium::DirectFile;
use crate::backing::{handle, path, xattr, LOST_AND_FOUND, SPECIAL};
use crate::fault::{Fault, Result};
use crate::ops::{Errno, NodeId};
use crate::table::Node;
use kmsfs_files::{Checked, Tamper};
use kmsfs_format::layout::HEADER_LEN;
use kmsfs_format::names::{look, open_xattr_name, open_xattr_value, Look};
use kmsfs_format::record::Kind;
use rustix::fs::{fstat, AtFlags, FileType, OFlags, RawDir};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

/// Names of one directory in memory at a time.
const NAMES: usize = 16_384;
/// Bytes of one getdents64(2).
const BATCH: usize = 32 << 10;
/// Behind an xattr's prefix: the second half of a record's replacement (docs/format.md §4).
const RECORD_ASIDE: &[u8] = b"new";

/// How far a scrub has come: everything up to this sealed name in each of the directories that lead to it. Stable over
/// remounts, and over copies of the volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub path: Vec<String>,
    /// Above zero: the blocks of that file before this one; else all of it.
    pub block: u64,
}

/// What was verified so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubCounts {
    pub directories: u64,
    pub files: u64,
    pub symlinks: u64,
    pub special: u64,
    pub blocks: u64,
    pub nodes: u64,
    /// Sealed bytes of files.
    pub bytes: u64,
}

/// Something that does not verify, or cannot be read.
#[derive(Clone, Debug)]
pub struct Finding {
    pub tamper: Tamper,
    /// Its path on the mount, in clear: not for logs. `None` where its name does not open.
    pub path: Option<Vec<u8>>,
}

/// Who has a scrub done.
pub trait Scrubbing {
    /// So many bytes more were verified. Waits as long as it likes; `false` ends the scrub.
    fn step(&mut self, counts: &ScrubCounts, cursor: &Cursor, bytes: u64) -> bool;
    fn found(&mut self, finding: Finding);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrubEnd {
    /// All of the volume was looked at.
    Done,
    Stopped,
    /// Another scrub of the volume runs.
    Running,
}

/// A directory on the way down.
struct Level {
    node: Arc<Node>,
    fd: Arc<OwnedFd>,
    plain: Vec<u8>,
    stored: String,
    /// Next of its names, in order.
    names: VecDeque<String>,
    /// The last name taken out of `names`, or where to begin.
    after: Bound,
    more: bool,
}

enum Bound {
    Start,
    From(String),
    After(String),
}

impl Bound {
    fn admits(&self, name: &str) -> bool {
        match self {
            Bound::Start => true,
            Bound::From(first) => name >= first.as_str(),
            Bound::After(last) => name > last.as_str(),
        }
    }
}

/// What is wrong with an entry, and with which inode.
struct Wrong(Option<[u8; 16]>, Fault);

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Wrong(None, fault)
    }
}

struct Scrub<'a> {
    volume: &'a Volume,
    observer: &'a mut dyn Scrubbing,
    counts: ScrubCounts,
    levels: Vec<Level>,
    /// Where to begin, for as long as the way leads there.
    resume: Option<Cursor>,
    /// Of the file being read.
    buffer: Vec<u8>,
}

impl Volume {
    /// Verifies the volume from `from` on. Errors: those that end the walk as a whole.
    pub fn scrub(
        &self,
        from: Option<Cursor>,
        counts: ScrubCounts,
        observer: &mut dyn Scrubbing,
    ) -> std::result::Result<ScrubEnd, Errno> {
        let Some(_one) = self.scrubbing.try_lock() else { return Ok(ScrubEnd::Running) };
        let resume = from.filter(|cursor| !cursor.path.is_empty());
        let mut scrub = Scrub { volume: self, observer, counts, levels: Vec::new(), resume, buffer: Vec::new() };
        match scrub.run() {
            Ok(true) => Ok(ScrubEnd::Done),
            Ok(false) => Ok(ScrubEnd::Stopped),
            Err(Fault::Errno(e)) => Err(e),
            Err(Fault::Tampered(_)) => Err(Errno(libc::EIO)),
        }
    }

    /// Whether the volume is being closed: a scrub must not wait any more.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Bytes of all files at home, about what a scrub will read. `go_on`: `false` ends the count.
    pub fn bytes_at_home(&self, go_on: &dyn Fn() -> bool) -> std::io::Result<u64> {
        let mut sum = 0;
        let mut todo = vec![self.backing.root_handle.clone()];
        while let Some(dir) = todo.pop() {
            if !go_on() || self.is_closing() {
                break;
            }
            // Removed meanwhile, or not readable: the estimate does without it.
            let Ok(fd) = self.backing.open_handle(&dir, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let is_root = dir == self.backing.root_handle;
            let mut buf = Vec::with_capacity(BATCH);
            let mut raw = RawDir::new(&fd, buf.spare_capacity_mut());
            while let Some(entry) = raw.next() {
                let entry = entry?;
                let name = entry.file_name();
                let own = is_root && (name.to_bytes() == SPECIAL.as_bytes());
                if own || matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                match entry.file_type() {
                    FileType::Directory => {
                        let child = path::entry(&fd, &name.to_string_lossy()).ok().and_then(|fd| handle::of(fd).ok());
                        todo.extend(child);
                    }
                    FileType::RegularFile => {
                        if let Ok(stat) = rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                            sum += (stat.st_size as u64).min(stat.st_blocks as u64 * 512);
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(sum)
    }

    /// Names of a directory that `after` admits, in order, at most `NAMES`; and whether there are more.
    fn sorted_names(&self, dir: &OwnedFd, is_root: bool, after: &Bound) -> Result<(VecDeque<String>, bool)> {
        let listing = path::open(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        let mut first = BTreeSet::new();
        let mut more = false;
        let mut buf = Vec::with_capacity(BATCH);
        let mut raw = RawDir::new(&listing, buf.spare_capacity_mut());
        while let Some(entry) = raw.next() {
            let entry = entry?;
            let bytes = entry.file_name().to_bytes();
            let own = is_root && (bytes == SPECIAL.as_bytes() || bytes == LOST_AND_FOUND.as_bytes());
            if own || matches!(bytes, b"." | b"..") || matches!(look(bytes), Look::Temporary | Look::Sidecar) {
                continue;
            }
            let name = String::from_utf8_lossy(bytes).into_owned();
            if after.admits(&name) {
                first.insert(name);
                if first.len() > NAMES {
                    first.pop_last();
                    more = true;
                }
            }
        }
        Ok((first.into_iter().collect(), more))
    }

    /// Everything about an entry but the content of a file. `None`: it is no entry any more.
    fn examine(&self, dir: &Level, stored: &str) -> std::result::Result<Option<(Vec<u8>, Inode)>, Wrong> {
        let Some(plain) = self.plain_name(&dir.node, &dir.fd, stored.as_bytes())? else { return Ok(None) };
        let inode = self.find_settled(&dir.node, &dir.fd, stored)?;
        let id = inode.record.id;
        {
            // An ACL that no record knows of as well: a change of one is over while the lock is held.
            let _held = self.backing.inode_locks.lock(&[&id]);
            self.backing.inspect_acls(inode.fd.clone())?;
        }
        let of_inode = |fault| Wrong(Some(id), fault);
        self.check_xattrs(&inode).map_err(of_inode)?;
        if inode.record.kind == Kind::Symlink {
            let handle = handle::of(&inode.fd).map_err(Fault::from)?;
            let node = Node::new(NodeId(0), handle, Kind::Symlink, id, false);
            self.link_target(&inode.fd, &node).map_err(of_inode)?;
        }
        Ok(Some((plain, inode)))
    }

    fn check_xattrs(&self, inode: &Inode) -> Result<()> {
        let id = &inode.record.id;
        let prefix = inode.record.kind.xattr_prefix().as_bytes();
        for stored in xattr::list(&inode.fd)? {
            let Some(sealed) = stored.strip_prefix(prefix).filter(|s| *s != RECORD_ASIDE) else { continue };
            let name = open_xattr_name(&self.backing.keys, id, sealed)
                .map_err(|_| Fault::tampered("has an xattr whose name does not authenticate"))?;
            // Removed since it was listed.
            let Some(value) = xattr::get(&inode.fd, &String::from_utf8_lossy(&stored))? else { continue };
            open_xattr_value(&self.backing.keys, id, &name, &value)
                .map_err(|_| Fault::tampered("has an xattr that does not authenticate"))?;
        }
        Ok(())
    }
}

impl Scrub<'_> {
    /// `true`: to the end.
    fn run(&mut self) -> Result<bool> {
        let v = self.volume;
        let root = v.node(crate::ops::ROOT)?;
        if let Err(fault) = v.backing.inspect_settled(v.backing.root.clone()) {
            self.tell(v.backing.uuid, v.backing.place(&v.backing.root), Some(Vec::new()), fault);
        }
        self.enter(root, v.backing.root.clone(), String::new(), Vec::new());
        while let Some(level) = self.levels.last_mut() {
            if level.names.is_empty() && level.more {
                let is_root = level.stored.is_empty();
                match v.sorted_names(&level.fd, is_root, &level.after) {
                    Ok((names, more)) => (level.names, level.more) = (names, more),
                    Err(fault) => {
                        level.more = false;
                        let (file, place) = (level.node.file, v.backing.place(&level.fd));
                        if !gone(&fault) {
                            let plain = self.plain_path(None);
                            self.tell(file, place, Some(plain), fault);
                        }
                    }
                }
                continue;
            }
            let Some(stored) = level.names.pop_front() else {
                self.levels.pop();
                if self.levels.is_empty() {
                    break;
                }
                self.counts.directories += 1;
                if !self.step_behind(0, HEADER_LEN) {
                    return Ok(false);
                }
                continue;
            };
            level.after = Bound::After(stored.clone());
            if !self.entry(&stored)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn enter(&mut self, node: Arc<Node>, fd: Arc<OwnedFd>, stored: String, plain: Vec<u8>) {
        let depth = self.levels.len();
        let after = match self.resume.as_ref().and_then(|cursor| Some((cursor, cursor.path.get(depth)?))) {
            // The whole of it was done.
            Some((cursor, name)) if depth + 1 == cursor.path.len() && cursor.block == 0 => Bound::After(name.clone()),
            Some((_, name)) => Bound::From(name.clone()),
            None => Bound::Start,
        };
        self.levels.push(Level { node, fd, plain, stored, names: VecDeque::new(), after, more: true });
    }

    /// One name of the innermost directory. `false`: stop.
    fn entry(&mut self, stored: &str) -> Result<bool> {
        let v = self.volume;
        let depth = self.levels.len() - 1;
        if self.resume.as_ref().is_some_and(|cursor| cursor.path.get(depth).map(String::as_str) != Some(stored)) {
            self.resume = None;
        }
        let Some(dir) = self.levels.last() else { return Ok(false) };
        let examined = v.examine(dir, stored).or_else(|_| {
            // It may be changing at this moment: once more, while nobody can.
            let _held = v.dir_locks.lock(&[&dir.node.file]);
            match path::entry(&dir.fd, stored) {
                Err(rustix::io::Errno::NOENT) => Ok(None),
                _ => v.examine(dir, stored),
            }
        });
        match examined {
            Ok(None) => {}
            Ok(Some((plain, inode))) => return self.inode(stored, plain, &inode),
            Err(Wrong(_, fault)) if gone(&fault) => {}
            Err(Wrong(id, fault)) => {
                let place = format!("{}/{stored}", v.backing.place(&dir.fd));
                let plain = v.plain_name(&dir.node, &dir.fd, stored.as_bytes()).ok().flatten();
                let path = plain.map(|name| self.plain_path(Some(&name)));
                let file = id.unwrap_or(dir.node.file);
                self.tell(file, place, path, fault);
            }
        }
        Ok(self.step_at(stored, 0, HEADER_LEN))
    }

    fn inode(&mut self, stored: &str, plain: Vec<u8>, inode: &Inode) -> Result<bool> {
        match inode.record.kind {
            Kind::Directory => {
                let handle = handle::of(&inode.fd)?;
                let node = Arc::new(Node::new(NodeId(0), handle, Kind::Directory, inode.record.id, false));
                self.enter(node, inode.fd.clone(), stored.to_owned(), plain);
                return Ok(true);
            }
            Kind::File => return self.file(stored, &plain, inode),
            Kind::Symlink => self.counts.symlinks += 1,
            _ => self.counts.special += 1,
        }
        Ok(self.step_at(stored, 0, HEADER_LEN))
    }

    /// The content of a file. It is held as by an open descriptor, so that it stays whole when its name goes.
    fn file(&mut self, stored: &str, plain: &[u8], inode: &Inode) -> Result<bool> {
        let v = self.volume;
        let depth = self.levels.len() - 1;
        let from = self.resume.take().filter(|cursor| cursor.path.len() == depth + 1).map_or(0, |cursor| cursor.block);
        let home = match handle::of(&inode.fd).map_err(Fault::from).and_then(|h| v.backing.home(&inode.record.id, &h)) {
            Ok(home) => home,
            Err(fault) => {
                let path = Some(self.plain_path(Some(plain)));
                self.tell(inode.record.id, v.backing.place(&inode.fd), path, fault);
                return Ok(self.step_at(stored, 0, HEADER_LEN));
            }
        };
        // As `Volume::hold` does: first counted, then asked for its links.
        let suspect = home.opened();
        if suspect && fstat(&inode.fd).map_or(true, |stat| stat.st_nlink == 0) {
            home.closed();
            return Ok(self.step_at(stored, 0, HEADER_LEN));
        }
        let file = match v.files.file(home.clone()) {
            Ok(file) => file,
            Err(e) => {
                home.closed();
                self.failed(plain, inode, &e);
                self.counts.files += 1;
                return Ok(self.step_at(stored, 0, HEADER_LEN));
            }
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let went_on = match DirectFile::open(&inode.fd, &mut buffer) {
            Ok(mut medium) => self.content(stored, plain, inode, &file, (&mut medium, from), &|| home.is_orphan()),
            Err(e) => {
                self.failed(plain, inode, &e.into());
                true
            }
        };
        self.buffer = buffer;
        v.let_go(&home, &file);
        if !went_on {
            return Ok(false);
        }
        self.counts.files += 1;
        Ok(self.step_at(stored, 0, HEADER_LEN))
    }

    fn content(
        &mut self,
        stored: &str,
        plain: &[u8],
        inode: &Inode,
        file: &kmsfs_files::File,
        (medium, from): (&mut DirectFile<'_>, u64),
        removed: &dyn Fn() -> bool,
    ) -> bool {
        let mut checked = Checked::default();
        match file.scrub_header(medium, &mut checked) {
            Ok(None) => {}
            Ok(Some(tamper)) => self.found(plain, tamper),
            Err(e) => self.failed(plain, inode, &e),
        }
        let mut next = Some(from);
        while let Some(from) = next.filter(|_| !removed()) {
            let before = checked.bytes;
            let mut found = Vec::new();
            match file.scrub_blocks(medium, from, &mut checked, &mut |tamper| found.push(tamper)) {
                Ok(then) => next = then,
                Err(e) => {
                    self.failed(plain, inode, &e);
                    next = None;
                }
            }
            found.into_iter().for_each(|tamper| self.found(plain, tamper));
            let bytes = checked.bytes - before;
            self.counts.blocks += std::mem::take(&mut checked.blocks);
            self.counts.nodes += std::mem::take(&mut checked.nodes);
            self.counts.bytes += std::mem::take(&mut checked.bytes);
            if let Some(block) = next {
                if !self.step_at(stored, block, bytes) {
                    return false;
                }
            } else if !self.go_on() {
                return false;
            }
        }
        true
    }

    fn found(&mut self, plain: &[u8], tamper: Tamper) {
        let path = Some(self.plain_path(Some(plain)));
        self.observer.found(Finding { tamper, path });
    }

    /// A file that cannot be verified to its end. The file layer has reported what was tampering.
    fn failed(&mut self, plain: &[u8], inode: &Inode, error: &kmsfs_files::Error) {
        let what = match error {
            kmsfs_files::Error::Tampered(what) => what.clone(),
            // Gone since it was listed.
            kmsfs_files::Error::Io(e) if matches!(e.raw_os_error(), Some(libc::ESTALE | libc::ENOENT)) => return,
            other => format!("cannot be read: {other}"),
        };
        let place = Some(self.volume.backing.place(&inode.fd));
        self.found(plain, Tamper { file: inode.record.id, place, block: None, what });
    }

    /// An entry or a directory that does not verify: an event, and a finding.
    fn tell(&mut self, file: [u8; 16], place: String, path: Option<Vec<u8>>, fault: Fault) {
        let what = match fault {
            Fault::Tampered(what) => {
                self.volume.backing.tampered(&file, &place, what);
                what.to_owned()
            }
            Fault::Errno(e) => format!("cannot be read: {e:?}"),
        };
        self.observer.found(Finding { tamper: Tamper { file, place: Some(place), block: None, what }, path });
    }

    /// The path on the mount of the innermost directory, or of something in it.
    fn plain_path(&self, name: Option<&[u8]>) -> Vec<u8> {
        let dirs = self.levels.iter().skip(1).map(|level| level.plain.as_slice());
        dirs.chain(name).collect::<Vec<_>>().join(&b'/')
    }

    fn go_on(&self) -> bool {
        !self.volume.is_closing()
    }

    /// `stored` in the innermost directory was done, or its blocks before `block`.
    fn step_at(&mut self, stored: &str, block: u64, bytes: u64) -> bool {
        let dirs = self.levels.iter().skip(1).map(|level| level.stored.clone());
        let cursor = Cursor { path: dirs.chain([stored.to_owned()]).collect(), block };
        self.go_on() && self.observer.step(&self.counts, &cursor, bytes) && self.go_on()
    }

    /// The directory that was just left was done.
    fn step_behind(&mut self, block: u64, bytes: u64) -> bool {
        match self.levels.last().map(|level| &level.after) {
            Some(Bound::After(stored)) => {
                let stored = stored.clone();
                self.step_at(&stored, block, bytes)
            }
            _ => self.go_on(),
        }
    }
}

/// Removed since it was listed.
fn gone(fault: &Fault) -> bool {
    fault.is(libc::ENOENT) || fault.is(libc::ESTALE)
}
