//! A file under test: its open descriptors, its mapping, its model.

use super::model::Model;
use crate::Result;
use rustix::fs::{open, Mode, OFlags, Stat};
use rustix::mm::{mmap, msync, munmap, MapFlags, MsyncFlags, ProtFlags};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub struct Opened {
    pub plain: OwnedFd,
    pub direct: OwnedFd,
    pub append: OwnedFd,
    /// The model's window, MAP_SHARED.
    pub map: Map,
}

pub struct Subject {
    pub path: PathBuf,
    pub model: Model,
    pub opened: Option<Opened>,
    /// Whether the descriptor that is mapped is the one with O_APPEND: what is mapped has its place all the same.
    maps_appender: bool,
    /// What was set and not changed since.
    pub times: Option<(i64, u32)>,
}

pub struct Map {
    address: *mut u8,
    len: usize,
    base: u64,
}

impl Map {
    fn new(fd: &OwnedFd, base: u64, len: usize) -> Result<Map> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe { mmap(std::ptr::null_mut(), len, protection, flags, fd, base) };
        Ok(Map { address: address.map_err(|e| format!("mmap: {e}"))?.cast(), len, base })
    }

    /// The caller stays within the pages that the file has: others raise SIGBUS.
    pub fn read(&self, at: u64, out: &mut [u8]) {
        let start = (at - self.base) as usize;
        assert!(start + out.len() <= self.len);
        // SAFETY: within the mapping; nobody else writes to the file meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(self.address.add(start), out.as_mut_ptr(), out.len()) }
    }

    /// As `read`.
    pub fn write(&self, at: u64, data: &[u8]) {
        let start = (at - self.base) as usize;
        assert!(start + data.len() <= self.len);
        // SAFETY: as in `read`.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.address.add(start), data.len()) }
    }

    pub fn sync(&self) -> Result<()> {
        // SAFETY: exactly the mapping.
        unsafe { msync(self.address.cast(), self.len, MsyncFlags::SYNC) }.map_err(|e| format!("msync: {e}"))
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping; no reference into it outlives a call.
        let _ = unsafe { munmap(self.address.cast(), self.len) };
    }
}

impl Subject {
    pub fn new(path: PathBuf, base: u64, window: u64, maps_appender: bool) -> Self {
        Subject { path, model: Model::new(base, window), opened: None, maps_appender, times: None }
    }

    pub fn open(&mut self, extra: OFlags) -> Result<()> {
        let open = |flags| {
            let mode = Mode::from_raw_mode(0o600);
            open(&self.path, flags, mode).map_err(|e| format!("open({:?}, {flags:?}): {e}", self.path))
        };
        let plain = open(OFlags::RDWR | extra)?;
        let append = open(OFlags::RDWR | OFlags::APPEND)?;
        let len = (self.model.limit() - self.model.base) as usize;
        let map = Map::new(if self.maps_appender { &append } else { &plain }, self.model.base, len)?;
        self.opened = Some(Opened { direct: open(OFlags::RDWR | OFlags::DIRECT)?, append, plain, map });
        Ok(())
    }

    pub fn opened(&self) -> Result<&Opened> {
        self.opened.as_ref().ok_or_else(|| "the file is not open".into())
    }
}

pub fn stat(path: &Path) -> Result<Stat> {
    rustix::fs::stat(path).map_err(|e| format!("stat({path:?}): {e}"))
}
