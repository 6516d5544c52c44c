#!/bin/bash
# Times applications on a kmsfs mount and on a plain directory of the same disk, in turns, so that both meet the same
# machine: pgbench, SQLite transactions, git clone and gc. Needs root, and what scripts/setup.sh and setup-tests.sh set up.
#
#     bench/applications.sh [ROUNDS] [DIRECTORY ON THE DISK TO MEASURE]      default 3 /var/tmp
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3}
place=$(mktemp -d "${2:-/var/tmp}/kmsfs-bench-XXXXXX")
chmod 755 "$place"
export KMSFS_ETC="$place/etc" KMSFS_RUN="$place/run" KMSFS_LOG="$place/log"
bin=$(dirname "$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -1)")
kmsfs() { node dist/cli/main.js "$@"; }
postgres() { (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@"); }
# A cluster has its socket in its own directory: none listens on a port.
server() { postgres "$bin/pg_ctl" -D "$1/pg/data" -l "$1/pg/log" -w -o "-c listen_addresses= -k $1/pg" "${@:2}" >/dev/null; }
cleanup() {
  for dir in "$place"/{plain,mnt}; do [ ! -f "$dir/pg/data/postmaster.pid" ] || server "$dir" -m immediate stop || true; done
  if mountpoint -q "$place/mnt"; then kmsfs umount "$place/mnt" || umount -l "$place/mnt"; fi
  rm -rf "$place"
}
trap cleanup EXIT

mkdir "$place/mnt" "$place/plain"
kmsfs init "$place/backing" --keyfile "$place/key" >/dev/null
kmsfs mount "$place/backing" "$place/mnt" -o allow_other
chmod 755 "$place/mnt"

git init -q --bare -b main "$place/origin.git"
for i in $(seq 100); do
  printf 'commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 2\nc\n' $((1600000000 + i))
  for k in $(seq 20); do
    printf 'M 644 inline d%d/f%d\ndata 2000\n%s\n' $((RANDOM % 40)) $((RANDOM % 50)) "$(head -c 1500 /dev/urandom | base64 -w 0)"
  done
done | git -C "$place/origin.git" fast-import --quiet

declare -A unit=([pgbench]='transactions/s' [sqlite-wal]='transactions/s' [sqlite-delete]='transactions/s' [git-clone]=s [git-gc]=s)
result() { printf '%-14s %-6s %10.2f %s\n' "$1" "$2" "$3" "${unit[$1]}"; }
seconds() { local start=$EPOCHREALTIME; "$@"; awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'; }
sqlite() {
  rm -f "$1/$2.db"*
  sqlite3 "$1/$2.db" "PRAGMA journal_mode=$2; CREATE TABLE t (n INTEGER PRIMARY KEY, x)" >/dev/null
  # Each INSERT is a transaction of its own.
  { echo "PRAGMA synchronous=FULL;"; for n in $(seq 500); do echo "INSERT INTO t VALUES ($n, hex(randomblob(100)));"; done; } |
    sqlite3 "$1/$2.db"
}
clone() { git clone -q "file://$place/origin.git" "$1/clone"; }
collect() { git -C "$1/clone" gc -q --prune=now; }

for dir in "$place"/{plain,mnt}; do
  install -d -o postgres "$dir/pg"
  postgres "$bin/initdb" -k -A trust -D "$dir/pg/data" >/dev/null
  server "$dir" start
  postgres "$bin/pgbench" -h "$dir/pg" -q -i -s 5 postgres 2>/dev/null
  server "$dir" -m fast stop
done

for _ in $(seq "$rounds"); do
  for dir in "$place"/{plain,mnt}; do
    case $dir in */mnt) where=kmsfs ;; *) where=plain ;; esac
    server "$dir" start
    tps=$(postgres "$bin/pgbench" -h "$dir/pg" -c 8 -j 2 -T 5 postgres 2>/dev/null | awk '/^tps/ { print $3 }')
    server "$dir" -m fast stop
    result pgbench $where "$tps"
    for mode in wal delete; do
      result sqlite-$mode $where "$(seconds sqlite "$dir" $mode | awk '{ print 500 / $1 }')"
    done
    result git-clone $where "$(seconds clone "$dir")"
    result git-gc $where "$(seconds collect "$dir")"
    rm -rf "$dir/clone"
  done
done
kmsfs umount "$place/mnt"
