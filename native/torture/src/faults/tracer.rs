//! Makes a system call of a running process fail, once: by ptrace(2), from a thread of its own, since a tracer is a thread.

use super::calls::{self, Call};
use crate::Result;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem;
use std::ptr;
use std::sync::{mpsc, Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What the nth call of a name comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// It is not made, and ends with this errno.
    Errno(i32),
    /// It is made for half of its bytes.
    Short,
}

#[derive(Clone, Copy)]
pub struct Fault {
    pub call: &'static Call,
    /// From 1.
    pub nth: u64,
    pub failing: Failing,
}

#[derive(Default)]
struct Watch {
    armed: Option<Fault>,
    fired: bool,
    /// Calls since it was armed.
    counts: BTreeMap<&'static str, u64>,
}

pub struct Tracer {
    watch: Arc<Mutex<Watch>>,
}

impl Tracer {
    /// Watches all threads of `pid`, until it ends.
    pub fn attach(pid: i32) -> Result<Tracer> {
        let watch = Arc::<Mutex<Watch>>::default();
        let (ready, attached) = mpsc::channel();
        let shared = watch.clone();
        thread::spawn(move || {
            let seized = seize_all(pid);
            let go_on = seized.is_ok();
            let _ = ready.send(seized);
            if go_on {
                follow(&shared);
            }
        });
        attached.recv().map_err(|e| e.to_string())?.map_err(|e| format!("attaching to process {pid}: {e}"))?;
        Ok(Tracer { watch })
    }

    /// Counts from here on, and has one call fail.
    pub fn arm(&self, fault: Option<Fault>) {
        *self.lock() = Watch { armed: fault, ..Watch::default() };
    }

    /// Nothing fails any more. Whether something did.
    pub fn disarm(&self) -> bool {
        let mut watch = self.lock();
        watch.armed = None;
        watch.fired
    }

    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `struct ptrace_syscall_info` of linux/ptrace.h, as far as an entry needs it.
#[repr(C)]
struct SyscallInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    nr: u64,
    args: [u64; 6],
}

const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

fn ptrace(request: libc::c_uint, tid: i32, addr: usize, data: usize) -> io::Result<()> {
    // SAFETY: requests that take or fill memory are given, by this file's functions, a live value of the right size.
    if unsafe { libc::ptrace(request, tid, addr, data) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn seize_all(pid: i32) -> io::Result<()> {
    let options = (libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE) as usize;
    let mut seized = std::collections::BTreeSet::new();
    // A thread may start others before it is seized: until there are no new ones.
    loop {
        let before = seized.len();
        for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let Some(tid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if seized.contains(&tid) {
                continue;
            }
            match ptrace(libc::PTRACE_SEIZE, tid, 0, options) {
                // Ended meanwhile, or seized as the child of one that is.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => continue,
                Err(e) if e.raw_os_error() == Some(libc::EPERM) && !seized.is_empty() => {}
                other => other?,
            }
            seized.insert(tid);
            let _ = ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0);
        }
        if seized.len() == before {
            return Ok(());
        }
    }
}

/// Lets the threads go from system call to system call until none is left.
fn follow(watch: &Mutex<Watch>) {
    let mut returns = HashMap::new();
    loop {
        let mut status = 0;
        // SAFETY: the status outlives the call.
        let tid = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        if tid < 0 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return;
        }
        if !libc::WIFSTOPPED(status) {
            continue;
        }
        let signal = libc::WSTOPSIG(status);
        let mut passed = 0;
        if signal == libc::SIGTRAP | 0x80 {
            let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
            at_system_call(tid, &mut watch, &mut returns);
        } else if status >> 16 == 0 {
            passed = signal as usize;
        }
        // An error: it is gone, as the next wait tells.
        let _ = ptrace(libc::PTRACE_SYSCALL, tid, 0, passed);
    }
}

/// What is done at the exit of a call that was made to fail.
enum AtExit {
    Return(i64),
    /// A system call leaves its arguments' registers alone, and code relies on that.
    Length(u64),
}

fn at_system_call(tid: i32, watch: &mut Watch, returns: &mut HashMap<i32, AtExit>) {
    // SAFETY: plain numbers, for which zeros are a value.
    let mut info: SyscallInfo = unsafe { mem::zeroed() };
    let size = mem::size_of::<SyscallInfo>();
    if ptrace(GET_SYSCALL_INFO, tid, size, ptr::from_mut(&mut info) as usize).is_err() {
        return;
    }
    if info.op == EXIT {
        match returns.remove(&tid) {
            Some(AtExit::Return(value)) => change_registers(tid, |regs| regs.rax = value as u64),
            Some(AtExit::Length(length)) => change_registers(tid, |regs| regs.rdx = length),
            None => {}
        }
        return;
    }
    let Some(call) = calls::ALL.iter().find(|call| info.op == ENTRY && call.number as u64 == info.nr) else { return };
    let count = watch.counts.entry(call.name).or_default();
    *count += 1;
    let count = *count;
    match watch.armed {
        Some(Fault { call: wanted, nth, failing }) if wanted.name == call.name && nth == count => {
            watch.armed = None;
            watch.fired = true;
            match failing {
                Failing::Errno(errno) => {
                    change_registers(tid, |regs| regs.orig_rax = u64::MAX);
                    returns.insert(tid, AtExit::Return(-i64::from(errno)));
                }
                // pread64 and pwrite64 both have their length there.
                Failing::Short => change_registers(tid, |regs| {
                    returns.insert(tid, AtExit::Length(regs.rdx));
                    regs.rdx = regs.rdx.div_ceil(2);
                }),
            }
        }
        _ => {}
    }
}

fn change_registers(tid: i32, change: impl FnOnce(&mut libc::user_regs_struct)) {
    // SAFETY: plain numbers, for which zeros are a value.
    let mut regs: libc::user_regs_struct = unsafe { mem::zeroed() };
    let at = ptr::from_mut(&mut regs) as usize;
    if ptrace(libc::PTRACE_GETREGS, tid, 0, at).is_ok() {
        change(&mut regs);
        let _ = ptrace(libc::PTRACE_SETREGS, tid, 0, ptr::from_mut(&mut regs) as usize);
    }
}
