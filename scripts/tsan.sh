#!/bin/sh
# Tests with many threads under ThreadSanitizer: npm run tsan. Not part of CI: it needs Rust's nightly toolchain, and builds
# the standard library again.
#
#   kmsfs-files      the cache, the log, reading ahead, and threads: writers and readers beside committer and checkpoint
#   kmsfs-namespace  concurrency: the same names and inodes from many threads
#   kmsfs-session    real mounts: the threads that serve requests, the watch and the keepers
#
# All Rust code is instrumented, std and parking_lot too; what aws-lc's C and assembly read and write is not seen. Nothing
# is suppressed. Not tests/schedules.rs: shuttle runs its threads as coroutines of one.
set -eu
cd "$(dirname "$0")/.."
scripts/need-nightly.sh tsan rust-src
[ "$(id -u)" = 0 ] || { echo "tsan: mounting needs root: sudo npm run tsan" >&2; exit 20; }

target=$(rustc +nightly --print host-tuple)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR-$PWD/native/target/tsan}"
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
# With --target, build scripts and procedural macros are built without it.
export RUSTFLAGS="-Zsanitizer=thread ${RUSTFLAGS-}"
# A test goes on after a race, so that all are printed, and fails at its end.
export TSAN_OPTIONS="halt_on_error=0 exitcode=66 ${TSAN_OPTIONS-}"

exec cargo +nightly test --locked -Zbuild-std --target "$target" --manifest-path native/Cargo.toml --no-fail-fast \
  -p kmsfs-files -p kmsfs-namespace -p kmsfs-session \
  --lib --test threads --test ahead --test log --test concurrency --test mount --test odd_requests
