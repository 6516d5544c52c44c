#!/bin/bash
# A volume from beginning to end: made, mounted, filled, shown, unmounted, mounted again, compared, verified, removed.
set -euo pipefail
cd "$(dirname "$0")/.."

[ "$(id -u)" = 0 ] || { echo "quickstart: mounting needs root: sudo npm run quickstart" >&2; exit 20; }
started=$SECONDS
scripts/setup.sh

work=$(mktemp -d /var/tmp/kmsfs-quickstart-XXXXXX)
backing=$work/backing mnt=$work/mnt
# Nothing of this stays on the machine: pins, run files and log go with the directory.
export KMSFS_ETC=$work/etc KMSFS_RUN=$work/run KMSFS_LOG=$work/log
mkdir "$mnt"

kmsfs() { node dist/cli/main.js "$@"; }

clean_up() {
  local status=$?
  trap - EXIT
  if mountpoint -q "$mnt"; then kmsfs umount "$mnt" || umount -i -l "$mnt" || true; fi
  if [ "$status" != 0 ]; then
    cat "$work"/log/*.log 2>/dev/null >&2 || true
    echo "quickstart: FAILED (status $status)" >&2
  fi
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

step() { printf '\n== %s\n' "$*"; }
run() { printf '$ kmsfs %s\n' "$*"; kmsfs "$@"; }
now() { date +%s.%N; }
took() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.1f s", b - a }'; }
# Everything that rsync -a would carry over, and every byte of content.
listing() { (cd "$1" && find . -printf '%p\t%y\t%m\t%U:%G\t%l' -a \( -type f -printf '\t%s\t%T@' -o -true \) -printf '\n' | LC_ALL=C sort; find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }

step "A volume with a key file. This is not KMS: it is for trying kmsfs out; on AWS it is kmsfs init --kms-key"
run init "$backing" --keyfile "$work/key"

step "Mount it"
run mount "$backing" "$mnt"

step "Copy a real tree in: this project's sources and documents, and some of its packages"
t=$(now)
mkdir "$mnt/project"
cp -a src docs README.md LICENSE "$mnt/project/"
mkdir "$mnt/project/packages"
cp -a node_modules/{typescript,@typescript,@aws-sdk,@smithy,yargs,ajv} "$mnt/project/packages/"
printf 'name: Ada Example\ndiagnosis: none of anybody else'"'"'s business\n' > "$mnt/patient-0001.txt"
files=$(find "$mnt" -type f | wc -l)
bytes=$(du -sb --apparent-size "$mnt" | cut -f1)
echo "$files files, $((bytes / 1024 / 1024)) MiB in $(took "$t")"
listing "$mnt" > "$work/before"

plain_text=$(od -A d -t x1z "$mnt/patient-0001.txt" | sed 's/^/    /')
plain_names=$(find "$mnt/project" -mindepth 1 -maxdepth 1 -printf '    %f\n' | sort | head -5)

step "Unmount: returns when everything is written"
t=$(now)
run umount "$mnt"
echo "in $(took "$t")"

step "What an application saw, and what lies on the disk"
# The one file, and the one directory, in the root of either tree.
sealed=$(find "$backing" -mindepth 1 -maxdepth 1 -type f)
project=$(find "$backing" -mindepth 1 -maxdepth 1 -type d ! -name .kmsfs)
echo "content of $mnt/patient-0001.txt:"
echo "$plain_text"
echo "the same in $sealed, behind its header:"
od -A d -t x1z -j 4096 -N 64 "$sealed" | sed 's/^/    /'
echo "names in $mnt/project:"
echo "$plain_names"
echo "the same in $project:"
find "$project" -mindepth 1 -maxdepth 1 -printf '    %f\n' | sort | head -5
if grep -rqs "Ada Example" "$backing"; then echo "quickstart: plaintext in the backing directory" >&2; exit 1; fi
echo "grep -r finds no 'Ada Example' in the backing directory"

step "Mount again and compare: names, modes, owners, times, content"
run mount "$backing" "$mnt"
listing "$mnt" > "$work/after"
cmp "$work/before" "$work/after"
echo "identical: $(wc -l < "$work/after") lines compared"
run umount "$mnt"

step "Verify every block with the reference reader (TypeScript, shares no code with the engine)"
t=$(now)
run verify "$backing"
echo "in $(took "$t")"

step "Done"
echo "quickstart: ok: $files files written, sealed, re-mounted, compared and verified in $((SECONDS - started)) s; all of it removed again"
