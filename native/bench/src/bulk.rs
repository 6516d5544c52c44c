//! Whole files from end to end.

use crate::data::{at, Pool};
use crate::options::Options;
use crate::work::{clients, Measured};
use crate::Result;
use rustix::fs::{fsync, open, Mode, OFlags};
use rustix::io::{pread, pwrite};

const BLOCK: usize = 128 << 10;

pub fn write(options: &Options) -> Result<Measured> {
    let block = options.block_or(BLOCK);
    let each = options.size / options.threads as u64;
    let prepare = |client| {
        let path = options.own_file(client);
        let fresh = if options.in_place { OFlags::empty() } else { OFlags::TRUNC };
        let flags = OFlags::CREATE | OFlags::WRONLY | fresh | options.cache_flags();
        let file = at(&path, "opening", open(&path, flags, Mode::from_raw_mode(0o644)))?;
        Ok((path, file, Pool::new(block, options.seed + client as u64)))
    };
    clients(options, prepare, |(path, file, mut pool), tally| {
        let mut offset = 0;
        while offset < each {
            let length = block.min((each - offset) as usize);
            let data = pool.block(length);
            tally.time(|| at(&path, "writing", pwrite(&file, data, offset)))?;
            offset += length as u64;
        }
        at(&path, "fsync", fsync(&file))
    })
}

pub fn read(options: &Options) -> Result<Measured> {
    let block = options.block_or(BLOCK);
    let prepare = |client| {
        let path = options.own_file(client);
        let file = at(&path, "opening", open(&path, OFlags::RDONLY | options.cache_flags(), Mode::empty()))?;
        Ok((path, file, Pool::new(block, 0)))
    };
    clients(options, prepare, |(path, file, mut pool), tally| {
        let buf = pool.block(block);
        let mut offset = 0;
        loop {
            let mut got = 0;
            tally.time(|| {
                got = at(&path, "reading", pread(&file, &mut *buf, offset))?;
                Ok(got)
            })?;
            offset += got as u64;
            if got < block {
                return Ok(());
            }
        }
    })
}
