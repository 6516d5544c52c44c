//! Reading a backing file past the kernel's page cache, so that what is verified is what the disk holds.

use super::path;
use kmsfs_files::Medium;
use rustix::fs::{fadvise, Advice, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What O_DIRECT wants offsets, lengths and memory to be multiples of, at most.
const ALIGN: usize = 4096;
/// Bytes of one read.
const PIECE: usize = 1 << 20;

pub struct DirectFile<'a> {
    fd: OwnedFd,
    direct: bool,
    /// With room to align. Sealed bytes only.
    buffer: &'a mut Vec<u8>,
}

impl<'a> DirectFile<'a> {
    /// Opens what `fd` (O_PATH will do) refers to. A file system that knows no O_DIRECT is asked to drop its pages.
    /// `buffer` is there to be used for one file after the other.
    pub fn open(fd: impl AsFd, buffer: &'a mut Vec<u8>) -> io::Result<Self> {
        let path = path::of_fd(fd);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        buffer.resize(PIECE + 2 * ALIGN, 0);
        match rustix::fs::open(&path, flags | OFlags::DIRECT, Mode::empty()) {
            Ok(fd) => Ok(DirectFile { fd, direct: true, buffer }),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                Ok(DirectFile { fd: rustix::fs::open(&path, flags, Mode::empty())?, direct: false, buffer })
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Reads up to a piece at `offset`; the bytes read stand at the returned place of the buffer.
    fn read_piece(&mut self, offset: u64, want: usize) -> io::Result<(usize, usize)> {
        let start = self.buffer.as_ptr().align_offset(ALIGN).min(ALIGN);
        let len = want.min(PIECE).next_multiple_of(ALIGN);
        if !self.direct {
            // Advice: where it is not taken, the page cache answers.
            let _ = fadvise(&self.fd, offset, std::num::NonZeroU64::new(len as u64), Advice::DontNeed);
        }
        loop {
            let room = self.buffer.get_mut(start..start + len).unwrap_or_default();
            match rustix::io::pread(&self.fd, room, offset) {
                Ok(n) => return Ok((start, n)),
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Medium for DirectFile<'_> {
    fn read_at(&mut self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            let want = buf.len() - done;
            let (start, got) = self.read_piece(offset + done as u64, want)?;
            let take = got.min(want);
            let (Some(out), Some(bytes)) = (buf.get_mut(done..done + take), self.buffer.get(start..start + take))
            else {
                break;
            };
            out.copy_from_slice(bytes);
            done += take;
            // A short read is the end; one that ends off the alignment could not be continued anyway.
            if got < want.min(PIECE) {
                break;
            }
        }
        Ok(done)
    }
}
