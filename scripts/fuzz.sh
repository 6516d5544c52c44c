#!/bin/sh
# Damaged inputs against both implementations: npm run fuzz -- --minutes 15 [--seed N]
# Every fuzzing test in turn, each round with the next seed; the default first seed is the clock's. A failure says its seed
# and the smallest input that still fails.
set -eu
cd "$(dirname "$0")/.."

usage() { echo "usage: npm run fuzz -- [--minutes N] [--seed N]" >&2; exit 2; }

minutes=15 seed=$(date +%s)
while [ $# -gt 0 ]; do
  [ $# -gt 1 ] || usage
  case $2 in *[!0-9]* | '') usage ;; esac
  case $1 in
    --minutes) minutes=$2 ;;
    --seed) seed=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[ "$(id -u)" = 0 ] || { echo "fuzz: damaging backing directories needs root: sudo npm run fuzz" >&2; exit 20; }

scripts/setup.sh
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
npx --no-install tsc -p tsconfig.test.json

out=$(mktemp /var/tmp/kmsfs-fuzz-XXXXXX.out)
failed=0

# Says what ran; where it failed, all that it said of the failure.
attempt() {
  what=$1
  shift
  if "$@" >"$out" 2>&1; then
    echo "ok: $what"
  else
    failed=1
    echo "FAILED: $what"
    cat "$out"
  fi
}
native() {
  attempt "$*" cargo test --locked --quiet --manifest-path native/Cargo.toml --target-dir native/target "$@"
}

end=$(($(date +%s) + minutes * 60))
while :; do
  export KMSFS_FUZZ_SEED="$seed" KMSFS_ODD_FIRST="$seed"
  echo "KMSFS_FUZZ_SEED=$seed"
  for crate in format files namespace; do native -p "kmsfs-$crate" --test fuzz; done
  native -p kmsfs-session --lib --test odd_requests
  native -p kmsfs-engine --bin kmsfs-engine --test fuzz
  for test in dist-test/test/fuzz/*.test.js; do
    TAP_TIMEOUT=600 attempt "$test" node "$test"
  done
  seed=$((seed + 1))
  [ "$failed" = 0 ] && [ "$(date +%s)" -lt "$end" ] || break
done
rm -f "$out"
exit "$failed"
