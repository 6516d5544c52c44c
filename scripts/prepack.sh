#!/bin/sh
# What npm pack puts into the package, built anew; refuses an engine that would not run elsewhere.
set -eu
cd "$(dirname "$0")/.."
scripts/setup.sh >&2

fail() { printf 'prepack: %s\n' "$*" >&2; exit 1; }

engine=prebuilt/linux-x64/kmsfs-engine
[ -x "$engine" ] || fail "$engine is missing: pack on x86-64, with the static C library (Debian: libc6-dev)"
if readelf --program-headers "$engine" | grep -q INTERP; then fail "$engine is not statically linked"; fi

# postpack removes it.
node scripts/shrinkwrap.mjs
