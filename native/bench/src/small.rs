//! Small writes: each durable, or each at the end of the file.

use crate::data::{at, Pool};
use crate::options::Options;
use crate::scattered::own_file;
use crate::work::{clients, Measured};
use crate::Result;
use kmsfs_random::Random;
use rustix::fs::{fdatasync as sync_data, fsync, open, Mode, OFlags};
use rustix::io::{pwrite, write};

pub fn fdatasync(options: &Options) -> Result<Measured> {
    let block = options.block_or(4096);
    let count = (options.size / options.threads as u64 / block as u64).max(1);
    let prepare = |client: usize| {
        let path = options.own_file(client);
        let file = own_file(&path, options, block)?;
        let seed = options.seed + client as u64;
        Ok((path, file, Random::new(seed), Pool::new(block, seed)))
    };
    clients(options, prepare, |(path, file, mut random, mut pool), tally| {
        while tally.goes_on() {
            let (offset, data) = (random.below(count) * block as u64, pool.block(block));
            tally.time(|| {
                let written = at(&path, "writing", pwrite(&file, data, offset))?;
                at(&path, "fdatasync", sync_data(&file))?;
                Ok(written)
            })?;
        }
        Ok(())
    })
}

pub fn append(options: &Options) -> Result<Measured> {
    let block = options.block_or(100);
    let prepare = |client: usize| {
        let path = options.own_file(client);
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC;
        let file = at(&path, "opening", open(&path, flags, Mode::from_raw_mode(0o644)))?;
        Ok((path, file, Pool::new(block, options.seed + client as u64)))
    };
    clients(options, prepare, |(path, file, mut pool), tally| {
        while tally.goes_on() {
            let data = pool.block(block);
            tally.time(|| at(&path, "writing", write(&file, data)))?;
        }
        at(&path, "fsync", fsync(&file))
    })
}
