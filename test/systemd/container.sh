#!/usr/bin/env bash
# A machine made of namespaces: this system's files below a layer of memory, and systemd as the first process.
#   test/systemd/container.sh LAYER [PREPARE]
# LAYER is a folder of its own in memory, which keeps what the machine writes for its next start. PREPARE is a program that
# changes the root, its argument, before the first one. It ends with this process, or with `rmdir`s of what is left in cgroups.
set -euo pipefail
layer=$1
prepare=${2-}

if [ -z "${CLAWGRESS_INSIDE-}" ]; then
  # A control group of its own: the root of a new namespace is wherever its first process is.
  mkdir -p "$layer/cgroup"
  mountpoint -q "$layer/cgroup" || mount -t cgroup2 cgroup2 "$layer/cgroup"
  group=$layer/cgroup/clawgress-machine-$$
  mkdir "$group"
  echo $$ >"$group/cgroup.procs"
  export CLAWGRESS_INSIDE=1
  exec unshare --pid --fork --kill-child --mount --uts --ipc --net --cgroup "$0" "$@"
fi

mount --make-rprivate /
mkdir -p "$layer"/{upper,work,root}
root=$layer/root
mount -t overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" layer "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 memory "$root/dev"
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=755 memory "$root/run"
mount -t tmpfs -o mode=1777 memory "$root/tmp"
# This checkout may lie in a folder that the machine has one of its own for.
checkout=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$root$checkout"
mount --bind -o ro "$checkout" "$root$checkout"
if [ -n "$prepare" ]; then "$prepare" "$root"; fi

cd "$root"
mkdir -p mnt
pivot_root . mnt
# /proc and /sys of the machine around would show through.
umount --lazy /mnt
# As systemd finds it on a machine: mounts that it makes for its services are seen by them.
mount --make-rshared /
exec env -i container=clawgress PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=machine.target --log-target=console --show-status=no
