//! The inode table: nodes that are open or were recently used. All others are rebuilt from their ids.

use crate::backing::acl::Acls;
use crate::backing::fds::Token;
use crate::ops::{NodeId, ROOT};
use kmsfs_files::store::Handle;
use kmsfs_format::record::Kind;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

pub struct Node {
    pub id: NodeId,
    pub handle: Handle,
    pub kind: Kind,
    /// The record's id.
    pub file: [u8; 16],
    /// Names the O_PATH descriptor in the descriptor cache.
    pub token: Token,
    /// Known to have neither setuid nor setgid nor capabilities: nothing to clear at a write.
    pub plain: AtomicBool,
    /// A regular file's record is `growing`, and the count of changes of such flags when it was read: count << 1 | flag.
    growing: AtomicU64,
    /// Open directory handles and the like that keep the node here.
    pub opens: AtomicU32,
    used: AtomicBool,
    /// Its ACLs once they were verified. Stored under the inode's lock, or when the inode was just made.
    acls: Mutex<Option<Arc<Acls>>>,
    /// What the kernel holds, counted for synthetic ids only: they cannot be rebuilt.
    lookups: Mutex<u64>,
    /// The last link is gone: this keeps the inode for whoever still refers to it.
    orphan: Mutex<Option<Arc<OwnedFd>>>,
    /// The sealed target of a symlink without a name, whose sidecar went with its last one.
    target: Mutex<Option<Box<[u8]>>>,
}

impl Node {
    pub fn new(id: NodeId, handle: Handle, kind: Kind, file: [u8; 16], plain: bool) -> Self {
        Node {
            id,
            handle,
            kind,
            file,
            token: Token::fresh(),
            plain: AtomicBool::new(plain),
            growing: AtomicU64::new(0),
            opens: AtomicU32::new(0),
            used: AtomicBool::new(true),
            acls: Mutex::new(None),
            lookups: Mutex::new(0),
            orphan: Mutex::new(None),
            target: Mutex::new(None),
        }
    }

    /// The record's `growing` flag, if it was read since the last change of any, which `growth` counts from 1.
    pub fn growing(&self, growth: u64) -> Option<bool> {
        let known = self.growing.load(Ordering::Acquire);
        (known >> 1 == growth).then_some(known & 1 == 1)
    }

    /// The flag was read after `growth` was.
    pub fn saw_growing(&self, growth: u64, growing: bool) {
        self.growing.store(growth << 1 | u64::from(growing), Ordering::Release);
    }

    pub fn acls(&self) -> Option<Arc<Acls>> {
        self.acls.lock().clone()
    }

    pub fn set_acls(&self, acls: Arc<Acls>) {
        *self.acls.lock() = Some(acls);
    }

    /// Those of a new inode, unless somebody changed them since.
    pub fn first_acls(&self, acls: &Arc<Acls>) {
        self.acls.lock().get_or_insert_with(|| acls.clone());
    }

    pub fn forget_acls(&self) {
        *self.acls.lock() = None;
    }

    /// Keeps the inode alive until the kernel forgets the node.
    pub fn pin(&self, fd: Arc<OwnedFd>) {
        *self.orphan.lock() = Some(fd);
    }

    pub fn keep_target(&self, sealed: Vec<u8>) {
        *self.target.lock() = Some(sealed.into_boxed_slice());
    }

    pub fn kept_target(&self) -> Option<Vec<u8>> {
        self.target.lock().as_deref().map(<[u8]>::to_vec)
    }

    pub fn pinned(&self) -> Option<Arc<OwnedFd>> {
        self.orphan.lock().clone()
    }
}

/// Ids that say nothing of the inode have no inode number: the low half is zero.
fn is_synthetic(id: NodeId) -> bool {
    id.0 as u32 == 0
}

#[derive(Default)]
struct Inner {
    nodes: HashMap<NodeId, Arc<Node>>,
    /// Synthetic ids by handle.
    by_handle: HashMap<Handle, NodeId>,
    clock: VecDeque<NodeId>,
    synthetic: u64,
}

pub struct Table {
    limit: usize,
    inner: Mutex<Inner>,
}

impl Table {
    /// Keeps about `limit` nodes beside those that are open, without a name or synthetic.
    pub fn new(limit: usize) -> Self {
        Table { limit: limit.max(16), inner: Mutex::default() }
    }

    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        let inner = self.inner.lock();
        let node = inner.nodes.get(&id)?;
        node.used.store(true, Ordering::Relaxed);
        Some(node.clone())
    }

    /// The node of an inode, made when there is none. `id`: from the handle, or `None` for a synthetic one. `plain`: what is
    /// known of it if nobody knew the inode yet.
    pub fn enter(&self, id: Option<NodeId>, handle: Handle, kind: Kind, file: [u8; 16], plain: bool) -> Arc<Node> {
        let mut gone = Vec::new();
        let node = {
            let mut inner = self.inner.lock();
            let id = id.unwrap_or_else(|| inner.synthetic_of(&handle));
            match inner.nodes.get(&id) {
                Some(node) if node.file == file && node.handle == handle && node.kind == kind => {
                    node.used.store(true, Ordering::Relaxed);
                    node.clone()
                }
                _ => {
                    let node = Arc::new(Node::new(id, handle, kind, file, plain));
                    if inner.nodes.insert(id, node.clone()).is_none() {
                        inner.clock.push_back(id);
                    }
                    inner.evict(self.limit, &mut gone);
                    node
                }
            }
        };
        drop(gone);
        node
    }

    /// The kernel was given one more reference.
    pub fn looked_up(&self, node: &Node) {
        if is_synthetic(node.id) {
            *node.lookups.lock() += 1;
        }
    }

    /// The kernel gave `count` references back. The node, when that lets it go altogether.
    pub fn forget(&self, id: NodeId, count: u64) {
        let node = {
            let mut inner = self.inner.lock();
            let Some(node) = inner.nodes.get(&id).cloned() else { return };
            if is_synthetic(id) {
                let mut lookups = node.lookups.lock();
                *lookups = lookups.saturating_sub(count);
                if *lookups == 0 {
                    inner.nodes.remove(&id);
                    inner.by_handle.remove(&node.handle);
                }
            }
            node
        };
        // Outside of the lock: closing the last descriptor of an inode without a name frees its blocks.
        if node.opens.load(Ordering::Acquire) == 0 {
            let fd = node.orphan.lock().take();
            drop(fd);
        }
    }

    /// The id given to an inode that has a synthetic one.
    pub fn synthetic(&self, handle: &Handle) -> Option<NodeId> {
        self.inner.lock().by_handle.get(handle).copied()
    }

    pub fn count(&self) -> usize {
        self.inner.lock().nodes.len()
    }
}

impl Inner {
    fn synthetic_of(&mut self, handle: &Handle) -> NodeId {
        if let Some(id) = self.by_handle.get(handle) {
            return *id;
        }
        self.synthetic += 1;
        let id = NodeId(self.synthetic << 32);
        self.by_handle.insert(handle.clone(), id);
        id
    }

    fn evict(&mut self, limit: usize, gone: &mut Vec<Arc<Node>>) {
        // A bounded sweep: when everything is in use, the table grows with what is open.
        let mut steps = 16;
        while self.nodes.len() > limit && steps > 0 {
            steps -= 1;
            let Some(id) = self.clock.pop_front() else { return };
            let Some(node) = self.nodes.get(&id) else { continue };
            let keep = id == ROOT
                || is_synthetic(id)
                || Arc::strong_count(node) > 1
                || node.used.swap(false, Ordering::Relaxed)
                || node.opens.load(Ordering::Acquire) > 0
                || node.orphan.lock().is_some();
            if keep {
                self.clock.push_back(id);
            } else {
                gone.extend(self.nodes.remove(&id));
            }
        }
    }
}
