//! `crash check`: brings a disk into states that a power cut could have left, mounts it, and looks at the volume on it.

use crate::cuts::{self, Cut};
use crate::device::{attach, forget_cached, losetup};
use crate::driver::ask;
use crate::go_on::go_on;
use crate::model::{Progress, Tree};
use crate::options::Options;
use crate::plan;
use crate::record::{self, Entry};
use crate::recorded::Recorded;
use crate::see;
use crate::state::{Image, Replay};
use crate::Result;
use kmsfs_files::{Config, Tamper};
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_namespace::Volume;
use kmsfs_random::Random;
use rustix::mount::{mount, unmount, MountFlags, UnmountFlags};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures that are told in full.
const SHOWN: usize = 5;
/// States of a second cut that are tried.
const AGAIN: usize = 8;
/// Where the volume is on the disk.
const VOLUME: &str = "volume";

pub struct Checker {
    /// On `image`, through which a state comes to be mounted.
    device: String,
    image_path: PathBuf,
    image: File,
    file_system: String,
    at: PathBuf,
    keys: Arc<DomainKeys>,
    config: Config,
    mixed: bool,
}

/// A workload that had begun, and how far it came.
pub struct Begun {
    spec: String,
    seed: u64,
    progress: Progress,
}

/// What had begun, by number.
pub type Workloads = BTreeMap<usize, Begun>;

pub fn run(options: &Options) -> Result<()> {
    let entries = record::read(&options.path("record")?)?;
    let base = Image::load(&options.path("base")?)?;
    let mut checker = Checker::new(options, &base)?;
    let done = checker.states(options, &entries, base);
    let freed = losetup(&["-d", &checker.device]);
    done?;
    freed.map(|_| ())
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
    fn new(options: &Options, base: &Image) -> Result<Self> {
        let image_path = options.path("image")?;
        let image = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&image_path);
        let image = image.map_err(|e| format!("{}: {e}", image_path.display()))?;
        // A loop device is as large as its file is now.
        base.store(&image)?;
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
            device: attach(&image_path, options.text("loop").ok())?,
            image_path,
            image,
            file_system: options.text("fs")?.to_owned(),
            at: options.path("at")?,
            keys: Arc::new(keys),
            config,
            mixed,
        })
    }

    fn states(&mut self, options: &Options, entries: &[Entry], base: Image) -> Result<()> {
        let from = made(entries)?;
        let seed = options.number_or("seed", 1)?;
        let tear = options.number_or("tear", 512)?;
        let cuts = cuts::lying(entries, from, seed, tear, options.number_or("lost-flushes", 0)?);
        let there_are = cuts.len();
        let cuts = some(cuts, options.number_or("states", there_are)?, seed);
        let again: usize = options.number_or("again", 0)?;
        let every = cuts.len().div_ceil(again.max(1)).max(1);
        let (mut failed, mut tried) = (Vec::new(), cuts.len());
        let mut replay = Replay::new(base, entries);
        for (n, cut) in cuts.iter().enumerate() {
            let state = replay.state(cut);
            let begun = progress(entries.get(..cut.end).unwrap_or_default());
            let checked = self.state(&state, entries, cut, &begun).and_then(|()| {
                if again > 0 && n % every == every / 2 {
                    tried += self.cut_again(options, &state, &begun, tear)?;
                }
                Ok(())
            });
            if let Err(e) = checked {
                failed.push(format!("state {n}: {}\n{e}", cut.describe(entries)));
            }
        }
        println!("{tried} states, {} of {there_are} and those of cuts in their recovery", cuts.len());
        if failed.is_empty() {
            return Ok(());
        }
        let shown: Vec<&str> = failed.iter().take(SHOWN).map(String::as_str).collect();
        Err(format!("{} of {tried} states are not as they must be\n{}", failed.len(), shown.join("\n")))
    }

    /// Has the device lead to `file`; the same device if nobody took it meanwhile.
    fn lead_to(&mut self, file: &Path) -> Result<()> {
        losetup(&["-d", &self.device])?;
        self.device = attach(file, Some(&self.device))?;
        Ok(())
    }

    /// The power is cut once more, while the volume is recovered: how many states that made.
    fn cut_again(&mut self, options: &Options, state: &Image, begun: &Workloads, tear: usize) -> Result<usize> {
        let recorded = Recorded::start(&options.path("work")?, state)?;
        self.lead_to(&recorded.disk())?;
        let recovered = self.recover_only(&recorded, begun);
        let image = self.image_path.clone();
        self.lead_to(&image)?;
        let entries = recorded.end()?;
        recovered.map_err(|e| format!("recovered on a recorded disk: {e}"))?;
        let seed = begun.len() as u64;
        let cuts = some(cuts::all(&entries, made(&entries)?, seed, tear), AGAIN, seed);
        let mut replay = Replay::new(state.clone(), &entries);
        for cut in &cuts {
            let checked = self.state(&replay.state(cut), &entries, cut, begun);
            checked.map_err(|e| format!("and again while it was recovered: {}\n{e}", cut.describe(&entries)))?;
        }
        Ok(cuts.len())
    }

    fn recover_only(&self, recorded: &Recorded, begun: &Workloads) -> Result<()> {
        self.mount()?;
        let recovered =
            recorded.mark("made").and_then(|()| self.opened(|volume| self.compare(&see::everything(volume)?, begun)));
        self.unmount().and(recovered)
    }

    fn state(&self, state: &Image, entries: &[Entry], cut: &Cut, begun: &Workloads) -> Result<()> {
        state.store(&self.image)?;
        self.mount()?;
        let done = self.mounted(begun);
        let unmounted = self.unmount();
        let marks: Vec<&str> = entries.iter().take(cut.end).filter_map(mark).collect();
        let last = marks.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
        done.map_err(|e| format!("after marks ... {last}\n{e}"))?;
        unmounted
    }

    /// The file system replays its journal.
    fn mount(&self) -> Result<()> {
        forget_cached(&self.device)?;
        mount(self.device.as_str(), &self.at, self.file_system.as_str(), MountFlags::empty(), None)
            .map_err(|e| format!("{} does not mount: {e}", self.file_system))
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

    fn mounted(&self, begun: &Workloads) -> Result<()> {
        ask("verify").map_err(|e| format!("before recovery: {e}"))?;
        self.opened(|volume| {
            let tree = see::everything(volume)?;
            self.compare(&tree, begun)?;
            go_on(volume, &tree).map_err(|e| format!("going on: {e}"))
        })?;
        ask("verify").map_err(|e| format!("after recovery: {e}"))
    }

    /// Opens the volume, which recovers it, and closes it after `work`. Nothing may be called tampering.
    fn opened(&self, work: impl FnOnce(&Volume) -> Result<()>) -> Result<()> {
        let tampers: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = tampers.clone();
        let on_tamper = Arc::new(move |t: Tamper| {
            let line = format!("{} {}", t.place.unwrap_or_default(), t.what);
            told.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        });
        let (volume, recovery) = Volume::open(&self.at.join(VOLUME), self.keys.clone(), self.config.clone(), on_tamper)
            .map_err(|e| format!("the volume does not open: {e}"))?;
        let worked = work(&volume);
        let closed = volume.close().map_err(|e| format!("close: {e}"));
        drop(volume);
        let tampers = tampers.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
        worked.map_err(|e| format!("{e}\nrecovery: {recovery:?}; tampering: {tampers}"))?;
        closed?;
        if tampers.is_empty() {
            return Ok(());
        }
        Err(format!("told of tampering: {tampers}"))
    }

    fn compare(&self, tree: &Tree, begun: &Workloads) -> Result<()> {
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

/// Where the volume is made; before, there may be none.
fn made(entries: &[Entry]) -> Result<usize> {
    let made = entries.iter().position(|e| *e == Entry::Mark("made".into()));
    made.ok_or_else(|| "there is no mark `made`".into())
}

/// So many of them, in their order.
fn some(mut cuts: Vec<Cut>, wanted: usize, seed: u64) -> Vec<Cut> {
    let mut random = Random::new(seed);
    while cuts.len() > wanted {
        cuts.remove(random.below(cuts.len() as u64) as usize);
    }
    cuts
}

fn mark(entry: &Entry) -> Option<&str> {
    match entry {
        Entry::Mark(mark) => Some(mark),
        _ => None,
    }
}

fn progress(entries: &[Entry]) -> Workloads {
    let mut begun: Workloads = BTreeMap::new();
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
