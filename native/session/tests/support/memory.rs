//! A small file system in memory: enough of POSIX to exercise a session, nothing more. Reading a file named "panic"
//! panics; reading one named "together" waits until as many read as `Memory::expecting` said.

use kmsfs_namespace::ops::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

const BLOCK: usize = 4096;

enum Content {
    File(Vec<u8>),
    Dir(Dir),
    Symlink(Vec<u8>),
    Special,
}

#[derive(Default)]
struct Dir {
    parent: u64,
    by_name: BTreeMap<Vec<u8>, (u64, u64)>,
    by_cookie: BTreeMap<u64, Vec<u8>>,
}

struct Node {
    attr: Attr,
    content: Content,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    panics: bool,
    waits: bool,
}

struct State {
    nodes: BTreeMap<u64, Node>,
    next: u64,
}

pub struct Memory {
    state: Mutex<State>,
    together: Barrier,
    pub destroyed: AtomicUsize,
    /// Handles given out and not yet released.
    pub open: AtomicUsize,
}

fn fail<T>(errno: i32) -> Result<T> {
    Err(Errno(errno))
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: since.as_secs() as i64, nanos: since.subsec_nanos() }
}

fn at(offset: u64) -> Result<usize> {
    usize::try_from(offset).ok().filter(|&n| n < 1 << 26).ok_or(Errno(libc::EFBIG))
}

impl Node {
    fn new(ino: u64, mode: u32, caller: Caller, content: Content) -> Node {
        let time = now();
        let attr = Attr {
            ino,
            size: 0,
            blocks: 0,
            atime: time,
            mtime: time,
            ctime: time,
            mode,
            nlink: if mode & libc::S_IFMT == libc::S_IFDIR { 2 } else { 1 },
            uid: caller.uid,
            gid: caller.gid,
            rdev_major: 0,
            rdev_minor: 0,
            blksize: 4096,
        };
        Node { attr, content, xattrs: BTreeMap::new(), panics: false, waits: false }
    }
    fn attr(&self) -> Attr {
        let size = match &self.content {
            Content::File(bytes) | Content::Symlink(bytes) => bytes.len() as u64,
            _ => 0,
        };
        Attr { size, blocks: size.div_ceil(512), ..self.attr }
    }
    fn file(&mut self) -> Result<&mut Vec<u8>> {
        match &mut self.content {
            Content::File(bytes) => Ok(bytes),
            Content::Dir(_) => fail(libc::EISDIR),
            _ => fail(libc::EINVAL),
        }
    }
    fn dir(&mut self) -> Result<&mut Dir> {
        match &mut self.content {
            Content::Dir(dir) => Ok(dir),
            _ => fail(libc::ENOTDIR),
        }
    }
    fn kill_suidgid(&mut self) {
        self.attr.mode &= !libc::S_ISUID;
        if self.attr.mode & libc::S_IXGRP != 0 {
            self.attr.mode &= !libc::S_ISGID;
        }
    }
}

impl State {
    fn node(&mut self, node: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&node.0).ok_or(Errno(libc::ESTALE))
    }
    fn find(&mut self, parent: NodeId, name: &[u8]) -> Result<u64> {
        match name {
            b"." => Ok(parent.0),
            b".." => Ok(self.node(parent)?.dir()?.parent),
            _ => self.node(parent)?.dir()?.by_name.get(name).map(|&(ino, _)| ino).ok_or(Errno(libc::ENOENT)),
        }
    }
    fn entry(&mut self, ino: u64) -> Result<Entry> {
        let attr = self.node(NodeId(ino))?.attr();
        Ok(Entry { node: NodeId(ino), generation: 1, attr })
    }
    fn attach(&mut self, parent: NodeId, name: &[u8], ino: u64) -> Result<()> {
        self.next += 1;
        let cookie = self.next;
        let dir = self.node(parent)?.dir()?;
        dir.by_name.insert(name.to_vec(), (ino, cookie));
        dir.by_cookie.insert(cookie, name.to_vec());
        Ok(())
    }
    fn detach(&mut self, parent: NodeId, name: &[u8]) -> Result<u64> {
        let dir = self.node(parent)?.dir()?;
        let (ino, cookie) = dir.by_name.remove(name).ok_or(Errno(libc::ENOENT))?;
        dir.by_cookie.remove(&cookie);
        Ok(ino)
    }
    fn make(&mut self, parent: NodeId, name: &[u8], mode: u32, caller: Caller, content: Content) -> Result<Entry> {
        if self.find(parent, name).is_ok() {
            return fail(libc::EEXIST);
        }
        self.next += 1;
        let ino = self.next;
        let mode = if mode & libc::S_IFMT == libc::S_IFLNK { mode } else { mode & !caller.umask };
        let mut node = Node::new(ino, mode, caller, content);
        node.panics = name == b"panic";
        node.waits = name == b"together";
        self.nodes.insert(ino, node);
        self.attach(parent, name, ino)?;
        self.entry(ino)
    }
}

impl Memory {
    pub fn new() -> Memory {
        Memory::expecting(1)
    }

    /// `readers` of the file named "together" wait for each other.
    pub fn expecting(readers: usize) -> Memory {
        let root = Content::Dir(Dir { parent: 1, ..Dir::default() });
        let root = Node::new(1, libc::S_IFDIR | 0o755, Caller { uid: 0, gid: 0, pid: 0, umask: 0 }, root);
        Memory {
            state: Mutex::new(State { nodes: BTreeMap::from([(1, root)]), next: 100 }),
            together: Barrier::new(readers),
            destroyed: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        }
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn opened(&self, node: u64) -> Handle {
        self.open.fetch_add(1, Ordering::SeqCst);
        Handle(node)
    }
}

impl FileSystem for Memory {
    fn keeps_acls(&self) -> bool {
        false
    }
    fn lookup(&self, parent: NodeId, name: &[u8]) -> Result<Entry> {
        let mut state = self.state();
        let ino = state.find(parent, name)?;
        state.entry(ino)
    }
    fn forget(&self, _node: NodeId, _count: u64) {}
    fn getattr(&self, node: NodeId, _handle: Option<Handle>) -> Result<Attr> {
        Ok(self.state().node(node)?.attr())
    }
    fn setattr(&self, _caller: Caller, node: NodeId, set: &SetAttr) -> Result<Attr> {
        let mut state = self.state();
        let node = state.node(node)?;
        let time = |t: SetTime| match t {
            SetTime::Now => now(),
            SetTime::At(t) => t,
        };
        if let Some(size) = set.size {
            let size = at(size)?;
            node.file()?.resize(size, 0);
        }
        if let Some(mode) = set.mode {
            node.attr.mode = node.attr.mode & libc::S_IFMT | mode;
        }
        node.attr.uid = set.uid.unwrap_or(node.attr.uid);
        node.attr.gid = set.gid.unwrap_or(node.attr.gid);
        node.attr.atime = set.atime.map_or(node.attr.atime, time);
        node.attr.mtime = set.mtime.map_or(node.attr.mtime, time);
        if set.kill_suidgid {
            node.kill_suidgid();
        }
        Ok(node.attr())
    }
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        match &self.state().node(node)?.content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => fail(libc::EINVAL),
        }
    }
    fn mknod(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, major: u32, minor: u32) -> Result<Entry> {
        let content = if mode & libc::S_IFMT == libc::S_IFREG { Content::File(Vec::new()) } else { Content::Special };
        let mut state = self.state();
        let made = state.make(parent, name, mode, caller, content)?;
        let node = state.node(made.node)?;
        (node.attr.rdev_major, node.attr.rdev_minor) = (major, minor);
        state.entry(made.node.0)
    }
    fn mkdir(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32) -> Result<Entry> {
        let content = Content::Dir(Dir { parent: parent.0, ..Dir::default() });
        self.state().make(parent, name, mode | libc::S_IFDIR, caller, content)
    }
    fn symlink(&self, caller: Caller, parent: NodeId, name: &[u8], target: &[u8]) -> Result<Entry> {
        self.state().make(parent, name, libc::S_IFLNK | 0o777, caller, Content::Symlink(target.to_vec()))
    }
    fn link(&self, node: NodeId, parent: NodeId, name: &[u8]) -> Result<Entry> {
        let mut state = self.state();
        if state.find(parent, name).is_ok() {
            return fail(libc::EEXIST);
        }
        state.node(node)?.attr.nlink += 1;
        state.attach(parent, name, node.0)?;
        state.entry(node.0)
    }
    fn unlink(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let mut state = self.state();
        let ino = state.detach(parent, name)?;
        let node = state.node(NodeId(ino))?;
        node.attr.nlink = node.attr.nlink.saturating_sub(1);
        Ok(())
    }
    fn rmdir(&self, parent: NodeId, name: &[u8]) -> Result<()> {
        let mut state = self.state();
        let ino = state.find(parent, name)?;
        if !state.node(NodeId(ino))?.dir()?.by_name.is_empty() {
            return fail(libc::ENOTEMPTY);
        }
        state.detach(parent, name)?;
        state.nodes.remove(&ino);
        Ok(())
    }
    fn rename(&self, parent: NodeId, name: &[u8], new_parent: NodeId, new_name: &[u8], flags: u32) -> Result<()> {
        let mut state = self.state();
        let existing = state.find(new_parent, new_name).ok();
        match (flags, existing) {
            (libc::RENAME_NOREPLACE, Some(_)) => return fail(libc::EEXIST),
            (libc::RENAME_EXCHANGE, None) => return fail(libc::ENOENT),
            (0 | libc::RENAME_NOREPLACE | libc::RENAME_EXCHANGE, _) => {}
            _ => return fail(libc::EINVAL),
        }
        let moved = state.detach(parent, name)?;
        if existing.is_some() {
            let other = state.detach(new_parent, new_name)?;
            if flags == libc::RENAME_EXCHANGE {
                state.attach(parent, name, other)?;
            }
        }
        state.attach(new_parent, new_name, moved)
    }
    fn open(&self, node: NodeId, _flags: u32) -> Result<Handle> {
        self.state().node(node)?.file()?;
        Ok(self.opened(node.0))
    }
    fn create(&self, caller: Caller, parent: NodeId, name: &[u8], mode: u32, _flags: u32) -> Result<(Entry, Handle)> {
        let mode = mode & !libc::S_IFMT | libc::S_IFREG;
        let entry = self.state().make(parent, name, mode, caller, Content::File(Vec::new()))?;
        Ok((entry, self.opened(entry.node.0)))
    }
    fn tmpfile(&self, caller: Caller, _parent: NodeId, mode: u32, _flags: u32) -> Result<(Entry, Handle)> {
        let mut state = self.state();
        state.next += 1;
        let ino = state.next;
        let mut node = Node::new(ino, mode & !libc::S_IFMT | libc::S_IFREG, caller, Content::File(Vec::new()));
        node.attr.nlink = 0;
        state.nodes.insert(ino, node);
        Ok((state.entry(ino)?, self.opened(ino)))
    }
    fn read(&self, node: NodeId, _handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        if self.state().node(node)?.waits {
            self.together.wait();
        }
        let mut state = self.state();
        let node = state.node(node)?;
        assert!(!node.panics, "a file that panics when read");
        let file = node.file()?;
        let rest = file.get(usize::try_from(offset).unwrap_or(usize::MAX)..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }
    fn write(&self, node: NodeId, _handle: Handle, offset: u64, data: &[u8], how: Writing) -> Result<usize> {
        let start = at(offset)?;
        let mut state = self.state();
        let node = state.node(node)?;
        if how.kill_suidgid {
            node.kill_suidgid();
        }
        node.attr.mtime = now();
        let file = node.file()?;
        if file.len() < start + data.len() {
            file.resize(start + data.len(), 0);
        }
        file[start..start + data.len()].copy_from_slice(data);
        Ok(data.len())
    }
    fn flush(&self, _node: NodeId, _handle: Handle) -> Result<()> {
        Ok(())
    }
    fn release(&self, _node: NodeId, _handle: Handle) -> Result<()> {
        self.open.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
    fn fsync(&self, _node: NodeId, _handle: Handle, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn fallocate(&self, node: NodeId, _handle: Handle, mode: u32, offset: u64, length: u64) -> Result<()> {
        let (start, length) = (at(offset)?, at(length)?);
        let mut state = self.state();
        let file = state.node(node)?.file()?;
        let keep = mode & libc::FALLOC_FL_KEEP_SIZE as u32 != 0;
        if mode & libc::FALLOC_FL_PUNCH_HOLE as u32 != 0 {
            let end = file.len().min(start + length);
            if start < end {
                file[start..end].fill(0);
            }
        } else if !keep && file.len() < start + length {
            file.resize(start + length, 0);
        }
        Ok(())
    }
    fn lseek(&self, node: NodeId, _handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        let mut state = self.state();
        let file = state.node(node)?.file()?;
        let size = file.len() as u64;
        if offset >= size {
            return fail(libc::ENXIO);
        }
        let mut position = offset;
        while position < size {
            let block = position as usize / BLOCK * BLOCK;
            let bytes = &file[block..file.len().min(block + BLOCK)];
            let data = bytes.iter().any(|&byte| byte != 0);
            if data == (whence == libc::SEEK_DATA as u32) {
                return Ok(position);
            }
            position = (block + BLOCK) as u64;
        }
        if whence == libc::SEEK_DATA as u32 {
            fail(libc::ENXIO)
        } else {
            Ok(size)
        }
    }
    fn copy_file_range(
        &self,
        from: NodeId,
        from_handle: Handle,
        from_offset: u64,
        to: NodeId,
        to_handle: Handle,
        to_offset: u64,
        length: u64,
    ) -> Result<u64> {
        let mut buf = vec![0; at(length.min(1 << 20))?];
        let count = self.read(from, from_handle, from_offset, &mut buf)?;
        self.write(to, to_handle, to_offset, &buf[..count], Writing::default()).map(|n| n as u64)
    }
    fn opendir(&self, node: NodeId) -> Result<Handle> {
        self.state().node(node)?.dir()?;
        Ok(self.opened(node.0))
    }
    fn readdir(&self, node: NodeId, _handle: Handle, offset: u64, sink: &mut dyn DirSink) -> Result<()> {
        let mut state = self.state();
        let dir = state.node(node)?.dir()?;
        let dots = [(1, &b"."[..], node.0), (2, &b".."[..], dir.parent)];
        let entries: Vec<(u64, Vec<u8>)> =
            dir.by_cookie.range(offset.saturating_add(1)..).map(|(cookie, name)| (*cookie, name.clone())).collect();
        for (cookie, name, ino) in dots {
            let dirent = DirEntry { ino, offset: cookie, kind: libc::DT_DIR, name };
            if cookie > offset && !sink.add(&dirent, None) {
                return Ok(());
            }
        }
        for (offset, name) in entries {
            let ino = state.find(node, &name)?;
            let entry = state.entry(ino)?;
            let kind = ((entry.attr.mode & libc::S_IFMT) >> 12) as u8;
            let dirent = DirEntry { ino, offset, kind, name: &name };
            let attributes = sink.plus().then_some(&entry);
            if !sink.add(&dirent, attributes) {
                break;
            }
        }
        Ok(())
    }
    fn releasedir(&self, node: NodeId, handle: Handle) -> Result<()> {
        self.release(node, handle)
    }
    fn fsyncdir(&self, _node: NodeId, _handle: Handle, _data_only: bool) -> Result<()> {
        Ok(())
    }
    fn statfs(&self) -> Result<Statfs> {
        let files = self.state().nodes.len() as u64;
        Ok(Statfs {
            blocks: 1 << 20,
            bfree: 1 << 19,
            bavail: 1 << 18,
            files,
            ffree: 1 << 20,
            bsize: 4096,
            namelen: 255,
            frsize: 4096,
        })
    }
    fn getxattr(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>> {
        self.state().node(node)?.xattrs.get(name).cloned().ok_or(Errno(libc::ENODATA))
    }
    fn setxattr(&self, node: NodeId, name: &[u8], value: &[u8], flags: u32, _kill_sgid: bool) -> Result<()> {
        let mut state = self.state();
        let xattrs = &mut state.node(node)?.xattrs;
        match (flags as i32, xattrs.contains_key(name)) {
            (libc::XATTR_CREATE, true) => return fail(libc::EEXIST),
            (libc::XATTR_REPLACE, false) => return fail(libc::ENODATA),
            _ => {}
        }
        xattrs.insert(name.to_vec(), value.to_vec());
        Ok(())
    }
    fn listxattr(&self, node: NodeId) -> Result<Vec<u8>> {
        Ok(self.state().node(node)?.xattrs.keys().flat_map(|name| [name.as_slice(), b"\0"].concat()).collect())
    }
    fn removexattr(&self, node: NodeId, name: &[u8]) -> Result<()> {
        self.state().node(node)?.xattrs.remove(name).map(|_| ()).ok_or(Errno(libc::ENODATA))
    }
    fn destroy(&self) {
        self.destroyed.fetch_add(1, Ordering::SeqCst);
    }
}
