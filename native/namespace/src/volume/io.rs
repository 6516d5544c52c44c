//! Reading, writing and flushing open files.

use super::Volume;
use crate::fault::{Fault, Result};
use crate::ops::{Handle, Writing};
use rustix::fs::FallocateFlags;

impl Volume {
    pub(super) fn read_file(&self, handle: Handle, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let open = self.open_handle(handle)?;
        Ok(if open.direct { open.file.read(offset, buf) } else { open.file.read_for_kernel(offset, buf) }?)
    }

    pub(super) fn write_file(&self, handle: Handle, offset: u64, data: &[u8], how: Writing) -> Result<usize> {
        self.writable()?;
        let open = self.open_handle(handle)?;
        if how.kill_suidgid {
            self.drop_privileges(&open.node, Some(how.by))?;
        }
        let written = if open.append && !how.from_cache {
            open.file.append(data)?.1
        } else {
            if how.from_cache {
                open.file.write_back(offset, data)?;
            } else {
                open.file.write(offset, data)?;
            }
            data.len()
        };
        open.home.touch();
        Ok(written)
    }

    pub(super) fn flush_file(&self, handle: Handle) -> Result<()> {
        let open = self.open_handle(handle)?;
        // What has no name is gone at the last close: not worth the log.
        if open.writable && !open.home.is_orphan() {
            open.file.commit()?;
        }
        Ok(())
    }

    pub(super) fn sync_file(&self, handle: Handle, data_only: bool) -> Result<()> {
        let open = self.open_handle(handle)?;
        if self.backing.closed_for_writing() {
            return Ok(());
        }
        Ok(open.file.sync(data_only)?)
    }

    pub(super) fn allocate(&self, handle: Handle, mode: u32, offset: u64, length: u64) -> Result<()> {
        self.writable()?;
        let open = self.open_handle(handle)?;
        let file = &open.file;
        let end = offset.checked_add(length).filter(|end| *end <= self.files.max_size());
        let flags = FallocateFlags::from_bits_retain(mode);
        let keep_size = flags.contains(FallocateFlags::KEEP_SIZE);
        match flags - FallocateFlags::KEEP_SIZE {
            f if f == FallocateFlags::PUNCH_HOLE && keep_size => file.punch(offset, length)?,
            f if f.is_empty() || f == FallocateFlags::ZERO_RANGE => {
                if end.is_none() {
                    return Err(Fault::errno(libc::EFBIG));
                }
                if !f.is_empty() {
                    file.punch(offset, length)?;
                }
                file.allocate(offset, length, keep_size)?;
            }
            _ => return Err(Fault::errno(libc::EOPNOTSUPP)),
        }
        self.drop_privileges(&open.node, None)?;
        open.home.touch();
        Ok(())
    }

    pub(super) fn seek(&self, handle: Handle, offset: u64, whence: u32) -> Result<u64> {
        let open = self.open_handle(handle)?;
        let data = match whence as i32 {
            libc::SEEK_DATA => true,
            libc::SEEK_HOLE => false,
            _ => return Err(Fault::errno(libc::EINVAL)),
        };
        Ok(open.file.seek(offset, data)?)
    }
}
