//! The segments of the commit log: preallocated files in `.kmsfs/log`.

use super::{path, Backing};
use kmsfs_files::store::Segment;
use rustix::fs::{fallocate, fstat, fsync, seek, FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

struct LogSegment(OwnedFd);

impl Segment for LogSegment {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match rustix::io::pread(&self.0, &mut buf[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        super::home::write_all(&self.0, buf, offset)
    }
    fn write_ahead(&self, from: u64, most: u64) -> io::Result<Option<u64>> {
        let stat = fstat(&self.0)?;
        let size = stat.st_size as u64;
        if (stat.st_blocks as u64) * 512 < size {
            // Not set aside, or the file system keeps no zeros: they would not stay.
            return Ok(None);
        }
        // The descriptor's position is nobody else's.
        let hole = match seek(&self.0, SeekFrom::Hole(from)) {
            Ok(at) if at < size => at,
            Ok(_) | Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let end = match seek(&self.0, SeekFrom::Data(hole)) {
            Ok(at) => at,
            Err(Errno::NXIO) => size,
            Err(e) => return Err(e.into()),
        };
        let end = end.min(hole.saturating_add(most));
        zero(&self.0, hole, end)?;
        Ok(Some(end))
    }
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.0)?)
    }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Nothing but a file is a segment (docs/format.md §9).
fn regular(dir: &OwnedFd, name: &str, access: OFlags) -> io::Result<OwnedFd> {
    path::regular(dir, name, access, 0)?.ok_or_else(|| wrong(format!(".kmsfs/log/{name} is no regular file")))
}

impl Backing {
    fn log_dir(&self) -> io::Result<OwnedFd> {
        match self.existing_log_dir()? {
            Some(dir) => Ok(dir),
            None if self.read_only => Err(Errno::NOENT.into()),
            None => {
                rustix::fs::mkdirat(&self.special, "log", Mode::from_raw_mode(0o700))?;
                fsync(&self.special)?;
                Ok(path::open(&self.special, "log", OFlags::RDONLY | OFlags::DIRECTORY, 0)?)
            }
        }
    }

    fn existing_log_dir(&self) -> io::Result<Option<OwnedFd>> {
        match path::open(&self.special, "log", OFlags::RDONLY | OFlags::DIRECTORY, 0) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(wrong(".kmsfs/log is no directory".into())),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether the log was ever begun: some segment has a header.
    pub fn log_is_begun(&self) -> io::Result<bool> {
        let Some(dir) = self.existing_log_dir()? else { return Ok(false) };
        for (name, _) in super::walk::names(&dir)? {
            let name = String::from_utf8_lossy(&name).into_owned();
            if !name.ends_with(".seg") {
                continue;
            }
            let mut header = [0; 512];
            let fd = regular(&dir, &name, OFlags::RDONLY)?;
            let got = rustix::io::pread(fd, &mut header, 0)?;
            if header[..got].iter().any(|b| *b != 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the segment in `slot`, or makes it: it gets its name when its room is allocated and durable.
    pub fn segment(&self, slot: u32, size: u64) -> io::Result<Box<dyn Segment>> {
        let dir = self.log_dir()?;
        let name = format!("{slot:04}.seg");
        let access = if self.read_only { OFlags::RDONLY } else { OFlags::RDWR };
        let fd = match regular(&dir, &name, access) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !self.read_only => {
                let temporary = format!("{name}.new");
                let fd = path::open(&dir, &temporary, OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC, 0o600)?;
                match fallocate(&fd, FallocateFlags::empty(), 0, size) {
                    Ok(()) => {}
                    Err(Errno::OPNOTSUPP) => zero(&fd, 0, size)?,
                    Err(e) => return Err(e.into()),
                }
                fsync(&fd)?;
                rustix::fs::renameat(&dir, &temporary, &dir, &name)?;
                fsync(&dir)?;
                fd
            }
            other => other?,
        };
        if fstat(&fd)?.st_size as u64 != size {
            return Err(wrong(format!(".kmsfs/log/{name} is not a file of {size} bytes")));
        }
        Ok(Box::new(LogSegment(fd)))
    }
}

fn zero(fd: &OwnedFd, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; 1 << 16];
    let mut at = start;
    while at < end {
        let len = zeros.len().min((end - at) as usize);
        super::home::write_all(fd, &zeros[..len], at)?;
        at += len as u64;
    }
    Ok(())
}
