//! What must hold when the fight is over.

use super::{DIRS, LOG, RECORD, SLOTS, TOKENS};
use crate::stress::names_in;
use crate::Result;
use rustix::fs::{lstat, FileType, Stat};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;

fn walk(dir: &Path, all: &mut Vec<(PathBuf, Stat)>) -> Result<()> {
    for line in names_in(dir).map_err(|e| format!("listing {dir:?}: {e}"))? {
        let path = dir.join(line.rsplit_once(' ').map_or(line.as_str(), |(name, _)| name));
        let stat = lstat(&path).map_err(|e| format!("{path:?} is listed, yet lstat says: {e}"))?;
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        all.push((path.clone(), stat));
        if directory {
            walk(&path, all)?;
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| format!("read {path:?}: {e}"))
}

/// `appended`: how many records the workers appended in all.
pub fn settled(root: &Path, workers: u64, appended: u64) -> Result<()> {
    let mut all = Vec::new();
    for dir in DIRS {
        walk(&root.join(dir), &mut all)?;
    }
    let mut links: HashMap<u64, u64> = HashMap::new();
    for (_, stat) in &all {
        *links.entry(stat.st_ino).or_default() += 1;
    }
    for (path, stat) in &all {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let names = links[&stat.st_ino];
        if kind != FileType::Directory && stat.st_nlink != names {
            return Err(format!("{path:?} has {} links and {names} names", stat.st_nlink));
        }
        if kind == FileType::RegularFile {
            let content = read(path)?;
            if !matches!(content.len(), 0 | 8192) || content.chunks(PAGE).any(|p| p.iter().any(|b| *b != p[0])) {
                return Err(format!("{path:?} holds what nobody wrote, {} bytes", content.len()));
            }
        }
    }
    tokens(root)?;
    records(&read(&root.join(LOG))?, workers, appended)
}

fn tokens(root: &Path) -> Result<()> {
    let mut found = Vec::new();
    for dir in SLOTS {
        let mut slots = Vec::new();
        walk(&root.join(dir), &mut slots)?;
        for (path, _) in slots {
            found.push(String::from_utf8_lossy(&read(&path)?).into_owned());
        }
    }
    found.sort();
    let due: Vec<String> = (0..TOKENS).map(|n| n.to_string()).collect();
    if found != due {
        return Err(format!("the tokens are {found:?} where {due:?} is due"));
    }
    Ok(())
}

/// Each worker's records are there in their order, none twice.
fn records(log: &[u8], workers: u64, appended: u64) -> Result<()> {
    if log.len() as u64 != appended * RECORD as u64 {
        return Err(format!("the log has {} bytes, though {appended} records were appended", log.len()));
    }
    let mut last: HashMap<u64, u64> = HashMap::new();
    for (n, record) in log.chunks(RECORD).enumerate() {
        let text = String::from_utf8_lossy(record).into_owned();
        let mut numbers = text.split(' ').map_while(|word| word.parse::<u64>().ok());
        let (Some(worker), Some(number)) = (numbers.next(), numbers.next()) else {
            return Err(format!("record {n} of the log is {text:?}"));
        };
        let in_order = last.insert(worker, number).is_none_or(|before| before < number);
        if record.len() != RECORD || worker >= workers || !in_order {
            return Err(format!("record {n} of the log is {text:?}, out of order or foreign"));
        }
    }
    Ok(())
}

/// One line for each entry: what a remount may not change.
pub fn describe(root: &Path) -> Result<Vec<String>> {
    let mut all = Vec::new();
    walk(root, &mut all)?;
    let line = |(path, stat): &(PathBuf, Stat)| {
        let mut hash = DefaultHasher::new();
        let size = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                read(path)?.hash(&mut hash);
                stat.st_size
            }
            FileType::Symlink => stat.st_size,
            _ => 0,
        };
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        let of = (stat.st_ino, stat.st_mode, stat.st_nlink, size, time, hash.finish());
        Ok(format!("{} {of:?}", path.display()))
    };
    all.iter().map(line).collect()
}
