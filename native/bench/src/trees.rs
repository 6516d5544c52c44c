//! Many small files: file n is DIR/d(n / per-dir)/f(n), and each client has every so many-th directory.

use crate::data::{at, Pool};
use crate::options::Options;
use crate::work::{clients, Measured, Tally};
use crate::Result;
use kmsfs_random::Random;
use rustix::fs::{lstat, open, Mode, OFlags};
use rustix::io::{read as read_file, write};
use std::fs;
use std::path::{Path, PathBuf};

const SIZE: u64 = 2048;

fn directory(options: &Options, n: u64) -> PathBuf {
    options.path.join(format!("d{:05}", n / options.per_dir))
}

fn file(options: &Options, n: u64) -> PathBuf {
    directory(options, n).join(format!("f{n:08}"))
}

/// The numbers of one client's files, in order.
fn share(options: &Options, client: usize) -> Vec<u64> {
    let last = options.first + options.files;
    let directories = options.first / options.per_dir..last.div_ceil(options.per_dir);
    // In one directory clients share the files.
    if directories.end - directories.start < options.threads as u64 {
        return (options.first + client as u64..last).step_by(options.threads).collect();
    }
    let own = directories.skip(client).step_by(options.threads);
    let in_one = |d: u64| (d * options.per_dir).max(options.first)..((d + 1) * options.per_dir).min(last);
    own.flat_map(in_one).collect()
}

/// A client's files in no order, and no more than it has operations.
fn shuffled(options: &Options, client: usize) -> Vec<PathBuf> {
    let mut files = share(options, client);
    Random::new(options.seed + client as u64).shuffle(&mut files);
    files.truncate(options.ops.and_then(|ops| usize::try_from(ops).ok()).unwrap_or(usize::MAX));
    files.into_iter().map(|n| file(options, n)).collect()
}

pub fn create(options: &Options) -> Result<Measured> {
    let length = if options.size == 0 { SIZE } else { options.size } as usize;
    let prepare = |client: usize| Ok((share(options, client), Pool::new(length, options.seed + client as u64)));
    clients(options, prepare, |(files, mut pool), tally| {
        let mut made = None;
        for n in files {
            let (dir, path) = (directory(options, n), file(options, n));
            if made.as_ref() != Some(&dir) {
                at(&dir, "making", fs::create_dir_all(&dir))?;
                made = Some(dir);
            }
            let data = pool.block(length);
            tally.time(|| {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = at(&path, "creating", open(&path, flags, Mode::from_raw_mode(0o644)))?;
                if options.empty {
                    return Ok(0);
                }
                at(&path, "writing", write(&file, data))
            })?;
        }
        Ok(())
    })
}

pub fn read(options: &Options) -> Result<Measured> {
    let prepare = |client: usize| Ok((shuffled(options, client), vec![0; 64 << 10]));
    clients(options, prepare, |(files, mut buf), tally| {
        for path in files {
            tally.time(|| {
                let file = at(&path, "opening", open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()))?;
                let mut total = 0;
                loop {
                    match at(&path, "reading", read_file(&file, &mut *buf))? {
                        0 => return Ok(total),
                        n => total += n,
                    }
                }
            })?;
        }
        Ok(())
    })
}

pub fn stat(options: &Options) -> Result<Measured> {
    clients(
        options,
        |client| Ok(shuffled(options, client)),
        |files, tally| {
            for path in files {
                tally.time(|| at(&path, "stat", lstat(&path)).map(|_| 0))?;
            }
            Ok(())
        },
    )
}

pub fn remove(options: &Options) -> Result<Measured> {
    let measured = clients(
        options,
        |client| Ok(share(options, client)),
        |files, tally| {
            for path in files.into_iter().map(|n| file(options, n)) {
                tally.time(|| at(&path, "removing", fs::remove_file(&path)).map(|()| 0))?;
            }
            Ok(())
        },
    )?;
    // What else is in the directories is somebody's: they stay then.
    for n in (options.first..options.first + options.files).step_by(options.per_dir as usize) {
        let _ = fs::remove_dir(directory(options, n));
    }
    Ok(measured)
}

pub fn list(options: &Options) -> Result<Measured> {
    let one = Options { threads: 1, ..options.clone() };
    clients(&one, |_| Ok(()), |(), tally| walk(&options.path, tally))
}

fn walk(dir: &Path, tally: &mut Tally) -> Result<()> {
    let mut directories = Vec::new();
    for entry in at(dir, "listing", fs::read_dir(dir))? {
        let path = at(dir, "listing", entry)?.path();
        tally.time(|| {
            let stat = at(&path, "stat", lstat(&path))?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
                directories.push(path.clone());
            }
            Ok(0)
        })?;
    }
    directories.iter().try_for_each(|dir| walk(dir, tally))
}
