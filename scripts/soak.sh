#!/bin/sh
# npm run soak -- [--minutes N] [--seed N]: see bench/soak.ts. Needs root.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh >&2
npx --no-install tsc -p tsconfig.test.json
export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
cargo build --locked --quiet --manifest-path native/Cargo.toml --target-dir native/target -p kmsfs-torture
exec node dist-test/bench/soak.js "$@"
