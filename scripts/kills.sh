#!/bin/sh
# Runs test/faults/kills.test.ts for long: npm run kills -- [--minutes 30] [--seed N]. The default first seed is the clock's.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: npm run kills -- [--minutes N] [--seed N]" >&2; exit 2; }

KMSFS_KILLS_MINUTES=30 KMSFS_KILLS_SEED=$(date +%s)
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || usage
  case $1 in
    --minutes) KMSFS_KILLS_MINUTES=$2 ;;
    --seed) KMSFS_KILLS_SEED=$2 ;;
    *) usage ;;
  esac
  shift 2
done
export KMSFS_KILLS_MINUTES KMSFS_KILLS_SEED
exec scripts/long-test.sh kills kmsfs-torture test/faults/kills.test.js
