//! `crash work`: does workloads in a mounted volume, and marks each step in the record.

use crate::driver::ask;
use crate::options::Options;
use crate::plan::{self, Act, Plan};
use crate::Result;
use kmsfs_random::Random;
use rustix::fs::{fallocate, FallocateFlags};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

struct Worker {
    mount: PathBuf,
    below: PathBuf,
    marks: File,
}

fn at<T>(what: &str, done: std::io::Result<T>) -> Result<T> {
    done.map_err(|e| format!("{what}: {e}"))
}

fn sync_dir(path: &Path) -> Result<()> {
    at("fsync of a directory", File::open(path).and_then(|dir| dir.sync_all()))
}

pub fn run(options: &Options) -> Result<()> {
    let marks = options.path("marks")?;
    let marks = at(&marks.display().to_string(), OpenOptions::new().write(true).open(&marks))?;
    let mut worker = Worker { mount: options.path("mount")?, below: options.path("below")?, marks };
    let seed: u64 = options.number("seed")?;
    let mut random = Random::new(seed);
    for (number, spec) in specs(options, &mut random)?.iter().enumerate() {
        let seed = seed.wrapping_mul(1000) + number as u64;
        let planned = plan::plan(spec, seed).ok_or_else(|| format!("{spec} makes no sense"))?;
        worker.workload(number, spec, seed, planned).map_err(|e| format!("workload {number}, {spec}: {e}"))?;
    }
    Ok(())
}

/// The workloads wanted: of up to three operations, those at random or, from `--first` on, in their order; then long ones.
fn specs(options: &Options, random: &mut Random) -> Result<Vec<String>> {
    if options.has("spec") {
        return Ok(vec![options.text("spec")?.to_owned()]);
    }
    let (short, long): (usize, usize) = (options.number_or("systematic", 0)?, options.number_or("long", 0)?);
    let all = if short > 0 { plan::systematic() } else { Vec::new() };
    let mut specs: Vec<String> = match options.has("first") {
        true => all.into_iter().skip(options.number("first")?).take(short).collect(),
        false => (0..short).map(|_| random.pick(&all)).collect(),
    };
    specs.iter_mut().for_each(|spec| *spec = plan::pushed(spec, random));
    let ops = options.number_or("ops", 100)?;
    specs.extend((0..long).map(|_| plan::long(ops, random)));
    Ok(specs)
}

impl Worker {
    fn mark(&mut self, text: &str) -> Result<()> {
        at("mark", self.marks.write_all(text.as_bytes()))
    }

    fn push(&self) -> Result<()> {
        let dir = at("below", File::open(&self.below))?;
        at("syncfs", rustix::fs::syncfs(dir).map_err(Into::into))
    }

    fn workload(&mut self, number: usize, spec: &str, seed: u64, plan: Plan) -> Result<()> {
        let dir = self.mount.join(format!("w{number}"));
        at("mkdir", fs::create_dir(&dir))?;
        for (name, content) in plan::beginnings(seed) {
            let mut file = at(name, File::create(dir.join(name)))?;
            at(name, file.write_all(&content).and_then(|()| file.sync_all()))?;
        }
        sync_dir(&dir)?;
        sync_dir(&self.mount)?;
        self.mark(&format!("begin {number} {seed} {spec}"))?;
        let mut open = HashMap::new();
        for (step, acts) in plan.steps.into_iter().enumerate() {
            self.mark(&format!("start {number} {}", step + 1))?;
            for act in acts {
                let what = format!("step {}, {act:?}", step + 1);
                self.act(&dir, &mut open, act).map_err(|e| format!("{}: {e}", what.get(..200).unwrap_or(&what)))?;
            }
            self.mark(&format!("done {number} {}", step + 1))?;
        }
        drop(open);
        self.mark(&format!("end {number}"))?;
        self.push()
    }

    fn act(&mut self, dir: &Path, open: &mut HashMap<usize, File>, act: Act) -> Result<()> {
        let file = |open: &HashMap<usize, File>, n: usize| -> Result<File> {
            at("dup", open.get(&n).ok_or("is not open")?.try_clone())
        };
        match act {
            Act::Open { file, path } => {
                let opened = OpenOptions::new().read(true).write(true).open(dir.join(path));
                open.insert(file, at("open", opened)?);
            }
            Act::Create { file, path } => {
                let made = OpenOptions::new().read(true).write(true).create_new(true).open(dir.join(path));
                open.insert(file, at("create", made)?);
            }
            Act::Write { file: n, at: offset, data } => at("write", file(open, n)?.write_all_at(&data, offset))?,
            Act::SetLen { file: n, len } => at("truncate", file(open, n)?.set_len(len))?,
            Act::Punch { file: n, at: offset, len } => {
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                at("punch", fallocate(file(open, n)?, how, offset, len).map_err(Into::into))?;
            }
            Act::Rename { from, to } => at("rename", fs::rename(dir.join(from), dir.join(to)))?,
            Act::Link { from, to } => at("link", fs::hard_link(dir.join(from), dir.join(to)))?,
            Act::Unlink { path } => at("unlink", fs::remove_file(dir.join(path)))?,
            Act::Mkdir { path } => at("mkdir", fs::create_dir(dir.join(path)))?,
            Act::Symlink { path, target } => at("symlink", std::os::unix::fs::symlink(target, dir.join(path)))?,
            Act::Fsync { file: n, data_only: true } => at("fdatasync", file(open, n)?.sync_data())?,
            Act::Fsync { file: n, data_only: false } => at("fsync", file(open, n)?.sync_all())?,
            Act::SyncDir { path } => sync_dir(&dir.join(path))?,
            Act::Close { file } => drop(open.remove(&file)),
            Act::Checkpoint | Act::Remount => {
                open.clear();
                ask(if act == Act::Checkpoint { "checkpoint" } else { "remount" })?;
            }
            Act::Push => self.push()?,
        }
        Ok(())
    }
}
