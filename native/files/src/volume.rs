//! All regular files of one mounted volume: opening, the committer, checkpoints, closing.

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::file::File;
use crate::histogram::Snapshot;
use crate::log::scan::scan;
use crate::log::Log;
use crate::recovery::recover;
use crate::shared::{Shared, Stats};
use crate::store::{FileId, Home, Store};
use crate::sync::{thread, AtomicBool, Condvar, Mutex};
use crate::Time;
use crate::{Config, OnTamper, Recovery};
use kmsfs_format::keys::DomainKeys;
use kmsfs_format::layout::Layout;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Loading is kept apart by this many locks, so that two openers of one file make one state.
const STRIPES: usize = 64;

/// All regular files of one mounted volume.
pub struct Files {
    shared: Arc<Shared>,
    loading: Vec<Mutex<()>>,
    committer: Mutex<Option<thread::JoinHandle<()>>>,
}

impl Files {
    /// Opens the log, recovers what a crash left, starts the committer. The store is exclusively ours from here on.
    pub fn open(
        config: Config,
        keys: Arc<DomainKeys>,
        store: Arc<dyn Store>,
        on_tamper: OnTamper,
    ) -> Result<(Arc<Files>, Recovery)> {
        let layout = Layout::new(config.block_shift).ok_or(Error::Errno(libc::EINVAL))?;
        let segments = store.segments(config.segment_count, config.segment_size)?;
        let scanned = scan(&segments, config.segment_size, layout, &keys, &config.uuid)?;
        if scanned.is_none() && !config.new_volume {
            return Err(Error::LogDamaged("it is empty, though the volume was in use".into()));
        }
        let log = Log::new(&config, keys.clone(), store.clone(), scanned.as_ref())?;
        let shared = Arc::new(Shared {
            layout,
            keys,
            log,
            cache: Cache::new(config.cache_bytes, layout.block() as usize)?,
            stats: Stats::default(),
            max_size: layout.max_size(store.max_home_len()),
            known: Mutex::new(HashMap::new()),
            pending: Mutex::new(HashMap::new()),
            checkpointing: Mutex::new(()),
            stop: Mutex::new(false),
            wake: Condvar::new(),
            on_tamper,
            reported: Mutex::new(HashSet::new()),
            store,
            config,
            paused: AtomicBool::new(false),
        });
        let recovery = match &scanned {
            Some(scanned) => recover(&shared, scanned, &segments)?,
            None => Recovery::default(),
        };
        if !shared.config.read_only {
            shared.log.begin()?;
        }
        let files = Arc::new(Files {
            loading: (0..STRIPES).map(|_| Mutex::new(())).collect(),
            committer: Mutex::new(None),
            shared,
        });
        if !files.shared.config.read_only && files.shared.config.commit_interval_ms > 0 {
            let shared = files.shared.clone();
            let thread = thread::Builder::new().name("kmsfs-commit".into()).spawn(move || committer(&shared))?;
            *files.committer.lock() = Some(thread);
        }
        Ok((files, recovery))
    }

    /// The state of the file at `home`, which is loaded (header read and verified) when there is none in memory yet.
    /// States are shared: two calls give the same `File` as long as someone holds it or it is dirty.
    pub fn file(&self, home: Arc<dyn Home>) -> Result<Arc<File>> {
        self.state_of(home, |home| File::load(self.shared.clone(), home, None))
    }

    /// The same for a file that was made just now, at `mtime`, and whose home is known to be empty: nothing is read.
    pub fn made(&self, home: Arc<dyn Home>, mtime: Time) -> Result<Arc<File>> {
        self.state_of(home, |home| Ok(File::made(self.shared.clone(), home, mtime)))
    }

    fn state_of(&self, home: Arc<dyn Home>, load: impl FnOnce(Arc<dyn Home>) -> Result<File>) -> Result<Arc<File>> {
        let id = home.id();
        if let Some(file) = self.existing(&id) {
            return Ok(file);
        }
        // Held while the header is read: another opener of the same file waits for this one's state.
        let _loading = self.loading[id[0] as usize % STRIPES].lock();
        if let Some(file) = self.existing(&id) {
            return Ok(file);
        }
        let file = Arc::new(load(home)?);
        self.shared.known.lock().insert(id, Arc::downgrade(&file));
        Ok(file)
    }

    /// The state in memory, if there is any: what it says of size and times stands in for the home's (§5, §9).
    pub fn existing(&self, id: &FileId) -> Option<Arc<File>> {
        self.shared.known.lock().get(id)?.upgrade()
    }

    /// Commits and makes durable all files.
    pub fn sync_all(&self) -> Result<()> {
        commit_all(&self.shared)?;
        self.shared.log.make_durable(self.shared.log.last())
    }

    /// Writes everything committed home and empties the log.
    pub fn checkpoint(&self) -> Result<()> {
        checkpoint(&self.shared)
    }

    /// Writes everything home and leaves an empty log, as `close` does, and writes nothing from then on until `resume`. Who
    /// calls it has seen to it that nobody writes any more.
    pub fn pause(&self) -> Result<()> {
        if self.shared.config.read_only || self.shared.paused.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.shared.log.failed() {
            return Err(Error::ReadOnly);
        }
        commit_all(&self.shared)?;
        checkpoint(&self.shared)?;
        self.shared.log.begin()?;
        self.shared.paused.store(true, Ordering::Release);
        // Who prepares the log looks at it with the appender held: from here on it writes no more.
        drop(self.shared.log.appender());
        Ok(())
    }

    /// Ends `pause`.
    pub fn resume(&self) {
        self.shared.paused.store(false, Ordering::Release);
    }

    fn stop_committer(&self) {
        *self.shared.stop.lock() = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.committer.lock().take() {
            let _ = thread.join();
        }
    }

    /// Unmount: commits, flushes, writes everything home, leaves an empty log. Stops the committer.
    pub fn close(&self) -> Result<()> {
        self.stop_committer();
        if self.shared.config.read_only || self.shared.paused.load(Ordering::Acquire) {
            return Ok(());
        }
        commit_all(&self.shared)?;
        checkpoint(&self.shared)?;
        self.shared.log.begin()
    }

    /// Plaintext size from a home's physical length; `None` is a length no size maps to (§5).
    pub fn size_of_len(&self, physical: u64) -> Option<u64> {
        self.shared.layout.size_of(physical)
    }

    /// The largest plaintext size a file may have here.
    pub fn max_size(&self) -> u64 {
        self.shared.max_size
    }

    /// Whether the sector cache is in locked memory.
    pub fn cache_locked(&self) -> bool {
        self.shared.cache.locked()
    }

    /// Whether the mount can be written: not so when mounted read-only, or after the log or a home failed.
    pub fn read_only(&self) -> bool {
        self.shared.read_only()
    }

    /// Why nothing is written any more since the log or a home failed (docs/decisions/0006).
    pub fn failure(&self) -> Option<String> {
        self.shared.log.failure()
    }

    /// Why nothing could be committed when it was last tried; `None` once something is.
    pub fn trouble(&self) -> Option<String> {
        self.shared.log.trouble()
    }

    /// Has `tell` called when the mount becomes read-only for a failure; at once when it is already. Once, at most.
    pub fn on_failure(&self, tell: impl Fn(&str) + Send + Sync + 'static) {
        self.shared.log.on_failure(Box::new(tell));
    }

    /// Durations by name, for `status`.
    pub fn latencies(&self) -> Vec<(&'static str, Snapshot)> {
        vec![
            ("log_flush", self.shared.log.flush_seconds.snapshot()),
            ("checkpoint", self.shared.stats.checkpoint_seconds.snapshot()),
        ]
    }

    /// Name and value of every counter, for `status`; bytes unless the name says otherwise, since the mount.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let (s, c) = (&self.shared.stats, &self.shared.cache.stats);
        let log = self.shared.log.usage();
        vec![
            ("commits", s.commits.load(Ordering::Relaxed)),
            ("log_flushes", self.shared.log.flushes.load(Ordering::Relaxed)),
            ("checkpoints", s.checkpoints.load(Ordering::Relaxed)),
            ("logged_bytes", s.logged_bytes.load(Ordering::Relaxed)),
            ("straight_bytes", s.straight_bytes.load(Ordering::Relaxed)),
            ("dirty_bytes", s.dirty_bytes.load(Ordering::Relaxed) as u64),
            ("pending_files", self.shared.pending.lock().len() as u64),
            ("cache_hits", c.hits.load(Ordering::Relaxed)),
            ("cache_misses", c.misses.load(Ordering::Relaxed)),
            ("cache_evictions", c.evictions.load(Ordering::Relaxed)),
            ("cache_capacity_bytes", self.shared.cache.capacity() as u64),
            ("cache_used_bytes", self.shared.cache.used() as u64),
            ("log_segments", log.segments),
            ("log_segments_used", log.segments_used),
            ("log_capacity_bytes", log.capacity),
            ("log_used_bytes", log.used),
        ]
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.stop_committer();
        // What is still pending holds the shared part, which holds it.
        let pending = std::mem::take(&mut *self.shared.pending.lock());
        drop(pending);
    }
}

fn pending(shared: &Shared) -> Vec<Arc<File>> {
    shared.pending.lock().values().cloned().collect()
}

fn commit_all(shared: &Arc<Shared>) -> Result<()> {
    let mut first_error = Ok(());
    for file in pending(shared) {
        let committed = file.commit();
        first_error = first_error.and(committed);
    }
    first_error
}

/// Writes every committed image home, makes all homes durable, and lets the log's segments be used again.
pub(crate) fn checkpoint(shared: &Arc<Shared>) -> Result<()> {
    // Held across the whole: a second checkpoint would only do the same again.
    let _one = shared.checkpointing.lock();
    let started = Instant::now();
    let through = shared.log.last();
    let files = pending(shared);
    let written = files.iter().try_for_each(|f| f.write_home()).and_then(|()| Ok(shared.store.sync_all()?));
    if let Err(e) = written {
        // Its segment stays; nothing may be written over it, so nothing is written any more.
        shared.log.fail(&format!("files could not be written home: {e}"));
        return Err(e);
    }
    shared.log.checkpointed(through);
    shared.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
    shared.stats.checkpoint_seconds.since(started);
    for file in files {
        file.let_go();
    }
    Ok(())
}

/// One in so many parts of an interval, at most, goes to preparing the log: a large one would else have the disk for itself.
const PREPARING: u32 = 8;

/// Commits and flushes what is dirty at every interval; writes home when half of the log is used. In the first ones, prepares
/// the log.
fn committer(shared: &Arc<Shared>) {
    let interval = Duration::from_millis(shared.config.commit_interval_ms);
    let mut preparation = shared.log.preparation();
    loop {
        let began = Instant::now();
        let going = || !*shared.stop.lock() && began.elapsed() < interval / PREPARING;
        let mut prepared = false;
        while going() && matches!(shared.log.prepare(&mut preparation, &shared.paused), Ok(true)) {
            prepared = true;
        }
        // Meanwhile nobody heard the call that it is time to write home.
        let called = prepared && shared.log.half_full(&shared.log.appender());
        {
            let mut stop = shared.stop.lock();
            if !*stop && !called {
                shared.wake.wait_for(&mut stop, interval.saturating_sub(began.elapsed()));
            }
            if *stop {
                return;
            }
        }
        if shared.paused.load(Ordering::Acquire) {
            continue;
        }
        // An error here stays with the file: its next fsync or close meets it again, and reports it.
        let _ = commit_all(shared);
        let _ = shared.log.make_durable(shared.log.last());
        if shared.log.half_full(&shared.log.appender()) {
            let _ = checkpoint(shared);
        }
    }
}
