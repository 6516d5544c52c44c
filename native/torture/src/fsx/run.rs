//! Doing the steps.

use super::check::{attributes, changed_since, compare, extents, read, Aligned};
use super::op::{Move, Op, Sync, Way};
use super::subject::{stat, Subject};
use crate::options::Options;
use crate::{driver, Result};
use kmsfs_random::Random;
use rustix::fs::{
    copy_file_range, fadvise, fallocate, fdatasync, fsync, ftruncate, sendfile, syncfs, Advice, FallocateFlags, OFlags,
    SeekFrom, Stat, Timespec, Timestamps,
};
use rustix::io::{pwrite, pwritev, Errno};
use rustix::pipe::{pipe, splice, SpliceFlags};
use std::io::IoSlice;
use std::time::SystemTime;

pub struct Run {
    pub subjects: Vec<Subject>,
    options: Options,
    /// Bytes.
    pub compared: u64,
}

fn failed(what: &str) -> impl FnOnce(Errno) -> String + '_ {
    move |e| format!("{what}: {e}")
}

/// What must be the same before and after a remount.
fn lasting(stat: &Stat) -> (u64, i64, i64, u64, u32, u64) {
    (stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_mode, stat.st_nlink)
}

impl Run {
    pub fn new(subjects: Vec<Subject>, options: Options) -> Self {
        Run { subjects, options, compared: 0 }
    }

    pub fn step(&mut self, which: usize, op: &Op, random: &mut Random) -> Result<()> {
        let before = SystemTime::now();
        let mut changed = false;
        match op {
            Op::Write { way, at, len } => changed = self.write(which, *way, *at, &random.bytes(*len))?,
            Op::Read { way, at, len } => self.read(which, *way, *at, *len)?,
            Op::Truncate { to, by_path } => {
                let subject = &mut self.subjects[which];
                if *by_path {
                    let file = std::fs::OpenOptions::new().write(true).open(&subject.path);
                    file.and_then(|f| f.set_len(*to)).map_err(|e| format!("truncate: {e}"))?;
                } else {
                    ftruncate(&subject.opened()?.plain, *to).map_err(failed("ftruncate"))?;
                }
                subject.model.resize(*to);
                changed = true;
            }
            Op::Allocate { flags, at, len } => changed = self.allocate(which, *flags, *at, *len)?,
            Op::Move { how, from, at, to, len } => changed = self.transfer(which, *how, *from, *at, *to, *len)?,
            Op::Extents => extents(self.subjects[which].opened()?, &self.subjects[which].model)?,
            Op::Sync(how) => self.sync(which, *how)?,
            Op::Evict { all } => self.evict(which, *all)?,
            Op::Reopen { truncate } => self.reopen(which, *truncate)?,
            Op::Times { secs, nanos } => {
                let subject = &mut self.subjects[which];
                let time = Timespec { tv_sec: *secs, tv_nsec: i64::from(*nanos) };
                // Pages that are written back later may set the time again (docs/semantics.md, -o nowriteback).
                subject.opened()?.map.sync()?;
                let times = Timestamps { last_access: time, last_modification: time };
                rustix::fs::futimens(&subject.opened()?.plain, &times).map_err(failed("futimens"))?;
                subject.times = Some((*secs, *nanos));
            }
            Op::Check(way) => self.check(which, *way)?,
            Op::Remount if self.options.remount => self.again(true, "remount")?,
            Op::CrashClosed if self.options.crash => self.again(true, "crash")?,
            Op::CrashSynced if self.options.crash => self.again(false, "crash")?,
            Op::Remount | Op::CrashClosed | Op::CrashSynced => {}
        }
        let subject = &mut self.subjects[which];
        if changed {
            subject.times = None;
        }
        let stat = attributes(subject)?;
        // A page that is mapped and dirty already is changed without anyone's knowing.
        let told = !matches!(op, Op::Write { way: Way::Mapped, .. });
        if changed && told {
            changed_since(&stat, before)?;
        }
        Ok(())
    }

    fn write(&mut self, which: usize, way: Way, at: u64, data: &[u8]) -> Result<bool> {
        let subject = &mut self.subjects[which];
        let opened = subject.opened.as_ref().ok_or("not open")?;
        let mut at = at;
        let mut data = data;
        let what = format!("write ({way:?})");
        let written = match way {
            Way::Plain => pwrite(&opened.plain, data, at),
            Way::Vectored => {
                let (a, b) = data.split_at(data.len() / 4);
                let (b, c) = b.split_at(b.len() / 3);
                pwritev(&opened.plain, &[IoSlice::new(a), IoSlice::new(b), IoSlice::new(c)], at)
            }
            Way::Direct => {
                let mut buf = Aligned::new(data.len());
                let start = buf.1;
                buf.0[start..start + data.len()].copy_from_slice(data);
                pwrite(&opened.direct, &buf.0[start..start + data.len()], at)
            }
            Way::Append => {
                at = subject.model.size;
                data = &data[..data.len().min((subject.model.limit() - at) as usize)];
                rustix::io::write(&opened.append, data)
            }
            Way::Mapped => {
                let len = subject.model.size.saturating_sub(at).min(data.len() as u64) as usize;
                data = &data[..len];
                if len > 0 {
                    opened.map.write(at, data);
                }
                Ok(len)
            }
        };
        let n = written.map_err(failed(&what))?;
        if n != data.len() {
            return Err(format!("{what}: {n} bytes of {} were written", data.len()));
        }
        subject.model.write(at, data);
        Ok(n > 0)
    }

    fn read(&mut self, which: usize, way: Way, at: u64, len: usize) -> Result<()> {
        let subject = &self.subjects[which];
        self.compared += read(subject.opened()?, &subject.model, way, at, len)? as u64;
        Ok(())
    }

    fn allocate(&mut self, which: usize, flags: u32, at: u64, len: u64) -> Result<bool> {
        if len == 0 {
            return Ok(false);
        }
        let subject = &mut self.subjects[which];
        let flags = FallocateFlags::from_bits_retain(flags);
        match fallocate(&subject.opened()?.plain, flags, at, len) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => return Ok(false),
            Err(e) => return Err(format!("fallocate: {e}")),
        }
        let model = &mut subject.model;
        if !flags.contains(FallocateFlags::KEEP_SIZE) && at + len > model.size {
            model.resize(at + len);
        }
        if flags.intersects(FallocateFlags::PUNCH_HOLE | FallocateFlags::ZERO_RANGE) {
            model.zero(at, len);
        }
        // Whether room alone makes a file younger is a matter of taste.
        subject.times = None;
        Ok(false)
    }

    fn transfer(&mut self, which: usize, how: Move, from: usize, at: u64, to: u64, len: usize) -> Result<bool> {
        // Ranges of one file may not overlap.
        if from == which && at < to + len as u64 && to < at + len as u64 {
            return Ok(false);
        }
        let data = self.subjects[from].model.read(at, len).to_vec();
        let (source, target) = (&self.subjects[from].opened()?.plain, &self.subjects[which].opened()?.plain);
        let (mut done, mut read_at, mut write_at) = (0, at, to);
        let place = |offset| rustix::fs::seek(target, SeekFrom::Start(offset)).map_err(failed("lseek"));
        while done < data.len() {
            let rest = data.len() - done;
            let n = match how {
                Move::CopyFileRange => copy_file_range(source, Some(&mut read_at), target, Some(&mut write_at), rest),
                Move::Sendfile => {
                    place(to + done as u64)?;
                    sendfile(target, source, Some(&mut read_at), rest)
                }
                Move::Splice => {
                    let (out, into) = pipe().map_err(failed("pipe"))?;
                    splice(source, Some(&mut read_at), &into, None, rest.min(65536), SpliceFlags::empty())
                        .and_then(|n| splice(&out, None, target, Some(&mut write_at), n, SpliceFlags::empty()))
                }
            };
            match n.map_err(|e| format!("{how:?}: {e}"))? {
                0 => return Err(format!("{how:?} ends after {done} bytes of {}", data.len())),
                n => done += n,
            }
            if matches!(how, Move::Splice) && read_at != at + done as u64 {
                return Err(format!("splice took {} bytes and gave {done}", read_at - at));
            }
        }
        self.subjects[which].model.write(to, &data);
        Ok(done > 0)
    }

    fn sync(&mut self, which: usize, how: Sync) -> Result<()> {
        let opened = self.subjects[which].opened()?;
        let fd = &opened.plain;
        match how {
            Sync::Fsync => fsync(fd).map_err(failed("fsync")),
            Sync::Fdatasync => fdatasync(fd).map_err(failed("fdatasync")),
            Sync::Msync => opened.map.sync(),
            Sync::Syncfs => syncfs(fd).map_err(failed("syncfs")),
            Sync::Range => {
                use std::os::fd::AsRawFd;
                // SAFETY: a plain system call on an open descriptor.
                let rc = unsafe { libc::sync_file_range(fd.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
                if rc == 0 {
                    Ok(())
                } else {
                    Err(format!("sync_file_range: {}", std::io::Error::last_os_error()))
                }
            }
        }
    }

    fn evict(&mut self, which: usize, all: bool) -> Result<()> {
        if all {
            return std::fs::write("/proc/sys/vm/drop_caches", "3").map_err(|e| format!("drop_caches: {e}"));
        }
        fadvise(&self.subjects[which].opened()?.plain, 0, None, Advice::DontNeed).map_err(failed("fadvise"))
    }

    fn reopen(&mut self, which: usize, truncate: bool) -> Result<()> {
        let subject = &mut self.subjects[which];
        subject.opened = None;
        let truncate = truncate && subject.model.base == 0;
        subject.open(if truncate { OFlags::TRUNC } else { OFlags::empty() })?;
        if truncate {
            subject.model.resize(0);
            subject.times = None;
        }
        Ok(())
    }

    fn check(&mut self, which: usize, way: Way) -> Result<()> {
        let model = &self.subjects[which].model;
        let (start, end) = (model.base, model.limit());
        let mut at = start;
        while at < end {
            let len = (end - at).min(1 << 20) as usize;
            self.read(which, way, at, len)?;
            at += len as u64;
        }
        Ok(())
    }

    /// Everything is the same after the file system went and came again. `closed`: the files are closed before, else
    /// they are synced and still open.
    fn again(&mut self, closed: bool, how: &str) -> Result<()> {
        for subject in &mut self.subjects {
            if closed {
                subject.opened = None;
            } else {
                fsync(&subject.opened()?.plain).map_err(failed("fsync"))?;
            }
        }
        let stats: Vec<Stat> = self.subjects.iter().map(attributes).collect::<Result<_>>()?;
        driver::ask(how)?;
        for (which, before) in stats.iter().enumerate() {
            let subject = &mut self.subjects[which];
            subject.opened = None;
            let after = stat(&subject.path)?;
            if lasting(before) != lasting(&after) {
                return Err(format!(
                    "file {which} after {how}: (inode, size, mtime, mode, links) are {:?}, were {:?}",
                    lasting(&after),
                    lasting(before)
                ));
            }
            subject.open(OFlags::empty())?;
            self.check(which, Way::Plain).map_err(|e| format!("file {which} after {how}: {e}"))?;
        }
        Ok(())
    }

    /// The last look, by all ways.
    pub fn finish(&mut self) -> Result<()> {
        for which in 0..self.subjects.len() {
            self.reopen(which, false)?;
            for way in [Way::Plain, Way::Mapped, Way::Direct, Way::Vectored] {
                self.check(which, way)?;
            }
            let subject = &self.subjects[which];
            if subject.model.base == 0 {
                let all = std::fs::read(&subject.path).map_err(|e| format!("read: {e}"))?;
                compare(0, "the whole file", &all, subject.model.read(0, all.len().max(1)))?;
            }
        }
        Ok(())
    }
}
