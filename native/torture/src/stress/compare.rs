//! Whether two results, two inodes, two trees are the same.

use super::op::{names, xattrs, Done, Gave};
use crate::Result;
use rustix::fs::{lgetxattr, lstat, readlink, FileType, Stat};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Times of the last operations differ by as much as the two trees are apart.
const NOW: i64 = 120;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Of what was set: equal; of what happened: of about the same time.
    Compared,
    Ignored,
}

/// `start`: seconds since the epoch at which the work began; what is later is of the work's own time.
pub fn same_result(ours: &Done, theirs: &Done, start: i64) -> bool {
    match (ours, theirs) {
        (Err(a), Err(b)) => a == b,
        (Ok(Gave::Nothing), Ok(Gave::Nothing)) => true,
        (Ok(Gave::Bytes(a)), Ok(Gave::Bytes(b))) => a == b,
        (Ok(Gave::Names(a)), Ok(Gave::Names(b))) => a == b,
        (Ok(Gave::Stat(a)), Ok(Gave::Stat(b))) => same_inode(a, b, start, Times::Compared),
        _ => false,
    }
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub fn describe(stat: &Stat) -> String {
    format!(
        "{:o} {}:{} links {} size {} rdev {:x} mtime {}.{:09}",
        stat.st_mode,
        stat.st_uid,
        stat.st_gid,
        stat.st_nlink,
        stat.st_size,
        stat.st_rdev,
        stat.st_mtime,
        stat.st_mtime_nsec
    )
}

pub fn same_inode(ours: &Stat, theirs: &Stat, start: i64, times: Times) -> bool {
    let size = |s: &Stat| if kind(s) == FileType::Directory { 0 } else { s.st_size };
    let of = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_nlink, size(s), s.st_rdev);
    let of_our_time = |s: i64| (start - 5..start + 100_000).contains(&s);
    // What goes through a fifo sets its time on ext4, and on no FUSE mount (docs/semantics.md).
    let fifo = ours.st_mode & libc::S_IFMT == libc::S_IFIFO;
    let same_time = fifo && of_our_time(theirs.st_mtime)
        || if of_our_time(theirs.st_mtime) {
            of_our_time(ours.st_mtime) && (ours.st_mtime - theirs.st_mtime).abs() < NOW
        } else {
            (ours.st_mtime, ours.st_mtime_nsec) == (theirs.st_mtime, theirs.st_mtime_nsec)
        };
    of(ours) == of(theirs) && (same_time || times == Times::Ignored)
}

pub struct Trees<'a> {
    pub start: i64,
    pub times: Times,
    /// Paths, with all below, that were being changed when the server died: there must be no I/O error, no more.
    pub doubtful: &'a [String],
    /// Inodes of ours by the mirror's: two names are of one inode here when they are there.
    pub inodes: HashMap<u64, u64>,
    pub entries: u64,
}

impl Trees<'_> {
    pub fn compare(&mut self, ours: &Path, theirs: &Path, at: &str) -> Result<()> {
        let listed = |root: &Path| names(&root.join(at)).map_err(|e| format!("listing {:?}: {e}", root.join(at)));
        let (a, b) = (listed(ours)?, listed(theirs)?);
        let doubtful = |name: &str| {
            let path = join(at, name);
            self.doubtful.iter().any(|d| path == *d || path.starts_with(&format!("{d}/")))
        };
        let sure = |all: &[String]| -> Vec<String> {
            all.iter().filter(|n| !n.rsplit_once(' ').is_some_and(|(n, _)| doubtful(n))).cloned().collect()
        };
        let (sure_ours, sure_theirs) = (sure(&a), sure(&b));
        if sure_ours != sure_theirs {
            let only = |x: &[String], y: &[String]| x.iter().filter(|n| !y.contains(n)).cloned().collect::<Vec<_>>();
            return Err(format!(
                "{at:?} lists {:?} that the mirror has not, lacks {:?}, duplicates: {}",
                only(&sure_ours, &sure_theirs),
                only(&sure_theirs, &sure_ours),
                sure_ours.windows(2).any(|w| w[0] == w[1])
            ));
        }
        for line in &sure_ours {
            let name = line.rsplit_once(' ').map_or(line.as_str(), |(name, _)| name);
            self.entry(ours, theirs, &join(at, name))?;
        }
        for line in a.iter().filter(|line| !sure_ours.contains(line)) {
            let name = line.rsplit_once(' ').map_or(line.as_str(), |(name, _)| name);
            let path = ours.join(join(at, name));
            let stat = lstat(&path).map_err(|e| format!("lstat({path:?}): {e}"))?;
            if kind(&stat) == FileType::RegularFile {
                std::fs::read(&path).map_err(|e| format!("read({path:?}): {e}"))?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, ours: &Path, theirs: &Path, path: &str) -> Result<()> {
        let (a, b) = (ours.join(path), theirs.join(path));
        let stat = |p: &Path| lstat(p).map_err(|e| format!("lstat({p:?}): {e}"));
        let (sa, sb) = (stat(&a)?, stat(&b)?);
        self.entries += 1;
        // Links to and from what is doubtful count, too.
        let linked = !self.doubtful.is_empty() && (sb.st_nlink > 1 || kind(&sb) == FileType::Directory);
        if !linked && !same_inode(&sa, &sb, self.start, self.times) {
            return Err(format!("{path}: {} where the mirror has {}", describe(&sa), describe(&sb)));
        }
        let seen = *self.inodes.entry(sb.st_ino).or_insert(sa.st_ino);
        if seen != sa.st_ino {
            return Err(format!("{path}: is not the inode of its other names"));
        }
        let failed = |e| format!("xattrs of {path}: {e}");
        let (xa, xb) = (xattrs(&a).map_err(failed)?, xattrs(&b).map_err(failed)?);
        if xa != xb {
            return Err(format!("{path}: has xattrs {xa:?} where the mirror has {xb:?}"));
        }
        for name in &xb {
            let value = |p: &Path| {
                let mut value = vec![0; 65536];
                lgetxattr(p, name.as_str(), &mut value).map(|n| value[..n].to_vec())
            };
            if value(&a) != value(&b) {
                return Err(format!("{path}: xattr {name} is {:?} where the mirror has {:?}", value(&a), value(&b)));
            }
        }
        match kind(&sb) {
            FileType::Directory => self.compare(ours, theirs, path),
            FileType::Symlink if readlink(&a, Vec::new()) != readlink(&b, Vec::new()) => {
                Err(format!("{path}: points elsewhere than in the mirror"))
            }
            FileType::RegularFile if !linked => same_content(&a, &b).map_err(|e| format!("{path}: {e}")),
            _ => Ok(()),
        }
    }
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

fn same_content(ours: &Path, theirs: &Path) -> Result<()> {
    let open = |p: &Path| File::open(p).map_err(|e| format!("open({p:?}): {e}"));
    let (mut a, mut b) = (open(ours)?, open(theirs)?);
    let (mut x, mut y) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let (n, m) = (fill(&mut a, &mut x)?, fill(&mut b, &mut y)?);
        crate::fsx::check::compare(at, "content", &x[..n], &y[..m])?;
        if n == 0 {
            return Ok(());
        }
        at += n as u64;
    }
}

fn fill(file: &mut File, buf: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read(&mut buf[done..]).map_err(|e| format!("read: {e}"))? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}
