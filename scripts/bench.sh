#!/bin/sh
# Builds what the benchmarks need and runs one of them: run, growth or check, with its options. See docs/bench.md.
set -eu
cd "$(dirname "$0")/.."
what=$1
shift
scripts/setup.sh >&2
npx --no-install tsc -p tsconfig.test.json
cargo build --release --locked --quiet --manifest-path native/Cargo.toml -p kmsfs-bench -p kmsfs-floor
exec node "dist-test/bench/$what.js" "$@"
