//! copy_file_range(2), through a bounded buffer.

use super::Volume;
use crate::fault::{Fault, Result};
use crate::ops::Handle;

/// Bytes read and written at a time.
const PIECE: u64 = 1 << 20;
/// The most that one request copies, in bytes: nobody can interrupt it, and callers ask again for the rest.
const MOST: u64 = 128 << 20;

impl Volume {
    /// Copies at most `length` bytes; fewer when they are very many, at the end of the source, or when an error follows
    /// what was copied.
    pub(super) fn copy(&self, from: (Handle, u64), to: (Handle, u64), length: u64) -> Result<u64> {
        self.writable()?;
        let (source, target) = (self.open_handle(from.0)?, self.open_handle(to.0)?);
        let length = length.min(MOST);
        let ends = from.1.checked_add(length).zip(to.1.checked_add(length));
        let Some((from_end, to_end)) = ends else { return Err(Fault::errno(libc::EOVERFLOW)) };
        if source.node.id == target.node.id && from.1 < to_end && to.1 < from_end {
            return Err(Fault::errno(libc::EINVAL));
        }
        self.drop_privileges(&target.node, None)?;
        let mut buf = vec![0; length.min(PIECE) as usize];
        let mut done = 0;
        while done < length {
            let want = (length - done).min(PIECE) as usize;
            let copied = source.file.read(from.1 + done, &mut buf[..want]).and_then(|n| {
                if n > 0 {
                    target.file.write(to.1 + done, &buf[..n])?;
                }
                Ok(n)
            });
            match copied {
                Ok(0) => break,
                Ok(n) => done += n as u64,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e.into()),
            }
        }
        if done > 0 {
            target.home.touch();
        }
        Ok(done)
    }
}
