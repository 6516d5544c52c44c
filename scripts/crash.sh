#!/bin/sh
# Runs test/crash/ for long: npm run crash -- [--minutes 30] [--all] [--seed N] [--fs ext4|xfs]
# Power cuts under random workloads, each round with the next seed, the first the clock's; --all: under all workloads of
# up to three operations, from the first to the last (hours). Prints one line a run.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: npm run crash -- [--minutes N] [--all] [--seed N] [--fs ext4|xfs]" >&2; exit 2; }

KMSFS_CRASH_MINUTES=30 KMSFS_CRASH_SEED=$(date +%s)
while [ $# -gt 0 ]; do
  if [ "$1" = --all ]; then
    KMSFS_CRASH_ALL=1; export KMSFS_CRASH_ALL
    shift
    continue
  fi
  [ $# -gt 1 ] || usage
  case $1 in
    --minutes) KMSFS_CRASH_MINUTES=$2 ;;
    --seed) KMSFS_CRASH_SEED=$2 ;;
    --fs) KMSFS_CRASH_FS=$2; export KMSFS_CRASH_FS ;;
    *) usage ;;
  esac
  shift 2
done
export KMSFS_CRASH_MINUTES KMSFS_CRASH_SEED
[ "$(id -u)" = 0 ] || { echo "crash: mounting needs root: sudo npm run crash" >&2; exit 20; }

scripts/setup.sh
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
cargo build --locked --quiet --manifest-path native/Cargo.toml --target-dir native/target -p kmsfs-crash
npx --no-install tsc -p tsconfig.test.json

status=0
for test in power-cut sqlite; do
  # --all is about the workloads of power-cut alone.
  [ "$test" = power-cut ] || [ -z "${KMSFS_CRASH_ALL:-}" ] || continue
  out=$(mktemp /var/tmp/kmsfs-crash-XXXXXX.tap)
  failed=0
  node "dist-test/test/crash/$test.test.js" >"$out" || failed=$?
  # The runs, how many states each had, and what was wrong in those that failed.
  grep -E '^(ok|not ok|    not ok|# |    # [0-9])' "$out" || true
  if [ "$failed" = 0 ]; then rm "$out"; else echo "crash: all that was said is in $out" >&2; status=$failed; fi
done
exit "$status"
