//! One thread's work: operations in its own directory of the mount, and the same ones in the mirror.

use super::compare::{describe, same_result};
use super::draw::Names;
use super::op::{Done, Gave, Op};
use crate::options::Options;
use crate::Result;
use kmsfs_random::Random;
use rustix::io::Errno;
use rustix::thread::{capabilities, set_capabilities, CapabilitySet};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// Operations shown when something went wrong.
const SHOWN: usize = 40;

pub struct Worker<'a> {
    pub options: &'a Options,
    pub number: u64,
    pub ours: PathBuf,
    pub theirs: PathBuf,
    /// Seconds since the epoch.
    pub start: i64,
}

pub enum Ended {
    All,
    /// The server died during this one.
    Died(Op),
}

/// Calls of this thread are of another user's; the file system's part of it. Only root has capabilities: setfsuid(2)
/// alone would leave CAP_SYS_ADMIN, by which ext4 lists `trusted.*`.
fn act_as(user: u32) -> Result<()> {
    let mut caps = capabilities(None).map_err(|e| format!("capget: {e}"))?;
    caps.effective = if user == 0 { caps.permitted } else { CapabilitySet::empty() };
    // On the way to 0 setfsuid gives back those of the file system that are permitted, on the way from it it takes them.
    // SAFETY: plain system calls that change this thread's own credentials.
    unsafe {
        libc::syscall(libc::SYS_setfsgid, user);
        libc::syscall(libc::SYS_setfsuid, user);
    }
    set_capabilities(None, caps).map_err(|e| format!("capset: {e}"))
}

fn died(done: &Done) -> bool {
    matches!(done, Err(Errno::NOTCONN | Errno::CONNABORTED | Errno::IO | Errno::NODEV | Errno::INTR))
}

fn show(done: &Done) -> String {
    match done {
        Err(e) => format!("{e} ({})", e.raw_os_error()),
        Ok(Gave::Stat(stat)) => describe(stat),
        Ok(Gave::Bytes(bytes)) if bytes.len() > 64 => format!("{} bytes, {:02x?}...", bytes.len(), &bytes[..16]),
        Ok(other) => format!("{other:?}"),
    }
}

impl Worker<'_> {
    pub fn run(&self) -> Result<Ended> {
        let mut r = Random::new(self.options.seed.wrapping_mul(1000).wrapping_add(self.number));
        let mut names = Names::new();
        let mut shown: VecDeque<String> = VecDeque::new();
        for n in 0..self.options.ops {
            let user = if r.one_in(4) { r.pick(&[1000, 1001]) } else { 0 };
            let op = names.draw(&mut r, &self.theirs, user);
            let line = format!("{n}: as {user}: {op:?}");
            if self.options.trace {
                eprintln!("worker {}: {line}", self.number);
            }
            act_as(user)?;
            let ours = op.run(&self.ours);
            if self.options.crash && died(&ours) {
                act_as(0)?;
                return Ok(Ended::Died(op));
            }
            let theirs = op.run(&self.theirs);
            act_as(0)?;
            shown.push_back(format!("  {line} -> {}\n", show(&theirs)));
            if shown.len() > SHOWN {
                shown.pop_front();
            }
            let problem = if !same_result(&ours, &theirs, self.start) {
                Some(format!("it gives {} where the mirror gives {}", show(&ours), show(&theirs)))
            } else {
                self.look(&op)
            };
            if let Some(problem) = problem {
                let all: String = shown.into_iter().collect();
                return Err(format!("worker {} in {:?}:\n{all}{problem}", self.number, self.ours));
            }
            if matches!((&op, &theirs), (Op::Mkdir { .. } | Op::Rename { .. }, Ok(_))) {
                for path in op.paths() {
                    if self.theirs.join(path).is_dir() {
                        names.made_dir(path);
                    }
                }
            }
        }
        Ok(Ended::All)
    }

    /// What the operation was about looks the same afterwards.
    fn look(&self, op: &Op) -> Option<String> {
        let stat = |root: &Path, path: &str| Op::Stat { path: path.to_owned() }.run(root);
        for path in op.paths() {
            let (ours, theirs) = (stat(&self.ours, path), stat(&self.theirs, path));
            if self.options.crash && died(&ours) {
                return None;
            }
            if !same_result(&ours, &theirs, self.start) {
                return Some(format!("{path} is {} where the mirror has {}", show(&ours), show(&theirs)));
            }
        }
        None
    }
}
