//! One system call of the server on its store fails, once, in the middle of one step of an application; for each step, each
//! call, each time that the step makes it, and each way that it can fail. The step says so at most once, is done or not
//! done, and harms nothing else; neither now nor after a remount.
//!
//! Asks for `engine` (the server's process id), `remount`, `failed` (it may have stopped writing: that must be told; then a
//! remount) and `umount` (an unmount that may fail; then a mount). Each is answered with `done PID`.

mod calls;
mod steps;
mod tracer;
mod tree;

use crate::options::Options;
use crate::{driver, Result};
use calls::Call;
use kmsfs_random::Random;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{self, Errno};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;
use steps::{Errors, Step};
use tracer::{Failing, Fault, Tracer};
use tree::{describe, difference, is_between, Tree};

/// Cases between two remounts.
const BATCH: usize = 400;
/// A case that takes longer hangs.
const PATIENCE: u64 = 600;
/// The name of the step that is the unmount itself.
const UMOUNT: &str = "umount";

#[derive(Clone, Copy)]
struct Case {
    /// In steps::ALL; one beyond is the unmount.
    step: usize,
    fault: Fault,
}

impl Case {
    fn name(&self) -> String {
        let step = steps::ALL.get(self.step).map_or(UMOUNT, |step| step.name);
        let Fault { call, nth, failing } = self.fault;
        format!("{step}/{}:{nth}:{}", call.name, failing.name())
    }
}

/// A directory in which a step was done, or half done.
struct Left {
    dir: PathBuf,
    step: usize,
    name: String,
    failed: bool,
}

struct Run<'a> {
    ours: &'a Path,
    /// Of each step, on the mirror.
    before: Vec<Tree>,
    after: Vec<Tree>,
    kept: Tree,
    tracer: Tracer,
    left: Vec<Left>,
    seconds: Arc<AtomicU64>,
    /// For the summary.
    fired: usize,
    told: usize,
    ended: usize,
    problems: Vec<String>,
}

/// A run that finds more than this has found enough.
const PROBLEMS: usize = 40;

fn text(what: &str) -> impl Fn(Errno) -> String + '_ {
    move |e| format!("{what}: {e}")
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::mkdir(dir, Mode::from_raw_mode(0o755)).map_err(text("mkdir"))
}

pub fn run(options: &Options) -> Result<String> {
    let [ours, theirs] = options.dirs.as_slice() else { return Err("give a directory and its mirror".into()) };
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (n, step) in steps::ALL.iter().enumerate() {
        let dir = theirs.join(n.to_string());
        make_dir(&dir)?;
        (step.prepare)(&dir).map_err(text(step.name))?;
        before.push(describe(&dir).map_err(text(step.name))?);
        let mut errors = Errors::default();
        (step.act)(&dir, &mut errors);
        if !errors.0.is_empty() {
            return Err(format!("{} on the mirror: {:?}", step.name, errors.0));
        }
        after.push(describe(&dir).map_err(text(step.name))?);
    }
    let kept = ours.join("kept");
    make_dir(&kept)?;
    for (n, step) in steps::ALL.iter().enumerate() {
        let dir = kept.join(n.to_string());
        make_dir(&dir)?;
        (step.prepare)(&dir).map_err(text(step.name))?;
    }
    let kept = describe(&kept).map_err(text("kept"))?;
    let tracer = attach("engine")?;
    let seconds = watch();
    let (left, problems) = (Vec::new(), Vec::new());
    let (fired, told, ended) = (0, 0, 0);
    let mut run = Run { ours, before, after, kept, tracer, left, seconds, fired, told, ended, problems };
    let named: Vec<Case> = options.faults.iter().map(|name| parse(name)).collect::<Result<_>>()?;
    let all = if named.is_empty() { run.cases()? } else { named };
    let of = all.len();
    let cases = if options.faults.is_empty() && options.ops > 0 { sample(all, options) } else { all };
    for (n, case) in cases.iter().enumerate() {
        run.seconds.store(0, Ordering::Relaxed);
        if options.trace {
            eprintln!("{}", case.name());
        }
        run.case(n, case).map_err(|e| format!("--fault '{}': {e}", case.name()))?;
        if run.problems.len() > PROBLEMS {
            break;
        }
        if run.left.len() >= BATCH {
            run.remount("remount")?;
        }
    }
    run.remount("remount")?;
    if !run.problems.is_empty() {
        return Err(run.problems.join("\n"));
    }
    Ok(format!(
        "faults: {} of {of} cases, {} calls failed, {} told the application, {} ended writing",
        cases.len(),
        run.fired,
        run.told,
        run.ended
    ))
}

/// As many as were asked for, of those that need no remount: the others take their time.
fn sample(mut cases: Vec<Case>, options: &Options) -> Vec<Case> {
    let ends_writing = |case: &Case| ["fdatasync", "syncfs"].contains(&case.fault.call.name);
    cases.retain(|case| {
        let step = steps::ALL.get(case.step);
        step.is_some_and(|step| step.name != steps::CHECKPOINT) && !ends_writing(case)
    });
    let mut random = Random::new(options.seed);
    for i in (1..cases.len()).rev() {
        cases.swap(i, random.below(i as u64 + 1) as usize);
    }
    cases.truncate(options.ops as usize);
    cases
}

fn parse(name: &str) -> Result<Case> {
    let wrong = || format!("{name} is not STEP/CALL:N:FAILURE");
    let (step, fault) = name.split_once('/').ok_or_else(wrong)?;
    let step = steps::ALL.iter().position(|s| s.name == step).or((step == UMOUNT).then_some(steps::ALL.len()));
    let [call, nth, failing] = fault.split(':').collect::<Vec<_>>()[..] else { return Err(wrong()) };
    let call = Call::named(call).ok_or_else(wrong)?;
    let failing = call.failures().iter().find(|f| f.name() == failing).ok_or_else(wrong)?;
    let nth = nth.parse().map_err(|_| wrong())?;
    Ok(Case { step: step.ok_or_else(wrong)?, fault: Fault { call, nth, failing: *failing } })
}

fn attach(ask: &str) -> Result<Tracer> {
    Tracer::attach(driver::ask_number(ask)? as i32)
}

/// Ends the process when a case hangs: what it does cannot be interrupted otherwise.
fn watch() -> Arc<AtomicU64> {
    let seconds = Arc::<AtomicU64>::default();
    let watched = seconds.clone();
    std::thread::spawn(move || loop {
        std::thread::sleep(Duration::from_secs(1));
        if watched.fetch_add(1, Ordering::Relaxed) > PATIENCE {
            eprintln!("torture faults: nothing has come to an end for {PATIENCE} s");
            std::process::exit(1);
        }
    });
    seconds
}

impl Run<'_> {
    /// Does each step once without a fault, and sees which calls it makes.
    fn cases(&mut self) -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for (n, step) in steps::ALL.iter().enumerate() {
            let dir = self.ours.join(format!("whole {n}"));
            make_dir(&dir)?;
            (step.prepare)(&dir).map_err(text(step.name))?;
            self.tracer.arm(None);
            let mut errors = Errors::default();
            (step.act)(&dir, &mut errors);
            self.wait_for(step);
            self.add(&mut cases, n);
            self.left.push(Left { dir, step: n, name: step.name.to_owned(), failed: false });
        }
        self.tracer.arm(None);
        let engine = driver::ask_number("umount")? as i32;
        self.add(&mut cases, steps::ALL.len());
        self.settled(engine)?;
        Ok(cases)
    }

    /// Until what a step began in the background is done: the last call of a checkpoint flushes the store.
    fn wait_for(&self, step: &Step) {
        for _ in 0..300 {
            if step.name != steps::CHECKPOINT || self.tracer.counts().contains_key("syncfs") {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn add(&self, cases: &mut Vec<Case>, step: usize) {
        for (name, count) in self.tracer.counts() {
            let Some(call) = Call::named(name) else { continue };
            for nth in 1..=count {
                for failing in call.failures() {
                    cases.push(Case { step, fault: Fault { call, nth, failing: *failing } });
                }
            }
        }
    }

    fn case(&mut self, n: usize, case: &Case) -> Result<()> {
        let dir = self.ours.join(format!("case {n}"));
        make_dir(&dir)?;
        let Some(step) = steps::ALL.get(case.step) else { return self.umount(dir, case) };
        (step.prepare)(&dir).map_err(text("preparing it"))?;
        self.tracer.arm(Some(case.fault));
        let mut errors = Errors::default();
        (step.act)(&dir, &mut errors);
        self.wait_for(step);
        let fired = self.tracer.disarm();
        let failed = !errors.0.is_empty();
        self.fired += usize::from(fired);
        self.told += usize::from(failed);
        self.left.push(Left { dir, step: case.step, name: case.name(), failed });
        let goes_on = self.probe(n).is_ok();
        let wrong = self.judge(step, case.fault, fired, &errors, goes_on);
        if let Err(problem) = wrong {
            self.left.pop();
            self.problems.push(format!("--fault '{}': {problem}", case.name()));
        }
        if goes_on {
            return Ok(());
        }
        self.ended += 1;
        self.remount("failed")
    }

    /// Of the last case.
    fn judge(&self, step: &Step, fault: Fault, fired: bool, errors: &Errors, goes_on: bool) -> Result<()> {
        let errors = &errors.0;
        if !errors.is_empty() && !fired {
            return Err(format!("nothing failed, and yet {errors:?}"));
        }
        if !goes_on && !fired {
            return Err("nothing failed, and yet nothing is written any more".into());
        }
        if errors.len() > 1 && goes_on {
            return Err(format!("told more than once: {errors:?}"));
        }
        for (call, errno) in errors {
            let read_only = !goes_on && *errno == Errno::ROFS;
            if !read_only && !may_be_told(*errno, fault.failing) {
                return Err(format!("{call} gave {errno}"));
            }
        }
        self.left.last().map_or(Ok(()), |left| self.check(step, left))
    }

    /// Whether the volume still takes writes.
    fn probe(&self, n: usize) -> io::Result<()> {
        let path = self.ours.join("probe");
        let fd = fs::open(path, OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(0o600))?;
        io::pwrite(&fd, &n.to_le_bytes(), 0)?;
        fs::fsync(&fd)
    }

    fn check(&self, step: &Step, left: &Left) -> Result<()> {
        let seen = describe(&left.dir).map_err(|e| format!("looking at what '{}' left: {e}", left.name))?;
        let (before, after) = (&self.before[left.step], &self.after[left.step]);
        let good = if left.failed { is_between(before, after, &seen, step.content) } else { seen == *after };
        if good {
            return Ok(());
        }
        let done = if left.failed { "a failed" } else { "a successful" };
        Err(format!("after {done} '{}': {}", left.name, difference(after, &seen)))
    }

    /// After a fault in the unmount: all that was closed is there.
    fn umount(&mut self, dir: PathBuf, case: &Case) -> Result<()> {
        for step in ["write and close", "overwrite", "rename to a long name"] {
            let Some(n) = steps::ALL.iter().position(|s| s.name == step) else { continue };
            let dir = dir.join(n.to_string());
            make_dir(&dir)?;
            let step = &steps::ALL[n];
            (step.prepare)(&dir).map_err(text("preparing it"))?;
            let mut errors = Errors::default();
            (step.act)(&dir, &mut errors);
            self.left.push(Left { dir, step: n, name: case.name(), failed: false });
        }
        self.tracer.arm(Some(case.fault));
        // It was no failure: nor is the unmount.
        let clean = case.fault.failing == Failing::Errno(libc::ECONNABORTED);
        let engine = driver::ask_number(if clean { "remount" } else { "umount" })? as i32;
        self.fired += usize::from(self.tracer.disarm());
        self.settled(engine)
    }

    fn remount(&mut self, ask: &str) -> Result<()> {
        let engine = driver::ask_number(ask)? as i32;
        self.settled(engine)
    }

    /// After a remount: everything that was done is there, and can go.
    fn settled(&mut self, engine: i32) -> Result<()> {
        self.tracer = Tracer::attach(engine)?;
        let kept = describe(&self.ours.join("kept")).map_err(text("kept"))?;
        if kept != self.kept {
            return Err(format!("what was synced long before: {}", difference(&self.kept, &kept)));
        }
        for left in std::mem::take(&mut self.left) {
            self.check(&steps::ALL[left.step], &left).map_err(|e| format!("after a remount: {e}"))?;
            std::fs::remove_dir_all(&left.dir).map_err(|e| format!("removing what '{}' left: {e}", left.name))?;
        }
        Ok(())
    }
}

fn may_be_told(errno: Errno, failing: Failing) -> bool {
    match failing {
        // The request is still there.
        Failing::Errno(libc::ECONNABORTED) => false,
        Failing::Errno(code) => errno.raw_os_error() == code || errno == Errno::IO,
        Failing::Short => false,
    }
}
