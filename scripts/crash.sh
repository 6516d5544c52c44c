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
set -- test/crash/power-cut.test.js
# --all is about the workloads of power-cut alone.
[ -n "${KMSFS_CRASH_ALL:-}" ] || set -- "$@" test/crash/sqlite.test.js
exec scripts/long-test.sh crash kmsfs-crash "$@"
