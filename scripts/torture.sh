#!/bin/sh
# Runs test/posix/torture.test.ts for long: npm run torture -- --minutes 30 [--seed N] [--ops N] [--only KIND]
# Every kind in turn, each round with the next seed; the default first seed is the clock's. Prints one line a run.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: npm run torture -- [--minutes N] [--seed N] [--ops N] [--only KIND]" >&2; exit 2; }

KMSFS_TORTURE_MINUTES=30 KMSFS_TORTURE_SEED=$(date +%s)
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || usage
  case $1 in
    --minutes) KMSFS_TORTURE_MINUTES=$2 ;;
    --seed) KMSFS_TORTURE_SEED=$2 ;;
    --ops) KMSFS_TORTURE_OPS=$2; export KMSFS_TORTURE_OPS ;;
    --only) KMSFS_TORTURE_ONLY=$2; export KMSFS_TORTURE_ONLY ;;
    *) usage ;;
  esac
  shift 2
done
export KMSFS_TORTURE_MINUTES KMSFS_TORTURE_SEED
exec scripts/long-test.sh torture kmsfs-torture test/posix/torture.test.js
