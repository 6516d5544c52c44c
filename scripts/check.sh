#!/bin/sh
# What has to hold before a change goes in: style, types, lints, and both suites.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh
npx --no-install biome check .
npx --no-install tsc -p tsconfig.test.json --noEmit
cargo fmt --all --check --manifest-path native/Cargo.toml
cargo clippy --locked --workspace --all-targets --quiet --manifest-path native/Cargo.toml -- -D warnings
cargo clippy --locked --workspace --features kmsfs-files/shuttle --test schedules --quiet --manifest-path native/Cargo.toml -- -D warnings
exec scripts/test.sh
