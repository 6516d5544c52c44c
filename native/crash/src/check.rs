//! `crash check`: brings a disk into states that a power cut could have left, mounts it, and looks at the volume on it.

use crate::cuts::{self, Cut};
use crate::driver::ask;
use crate::model::{Progress, Tree};
use crate::options::Options;
use crate::plan;
use crate::random::Random;
use crate::record::{self, Entry};
use crate::see;
use crate::state::{Image, Replay};
use crate::Result;
use kmsfs_files::{Config, Tamper};
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_namespace::ops::{Caller, Errno, FileSystem, NodeId, Writing, ROOT};
use kmsfs_namespace::Volume;
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

const ME: Caller = Caller { uid: 0, gid: 0, pid: 1, umask: 0 };
/// Failures that are told in full.
const SHOWN: usize = 5;
/// Where the volume is on the disk.
const VOLUME: &str = "volume";

struct Checker {
    device: String,
    file_system: String,
    at: PathBuf,
    keys: Arc<DomainKeys>,
    config: Config,
    mixed: bool,
}

/// A workload that had begun, and how far it came.
struct Begun {
    spec: String,
    seed: u64,
    progress: Progress,
}

pub fn run(options: &Options) -> Result<()> {
    let entries = record::read(&options.path("record")?)?;
    let base = Image::load(&options.path("base")?)?;
    let path = options.path("image")?;
    let image = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
    let image = image.map_err(|e| format!("{}: {e}", path.display()))?;
    base.store(&image)?;
    let checker = Checker::new(options, &path)?;
    let done = checker.states(options, &entries, base, &image);
    let freed = losetup(&["-d", &checker.device]);
    done?;
    freed.map(|_| ())
}

fn losetup(args: &[&str]) -> Result<String> {
    let done = Command::new("losetup").args(args).output().map_err(|e| format!("losetup: {e}"))?;
    if !done.status.success() {
        return Err(format!("losetup {}: {}", args.join(" "), String::from_utf8_lossy(&done.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// A loop device on the image: the one that was recorded, as after a real cut the file system has the same device number;
/// another, if it was taken meanwhile: then the volume is where a restored one would be.
fn attach(image: &Path, wanted: Option<&str>) -> Result<String> {
    let path = image.to_str().ok_or("the image's path is not UTF-8")?;
    if let Some(device) = wanted {
        if losetup(&[device, path]).is_ok() {
            return Ok(device.to_owned());
        }
    }
    losetup(&["--show", "-f", path])
}

fn key_id(text: &str) -> Result<[u8; 16]> {
    let digits = text.replace('-', "");
    let mut id = [0; 16];
    for (n, byte) in id.iter_mut().enumerate() {
        let pair = digits.get(2 * n..2 * n + 2).ok_or("--uuid is too short")?;
        *byte = u8::from_str_radix(pair, 16).map_err(|e| format!("--uuid: {e}"))?;
    }
    Ok(id)
}

impl Checker {
    fn new(options: &Options, image: &Path) -> Result<Self> {
        let uuid = key_id(options.text("uuid")?)?;
        let mut key: [u8; 32] = std::fs::read(options.path("key")?)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or("--key is no file of 32 bytes")?;
        let keys = DomainKeys::derive(&uuid, &Secret::take(&mut key)).map_err(|e| format!("{e:?}"))?;
        let mixed = options.has("writeback");
        let config = Config {
            uuid,
            block_shift: options.number("shift")?,
            segment_size: options.number("segment-size")?,
            segment_count: options.number("segments")?,
            cache_bytes: 4 << 20,
            read_only: false,
            new_volume: false,
            volume_generation: 1,
            kernel_keeps_times: mixed,
            commit_interval_ms: 0,
        };
        Ok(Checker {
            device: attach(image, options.text("loop").ok())?,
            file_system: options.text("fs")?.to_owned(),
            at: options.path("at")?,
            keys: Arc::new(keys),
            config,
            mixed,
        })
    }

    fn states(&self, options: &Options, entries: &[Entry], base: Image, image: &File) -> Result<()> {
        let from = entries.iter().position(|e| *e == Entry::Mark("made".into())).ok_or("there is no mark `made`")?;
        let seed = options.number_or("seed", 1)?;
        let mut cuts = cuts::all(entries, from, seed, options.number_or("tear", 512)?);
        let there_are = cuts.len();
        if options.has("states") {
            let mut random = Random::new(seed);
            let wanted: usize = options.number("states")?;
            while cuts.len() > wanted {
                cuts.remove(random.below(cuts.len() as u64) as usize);
            }
        }
        let mut replay = Replay::new(base, entries);
        let mut failed = Vec::new();
        for (n, cut) in cuts.iter().enumerate() {
            replay.state(cut).store(image)?;
            if let Err(e) = self.state(entries, cut) {
                failed.push(format!("state {n}: {}\n{e}", cut.describe(entries)));
            }
        }
        println!("{} of {there_are} states", cuts.len());
        if failed.is_empty() {
            return Ok(());
        }
        let some: Vec<&str> = failed.iter().take(SHOWN).map(String::as_str).collect();
        Err(format!("{} of {} states are not as they must be\n{}", failed.len(), cuts.len(), some.join("\n")))
    }

    fn state(&self, entries: &[Entry], cut: &Cut) -> Result<()> {
        mount(self.device.as_str(), &self.at, self.file_system.as_str(), MountFlags::empty(), None)
            .map_err(|e| format!("{} does not mount: {e}", self.file_system))?;
        let begun = progress(entries.get(..cut.end).unwrap_or_default());
        let done = self.mounted(&begun);
        let unmounted = self.unmount();
        let marks: Vec<&str> = entries.iter().take(cut.end).filter_map(mark).collect();
        let last = marks.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
        done.map_err(|e| format!("after marks ... {last}\n{e}"))?;
        unmounted
    }

    fn unmount(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            match unmount(&self.at, UnmountFlags::empty()) {
                Ok(()) => return Ok(()),
                // A process that another thread of ours has just started still holds what it inherited until it calls exec.
                Err(rustix::io::Errno::BUSY) if begun.elapsed() < Duration::from_secs(60) => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => return Err(format!("umount: {e}")),
            }
        }
    }

    fn mounted(&self, begun: &BTreeMap<usize, Begun>) -> Result<()> {
        ask("verify").map_err(|e| format!("before recovery: {e}"))?;
        let tampers: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = tampers.clone();
        let on_tamper = Arc::new(move |t: Tamper| {
            let line = format!("{} {}", t.place.unwrap_or_default(), t.what);
            told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        });
        let (volume, recovery) = Volume::open(&self.at.join(VOLUME), self.keys.clone(), self.config.clone(), on_tamper)
            .map_err(|e| format!("the volume does not open: {e}"))?;
        let looked = see::everything(&volume).and_then(|tree| {
            self.compare(&tree, begun)?;
            go_on(&volume, &tree).map_err(|e| format!("going on: {e}"))
        });
        let closed = volume.close().map_err(|e| format!("close: {e}"));
        drop(volume);
        let tampers = tampers.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
        let context = |e: String| format!("{e}\nrecovery: {recovery:?}; tampering: {tampers}");
        looked.map_err(context)?;
        closed?;
        if !tampers.is_empty() {
            return Err(format!("told of tampering: {tampers}"));
        }
        ask("verify").map_err(|e| format!("after recovery: {e}"))
    }

    fn compare(&self, tree: &Tree, begun: &BTreeMap<usize, Begun>) -> Result<()> {
        for (number, Begun { spec, seed, progress }) in begun {
            let dir = format!("w{number}/");
            let own = tree.iter().filter_map(|(name, seen)| Some((name.strip_prefix(&dir)?.to_owned(), seen.clone())));
            let own: Tree = own.collect();
            let plan = plan::plan(spec, *seed).ok_or("the record has a workload that makes no sense")?;
            let allowed = plan.model.allows(&own, *progress, self.mixed);
            allowed.map_err(|e| format!("workload {number}, {spec}: {e}"))?;
        }
        Ok(())
    }
}

fn mark(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Mark(mark) => Some(mark),
        _ => None,
    }
}

fn progress(entries: &[Entry]) -> BTreeMap<usize, Begun> {
    let mut begun: BTreeMap<usize, Begun> = BTreeMap::new();
    for mark in entries.iter().filter_map(mark) {
        let words: Vec<&str> = mark.split(' ').collect();
        match words.as_slice() {
            ["begin", number, seed, spec] => {
                let (Ok(number), Ok(seed)) = (number.parse(), seed.parse()) else { continue };
                begun.insert(number, Begun { spec: (*spec).to_owned(), seed, progress: Progress::default() });
            }
            [what @ ("start" | "done"), number, step] => {
                let (Ok(number), Ok(step)) = (number.parse::<usize>(), step.parse()) else { continue };
                let Some(workload) = begun.get_mut(&number) else { continue };
                match *what {
                    "start" => workload.progress.started = step,
                    _ => workload.progress.done = step,
                }
            }
            _ => {}
        }
    }
    begun
}

fn at<T>(what: &str, done: std::result::Result<T, Errno>) -> Result<T> {
    done.map_err(|e| format!("{what}: {e:?}"))
}

/// Work in the recovered volume: a new file replaces another, each old file grows, and all is read back.
fn go_on(volume: &Volume, tree: &Tree) -> Result<()> {
    let data = Random::new(7).bytes(3 * 65536 + 100);
    let mut made = Vec::new();
    for name in [&b"went on"[..], b"went on."] {
        let (entry, handle) = at("create", volume.create(ME, ROOT, name, 0o644, (libc::O_RDWR | libc::O_EXCL) as u32))?;
        at("write", volume.write(entry.node, handle, 0, &data, Writing::default()))?;
        at("fsync", volume.fsync(entry.node, handle, false))?;
        made.push((entry.node, handle));
    }
    at("rename", volume.rename(ROOT, b"went on.", ROOT, b"went on", 0))?;
    for (node, handle) in made {
        at("flush", volume.flush(node, handle))?;
        at("release", volume.release(node, handle))?;
    }
    let entry = at("lookup", volume.lookup(ROOT, b"went on"))?;
    if see::content(volume, entry.node, "went on")? != data {
        return Err("what was written is not what is read".into());
    }
    for (path, seen) in tree {
        let crate::model::Seen::File(_, before) = seen else { continue };
        let node = path
            .split('/')
            .try_fold(ROOT, |node, name| at(path, volume.lookup(node, name.as_bytes())).map(|e| e.node))?;
        append(volume, node, path, before.len() as u64)?;
    }
    at("unlink", volume.unlink(ROOT, b"went on"))
}

/// A few bytes at the end; every other file is synced as well.
fn append(volume: &Volume, node: NodeId, path: &str, size: u64) -> Result<()> {
    let handle = at(path, volume.open(node, libc::O_RDWR as u32))?;
    // Of a file with several names, this may have come by another already.
    let end = at(path, volume.getattr(node, Some(handle)))?.size.max(size);
    at(path, volume.write(node, handle, end, b"and on", Writing::default()))?;
    if node.0 % 2 == 0 {
        at(path, volume.fsync(node, handle, false))?;
    }
    at(path, volume.flush(node, handle))?;
    at(path, volume.release(node, handle))?;
    let content = see::content(volume, node, path)?;
    if content.ends_with(b"and on") && content.len() as u64 == end + 6 {
        return Ok(());
    }
    Err(format!("{path} does not end with what was appended"))
}
