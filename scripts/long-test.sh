#!/bin/sh
# Builds what a long test of native/torture needs and runs it: long-test.sh NAME FILE, the file below dist-test/. Prints the
# runs, and what was wrong in those that failed.
set -eu
cd "$(dirname "$0")/.."
name=$1 file=$2

[ "$(id -u)" = 0 ] || { echo "$name: mounting needs root: sudo npm run $name" >&2; exit 20; }
scripts/setup.sh
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
cargo build --locked --quiet --manifest-path native/Cargo.toml --target-dir native/target -p kmsfs-torture
npx --no-install tsc -p tsconfig.test.json

out=$(mktemp "/var/tmp/kmsfs-$name-XXXXXX.tap")
status=0
node "dist-test/$file" >"$out" || status=$?
grep -E '^(ok|not ok|    ok|    not ok|# )' "$out" || true
if [ "$status" = 0 ]; then rm "$out"; else echo "$name: all that was said is in $out" >&2; fi
exit "$status"
