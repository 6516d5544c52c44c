#!/bin/bash
# private-systemd.sh SCRATCH PACKAGE NODE: a systemd that is process 1 of namespaces of its own, in a root of its own, and
# stays until it is killed. All that it can reach of this machine is /usr and /etc, copied on write, and the network's loopback:
# /tmp, /run, /var, /dev are new, /proc/sys and /sys cannot be written, its cgroups are below one of the test's, and it knows
# no units but those in SCRATCH/root/opt/units, so that it runs nothing of the machine's. SCRATCH/ready says that its root is
# there.
set -eu

scratch=$1 package=$2 node=$3
root=$scratch/root

if [ "${4:-}" != --inside ]; then
  cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)/kmsfs-test-$$
  mkdir "$cgroup"
  trap 'for _ in $(seq 100); do rmdir $(find "$cgroup" -depth -type d) 2>/dev/null && break; sleep 0.05; done' EXIT
  # unshare(1) has something to say when its child is killed, which is how this ends.
  (echo "$BASHPID" >"$cgroup/cgroup.procs" && exec unshare --mount --pid --uts --ipc --cgroup --fork --kill-child \
    --propagation private -- "$0" "$@" --inside 3>&2 2>/dev/null)
  exit
fi
exec 2>&3 3>&-

mkdir -p "$root"/{usr,etc,dev,proc,sys,run,data,srv,tmp,opt/kmsfs,opt/units,var/{log,tmp,lib}}
for dir in usr etc; do
  mkdir -p "$scratch/$dir-changes" "$scratch/$dir-work"
  mount -t overlay overlay -o "lowerdir=/$dir,upperdir=$scratch/$dir-changes,workdir=$scratch/$dir-work" "$root/$dir"
done
for dir in bin sbin lib lib64; do
  [ ! -e "/$dir" ] || ln -s "usr/$dir" "$root/$dir"
done
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs tmpfs "$root/dev"
for device in null zero full random urandom tty fuse; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
touch "$root/dev/console"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount --bind /sys/devices/virtual/bdi "$root/sys/devices/virtual/bdi"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --bind "$package" "$root/opt/kmsfs"
touch "$root/opt/node"
mount --bind "$node" "$root/opt/node"
ln -sf /opt/node "$root/usr/bin/node"
ln -sf /opt/kmsfs/dist/cli/main.js "$root/usr/bin/kmsfs"
rm -rf "$root/etc/kmsfs" "$root/etc/systemd"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
mkdir -p "$root/etc/kmsfs/volumes"

# What every service needs and what kmsfs@.service names, and nothing behind it.
for target in default sysinit basic shutdown network-online local-fs remote-fs multi-user; do
  printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n' >"$root/opt/units/$target.target"
done
cp "$package/systemd/kmsfs@.service" "$root/opt/units/"

touch "$scratch/ready"
exec env -i container=kmsfs-test SYSTEMD_UNIT_PATH=/opt/units PATH=/usr/sbin:/usr/bin LANG=C.UTF-8 \
  chroot "$root" setpriv --bounding-set -sys_boot,-sys_time,-sys_module,-syslog \
  /usr/lib/systemd/systemd --system --log-target=console --log-level=info --show-status=no --crash-reboot=no
