# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# For scripts that make a root file system of programs that are installed here: to be sourced. $ROOT
# is where it is made, and die() ends the script.

# Directories as a merged /usr has them.
rootfs_make() {
    local link
    mkdir -p "$ROOT"/{etc/ceph,dev,proc,sys,run,tmp,var/lib/docker-volume-rados} \
        "$ROOT"/usr/{bin,sbin,lib,lib64}
    for link in bin sbin lib lib64; do
        ln -s "usr/$link" "$ROOT/$link"
    done
}

# rootfs_copy FILE: under the same path, links to it resolved.
rootfs_copy() {
    install -D -m 0755 "$(realpath "$1")" "$ROOT/usr/${1#/usr/}"
}

# The libraries of a program and the loader, as /usr/lib/...: /lib is a link to /usr/lib.
libraries_of() {
    local found
    found=$(ldd "$1") || die "ldd cannot read $1"
    [[ $found != *'not found'* ]] || die "a library of $1 is missing: $found"
    sed -nE 's|^.*[[:space:]](/[^ ]+) \(0x.*$|\1|p' <<<"$found" | sed 's|^/lib|/usr/lib|'
}

# What the programs in there need: all that the dynamic loader finds is all there is (a client of
# Ceph 16 opens none of Ceph's own plugins).
rootfs_libraries() {
    local program libraries library
    for program in "$ROOT"/usr/{bin,sbin}/* "$ROOT"/usr/libexec/*/*; do
        [[ -f $program && ! -L $program ]] || continue
        libraries=$(libraries_of "$program")
        while read -r library; do
            [[ -z $library || -e $ROOT$library ]] || rootfs_copy "$library"
        done <<<"$libraries"
    done
}
