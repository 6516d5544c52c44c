//! The honest floor of the benchmarks: the session of kmsfs over a directory as it stands, without blocks, names, records
//! or a cipher. What kmsfs takes beyond it is its own; what this takes is FUSE's.
//!
//!     kmsfs-floor BACKING DIR [--nowriteback] [--threads N]
//!     kmsfs-floor BACKING DIR --delay-us 1000 [--bandwidth BYTES]    a device: each read, write and flush takes so long
//!
//! Prints `serving` when it is mounted and ends with the mount. It is a tool to measure with: setuid bits are not cleared
//! on writes.

mod delay;
mod filesystem;
mod listing;
mod mount;
mod nodes;

use delay::Delay;
use kmsfs_session::{serve, widen_descriptor_table, Options};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// One for each inode that the kernel knows: as many as a benchmark makes.
const DESCRIPTORS: u32 = 1 << 17;

struct Wanted {
    backing: PathBuf,
    dir: PathBuf,
    writeback: bool,
    threads: Option<usize>,
    delay: Delay,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let (mut places, mut writeback, mut threads) = (Vec::new(), true, None);
    let (mut latency, mut bandwidth) = (Duration::ZERO, None);
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64, String> {
            let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            value.parse().map_err(|_| format!("{arg}: {value} is no number"))
        };
        match arg.as_str() {
            "--nowriteback" => writeback = false,
            "--threads" => threads = Some(number()?.clamp(1, 1024) as usize),
            "--delay-us" => latency = Duration::from_micros(number()?),
            "--bandwidth" => bandwidth = Some(number()?.max(1)),
            place if !place.starts_with('-') => places.push(PathBuf::from(place)),
            other => return Err(format!("unknown option {other}")),
        }
    }
    let [backing, dir] = <[PathBuf; 2]>::try_from(places).map_err(|_| "give a backing directory and a mount point")?;
    Ok(Wanted { backing, dir, writeback, threads, delay: Delay::new(latency, bandwidth) })
}

fn run(wanted: Wanted) -> Result<(), String> {
    nodes::raise_descriptor_limit();
    widen_descriptor_table(DESCRIPTORS);
    let fs = filesystem::Floor::open(&wanted.backing, wanted.delay)
        .map_err(|e| format!("{}: {e:?}", wanted.backing.display()))?;
    let fuse = mount::mount(&wanted.dir)?;
    let mut options = Options { writeback: wanted.writeback, ..Options::default() };
    if let Some(threads) = wanted.threads {
        (options.threads, options.more_threads) = (threads, 0);
    }
    options.on_serving = Some(Box::new(move || {
        if let Err(e) = mount::raise_read_ahead(&wanted.dir) {
            eprintln!("kmsfs-floor: read-ahead: {e}");
        }
        println!("serving");
    }));
    serve(fuse, Arc::new(fs), options).map_err(|e| e.to_string())?;
    Ok(())
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("kmsfs-floor: {problem}");
            ExitCode::FAILURE
        }
    }
}
