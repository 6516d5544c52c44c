//! In the manner of fsstress: many threads of many processes on trees of files, each in a directory of its own, on the
//! mount and in the same order on a mirror; every result is compared, and in the end the trees.

pub mod compare;
mod draw;
mod op;
mod worker;

use crate::options::Options;
use crate::parts::{self, Part};
use crate::{driver, Result};
use compare::{Times, Trees};
use kmsfs_random::Random;
pub use op::{names as names_in, xattrs};
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use worker::{Ended, Worker};

/// What a part says of a path that was being changed when the server died.
const DOUBT: &str = "doubtful: ";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64
}

fn roots(options: &Options) -> Result<(&Path, &Path)> {
    let [ours, theirs] = options.dirs.as_slice() else { return Err("give a directory and its mirror".into()) };
    Ok((ours, theirs))
}

/// One process: its threads' work. Prints the paths that are in doubt.
pub fn part(options: &Options) -> Result<String> {
    let (ours, theirs) = roots(options)?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let start = now();
    let workers: Vec<Worker> = (0..options.threads as u64)
        .map(|number| {
            let name = format!("w{}", options.part * options.threads as u64 + number);
            let number = options.part * options.threads as u64 + number;
            Worker { options, number, ours: ours.join(&name), theirs: theirs.join(&name), start }
        })
        .collect();
    for worker in &workers {
        for dir in [&worker.ours, &worker.theirs] {
            std::fs::create_dir(dir).map_err(|e| format!("mkdir {dir:?}: {e}"))?;
            std::os::unix::fs::chown(dir, Some(1000), Some(1000)).map_err(|e| format!("chown: {e}"))?;
        }
    }
    let ended: Vec<Result<Ended>> = std::thread::scope(|scope| {
        let threads: Vec<_> = workers.iter().map(|w| scope.spawn(move || w.run())).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a worker panicked".into()))).collect()
    });
    for (worker, ended) in workers.iter().zip(ended) {
        if let Ended::Died(op) = ended? {
            for path in op.paths() {
                println!("{DOUBT}w{}/{path}", worker.number);
                // Through a symlink it was about something else.
                let (behind, mirror) = (worker.theirs.join(path).canonicalize(), theirs.canonicalize());
                if let (Ok(behind), Ok(mirror)) = (behind, mirror) {
                    if let Ok(behind) = behind.strip_prefix(mirror) {
                        println!("{DOUBT}{}", behind.display());
                    }
                }
            }
        }
    }
    Ok(String::new())
}

pub fn run(options: &Options) -> Result<String> {
    let (ours, theirs) = roots(options)?;
    let start = now();
    let parts: Vec<Part> =
        (0..options.processes).map(|n| parts::start("stress-part", options, n)).collect::<Result<_>>()?;
    if options.crash {
        std::thread::sleep(Duration::from_millis(200 + Random::new(options.seed).below(2500)));
        driver::ask("kill")?;
    }
    let said = parts::wait(parts);
    if options.crash {
        driver::ask("mount")?;
    }
    let said = said?;
    let doubtful: Vec<String> = said.lines().filter_map(|line| line.strip_prefix(DOUBT)).map(str::to_owned).collect();
    let times = if options.crash { Times::Ignored } else { Times::Compared };
    let compare = || {
        let mut trees = Trees { start, times, doubtful: &doubtful, inodes: HashMap::new(), entries: 0 };
        trees.compare(ours, theirs, "").map(|()| trees.entries)
    };
    let entries = compare()?;
    if options.remount {
        driver::ask("remount")?;
        compare().map_err(|e| format!("after a remount: {e}"))?;
    }
    let workers = options.processes * options.threads;
    Ok(format!("stress: {} operations by {workers} threads, {entries} entries compared", options.ops * workers as u64))
}
