#!/bin/sh
# What the tests use beyond what kmsfs needs: the applications of test/apps, python3 for test/posix, shells and
# manual page readers for test/manual, a browser for test/report, mkfs.xfs for test/crash, from Debian. A test whose program is missing says so and is skipped; with CI set,
# missing programs fail here instead.
set -eu

say() { printf 'setup-tests: %s\n' "$*" >&2; }

missing=''
# program:package; sbin is not in the PATH of every shell
for pair in sqlite3:sqlite3 pg_lsclusters:postgresql git:git rsync:rsync setfacl:acl setfattr:attr setcap:libcap2-bin \
  rsyslogd:rsyslog logrotate:logrotate python3:python3 mandoc:mandoc groff:groff-base zsh:zsh fish:fish \
  chromium:chromium mkfs.xfs:xfsprogs; do
  PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
# fuse-native's library, for the read-only mounts of test/snapshot and test/reader
PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep -q 'libfuse\.so\.2' || missing="$missing libfuse2"
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1 || [ "$(id -u)" != 0 ]; then
  say "not installed, their tests are skipped:$missing (as root: apt-get install$missing)"
  [ -z "${CI:-}" ] || exit 1
  exit 0
fi

say "apt-get install$missing"
# The tests make a cluster of their own: Debian's package need not make and start another.
choice=/etc/postgresql-common/createcluster.d/kmsfs-tests.conf
mkdir -p "${choice%/*}"
echo 'create_main_cluster = false' >"$choice"
trap 'rm -f "$choice"' EXIT
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
install() { apt-get install -y -qq --no-install-recommends $missing >/dev/null; }
install || { apt-get update -qq && install; } || {
  say "could not install$missing: their tests are skipped"
  [ -z "${CI:-}" ] || exit 1
}
