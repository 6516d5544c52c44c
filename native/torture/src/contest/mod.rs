//! Many threads of many processes in the same few directories and files: who wins is open, but nothing is lost, nothing is
//! there twice, and no call fails in a way that a race does not explain.

mod names;
mod settled;
mod shared;

use crate::options::Options;
use crate::parts::{self, Part};
use crate::{driver, Result};
use kmsfs_random::Random;
use settled::{describe, settled};
use std::path::Path;

/// Directories in which names are fought for.
const DIRS: [&str; 3] = ["d0", "d1", "d2"];
/// Directories through which the tokens wander, by renames that never replace.
const SLOTS: [&str; 2] = ["slots-a", "slots-b"];
const SLOTS_EACH: u64 = 6;
const TOKENS: u64 = 8;
/// All append records of this many bytes to it.
const LOG: &str = "log";
const RECORD: usize = 64;
/// Each worker has every n-th record of it.
const STRIPED: &str = "striped";

fn dir(options: &Options) -> Result<&Path> {
    let [dir] = options.dirs.as_slice() else { return Err("give one directory".into()) };
    Ok(dir)
}

/// One process.
pub fn part(options: &Options) -> Result<String> {
    let dir = dir(options)?;
    let all = (options.processes * options.threads) as u64;
    let first = options.part * options.threads as u64;
    let ended: Vec<Result<u64>> = std::thread::scope(|scope| {
        let worker = |number: u64| {
            move || {
                let mut r = Random::new(options.seed.wrapping_mul(1000).wrapping_add(number));
                let mut mine = shared::Mine::new(dir, number, all)?;
                for n in 0..options.ops {
                    match r.below(8) {
                        0 => mine.append(n)?,
                        1 => names::move_token(dir, &mut r)?,
                        2 | 3 => mine.stripe(&mut r)?,
                        _ => names::fight(dir, &mut r)?,
                    }
                }
                mine.finish()
            }
        };
        let threads: Vec<_> = (first..first + options.threads as u64).map(|n| scope.spawn(worker(n))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err("a worker panicked".into()))).collect()
    });
    let mut appended = 0;
    for (n, ended) in ended.into_iter().enumerate() {
        appended += ended.map_err(|problem| format!("worker {}: {problem}", first + n as u64))?;
    }
    // For whoever waits for this part.
    Ok(appended.to_string())
}

pub fn run(options: &Options) -> Result<String> {
    let root = dir(options)?;
    let failed = |e: std::io::Error| e.to_string();
    for name in DIRS.iter().chain(&SLOTS) {
        std::fs::create_dir(root.join(name)).map_err(failed)?;
    }
    for token in 0..TOKENS {
        let slot = root.join(SLOTS[token as usize % 2]).join(format!("s{}", token / 2));
        std::fs::write(slot, token.to_string()).map_err(failed)?;
    }
    for name in [LOG, STRIPED] {
        std::fs::write(root.join(name), "").map_err(failed)?;
    }
    let parts: Vec<Part> =
        (0..options.processes).map(|n| parts::start("contest-part", options, n)).collect::<Result<_>>()?;
    let appended = parts::wait(parts)?.lines().filter_map(|line| line.parse::<u64>().ok()).sum();
    let workers = (options.processes * options.threads) as u64;
    settled(root, workers, appended)?;
    let before = describe(root)?;
    if options.remount {
        driver::ask("remount")?;
        settled(root, workers, appended).map_err(|e| format!("after a remount: {e}"))?;
        let after = describe(root)?;
        if before != after {
            let changed: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
            return Err(format!("a remount changes {changed:#?}"));
        }
    }
    Ok(format!("contest: {} operations by {workers} threads, {} entries", options.ops * workers, before.len()))
}
