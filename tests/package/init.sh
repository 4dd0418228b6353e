#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# PID 1 of a small Debian with systemd, in namespaces of its own (mount, pid, uts, ipc, cgroup). It has
# this machine's kernel, network and devices.
#
# usage: init.sh ROOT CLUSTER-DIRECTORY

set -euo pipefail

root=$1 cluster=$2

mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --bind /dev "$root/dev"
mkdir -p "$root$cluster"
mount --bind "$cluster" "$root$cluster"

# The same hierarchies as outside, each from our own place in it.
if [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]; then
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
    mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
    while IFS=: read -r _ controllers _; do
        case $controllers in
        '') name=unified options= ;;
        name=systemd) name=systemd options=none,name=systemd ;;
        *) name=$controllers options=$controllers ;;
        esac
        mkdir "$root/sys/fs/cgroup/$name"
        if [[ $name == unified ]]; then
            mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
        else
            mount -t cgroup -o "$options" cgroup "$root/sys/fs/cgroup/$name"
        fi
    done </proc/self/cgroup
fi

cd "$root"
mkdir -p old
pivot_root . old
umount --lazy /old
rmdir /old
hostname package-test
# The word "container" keeps systemd from touching what is this machine's: its clock, modules, devices.
exec env -i container=other PATH=/usr/sbin:/usr/bin TERM=dumb \
    /lib/systemd/systemd --system --log-target=console --show-status=false
