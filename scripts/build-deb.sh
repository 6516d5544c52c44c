#!/bin/sh
# kmsfs_VERSION_amd64.deb from a package of npm pack: build-deb.sh kmsfs-VERSION.tgz [DIRECTORY]. Needs npm and dpkg-deb.
# The packages of npm that kmsfs uses are inside, in the versions of its shrinkwrap; Node is Debian's or NodeSource's.
set -eu

[ $# -ge 1 ] || { echo "usage: build-deb.sh kmsfs-VERSION.tgz [DIRECTORY]" >&2; exit 2; }
archive=$(readlink -f "$1")
out=$(readlink -f "${2:-.}")

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
package=$stage/usr/lib/kmsfs
mkdir -p "$stage/usr/lib" "$stage/usr/bin" "$stage/usr/share/doc/kmsfs" "$stage/DEBIAN"

# Installed as npm installs it, since that heeds the shrinkwrap; then moved to where Debian has it.
npm install --global --prefix "$stage/npm" --ignore-scripts --prefer-offline --no-audit --no-fund --loglevel=error "$archive" >&2
mv "$stage/npm/lib/node_modules/kmsfs" "$package"
rm -r "$stage/npm"
maintainer='The kmsfs project <kmsfs@localhost>'
version=$(sed -n 's/^  "version": "\(.*\)",$/\1/p' "$package/package.json")
ln -s ../lib/kmsfs/dist/cli/main.js "$stage/usr/bin/kmsfs"

node "$package/dist/cli/main.js" setup --root "$stage" --prefix /usr --command /usr/bin/kmsfs --package /usr/lib/kmsfs >&2
# dpkg keeps the list, and the pages are in place.
rm -r "$stage/usr/lib/kmsfs/setup.json" "$package/share"
find "$stage/usr/share/man" -type f -exec gzip -9n {} +
mkdir -p "$stage/usr/share/zsh/vendor-completions"
mv "$stage/usr/share/zsh/site-functions/_kmsfs" "$stage/usr/share/zsh/vendor-completions/"
rmdir "$stage/usr/share/zsh/site-functions"
mv "$package/docs" "$package/README.md" "$package/SECURITY.md" "$package/CHANGELOG.md" "$stage/usr/share/doc/kmsfs/"
date=$(date -R -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}")
printf 'kmsfs (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$version" "$maintainer" "$date" |
  gzip -9n >"$stage/usr/share/doc/kmsfs/changelog.gz"
cat "$package/LICENSE" "$package/THIRD-PARTY-NOTICES.txt" >"$stage/usr/share/doc/kmsfs/copyright"

# util-linux and coreutils are essential in Debian.
size=$(du -sk --apparent-size "$stage/usr" | cut -f1)
cat >"$stage/DEBIAN/control" <<EOF
Package: kmsfs
Version: $version
Architecture: amd64
Section: admin
Priority: optional
Maintainer: $maintainer
Installed-Size: $size
Depends: nodejs (>= 20), attr, mount
Description: encrypted file system for AWS, with its key in KMS
 An application writes to an ordinary directory; every byte is sealed in
 AES-256-GCM blocks before it reaches the volume, names and attributes
 included. The key comes from AWS KMS when the volume is mounted and lives
 only in memory.
EOF
for script in postinst postrm; do
  cat >"$stage/DEBIAN/$script" <<'EOF'
#!/bin/sh
set -e
# Units came or went.
if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
EOF
  chmod 755 "$stage/DEBIAN/$script"
done

find "$stage" -type d -exec chmod 755 {} +
find "$stage/usr" -type f -exec chmod u=rwX,go=rX {} +
dpkg-deb --root-owner-group -Zxz --build "$stage" "$out/kmsfs_${version}_amd64.deb" >&2
echo "$out/kmsfs_${version}_amd64.deb"
