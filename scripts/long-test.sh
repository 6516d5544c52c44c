#!/bin/sh
# Builds what long tests need and runs them: long-test.sh NAME PACKAGE FILE ..., the files below dist-test/, the package one
# of native/. Prints the runs with what they counted, and what was wrong in those that failed. Exits as the last that failed.
set -eu
cd "$(dirname "$0")/.."
name=$1 package=$2
shift 2

[ "$(id -u)" = 0 ] || { echo "$name: mounting needs root: sudo npm run $name" >&2; exit 20; }
scripts/setup.sh
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
cargo build --locked --quiet --manifest-path native/Cargo.toml --target-dir native/target -p "$package"
npx --no-install tsc -p tsconfig.test.json

status=0
for file in "$@"; do
  out=$(mktemp "/var/tmp/kmsfs-$name-XXXXXX.tap")
  failed=0
  node "dist-test/$file" >"$out" || failed=$?
  grep -E '^(ok|not ok|    ok|    not ok|# |    # [0-9])' "$out" || true
  if [ "$failed" = 0 ]; then rm "$out"; else echo "$name: all that was said is in $out" >&2; status=$failed; fi
done
exit "$status"
