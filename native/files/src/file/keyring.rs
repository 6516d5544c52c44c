//! The keys of one file by epoch, derived when first asked for.

use crate::error::Result;
use crate::store::FileId;
use crate::sync::Mutex;
use kmsfs_format::block::FileKey;
use kmsfs_format::keys::DomainKeys;
use std::io;
use std::sync::Arc;

/// More epochs than this in one file (one is drawn per loading and writing) and the oldest are derived anew.
const KEPT: usize = 16;

pub struct Keyring {
    domain: Arc<DomainKeys>,
    file: FileId,
    keys: Mutex<Vec<Arc<FileKey>>>,
}

impl Keyring {
    pub fn new(domain: Arc<DomainKeys>, file: FileId) -> Self {
        Keyring { domain, file, keys: Mutex::new(Vec::new()) }
    }

    pub fn get(&self, epoch: u32) -> Result<Arc<FileKey>> {
        let mut keys = self.keys.lock();
        if let Some(key) = keys.iter().find(|k| k.epoch == epoch) {
            return Ok(key.clone());
        }
        let key = Arc::new(FileKey::derive(&self.domain, &self.file, epoch).map_err(io::Error::from)?);
        if keys.len() == KEPT {
            keys.remove(0);
        }
        keys.push(key.clone());
        Ok(key)
    }
}
