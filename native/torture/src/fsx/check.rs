//! Comparing a file with its model.

use super::model::Model;
use super::op::Way;
use super::subject::{stat, Opened, Subject};
use crate::Result;
use rustix::fs::{seek, SeekFrom, Stat};
use rustix::io::{pread, preadv, Errno};
use std::io::IoSliceMut;
use std::time::{SystemTime, UNIX_EPOCH};

const PAGE: u64 = 4096;
/// The clock of file times runs in ticks.
const TICK: f64 = 0.02;

pub fn compare(at: u64, what: &str, got: &[u8], due: &[u8]) -> Result<()> {
    if got.len() != due.len() {
        return Err(format!("{what} at {at}: {} bytes where {} are due", got.len(), due.len()));
    }
    let Some(first) = got.iter().zip(due).position(|(a, b)| a != b) else { return Ok(()) };
    let wrong = got.iter().zip(due).filter(|(a, b)| a != b).count();
    let last = got.iter().zip(due).rposition(|(a, b)| a != b).unwrap_or(first);
    let show = |bytes: &[u8]| bytes[first..(first + 16).min(bytes.len())].to_vec();
    Err(format!(
        "{what} at {at}: {wrong} of {} bytes differ, the first at offset {}, the last at {}: {:02x?} where {:02x?} is due",
        got.len(),
        at + first as u64,
        at + last as u64,
        show(got),
        show(due),
    ))
}

/// Reads by one way and compares.
pub fn read(opened: &Opened, model: &Model, way: Way, at: u64, len: usize) -> Result<usize> {
    let what = format!("read ({way:?}, {len} bytes)");
    let mut buf = vec![0xaa; len];
    let n = match way {
        Way::Plain | Way::Append => fill(len, |done| pread(&opened.plain, &mut buf[done..], at + done as u64)),
        Way::Direct => {
            let aligned = Aligned::new(len);
            buf = aligned.0;
            let start = aligned.1;
            let n = pread(&opened.direct, &mut buf[start..start + len], at);
            buf.drain(..start);
            n
        }
        Way::Vectored => {
            let (a, b) = buf.split_at_mut(len / 3);
            let (b, c) = b.split_at_mut(len / 4);
            preadv(&opened.plain, &mut [IoSliceMut::new(a), IoSliceMut::new(b), IoSliceMut::new(c)], at)
        }
        Way::Mapped => {
            let end = (at + len as u64).min(model.size.next_multiple_of(PAGE)).min(model.limit());
            let len = end.saturating_sub(at) as usize;
            buf.truncate(len);
            if len > 0 {
                opened.map.read(at, &mut buf);
            }
            compare(at, &what, &buf, model.mapped(at, len))?;
            return Ok(len);
        }
    };
    let n = n.map_err(|e| format!("{what} at {at}: {e}"))?;
    compare(at, &what, &buf[..n.min(buf.len())], model.read(at, len))?;
    Ok(n)
}

/// Until all is there, the end, or an error.
fn fill(len: usize, mut more: impl FnMut(usize) -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
    let mut done = 0;
    while done < len {
        match more(done)? {
            0 => break,
            n => done += n,
        }
    }
    Ok(done)
}

/// A buffer of which a part begins on a page.
pub struct Aligned(pub Vec<u8>, pub usize);

impl Aligned {
    pub fn new(len: usize) -> Self {
        let buf = vec![0xaa; len + PAGE as usize];
        let start = buf.as_ptr().align_offset(PAGE as usize);
        Aligned(buf, start)
    }
}

/// SEEK_DATA and SEEK_HOLE take turns from 0 to the end; what is called a hole holds zeros.
pub fn extents(opened: &Opened, model: &Model) -> Result<()> {
    let fd = &opened.plain;
    let mut at = 0;
    while at < model.size {
        let data = match seek(fd, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => model.size,
            Err(e) => return Err(format!("SEEK_DATA from {at}: {e}")),
        };
        if data < at || data > model.size {
            return Err(format!("SEEK_DATA from {at} gives {data}, the size is {}", model.size));
        }
        if let Some(lost) = model.first_data(at, data) {
            return Err(format!("SEEK_DATA from {at} gives {data}, yet there is data at {lost}"));
        }
        if data == model.size {
            break;
        }
        let hole = seek(fd, SeekFrom::Hole(data)).map_err(|e| format!("SEEK_HOLE from {data}: {e}"))?;
        if hole <= data || hole > model.size {
            return Err(format!("SEEK_HOLE from {data} gives {hole}, the size is {}", model.size));
        }
        at = hole;
    }
    for whence in [SeekFrom::Data(model.size), SeekFrom::Hole(model.size)] {
        if seek(fd, whence) != Err(Errno::NXIO) {
            return Err(format!("{whence:?} at the end is no ENXIO"));
        }
    }
    Ok(())
}

/// Size and times, by descriptor and by name.
pub fn attributes(subject: &Subject) -> Result<Stat> {
    let named = stat(&subject.path)?;
    if let Some(opened) = &subject.opened {
        let by_fd = rustix::fs::fstat(&opened.plain).map_err(|e| format!("fstat: {e}"))?;
        let of = |s: &Stat| (s.st_ino, s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_mode, s.st_nlink);
        if of(&by_fd) != of(&named) {
            return Err(format!("fstat says {:?}, stat {:?}", of(&by_fd), of(&named)));
        }
    }
    if named.st_size as u64 != subject.model.size {
        return Err(format!("the size is {} where {} is due", named.st_size, subject.model.size));
    }
    let mtime = (named.st_mtime, named.st_mtime_nsec as u32);
    match subject.times {
        Some(set) if mtime != set => Err(format!("mtime is {mtime:?} where {set:?} was set")),
        _ => Ok(named),
    }
}

/// A change now makes the modification time now.
pub fn changed_since(stat: &Stat, since: SystemTime) -> Result<()> {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let mtime = stat.st_mtime as f64 + stat.st_mtime_nsec as f64 / 1e9;
    if mtime + TICK < since {
        return Err(format!("mtime is {mtime:.3}, though the file was changed at {since:.3}"));
    }
    Ok(())
}
