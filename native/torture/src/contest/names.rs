//! Fighting for names.

use super::{DIRS, SLOTS, SLOTS_EACH};
use crate::stress::names_in;
use crate::Result;
use kmsfs_random::Random;
use rustix::fs::{self, AtFlags, Mode, OFlags, RenameFlags, CWD};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// What a race explains: the name went, came, or became another's.
const RACES: [Errno; 9] = [
    Errno::NOENT,
    Errno::EXIST,
    Errno::NOTEMPTY,
    Errno::ISDIR,
    Errno::NOTDIR,
    Errno::LOOP,
    Errno::PERM,
    Errno::INVAL,
    Errno::MLINK,
];

fn allowed<T>(what: &str, result: rustix::io::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if RACES.contains(&e) => Ok(None),
        Err(e) => Err(format!("{what}: {e}")),
    }
}

fn path(root: &Path, r: &mut Random) -> PathBuf {
    let dir = root.join(r.pick(&DIRS));
    let name = match r.below(12) {
        0 => "l".repeat(200),
        n => format!("n{n}"),
    };
    if r.one_in(6) {
        // In a directory that may be one of the names.
        return dir.join(format!("n{}", r.below(4))).join(name);
    }
    dir.join(name)
}

pub fn fight(root: &Path, r: &mut Random) -> Result<()> {
    let (a, b) = (path(root, r), path(root, r));
    let mode = Mode::from_raw_mode(0o755);
    match r.below(24) {
        0..=4 => {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK;
            if let Some(fd) = allowed("open", fs::open(&a, flags, mode))? {
                let fill = [r.below(256) as u8; 8192];
                rustix::io::pwrite(&fd, &fill, 0).map_err(|e| format!("write: {e}"))?;
                if r.one_in(4) {
                    fs::fsync(&fd).map_err(|e| format!("fsync: {e}"))?;
                }
            }
        }
        5..=6 => drop(allowed("mkdir", fs::mkdir(&a, mode))?),
        7 => drop(allowed("symlink", fs::symlink("n1", &a))?),
        8..=9 => drop(allowed("link", fs::linkat(CWD, &a, CWD, &b, AtFlags::empty()))?),
        10..=14 => {
            let flags = r.pick(&[RenameFlags::empty(), RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]);
            allowed("rename", fs::renameat_with(CWD, &a, CWD, &b, flags))?;
        }
        15..=16 => drop(allowed("unlink", fs::unlink(&a))?),
        17 => drop(allowed("rmdir", fs::rmdir(&a))?),
        18 => drop(allowed("chmod", fs::chmod(&a, Mode::from_raw_mode(0o700 + r.below(0o100) as u32)))?),
        19 => drop(allowed("setxattr", fs::setxattr(&a, "user.x", b"value", fs::XattrFlags::empty()))?),
        20..=21 => {
            if let Some(fd) = allowed("open to read", fs::open(&a, OFlags::RDONLY | OFlags::NONBLOCK, mode))? {
                allowed("read", rustix::io::pread(&fd, &mut [0; 8192], 0))?;
            }
        }
        22 => drop(allowed("stat", fs::lstat(&a))?),
        _ => {
            let listed = allowed("list", names_in(&root.join(r.pick(&DIRS))))?.unwrap_or_default();
            // What is renamed meanwhile may show under both of its names; one name shows once.
            let names: Vec<&str> = listed.iter().map(|n| n.rsplit_once(' ').map_or(n.as_str(), |(n, _)| n)).collect();
            if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
                return Err(format!("{} is listed twice", twice[0]));
            }
        }
    }
    Ok(())
}

/// Renames that replace nothing: however many do it, no token goes, none comes.
pub fn move_token(root: &Path, r: &mut Random) -> Result<()> {
    let slot = |r: &mut Random| root.join(r.pick(&SLOTS)).join(format!("s{}", r.below(SLOTS_EACH)));
    let (a, b) = (slot(r), slot(r));
    let flags = r.pick(&[RenameFlags::NOREPLACE, RenameFlags::EXCHANGE]);
    allowed("moving a token", fs::renameat_with(CWD, &a, CWD, &b, flags))?;
    Ok(())
}
