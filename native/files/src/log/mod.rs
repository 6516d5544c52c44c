//! The commit log: appending, group flush, reading after a crash (docs/format.md §9).
//!
//! Lock order: a file's commit lock, its state, the appender, then the spare memory or the flush state. Nothing above is
//! taken below.

pub mod fold;
pub mod image;
pub mod prepare;
pub mod scan;

use crate::error::{Error, Result};
use crate::histogram::Histogram;
use crate::store::{Home, Segment, Store};
use crate::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard};
use crate::Config;
use kmsfs_format::block::AeadKey;
use kmsfs_format::commit::Builder;
use kmsfs_format::keys::{DomainKeys, Secret};
use kmsfs_format::random;
use kmsfs_format::segment::{SegmentHeader, RECORDS_AT, SEGMENT_HEADER_LEN};
use scan::Scanned;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;

/// More homes than this to flush at once: one syncfs is cheaper than a flush of each.
const SYNCFS_FROM: usize = 16;

/// Records built beside each other whose memory is kept, unless together it comes to more than two segments.
const SPARES: usize = 4;

/// Where a record was put.
#[derive(Clone)]
pub struct Appended {
    pub segment: Arc<dyn Segment>,
    /// Offset of the record in its segment.
    pub at: u64,
}

struct Current {
    slot: usize,
    key: AeadKey,
    offset: u64,
}

struct Live {
    slot: usize,
    last: u64,
}

/// The end of the log. Holding its guard gives the caller the next number and keeps the order of records.
pub struct Appender {
    current: Option<Current>,
    /// Segments that may hold commits which are not home yet, oldest first; the current one is the last.
    live: Vec<Live>,
    sequence: u64,
    next: u64,
    previous_mac: [u8; 16],
    checkpointed: u64,
    /// Slots written to since the last flush.
    unsynced: Vec<usize>,
    /// Homes with straight blocks since the last flush.
    homes: Vec<Arc<dyn Home>>,
    bytes_since_checkpoint: u64,
}

#[derive(Default)]
struct Flush {
    leading: bool,
}

pub struct Log {
    store: Arc<dyn Store>,
    keys: Arc<DomainKeys>,
    mac_key: Secret<32>,
    segments: Vec<Arc<dyn Segment>>,
    segment_size: u64,
    uuid: [u8; 16],
    volume_generation: u64,
    appender: Mutex<Appender>,
    /// Memory for records: no allocation on the way out.
    spare: Mutex<Vec<Vec<u8>>>,
    flush: Mutex<Flush>,
    flushed: Condvar,
    durable: AtomicU64,
    failed: AtomicBool,
    /// Why, and who is to be told.
    failure: Mutex<Option<String>>,
    on_failure: Mutex<Option<OnFailure>>,
    /// Why the last record could not be appended, until one can.
    trouble: Mutex<Option<String>>,
    pub flushes: AtomicU64,
    pub flush_seconds: Histogram,
}

pub type OnFailure = Box<dyn Fn(&str) + Send + Sync>;

/// How full the log is.
pub struct Usage {
    pub segments: u64,
    /// Those that hold what may not be home yet, with the one that is written to.
    pub segments_used: u64,
    /// Bytes of records that fit.
    pub capacity: u64,
    /// Bytes of records since the last checkpoint.
    pub used: u64,
}

impl Log {
    /// Takes over a log of which everything read is home and durable; `begin` must follow before the first append.
    pub fn new(config: &Config, keys: Arc<DomainKeys>, store: Arc<dyn Store>, read: Option<&Scanned>) -> Result<Log> {
        let segments = store.segments(config.segment_count, config.segment_size)?;
        let mac_key = keys.log_mac().map_err(|_| io::Error::other("key derivation failed"))?;
        let last = read.map_or(0, |s| s.last);
        Ok(Log {
            store,
            keys,
            mac_key,
            segments,
            segment_size: config.segment_size,
            uuid: config.uuid,
            volume_generation: config.volume_generation,
            appender: Mutex::new(Appender {
                current: None,
                // What was read stays untouched until a header that says it is home is durable.
                live: read.map_or(Vec::new(), |s| s.live.iter().map(|slot| Live { slot: *slot, last }).collect()),
                sequence: read.map_or(0, |s| s.sequence),
                next: last + 1,
                previous_mac: [0; 16],
                checkpointed: last,
                unsynced: Vec::new(),
                homes: Vec::new(),
                bytes_since_checkpoint: 0,
            }),
            spare: Mutex::new(Vec::new()),
            flush: Mutex::new(Flush::default()),
            flushed: Condvar::new(),
            durable: AtomicU64::new(last),
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            on_failure: Mutex::new(None),
            trouble: Mutex::new(None),
            flushes: AtomicU64::new(0),
            flush_seconds: Histogram::default(),
        })
    }

    /// Begins a fresh segment that says everything before it is home. Nothing is ever appended to a segment
    /// that was read (a dropped tail may lie there, and its key has sealed numbers that come again).
    pub fn begin(&self) -> Result<()> {
        let mut appender = self.appender.lock();
        if appender.checkpointed + 1 != appender.next {
            // Someone committed since the checkpoint: the log goes on as it is.
            return Ok(());
        }
        appender.previous_mac = [0; 16];
        self.begin_segment(&mut appender)?;
        let current = appender.current.as_ref().map(|c| c.slot);
        appender.live.retain(|l| Some(l.slot) == current);
        Ok(())
    }

    /// Memory to build a record in.
    pub fn memory(&self) -> Vec<u8> {
        self.spare.lock().pop().unwrap_or_default()
    }

    fn keep(&self, memory: Vec<u8>) {
        let mut spare = self.spare.lock();
        let held: usize = spare.iter().map(Vec::capacity).sum();
        if spare.len() < SPARES && (held + memory.capacity()) as u64 <= 2 * self.segment_size {
            spare.push(memory);
        }
    }

    pub fn appender(&self) -> MutexGuard<'_, Appender> {
        self.appender.lock()
    }
    /// The highest commit known to be durable.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }
    /// The highest commit appended.
    pub fn last(&self) -> u64 {
        self.appender.lock().next - 1
    }
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
    /// Ends writing for the life of the mount (docs/decisions/0006).
    pub fn fail(&self, why: &str) {
        self.failed.store(true, Ordering::Release);
        {
            let mut failure = self.failure.lock();
            if failure.is_some() {
                return;
            }
            *failure = Some(why.to_owned());
        }
        // Not waited for by anybody: it puts a message into a queue.
        if let Some(tell) = &*self.on_failure.lock() {
            tell(why);
        }
    }
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }
    /// Why nothing can be committed now, though the next try may succeed.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }
    pub fn on_failure(&self, tell: OnFailure) {
        let mut on_failure = self.on_failure.lock();
        if let Some(why) = self.failure() {
            tell(&why);
        }
        *on_failure = Some(tell);
    }
    pub fn usage(&self) -> Usage {
        let a = self.appender.lock();
        Usage {
            segments: self.segments.len() as u64,
            segments_used: a.live.len() as u64,
            capacity: (self.segments.len() as u64 - 1) * self.max_record(),
            used: a.bytes_since_checkpoint,
        }
    }
    /// The longest record that fits.
    pub fn max_record(&self) -> u64 {
        self.segment_size - RECORDS_AT
    }
    /// Whether it is time to write things home: half of the log is used.
    pub fn half_full(&self, appender: &Appender) -> bool {
        let usable = (self.segments.len() as u64 - 1) * self.max_record();
        appender.bytes_since_checkpoint * 2 > usable
    }

    /// Whether a record of `len` bytes can be appended now. One slot is kept back, so that the oldest segment is never
    /// overwritten before a durable header says that it is home.
    pub fn has_room(&self, appender: &Appender, len: u64) -> bool {
        let here = appender.current.as_ref().is_some_and(|c| c.offset + len <= self.segment_size);
        here || (len <= self.max_record() && self.segments.len() - appender.live.len() >= 2)
    }

    /// The number that the next record will get.
    pub fn next_number(&self, appender: &Appender) -> u64 {
        appender.next
    }

    /// Appends a record; no flush. `straight`: the home whose straight blocks the commit refers to. The caller holds
    /// the appender while it writes, since the order in the log is the order of numbers.
    pub fn append(&self, a: &mut Appender, record: Builder, straight: Option<Arc<dyn Home>>) -> Result<Appended> {
        let appended = self.try_to_append(a, record, straight);
        match &appended {
            Err(Error::Io(e)) => *self.trouble.lock() = Some(format!("the log cannot be written: {e}")),
            Err(_) => {}
            Ok(_) => *self.trouble.lock() = None,
        }
        appended
    }

    fn try_to_append(
        &self,
        a: &mut Appender,
        mut record: Builder,
        straight: Option<Arc<dyn Home>>,
    ) -> Result<Appended> {
        let len = record.record_len() as u64;
        if self.failed() {
            return Err(Error::ReadOnly);
        }
        if a.current.as_ref().is_none_or(|c| c.offset + len > self.segment_size) {
            if !self.has_room(a, len) {
                return Err(Error::Errno(libc::ENOSPC));
            }
            self.begin_segment(a)?;
        }
        let Some(current) = a.current.as_mut() else {
            return Err(Error::Errno(libc::EIO));
        };
        let (bytes, mac) =
            record.finish(a.next, self.durable(), &a.previous_mac, &current.key).map_err(io::Error::from)?;
        let (slot, at) = (current.slot, current.offset);
        if let Err(e) = self.segments[slot].write_at(bytes, at) {
            // The number was used under this segment's key: go on in a new one.
            a.current = None;
            return Err(e.into());
        }
        current.offset += len;
        a.bytes_since_checkpoint += len;
        a.previous_mac = mac;
        let number = a.next;
        a.next += 1;
        self.keep(record.into_memory());
        if let Some(live) = a.live.last_mut() {
            live.last = number;
        }
        if !a.unsynced.contains(&slot) {
            a.unsynced.push(slot);
        }
        if let Some(home) = straight {
            if !a.homes.iter().any(|h| h.id() == home.id()) {
                a.homes.push(home);
            }
        }
        Ok(Appended { segment: self.segments[slot].clone(), at })
    }

    /// Writes and flushes the header before any record: a slot's old records must not be overwritten while the header
    /// that vouches for them is the durable one. Blocks under the appender's lock: nobody can append meanwhile anyway.
    fn begin_segment(&self, a: &mut Appender) -> Result<()> {
        let slot = (0..self.segments.len())
            .map(|i| (a.sequence as usize + i) % self.segments.len())
            .find(|slot| a.live.iter().all(|l| l.slot != *slot))
            .ok_or(Error::Errno(libc::ENOSPC))?;
        let identity = self.store.identity()?;
        let header = SegmentHeader {
            uuid: self.uuid,
            sequence: a.sequence + 1,
            first_commit: a.next,
            checkpointed: a.checkpointed,
            volume_generation: self.volume_generation,
            salt: random::bytes().map_err(io::Error::from)?,
            previous_mac: a.previous_mac,
            root_handle_kind: identity.handle.kind,
            root_handle: identity.handle.bytes,
            file_system: identity.file_system,
        };
        let key = self
            .keys
            .segment(&header.salt)
            .map_err(|_| io::Error::other("key derivation failed"))
            .and_then(|k| AeadKey::new(&k).map_err(io::Error::from))?;
        let encoded: [u8; SEGMENT_HEADER_LEN] = header.encode(&self.mac_key);
        // If this fails the header may be there all the same: a record in an older segment would count as superseded by
        // it, so the next append begins this segment again.
        a.current = None;
        self.segments[slot].write_at(&encoded, 0)?;
        self.segments[slot].sync()?;
        a.sequence += 1;
        a.live.push(Live { slot, last: a.next - 1 });
        a.current = Some(Current { slot, key, offset: RECORDS_AT });
        Ok(())
    }

    /// Returns when commit `target` is durable: one flush serves all that wait.
    pub fn make_durable(&self, target: u64) -> Result<()> {
        self.flush_while(|| self.durable() < target)
    }

    /// Flushes, one at a time, as long as it is `due`; a flush of somebody else may do.
    fn flush_while(&self, due: impl Fn() -> bool) -> Result<()> {
        let mut flush = self.flush.lock();
        while due() {
            if self.failed() {
                return Err(Error::Errno(libc::EIO));
            }
            if flush.leading {
                self.flushed.wait(&mut flush);
                continue;
            }
            flush.leading = true;
            drop(flush);
            let done = self.flush_once();
            flush = self.flush.lock();
            flush.leading = false;
            self.flushed.notify_all();
            done?;
        }
        Ok(())
    }

    fn flush_once(&self) -> Result<()> {
        let (through, slots, homes) = {
            let mut a = self.appender.lock();
            // Counted under the lock: who finds it higher knows that what it put there before is taken along.
            self.flushes.fetch_add(1, Ordering::Relaxed);
            (a.next - 1, std::mem::take(&mut a.unsynced), std::mem::take(&mut a.homes))
        };
        let started = Instant::now();
        let synced = if homes.len() >= SYNCFS_FROM {
            self.store.sync_all()
        } else {
            homes
                .iter()
                .try_for_each(|h| h.sync(true))
                .and_then(|()| slots.iter().try_for_each(|slot| self.segments[*slot].sync()))
        };
        if let Err(e) = synced {
            // After a failed flush the kernel may have dropped the pages: what was appended is not known to be there,
            // and must never be assumed to be.
            self.fail(&format!("a flush failed: {e}"));
            return Err(e.into());
        }
        self.flush_seconds.since(started);
        self.durable.store(through, Ordering::Release);
        Ok(())
    }

    /// Everything up to `through` is home and durable: its segments may be used again. The next segment's header
    /// says so on disk.
    pub fn checkpointed(&self, through: u64) {
        let mut a = self.appender.lock();
        a.checkpointed = a.checkpointed.max(through);
        let current = a.current.as_ref().map(|c| c.slot);
        a.live.retain(|l| l.last > through || Some(l.slot) == current);
        a.bytes_since_checkpoint = 0;
    }
}
