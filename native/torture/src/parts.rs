//! The processes that a run consists of: this program again, with other commands.

use crate::options::Options;
use crate::Result;
use std::process::{Child, Command, Stdio};

pub type Part = Child;

pub fn start(command: &str, options: &Options, part: usize) -> Result<Part> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let mut child = Command::new(program);
    child.arg(command).args(&options.dirs).args(["--part", &part.to_string()]);
    for (name, value) in [
        ("--seed", options.seed),
        ("--ops", options.ops),
        ("--threads", options.threads as u64),
        ("--processes", options.processes as u64),
        ("--block", options.block),
    ] {
        child.args([name, &value.to_string()]);
    }
    if options.crash {
        child.arg("--crash");
    }
    if options.trace {
        child.arg("--trace");
    }
    child.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| format!("starting a part: {e}"))
}

/// What all of them printed, or which of them failed.
pub fn wait(parts: Vec<Part>) -> Result<String> {
    let (mut said, mut wrong) = (String::new(), Vec::new());
    for (n, part) in parts.into_iter().enumerate() {
        let ended = part.wait_with_output().map_err(|e| e.to_string())?;
        said += &String::from_utf8_lossy(&ended.stdout);
        if !ended.status.success() {
            wrong.push(format!("part {n} ended with {}", ended.status));
        }
    }
    if wrong.is_empty() {
        Ok(said)
    } else {
        Err(wrong.join("; "))
    }
}
