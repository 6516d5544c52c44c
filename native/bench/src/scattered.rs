//! Blocks here and there in large files.

use crate::data::{at, Pool};
use crate::options::Options;
use crate::work::{clients, Measured};
use crate::Result;
use kmsfs_random::Random;
use rustix::fd::OwnedFd;
use rustix::fs::{fstat, fsync, ftruncate, open, Mode, OFlags};
use rustix::io::{pread, pwrite};
use std::path::Path;

const BLOCK: usize = 4096;

/// Where blocks lie: at the multiples of the stride below `size`.
fn places(options: &Options, block: usize, size: u64) -> (u64, u64) {
    let stride = options.stride.max(block as u64);
    (stride, size / stride)
}

pub fn read(options: &Options) -> Result<Measured> {
    let (block, path) = (options.block_or(BLOCK), &options.path);
    let prepare = |client: usize| {
        let file = at(path, "opening", open(path, OFlags::RDONLY | options.cache_flags(), Mode::empty()))?;
        let size = at(path, "stat", fstat(&file))?.st_size;
        let seed = options.seed + client as u64;
        Ok((file, places(options, block, size as u64), Random::new(seed), Pool::new(block, seed)))
    };
    clients(options, prepare, |(file, (stride, count), mut random, mut pool), tally| {
        if count == 0 {
            return Err(format!("{}: nothing to read", path.display()));
        }
        let buf = pool.block(block);
        while tally.goes_on() {
            let offset = random.below(count) * stride;
            tally.time(|| at(path, "reading", pread(&file, &mut *buf, offset)))?;
        }
        Ok(())
    })
}

/// A file of a client's own, of the size wanted, written through when it has to be made.
pub fn own_file(path: &Path, options: &Options, block: usize) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::RDWR | options.cache_flags();
    let file = at(path, "opening", open(path, flags, Mode::from_raw_mode(0o644)))?;
    let size = options.size / options.threads as u64;
    let mut has = at(path, "stat", fstat(&file))?.st_size as u64;
    let mut pool = Pool::new(1 << 20, options.seed);
    while has + block as u64 <= size {
        let length = (size - has).min(1 << 20) as usize / block * block;
        at(path, "writing", pwrite(&file, pool.block(length), has))?;
        has += length as u64;
    }
    at(path, "fsync", fsync(&file))?;
    Ok(file)
}

pub fn write(options: &Options) -> Result<Measured> {
    let block = options.block_or(BLOCK);
    let prepare = |client: usize| {
        let path = options.own_file(client);
        let file = own_file(&path, options, block)?;
        let size = at(&path, "stat", fstat(&file))?.st_size;
        let seed = options.seed + client as u64;
        Ok((path, file, places(options, block, size as u64), Random::new(seed), Pool::new(block, seed)))
    };
    clients(options, prepare, |(path, file, (stride, count), mut random, mut pool), tally| {
        while tally.goes_on() {
            let offset = random.below(count) * stride;
            let data = pool.block(block);
            tally.time(|| at(&path, "writing", pwrite(&file, data, offset)))?;
        }
        at(&path, "fsync", fsync(&file))
    })
}

/// A large file with holes: what a full one is like to whoever reads the blocks that are there.
pub fn scatter(options: &Options) -> Result<Measured> {
    let (block, path) = (options.block_or(BLOCK), &options.path);
    let prepare = |_| {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::TRUNC | options.cache_flags();
        let file = at(path, "opening", open(path, flags, Mode::from_raw_mode(0o644)))?;
        at(path, "ftruncate", ftruncate(&file, options.size))?;
        Ok((file, Pool::new(block, options.seed)))
    };
    let one = Options { threads: 1, ..options.clone() };
    clients(&one, prepare, |(file, mut pool), tally| {
        let (stride, count) = places(options, block, options.size);
        for place in 0..count {
            let data = pool.block(block);
            tally.time(|| at(path, "writing", pwrite(&file, data, place * stride)))?;
        }
        at(path, "fsync", fsync(&file))
    })
}
