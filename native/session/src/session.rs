//! A session's life: INIT, then requests on several threads until the file system is unmounted, then destroy.

use crate::abi::{self, opcode};
use crate::counters::Counters;
use crate::cpu_clock::CpuClock;
use crate::crew::Crew;
use crate::device::{Device, Received};
use crate::dispatch::Context;
use crate::init::{Offer, Verdict, Wanted};
use crate::keeper;
use crate::reply::{Lifetimes, Reply};
use crate::request::Header;
use crate::seeker;
use crate::worker::Worker;
use crate::writers::Writers;
use kmsfs_namespace::ops::FileSystem;
use std::fmt;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::AtomicBool;
use std::sync::{mpsc, Arc, OnceLock};
use std::thread;
use std::time::Duration;

pub struct Options {
    /// Threads that serve; at least one.
    pub threads: usize,
    /// Threads more that serve while requests wait for a disk. Their buffers take memory when they are first used.
    pub more_threads: usize,
    /// Whether the kernel may gather writes in its page cache (FUSE_WRITEBACK_CACHE).
    pub writeback: bool,
    pub entry_timeout: Duration,
    pub attr_timeout: Duration,
    /// How long the kernel may remember that a name does not exist.
    pub negative_timeout: Duration,
    /// Whether the kernel may keep directory listings.
    pub cache_directories: bool,
    /// One line on stderr per request: numbers alone, no names and no contents.
    pub debug: bool,
    pub counters: Arc<Counters>,
    /// Set: stop waiting for the descriptor to be mounted. Means nothing once it is.
    pub cancel: Arc<AtomicBool>,
    /// Called once, when INIT was answered.
    pub on_serving: Option<Box<dyn FnOnce() + Send>>,
}

/// Threads in all, by default: so many requests can wait for a disk at once.
const MOST_THREADS: usize = 32;

impl Default for Options {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = (2 * cores).max(4);
        let long = Duration::from_secs(3600);
        Options {
            threads,
            more_threads: MOST_THREADS.saturating_sub(threads),
            writeback: true,
            entry_timeout: long,
            attr_timeout: long,
            negative_timeout: long,
            cache_directories: true,
            debug: false,
            counters: Arc::default(),
            cancel: Arc::default(),
            on_serving: None,
        }
    }
}

/// How a session came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    Unmounted,
    /// The kernel's connection was aborted; the mount may still be there, dead.
    Aborted,
    /// `Options::cancel` was set before there was a mount.
    NeverMounted,
}

#[derive(Debug)]
pub enum Error {
    /// Reading /dev/fuse failed.
    Device(std::io::Error),
    /// The kernel's FUSE is older than 7.31 (Linux 5.4).
    TooOld { major: u32, minor: u32 },
    /// The file system panicked in destroy: what it held may not be home.
    DestroyPanicked,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Device(e) => write!(f, "reading /dev/fuse: {e}"),
            Error::TooOld { major, minor } => {
                write!(f, "the kernel speaks FUSE {major}.{minor}; at least 7.{} is needed", abi::OLDEST_MINOR)
            }
            Error::DestroyPanicked => f.write_str("the file system failed while it was being closed"),
        }
    }
}

impl std::error::Error for Error {}

pub type Result<T> = std::result::Result<T, Error>;

/// Serves the mount made of `fd`, an open /dev/fuse that is mounted or about to be, until it is unmounted. However it
/// ends, `fs.destroy()` was called exactly once, and after the last request.
pub fn serve(fd: OwnedFd, fs: Arc<dyn FileSystem>, options: Options) -> Result<Ended> {
    let served = serve_requests(Device::new(fd), &*fs, options);
    let destroyed = catch_unwind(AssertUnwindSafe(|| fs.destroy()));
    let ended = served?;
    destroyed.map_err(|_| Error::DestroyPanicked)?;
    Ok(ended)
}

fn serve_requests(device: Device, fs: &dyn FileSystem, mut options: Options) -> Result<Ended> {
    let on_serving = options.on_serving.take();
    let mut first = Worker::new();
    let wanted = Wanted { writeback: options.writeback, acls: fs.keeps_acls() };
    let offer = match negotiate(&device, &mut first, wanted, &options)? {
        ControlFlow::Continue(offer) => offer,
        ControlFlow::Break(ended) => return Ok(ended),
    };
    if let Some(on_serving) = on_serving {
        on_serving();
    }
    let context = Context {
        fs,
        lifetimes: Lifetimes {
            entry: options.entry_timeout,
            attr: options.attr_timeout,
            negative: options.negative_timeout,
        },
        cache_directories: options.cache_directories,
        debug: options.debug,
        long_setxattr: offer.long_setxattr(wanted),
        writers: Writers::default(),
        counters: &options.counters,
    };
    // Allocated before anything is served: later there may be no memory.
    let others: Vec<Worker> = (1..options.threads + options.more_threads).map(|_| Worker::new()).collect();
    let crew = Crew::new(options.threads, options.more_threads);
    let processors = keeper::processors();
    let clocks: Vec<OnceLock<CpuClock>> = processors.iter().map(|_| OnceLock::new()).collect();
    thread::scope(|scope| {
        let (device, context, crew, clocks) = (&device, &context, &crew, &clocks);
        let watch = thread::Builder::new().name("fuse-watch".to_owned());
        // Without the watch nobody is parked, and there is nobody for keepers to call.
        if options.threads > 1 && watch.spawn_scoped(scope, move || crew.watch(clocks)).is_ok() {
            crew.watched();
            for (processor, clock) in processors.into_iter().zip(clocks) {
                let keeper = thread::Builder::new().name(format!("fuse-idle-{processor}"));
                // One that cannot be had leaves its processor to sleep.
                let _ = keeper.spawn_scoped(scope, move || keeper::run(crew, device, processor, clock));
            }
        }
        // The seeker ends when the last sender is gone: with the threads' own.
        let (seek, seeks) = mpsc::channel();
        let seeker = thread::Builder::new().name("fuse-seek".to_owned());
        let seeker = seeker.spawn_scoped(scope, move || seeker::run(device, context, &seeks));
        let seek = seeker.is_ok().then_some(seek);
        let spawned: Vec<_> = others
            .into_iter()
            .enumerate()
            .map_while(|(n, mut worker)| {
                let (name, seek) = (format!("fuse-{}", n + 1), seek.clone());
                let thread = thread::Builder::new().name(name);
                thread.spawn_scoped(scope, move || worker.run(device, context, (crew, n + 1), seek)).ok()
            })
            .collect();
        let mut result = first.run(device, context, (crew, 0), seek);
        for thread in spawned {
            let ended = thread.join().unwrap_or(Ok(Ended::Unmounted));
            result = result.and(ended);
        }
        result
    })
}

/// Waits for the mount and answers INIT. `Break`: the session is over before it began.
fn negotiate(
    device: &Device,
    worker: &mut Worker,
    wanted: Wanted,
    options: &Options,
) -> Result<ControlFlow<Ended, Offer>> {
    loop {
        let (request, message) = worker.buffers();
        let length = match device.receive_first(request, &options.cancel).map_err(|e| Error::Device(e.into()))? {
            Received::Request(length) => length,
            Received::Unmounted => return Ok(ControlFlow::Break(Ended::Unmounted)),
            Received::Aborted => return Ok(ControlFlow::Break(Ended::Aborted)),
            Received::NotMounted => return Ok(ControlFlow::Break(Ended::NeverMounted)),
        };
        let Some((header, body)) = request.get(..length).and_then(Header::parse) else { continue };
        options.counters.request(header.opcode);
        let offer = match body.and_then(Offer::parse) {
            Ok(offer) if header.opcode == opcode::INIT => offer,
            // Nothing comes before INIT.
            _ => {
                options.counters.malformed();
                device.reply_error(header.unique, libc::EIO);
                continue;
            }
        };
        let verdict = offer.verdict();
        if verdict == Verdict::TooOld {
            device.reply_error(header.unique, libc::EPROTO);
            return Err(Error::TooOld { major: offer.major, minor: offer.minor });
        }
        let (_, room) = message.split_at_mut(abi::OUT_HEADER);
        let mut reply = Reply::new(room);
        match offer.answer(wanted, &mut reply) {
            Ok(()) => {
                let payload = reply.len();
                device.reply(message, header.unique, payload);
            }
            Err(errno) => device.reply_error(header.unique, errno.0),
        }
        if verdict == Verdict::Accept {
            return Ok(ControlFlow::Continue(offer));
        }
    }
}
