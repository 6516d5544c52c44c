#!/bin/sh
# Makes a checkout ready: what Debian lacks, npm's packages, TypeScript to dist/, the engine. Quick when nothing is to do.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

missing=''
command -v fusermount3 >/dev/null 2>&1 || missing="$missing fuse3"
command -v setfattr >/dev/null 2>&1 || missing="$missing attr"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
command -v setfacl >/dev/null 2>&1 || missing="$missing acl"
command -v cc >/dev/null 2>&1 || missing="$missing build-essential"
if [ -n "$missing" ]; then
  command -v apt-get >/dev/null 2>&1 || fail "install these packages first:$missing"
  [ "$(id -u)" = 0 ] || fail "run as root: apt-get install -y$missing"
  say "apt-get install$missing"
  # shellcheck disable=SC2086 # a list of words
  apt-get install -y -qq $missing >/dev/null || { apt-get update -qq && apt-get install -y -qq $missing >/dev/null; }
fi

command -v node >/dev/null 2>&1 || fail "Node 20 or later is missing"
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' || fail "Node $(node -v) is too old: 20 or later"
command -v cargo >/dev/null 2>&1 || fail "cargo is missing: install Rust, see https://rustup.rs"

# One set-up at a time: two would remove each other's node_modules.
exec 9>"${TMPDIR:-/tmp}/kmsfs-setup.$(id -u).lock"
flock 9

stamp=node_modules/.kmsfs-setup
if [ ! -f "$stamp" ] || ! cmp -s package-lock.json "$stamp"; then
  say "npm ci"
  npm ci --no-audit --no-fund --loglevel=error >&2
  # tap's test class without the TypeScript plug-in, as .taprc says
  npx --no-install tap build >/dev/null 2>&1
  cp package-lock.json "$stamp"
fi

node scripts/bundle.mjs
chmod +x dist/cli/main.js
say "cargo build (engine)"
scripts/build-engine.sh
# Manual pages, completions and notices, as the package carries them
node dist/manual/write.js share
node scripts/third-party.mjs THIRD-PARTY-NOTICES.txt
