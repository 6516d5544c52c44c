#!/bin/sh
# Everything in this repository: cargo test and tap. The last line counts what both runners said.
set -u
cd "$(dirname "$0")/.."

# The last line is a count whatever happens.
give_up() {
  printf 'test: %s failed\n0 passed, 1 failed\n' "$1"
  exit 1
}

scripts/setup.sh || give_up "the set-up"
# A missing program fails the run where it matters (CI is set), and the rest is still tested.
programs=0
scripts/setup-tests.sh || programs=1
[ ! -x scripts/setup-moto.sh ] || scripts/setup-moto.sh || give_up "the set-up of moto"
npx --no-install tsc -p tsconfig.test.json || give_up "compiling the tests"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$programs" >"$work/programs.status"

# Optimized, since the model tests seal gigabytes, yet with overflow checks and without the release's slow linking.
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0

# To a file and to the screen; a pipe's own status is tee's.
cargo_tests() {
  cargo test --locked --workspace --no-fail-fast --manifest-path native/Cargo.toml
  all=$?
  # With locks that a scheduler of the test controls: the same workspace, so that only kmsfs-files is built again.
  cargo test --locked --workspace --features kmsfs-files/shuttle --test schedules --manifest-path native/Cargo.toml
  schedules=$?
  return $((all ? all : schedules))
}
( cargo_tests 2>&1; echo $? >"$work/cargo.status" ) | tee "$work/cargo.out"
( npx --no-install tap run --reporter=tap 2>&1; echo $? >"$work/tap.status" ) | tee "$work/tap.out" | grep --line-buffered -E '^(not ok|ok|Bail out|# )|^ +not ok' || true

node scripts/count-tests.mjs "$work"
