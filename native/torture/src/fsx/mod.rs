//! In the manner of fsx: every way to read and change a few files, each result compared with a model in memory.

pub mod check;
mod model;
mod op;
mod run;
mod subject;

use crate::options::Options;
use crate::Result;
use kmsfs_random::Random;
use model::Model;
use op::{draw, Shape};
use run::Run;
use rustix::fs::OFlags;
use std::collections::VecDeque;
use subject::Subject;

/// Operations shown when something went wrong.
const SHOWN: usize = 60;

/// statfs(2). FUSE takes any bytes under O_DIRECT.
const FUSE_SUPER_MAGIC: rustix::fs::FsWord = 0x6573_5546;

/// Where the window of bytes that are worked on begins, and its length: at the front of the file, or over one of the
/// borders of its tree far behind a hole.
fn window(r: &mut Random, block: u64) -> (u64, u64) {
    let len = (112 * block + (512 << 10)).max(1_500_000).next_multiple_of(65536);
    let n = block / 32;
    let border = match r.below(5) {
        0 => 112 + n,
        1 => 112 + n + n * n,
        2 => 112 + n + n * n + n * n * n,
        _ => return (0, len),
    };
    // ext4's largest file ends in the third subtree of large blocks.
    let middle = (border * block).min(1 << 43);
    ((middle - len / 2).next_multiple_of(65536), len)
}

pub fn run(options: &Options) -> Result<String> {
    let [dir] = options.dirs.as_slice() else { return Err("give one directory".into()) };
    let mut random = Random::new(options.seed);
    let (base, len) = window(&mut random, options.block);
    let subject = |n| Subject::new(dir.join(format!("fsx-{}-{n}", options.seed)), base, len, n % 2 == 1);
    let mut subjects: Vec<Subject> = (0..options.files).map(subject).collect();
    for subject in &mut subjects {
        subject.open(OFlags::CREATE | OFlags::EXCL)?;
        if base > 0 {
            let plain = &subject.opened()?.plain;
            rustix::fs::ftruncate(plain, base).map_err(|e| format!("ftruncate to {base}: {e}"))?;
        }
    }
    let kind = rustix::fs::statfs(dir).map_err(|e| format!("statfs: {e}"))?.f_type;
    let direct = if kind == FUSE_SUPER_MAGIC { 1 } else { 4096 };
    let mut run = Run::new(subjects, options.clone());
    let mut done: VecDeque<String> = VecDeque::new();
    for n in 0..options.ops {
        let which = random.below(options.files as u64) as usize;
        let Model { base, size, .. } = run.subjects[which].model;
        let limit = run.subjects[which].model.limit();
        let op = draw(&mut random, &Shape { base, limit, size, block: options.block, files: options.files, direct });
        let line = format!("{n}: file {which} (size {size}): {op:?}");
        if options.trace {
            eprintln!("{line}");
        }
        done.push_back(line);
        if done.len() > SHOWN {
            done.pop_front();
        }
        run.step(which, &op, &mut random).map_err(|problem| {
            let listed: Vec<String> = done.iter().map(|line| format!("  {line}\n")).collect();
            format!("--files {}:\n{}{problem}", options.files, listed.concat())
        })?;
    }
    run.finish()?;
    Ok(format!("fsx: {} operations, {} bytes read and compared", options.ops, run.compared))
}
