#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# PID 1 of a test host, in namespaces of its own (mount, pid, uts, network).
#
# usage: host_init.sh NAME DIRECTORY CGROUP PLUGIN-PROGRAM [FLAG...]
#
# DIRECTORY/lib is the host's /var/lib, which outlives it; logs go to DIRECTORY. Standard input is
# the power cord: its first line says that the network is there, its end is the end of the host.

set -euo pipefail

name=$1 directory=$2 cgroup=$3
shift 3

hostname "$name"

# Our copies of what others have mounted would keep it busy after they have unmounted it.
while read -r _ _ _ _ point _; do
    case $point in
        /run/* | /tmp/* | /var/*/*) printf '%b\n' "$point" ;;
    esac
done </proc/self/mountinfo | tac | while IFS= read -r point; do
    umount --lazy -- "$point" || true # gone with the one below it
done

mount -t tmpfs tmpfs /run
mount --bind "$directory/lib" /var/lib
mount --make-rshared /
touch /run/host
read -r _

"$@" >>"$directory/plugin.log" 2>&1 &
dockerd --host unix:///run/docker.sock --storage-driver overlay2 --cgroup-parent "$cgroup" \
    --bridge none --iptables=false --ip-masq=false --ip-forward=false \
    >>"$directory/dockerd.log" 2>&1 &

cat >/dev/null # bash reaps whatever ends meanwhile
