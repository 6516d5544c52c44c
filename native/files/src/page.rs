//! Plaintext of one block or node on the heap, wiped when dropped.

use crate::wipe::wipe;
use std::ops::{Deref, DerefMut};

/// Bytes that never outlive their use in readable form. The engine locks its whole address space where it may.
pub struct Page(Box<[u8]>);

impl Page {
    pub fn zeroed(len: usize) -> Self {
        Page(vec![0; len].into_boxed_slice())
    }
    pub fn copy_of(bytes: &[u8]) -> Self {
        Page(bytes.into())
    }
}

impl Deref for Page {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Page {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}
