//! Plaintext of one block or node on the heap, wiped when dropped.

use crate::wipe::wipe;
use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};

/// Pages kept for the next use come to no more bytes than this: what a request or two take.
const KEPT_BYTES: usize = 2 << 20;
/// The smallest block; a shorter page is of a file's end.
const SHORTEST_KEPT: usize = 4096;

/// Wiped pages, all of one length: the heap gives and takes such sizes slower than they are filled. Locked for a push or a
/// pop only, by parking_lot's lock also where `sync` has another, since nothing waits inside.
static KEPT: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// Bytes that never outlive their use in readable form. The engine locks its whole address space where it may.
pub struct Page(Box<[u8]>);

impl Page {
    pub fn zeroed(len: usize) -> Self {
        Page(kept(len).unwrap_or_else(|| vec![0; len].into_boxed_slice()))
    }
    pub fn copy_of(bytes: &[u8]) -> Self {
        match kept(bytes.len()) {
            Some(mut page) => {
                page.copy_from_slice(bytes);
                Page(page)
            }
            None => Page(bytes.into()),
        }
    }
}

/// A wiped page of `len` bytes.
fn kept(len: usize) -> Option<Box<[u8]>> {
    let mut kept = KEPT.lock();
    if kept.last().is_some_and(|page| page.len() == len) {
        kept.pop()
    } else {
        None
    }
}

/// Keeps `page`, which is wiped, unless there are enough. A process has one volume, so one length of blocks; where it has
/// two, as in tests, those of the other length go.
fn keep(page: Box<[u8]>) {
    let len = page.len();
    if len < SHORTEST_KEPT || !len.is_power_of_two() {
        return;
    }
    let mut kept = KEPT.lock();
    if kept.last().is_some_and(|other| other.len() != len) {
        kept.clear();
    }
    if (kept.len() + 1) * len <= KEPT_BYTES {
        kept.push(page);
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
        keep(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_zero_or_the_copy_whatever_was_in_them_before() {
        for len in [4096, 100, 8192, 4096, 65536, 4096] {
            for _ in 0..3 {
                let (mut zero, copy) = (Page::zeroed(len), Page::copy_of(&vec![7; len]));
                assert!(zero.iter().all(|b| *b == 0) && copy.iter().all(|b| *b == 7));
                zero.fill(9);
            }
        }
        assert!(KEPT.lock().iter().all(|page| page.iter().all(|b| *b == 0)));
    }

    #[test]
    fn no_more_pages_are_kept_than_a_few_requests_take() {
        let many: Vec<Page> = (0..2 * KEPT_BYTES / 4096).map(|_| Page::zeroed(4096)).collect();
        drop(many);
        let kept = KEPT.lock();
        assert!(kept.iter().map(|page| page.len()).sum::<usize>() <= KEPT_BYTES);
    }
}
