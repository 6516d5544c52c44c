#!/bin/bash
# Times the main job on this machine, beside a plain directory of the same disk: a 1 GiB file and a tree of 20,000 small
# files, written, re-mounted, compared, verified. Needs root and what scripts/setup.sh sets up.
#
#     bench/main-job.sh [DIRECTORY ON THE DISK TO MEASURE]      default /var/tmp
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh 2>/dev/null
place=$(mktemp -d "${1:-/var/tmp}/kmsfs-bench-XXXXXX")
export KMSFS_ETC="$place/etc" KMSFS_RUN="$place/run" KMSFS_LOG="$place/log"
kmsfs() { node dist/cli/main.js "$@"; }
cleanup() {
  if mountpoint -q "$place/mnt"; then kmsfs umount "$place/mnt" || umount -l "$place/mnt"; fi
  rm -rf "$place"
}
trap cleanup EXIT
mkdir "$place/mnt" "$place/plain"

# Incompressible, and different in every file.
mkdir -p "$place/source/tree"
head -c 1G /dev/urandom >"$place/source/big"
for directory in $(seq 200); do
  mkdir "$place/source/tree/$directory"
  head -c 2048000 /dev/urandom | split -b 20480 -a 2 - "$place/source/tree/$directory/"
done
for file in "$place"/source/tree/*/*; do truncate -s $((RANDOM % 12000 + 500)) "$file"; done
printf '%s files and directories, %s in the tree\n' "$(find "$place/source/tree" | wc -l)" "$(du -sh --apparent-size "$place/source/tree" | cut -f1)"

timed() {
  local what=$1 start end
  shift
  sync
  echo 3 >/proc/sys/vm/drop_caches
  start=$(date +%s%N)
  "$@"
  end=$(date +%s%N)
  awk -v what="$what" -v ns=$((end - start)) 'BEGIN { printf "%-44s %8.2f s\n", what, ns / 1e9 }'
}
# sync(1) of a file is fsync(2), which reaches a FUSE daemon; of a file system it is not passed on to one.
durable_file() { cp -a "$1" "$2" && sync "$2"; }
durable_tree() { cp -a "$1" "$2" && sync -f "$2"; }
tree_and_unmount() { cp -a "$1" "$2" && kmsfs umount "$place/mnt"; }

kmsfs init "$place/backing" --keyfile "$place/key" >/dev/null
kmsfs mount "$place/backing" "$place/mnt"
timed 'plain: write 1 GiB, fsync' durable_file "$place/source/big" "$place/plain/big"
timed 'kmsfs: write 1 GiB, fsync' durable_file "$place/source/big" "$place/mnt/big"
timed 'plain: write the tree, sync' durable_tree "$place/source/tree" "$place/plain/tree"
timed 'kmsfs: write the tree, unmount' tree_and_unmount "$place/source/tree" "$place/mnt/tree"
timed 'kmsfs: mount' kmsfs mount "$place/backing" "$place/mnt"
timed 'plain: compare 1 GiB, cold' cmp "$place/source/big" "$place/plain/big"
timed 'kmsfs: compare 1 GiB, cold' cmp "$place/source/big" "$place/mnt/big"
timed 'plain: compare the tree, cold' diff -r "$place/source/tree" "$place/plain/tree"
timed 'kmsfs: compare the tree, cold' diff -r "$place/source/tree" "$place/mnt/tree"
kmsfs umount "$place/mnt"
timed 'kmsfs: verify every block (reference reader)' kmsfs verify "$place/backing"
