//! How the heap deals with large pieces.

/// The most that glibc takes from the heap (HEAP_MAX_SIZE / 2, malloc.c).
#[cfg(target_env = "gnu")]
const LARGEST: libc::c_int = 32 << 20;

/// Requests and records take up to some MiB each, over and over. glibc maps such pieces anew each time, and each page of
/// them, until one of that size was given back once: a fifth to a quarter of the throughput of long reads.
pub fn keep_large() {
    #[cfg(target_env = "gnu")]
    for (what, bytes) in [(libc::M_MMAP_THRESHOLD, LARGEST), (libc::M_TRIM_THRESHOLD, LARGEST)] {
        // SAFETY: mallopt(3) has no precondition; no other thread runs yet. Where it refuses, things are slower.
        unsafe { libc::mallopt(what, bytes) };
    }
}
