//! Drawing operations: paths from a few names in the directories that there are, so that many meet.

use super::op::Op;
use kmsfs_random::Random;
use rustix::fs::{FileType, OFlags, UTIME_NOW, UTIME_OMIT};
use std::path::Path;

/// ext4 takes 65,000 names of an inode, kmsfs 100 (docs/semantics.md).
const MOST_LINKS: u64 = 90;
const OWNERS: [u32; 4] = [0, 1000, 1001, 70_000];
const XATTRS: [&str; 6] =
    ["user.one", "user.a longer name of an attribute", "trusted.t", "security.s", "user.", "bad.namespace"];

pub struct Names {
    pool: Vec<String>,
    /// Of directories that were there once; relative, "" is the worker's own.
    dirs: Vec<String>,
}

impl Names {
    pub fn new() -> Self {
        let mut pool: Vec<String> = (0..14).map(|n| format!("n{n}")).collect();
        pool.extend(["x".repeat(255), "y".repeat(161), "z".repeat(160), "Größe 大きさ".into(), ".t-not".into()]);
        Names { pool, dirs: vec![String::new()] }
    }

    fn dir(&mut self, r: &mut Random, mirror: &Path) -> String {
        self.dirs.retain(|dir| mirror.join(dir).is_dir());
        if self.dirs.is_empty() {
            self.dirs.push(String::new());
        }
        r.pick(&self.dirs)
    }

    fn path(&mut self, r: &mut Random, mirror: &Path) -> String {
        let dir = self.dir(r, mirror);
        let name = r.pick(&self.pool);
        if dir.is_empty() {
            name
        } else {
            format!("{dir}/{name}")
        }
    }

    pub fn made_dir(&mut self, path: &str) {
        if path.split('/').count() < 5 {
            self.dirs.push(path.to_owned());
        }
    }

    /// An operation that does the same on every file system, done by `user`.
    pub fn draw(&mut self, r: &mut Random, mirror: &Path, user: u32) -> Op {
        let op = self.any(r, mirror);
        let mode = |path: &str| rustix::fs::stat(mirror.join(path)).map_or(0, |s| s.st_mode);
        match &op {
            // FUSE does not say that it was root who reserved or copied: the bits go, ext4 keeps them then.
            Op::Allocate { path, .. } | Op::Copy { to: path, .. }
                if user == 0 && mode(path) & 0o6000 != 0 || mode(path) & 0o2010 == 0o2000 =>
            {
                Op::Stat { path: path.clone() }
            }
            _ => op,
        }
    }

    fn any(&mut self, r: &mut Random, mirror: &Path) -> Op {
        let path = self.path(r, mirror);
        let mode = r.below(0o10000) as u32 | if r.one_in(2) { 0o700 } else { 0 };
        let owner = |r: &mut Random| if r.one_in(3) { None } else { Some(r.pick(&OWNERS)) };
        let at = match r.below(4) {
            0 => 0,
            1 => r.below(10_000),
            _ => r.below(1_200_000),
        };
        let len = [100, 5000, 40_000, 200_000][r.below(4) as usize];
        let len = r.below(len);
        match r.below(100) {
            0..=9 => Op::Create { path, mode, exclusive: r.one_in(2) },
            10..=16 => Op::Mkdir { path, mode: mode | 0o700 },
            17..=19 => {
                let (kind, dev) = r.pick(&[
                    (FileType::Fifo, 0),
                    (FileType::Socket, 0),
                    (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
                    (FileType::BlockDevice, rustix::fs::makedev(259, 4000)),
                    (FileType::RegularFile, 0),
                ]);
                Op::Mknod { path, kind, mode, dev }
            }
            20..=23 => {
                let target = match r.below(4) {
                    0 => "a target ".repeat(1 + r.below(450) as usize),
                    1 => format!("./{}", r.pick(&self.pool)),
                    _ => r.pick(&self.pool),
                };
                Op::Symlink { path, target }
            }
            24..=28 => {
                let to = self.path(r, mirror);
                let links = rustix::fs::lstat(mirror.join(&path)).map_or(0, |s| s.st_nlink);
                if links > MOST_LINKS {
                    return Op::Stat { path };
                }
                Op::Link { from: path, to }
            }
            29..=38 => {
                let to = self.path(r, mirror);
                Op::Rename { from: path, to, flags: r.pick(&[0, 0, 0, libc::RENAME_NOREPLACE, libc::RENAME_EXCHANGE]) }
            }
            39..=44 => Op::Unlink { path },
            45..=47 => Op::Rmdir { path },
            48..=50 => Op::Chmod { path, mode },
            51..=53 => Op::Chown { path, uid: owner(r), gid: owner(r) },
            54..=56 => {
                let time = |r: &mut Random| match r.below(4) {
                    0 => (0, UTIME_NOW),
                    1 => (0, UTIME_OMIT),
                    2 => (1_000_000_000 - r.below(2_000_000_000) as i64, r.below(1_000_000_000) as i64),
                    _ => (4_000_000_000 + r.below(1_000_000) as i64, r.below(1_000_000_000) as i64),
                };
                Op::Times { path, atime: time(r), mtime: time(r) }
            }
            57..=60 => {
                let len = r.below(60) as usize;
                let flags = r.pick(&[0, 0, libc::XATTR_CREATE, libc::XATTR_REPLACE]) as u32;
                Op::SetXattr { path, name: r.pick(&XATTRS).into(), value: r.bytes(len), flags }
            }
            61 => Op::GetXattr { path, name: r.pick(&XATTRS).into() },
            62 => Op::RemoveXattr { path, name: r.pick(&XATTRS).into() },
            63 => Op::ListXattr { path },
            64..=66 => Op::Truncate { path, size: r.below(1_500_000) },
            67..=76 => {
                let more = r.pick(&[OFlags::empty(), OFlags::CREATE, OFlags::CREATE | OFlags::TRUNC, OFlags::APPEND]);
                let flags = if r.one_in(4) { more | OFlags::NOFOLLOW } else { more };
                Op::Write { path, flags, at, len: len as usize, seed: r.next(), sync: r.one_in(6) }
            }
            77..=79 => {
                let punch = (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32;
                Op::Allocate { path, flags: r.pick(&[punch, punch, 0, 1]), at, len: len.max(1) }
            }
            80..=82 => Op::Copy { from: path, to: self.path(r, mirror), at, len: len as usize },
            83..=87 => Op::Read { path, at, len: len as usize },
            88..=90 => Op::List { path: self.dir(r, mirror) },
            91..=95 => Op::Stat { path },
            96 => Op::ReadLink { path },
            97 => Op::SyncDir { path: self.dir(r, mirror) },
            _ => Op::Unnamed { dir: self.dir(r, mirror), to: path, len: len as usize, seed: r.next() },
        }
    }
}
