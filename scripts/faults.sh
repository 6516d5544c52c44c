#!/bin/sh
# Runs test/faults/faults.test.ts on every case, with and without the kernel's write cache: npm run faults
# [-- --seed N --cases N --only CASE]. Hours on a small machine. --only takes what a failure printed after --fault.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: npm run faults -- [--seed N] [--cases N] [--only CASE]" >&2; exit 2; }

KMSFS_FAULTS_CASES=0
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || usage
  case $1 in
    --seed) KMSFS_FAULTS_SEED=$2; export KMSFS_FAULTS_SEED ;;
    --cases) KMSFS_FAULTS_CASES=$2 ;;
    --only) KMSFS_FAULTS_ONLY=$2; export KMSFS_FAULTS_ONLY ;;
    *) usage ;;
  esac
  shift 2
done
export KMSFS_FAULTS_CASES
exec scripts/long-test.sh faults kmsfs-torture test/faults/faults.test.js
