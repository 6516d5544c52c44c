#!/bin/sh
# The unit tests that Miri can run, for undefined behaviour: npm run miri. Slow, and not part of CI: it needs Rust's nightly
# toolchain.
#
#   kmsfs-format     layout; the other modules call aws-lc, which is C and assembly
#   kmsfs-files      all but what is too slow: four tests of the cache with tens of thousands of blocks, whose code is that of
#                    the others, and ranges, which has no unsafe code; its tests/ call aws-lc
#   kmsfs-session    all: reading requests, writing replies, counters; its tests/ mount
#   kmsfs-namespace  acl; the rest is system calls that Miri does not have, and aws-lc
#   kmsfs-fuzz       all
#
# Miri has neither mlock, madvise nor explicit_bzero: under cfg(miri) memory is not locked, and wiped by plain writes.
set -eu
cd "$(dirname "$0")/.."
scripts/need-nightly.sh miri miri rust-src

# Tests ask the clock and the environment.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS-}"
export KMSFS_FUZZ_CASES="${KMSFS_FUZZ_CASES-4}"

unit_tests() {
  crate=$1
  shift
  cargo +nightly miri test --locked --quiet --manifest-path native/Cargo.toml -p "$crate" --lib -- "$@" || failed=1
}
failed=0
unit_tests kmsfs-format layout::
unit_tests kmsfs-files --skip a_long_scan_leaves --skip nodes_stay_while --skip nodes_that_nobody_uses \
  --skip stays_within_its_bound --skip ranges::
unit_tests kmsfs-session
unit_tests kmsfs-namespace acl::
unit_tests kmsfs-fuzz
exit "$failed"
