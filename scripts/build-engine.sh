#!/bin/sh
# Builds the engine: native/target/release/kmsfs-engine, and stripped, for npm pack, prebuilt/linux-ARCH/kmsfs-engine.
# Static where the C library can be linked so (Debian's libc6-dev has it): one file then runs on every x86-64 Linux.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'build-engine: %s\n' "$*" >&2; }

command -v cargo >/dev/null 2>&1 || { say "cargo is missing: install Rust, see https://rustup.rs"; exit 1; }
command -v cc >/dev/null 2>&1 || { say "cc is missing: install a C compiler (Debian: build-essential)"; exit 1; }

flags=''
probe=$(mktemp)
trap 'rm -f "$probe"' EXIT
if echo 'int main(void) { return 0; }' | cc -static-pie -x c -o "$probe" - 2>/dev/null; then
  flags='-C target-feature=+crt-static'
fi

# For the last step alone: dependencies stay as every other build of the workspace has them.
# Where the mount command looks for it, whatever CARGO_TARGET_DIR says.
# shellcheck disable=SC2086 # a list of words
cargo rustc --release --locked --quiet --manifest-path native/Cargo.toml --target-dir native/target \
  -p kmsfs-engine --bin kmsfs-engine -- $flags

case $(uname -m) in
  x86_64) arch=x64 ;;
  aarch64) arch=arm64 ;;
  *) exit 0 ;;
esac
built=native/target/release/kmsfs-engine
packed=prebuilt/linux-$arch/kmsfs-engine
if [ -n "$flags" ] && command -v strip >/dev/null 2>&1 && { [ ! -e "$packed" ] || [ "$built" -nt "$packed" ]; }; then
  mkdir -p "prebuilt/linux-$arch"
  strip --strip-all -o "$packed.new" "$built"
  # A running engine keeps its file.
  mv "$packed.new" "$packed"
fi
