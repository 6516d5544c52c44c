#!/bin/bash
# private-root.sh SCRATCH PACKAGE NODE SCRIPT: runs SCRIPT by bash in a root of its own, with a mount and a process namespace
# of its own: whatever it does, mounts and daemons included, is gone with it. /usr and /etc are this machine's, copied on
# write; /data, /srv, /mnt, /root, /run and /var are new.
set -eu

if [ "${1:-}" != --inside ]; then
  exec unshare --mount --pid --fork --kill-child --propagation private -- "$0" --inside "$@"
fi
# Copies of mounts outside: their umount would wait for this namespace.
findmnt -n -l -o TARGET -t fuse.kmsfs | while read -r copy; do umount -n -i -l "$copy"; done
scratch=$2 package=$3 node=$4 script=$5
root=$scratch/root

mkdir -p "$root"/{usr,etc,dev,proc,sys,run,data,srv,mnt,root,tmp,opt/kmsfs,var/{log,tmp,lib,cache}}
chmod 1777 "$root/tmp" "$root/var/tmp"
for dir in usr etc; do
  mkdir -p "$scratch/$dir-changes" "$scratch/$dir-work"
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$scratch/$dir-changes,workdir=$scratch/$dir-work" "$root/$dir"
done
for dir in bin sbin lib lib64; do
  [ ! -e "/$dir" ] || ln -s "usr/$dir" "$root/$dir"
done
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$package" "$root/opt/kmsfs"
# The machine's own pins and fstab are none of this root's.
rm -rf "$root/etc/kmsfs"
: >"$root/etc/fstab"

touch "$root/opt/node"
mount --bind "$node" "$root/opt/node"
ln -sf /opt/node "$root/usr/local/bin/node"
ln -sf /opt/kmsfs/dist/cli/main.js "$root/usr/local/bin/kmsfs"
cp "$script" "$root/root/.examples"

chroot "$root" bash -c 'cd /root && exec bash .examples'
if chroot "$root" grep -E ' fuse\.kmsfs ' /proc/self/mounts; then
  echo "private-root: left mounted" >&2
  exit 1
fi
