#![allow(clippy::unwrap_used, clippy::panic)]
//! Secrets are locked one by one, unless all memory is. A process of its own: the state is the process's.

use kmsfs_format::keys::{all_memory_is_locked, Secret};

/// Enough for pages that nothing else lies on.
const LARGE: usize = 1 << 20;

fn locked_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn secret() -> Secret<LARGE> {
    let mut bytes = vec![7u8; LARGE].into_boxed_slice();
    Secret::take(bytes.as_mut().try_into().unwrap())
}

#[test]
fn a_secret_is_locked_unless_all_memory_is() {
    let before = locked_bytes();
    let kept = secret();
    let with_one = locked_bytes();
    assert!(with_one >= before + LARGE, "{before} bytes locked, then {with_one}");
    all_memory_is_locked();
    let other = secret();
    assert_eq!(locked_bytes(), with_one, "not by a call of its own");
    assert_eq!((kept.expose()[LARGE - 1], other.expose()[0]), (7, 7));
}
