//! Works on a volume at random and does the same to a plain directory, for another reader to compare the two.
//!
//!     random_volume BACKING MIRROR UUID(32 hex) BLOCK_SHIFT SEGMENT_SIZE SEGMENTS SEED STEPS crash|clean   <32 key bytes
//!
//! `crash`: ends like a kill -9, after every file was closed: what is there then is in the log or at home.

#![allow(clippy::unwrap_used, clippy::panic)]

use kmsfs_files::Config;
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_namespace::ops::{Caller, FileSystem, Handle, NodeId, SetAttr, Writing, ROOT};
use kmsfs_namespace::Volume;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const UMASK: u32 = 0o027;
const ME: Caller = Caller { uid: 0, gid: 0, pid: 1, umask: UMASK };
const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
const PUNCH: u32 = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;

struct Random(u64);
impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut out = vec![0; n];
        out.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()[..c.len()]));
        out
    }
}

struct Run {
    volume: Option<Arc<Volume>>,
    reopen: Box<dyn Fn() -> Arc<Volume>>,
    mirror: PathBuf,
    random: Random,
    shift: u8,
    dirs: Vec<String>,
    files: Vec<String>,
    made: u32,
}

impl Run {
    fn volume(&self) -> &Volume {
        self.volume.as_deref().unwrap()
    }
    fn node(&self, path: &str) -> NodeId {
        let parts = path.split('/').filter(|p| !p.is_empty());
        parts.fold(ROOT, |node, part| self.volume().lookup(node, part.as_bytes()).unwrap().node)
    }
    fn split(path: &str) -> (&str, &str) {
        path.rsplit_once('/').unwrap_or(("", path))
    }
    fn name(&mut self) -> String {
        self.made += 1;
        let pad = if self.random.below(4) == 0 { "long".repeat(40) } else { String::new() };
        format!("name {}{pad}", self.made)
    }
    fn new_path(&mut self) -> String {
        let dir = self.dirs[self.random.below(self.dirs.len() as u64) as usize].clone();
        let name = self.name();
        if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        }
    }
    fn pick(&mut self) -> Option<String> {
        let n = self.random.below(self.files.len() as u64) as usize;
        self.files.get(n).cloned()
    }
    fn plain(&self, path: &str) -> PathBuf {
        self.mirror.join(path)
    }
    fn offset(&mut self, size: u64) -> u64 {
        let block = 1u64 << self.shift;
        let node = block / 32;
        // S1, S2 and, where a plain sparse file of that size is still read in no time, S3.
        let borders = [0, 112, 112 + node, 112 + node + node * node];
        let reach = if self.shift == 12 && self.random.below(4) == 0 { 4 } else { 3 };
        let border = borders[self.random.below(reach) as usize];
        match self.random.below(3) {
            0 => size,
            1 => self.random.below(size + 1),
            _ => (border * block).saturating_sub(block) + self.random.below(3 * block),
        }
    }

    fn create(&mut self) {
        let path = self.new_path();
        let (dir, name) = Self::split(&path);
        let mode = libc::S_IFREG | [0o600, 0o644, 0o755, 0o666][self.random.below(4) as usize];
        let (entry, handle) =
            self.volume().create(ME, self.node(dir), name.as_bytes(), mode, libc::O_RDWR as u32).unwrap();
        let mut options = OpenOptions::new();
        let plain =
            options.read(true).write(true).create_new(true).mode(mode & 0o7777).open(self.plain(&path)).unwrap();
        self.files.push(path);
        self.write(entry.node, handle, &plain);
        self.close(entry.node, handle);
    }
    fn close(&self, node: NodeId, handle: Handle) {
        self.volume().flush(node, handle).unwrap();
        self.volume().release(node, handle).unwrap();
    }
    fn write(&mut self, node: NodeId, handle: Handle, plain: &File) {
        let offset = self.offset(plain.metadata().unwrap().len());
        let len = [10, 5000, 100_000, 400_000][self.random.below(4) as usize];
        let data = self.random.bytes(len);
        self.volume().write(node, handle, offset, &data, Writing::default()).unwrap();
        plain.write_all_at(&data, offset).unwrap();
    }
    fn change(&mut self, path: &str) {
        let node = self.node(path);
        let handle = self.volume().open(node, libc::O_RDWR as u32).unwrap();
        let plain = OpenOptions::new().read(true).write(true).open(self.plain(path)).unwrap();
        for _ in 0..1 + self.random.below(4) {
            let size = plain.metadata().unwrap().len();
            let offset = self.offset(size);
            match self.random.below(6) {
                0..=2 => self.write(node, handle, &plain),
                3 => {
                    let set = SetAttr { size: Some(offset), handle: Some(handle), ..SetAttr::default() };
                    self.volume().setattr(ME, node, &set).unwrap();
                    plain.set_len(offset).unwrap();
                }
                4 => {
                    let len = 1 + self.random.below(200_000);
                    self.volume().fallocate(node, handle, PUNCH, offset, len).unwrap();
                    // SAFETY: a plain system call on an open descriptor.
                    let rc = unsafe { libc::fallocate(plain.as_raw_fd(), PUNCH as i32, offset as i64, len as i64) };
                    assert_eq!(rc, 0);
                }
                _ => self.volume().fsync(node, handle, false).unwrap(),
            }
        }
        self.close(node, handle);
    }
    /// The value of an ACL with random names and permissions, or one that says no more than a mode.
    fn acl(&mut self) -> Vec<u8> {
        let named = self.random.below(4);
        let users = (0..named).map(|n| (0x02, 1000 + n as u32)).collect::<Vec<_>>();
        let groups = (0..named / 2).map(|n| (0x08, 2000 + n as u32)).collect::<Vec<_>>();
        let mask = if named > 0 { vec![(0x10, u32::MAX)] } else { Vec::new() };
        let (owner, group, others) = (vec![(0x01, u32::MAX)], vec![(0x04, u32::MAX)], vec![(0x20, u32::MAX)]);
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, id) in [owner, users, group, groups, mask, others].concat() {
            value.extend_from_slice(&u16::to_le_bytes(tag));
            value.extend_from_slice(&(self.random.below(8) as u16).to_le_bytes());
            value.extend_from_slice(&u32::to_le_bytes(id));
        }
        value
    }
    /// Sets or removes an ACL, or changes the mode that goes with it, as the kernel does on the plain side.
    fn change_acl(&mut self) {
        let dir = 1 + self.random.below(self.dirs.len() as u64) as usize;
        let dir = self.dirs.get(dir).cloned().filter(|_| self.random.below(2) == 0);
        let is_dir = dir.is_some();
        let Some(path) = dir.or_else(|| self.pick()) else { return };
        let (node, plain) = (self.node(&path), self.plain(&path));
        let name = if is_dir { ACLS[self.random.below(2) as usize] } else { ACLS[0] };
        match self.random.below(4) {
            0 => {
                let mode = self.random.below(0o1000) as u32;
                self.volume().setattr(ME, node, &SetAttr { mode: Some(mode), ..SetAttr::default() }).unwrap();
                std::fs::set_permissions(plain, std::fs::Permissions::from_mode(mode)).unwrap();
            }
            1 => {
                self.volume().removexattr(node, name.as_bytes()).unwrap();
                rustix::fs::removexattr(plain, name).unwrap();
            }
            _ => {
                let acl = self.acl();
                self.volume().setxattr(node, name.as_bytes(), &acl, 0, false).unwrap();
                rustix::fs::setxattr(plain, name, &acl, rustix::fs::XattrFlags::empty()).unwrap();
            }
        }
    }
    fn step(&mut self) {
        match self.random.below(17) {
            0..=2 => self.create(),
            3..=7 => {
                if let Some(path) = self.pick() {
                    self.change(&path);
                }
            }
            8 => {
                let path = self.new_path();
                let (dir, name) = Self::split(&path);
                let mode = [0o750, 0o777, 0o701][self.random.below(3) as usize];
                self.volume().mkdir(ME, self.node(dir), name.as_bytes(), mode).unwrap();
                DirBuilder::new().mode(mode).create(self.plain(&path)).unwrap();
                self.dirs.push(path);
            }
            9 => {
                let path = self.new_path();
                let (dir, name) = Self::split(&path);
                let target = "t".repeat(1 + self.random.below(2000) as usize);
                self.volume().symlink(ME, self.node(dir), name.as_bytes(), target.as_bytes()).unwrap();
                std::os::unix::fs::symlink(target, self.plain(&path)).unwrap();
            }
            10 => {
                if let Some(from) = self.pick() {
                    let to = if self.random.below(3) == 0 { self.pick().unwrap() } else { self.new_path() };
                    let ((d, n), (d2, n2)) = (Self::split(&from), Self::split(&to));
                    self.volume().rename(self.node(d), n.as_bytes(), self.node(d2), n2.as_bytes(), 0).unwrap();
                    std::fs::rename(self.plain(&from), self.plain(&to)).unwrap();
                    self.files = self.files.iter().filter(|f| self.plain(f).exists()).cloned().collect();
                    if !self.files.contains(&to) {
                        self.files.push(to);
                    }
                }
            }
            11 => {
                if let Some(from) = self.pick() {
                    let to = self.new_path();
                    let (dir, name) = Self::split(&to);
                    self.volume().link(self.node(&from), self.node(dir), name.as_bytes()).unwrap();
                    std::fs::hard_link(self.plain(&from), self.plain(&to)).unwrap();
                    self.files.push(to);
                }
            }
            12 => {
                if let Some(path) = self.pick() {
                    let (dir, name) = Self::split(&path);
                    self.volume().unlink(self.node(dir), name.as_bytes()).unwrap();
                    std::fs::remove_file(self.plain(&path)).unwrap();
                    self.files.retain(|f| *f != path);
                }
            }
            13..=15 => self.change_acl(),
            _ => {
                self.volume().destroy();
                // The lock goes with the last reference.
                self.volume = None;
                self.volume = Some((self.reopen)());
            }
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(UMASK));
    let [_, backing, mirror, uuid, shift, size, count, seed, steps, end] = args.as_slice() else {
        panic!("usage: see the head of this example");
    };
    let mut id = [0u8; 16];
    for (i, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&uuid[i * 2..i * 2 + 2], 16).unwrap();
    }
    let mut key = [0u8; 32];
    std::io::stdin().read_exact(&mut key).unwrap();
    let keys = Arc::new(DomainKeys::derive(&id, &Secret::take(&mut key)).unwrap());
    let config = Config {
        uuid: id,
        block_shift: shift.parse().unwrap(),
        segment_size: size.parse().unwrap(),
        segment_count: count.parse().unwrap(),
        cache_bytes: 1 << 20,
        read_only: false,
        new_volume: false,
        volume_generation: 1,
        kernel_keeps_times: false,
        commit_interval_ms: 0,
    };
    let shift = config.block_shift;
    let place = Path::new(backing).to_path_buf();
    let open = move || {
        let tampered = Arc::new(|t| panic!("tampered: {t:?}"));
        Volume::open(&place, keys.clone(), config.clone(), tampered).unwrap().0
    };
    let seed: u64 = seed.parse().unwrap();
    let mut run = Run {
        volume: Some(open()),
        reopen: Box::new(open),
        mirror: PathBuf::from(mirror),
        random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        shift,
        dirs: vec![String::new()],
        files: Vec::new(),
        made: 0,
    };
    run.random.next();
    for _ in 0..steps.parse::<u32>().unwrap() {
        run.step();
    }
    if end == "clean" {
        run.volume().destroy();
    }
    std::process::exit(0);
}
