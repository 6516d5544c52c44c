#!/bin/sh
# need-nightly.sh NAME COMPONENT...: fails, and says what to do, unless Rust's nightly toolchain is there with these.
set -eu
name=$1
shift
there=$(rustup component list --toolchain nightly --installed 2>/dev/null) || there=
install="rustup toolchain install nightly"
missing=
for component; do
  install="$install --component $component"
  printf '%s\n' "$there" | grep -q "^$component" || missing=1
done
[ -z "$missing" ] || { echo "$name: needs Rust's nightly toolchain with $*: $install" >&2; exit 1; }
