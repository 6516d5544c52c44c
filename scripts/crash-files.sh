#!/bin/sh
# Runs native/files/tests/states for long: npm run crash:files -- [--all] [--seed N] [--slices N] [--from N]
# Without --all a sample of the workloads, a dozen times what CI tries; the default seed is the clock's. With --all every workload and
# every state, in slices: hours. Each slice ends with what it tried; --from goes on at a slice. Exits 1 at the first failure,
# which says how to try that workload alone.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: npm run crash:files -- [--all] [--seed N] [--slices N] [--from N]" >&2; exit 2; }
number() { case $1 in '' | *[!0-9]*) usage ;; esac; }

all='' seed=$(date +%s) slices=100 from=1
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1; shift; continue ;;
    --seed) number "${2:-}"; seed=$2 ;;
    --slices) number "${2:-}"; slices=$2 ;;
    --from) number "${2:-}"; from=$2 ;;
    *) usage ;;
  esac
  shift 2
done

export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
states() {
  cargo test --locked --quiet --manifest-path native/Cargo.toml -p kmsfs-files --test states -- --nocapture
}
export KMSFS_STATES_SEED="$seed"
if [ -z "$all" ]; then
  export KMSFS_STATES_WORKLOADS=2000
  states
  exit
fi
export KMSFS_STATES_ALL=1 KMSFS_STATES_SLICES="$slices"
while [ "$from" -le "$slices" ]; do
  echo "slice $from of $slices"
  KMSFS_STATES_SLICE=$from states
  from=$((from + 1))
done
