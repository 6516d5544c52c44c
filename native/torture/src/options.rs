//! The command line.

use crate::Result;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Options {
    pub command: String,
    pub dirs: Vec<PathBuf>,
    pub seed: u64,
    /// Of each file's run, or of each worker.
    pub ops: u64,
    pub files: usize,
    pub threads: usize,
    pub processes: usize,
    /// Of processes, which one this is.
    pub part: u64,
    /// Block size of the volume: where its borders are.
    pub block: u64,
    pub remount: bool,
    pub crash: bool,
    pub trace: bool,
    /// Cases by name: STEP/CALL:N:FAILURE.
    pub faults: Vec<String>,
}

impl Options {
    pub fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
        let mut options = Options {
            command: args.next().ok_or("give a command")?,
            dirs: Vec::new(),
            seed: 1,
            ops: 1000,
            files: 2,
            threads: 4,
            processes: 1,
            part: 0,
            block: 4096,
            remount: false,
            crash: false,
            trace: false,
            faults: Vec::new(),
        };
        while let Some(arg) = args.next() {
            if arg == "--fault" {
                options.faults.push(args.next().ok_or("--fault needs a case")?);
                continue;
            }
            let mut number = || -> Result<u64> {
                let value = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
                value.parse().map_err(|_| format!("{arg}: {value} is no number"))
            };
            match arg.as_str() {
                "--seed" => options.seed = number()?,
                "--ops" => options.ops = number()?,
                "--files" => options.files = number()?.max(1) as usize,
                "--threads" => options.threads = number()?.max(1) as usize,
                "--processes" => options.processes = number()?.max(1) as usize,
                "--part" => options.part = number()?,
                "--block" => options.block = number()?,
                "--remount" => options.remount = true,
                "--crash" => options.crash = true,
                "--trace" => options.trace = true,
                dir if !dir.starts_with('-') => options.dirs.push(PathBuf::from(dir)),
                other => return Err(format!("unknown option {other}")),
            }
        }
        if ![4096, 16384, 65536].contains(&options.block) {
            return Err("--block is 4096, 16384 or 65536".into());
        }
        Ok(options)
    }

    /// What to give it to have the same again.
    pub fn describe(&self) -> String {
        format!("{} --seed {} --ops {} --block {}", self.command, self.seed, self.ops, self.block)
    }
}
