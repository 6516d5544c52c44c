//! A global allocator that tells what a piece of code has had at most, on its own thread or in the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread has taken and not given back, and the most of them.
    static HELD: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// For `#[global_allocator]`.
pub struct Counting;

fn count(bytes: i64) {
    // Nothing is counted on a thread that is ending.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

// SAFETY: every call is the system allocator's own, and counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

impl Counting {
    /// What `work` gives, and the most bytes that its thread held meanwhile beyond what it held before.
    pub fn most<R>(work: impl FnOnce() -> R) -> (R, i64) {
        let (before, outer) = HELD.get();
        HELD.set((before, before));
        let result = work();
        let (now, most) = HELD.get();
        HELD.set((now, outer.max(most)));
        (result, most - before)
    }
}
