# SPDX-License-Identifier: Apache-2.0
"""Accounting: what exists before a test must be what exists after it, on this machine and in the
cluster."""

import os
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from lib import proc
from lib.cluster import DATA_POOL, POOL
from lib.paths import BUILD

SETTLE_S = 30  # a leak is what stays, and a slow disk is none

NEW_FILE = "/.new."  # how the plugin names a file that will replace another

# Objects of a pool, not of an image: the first image that needs them makes them, and they stay.
POOL_OBJECTS = {"rbd_directory", "rbd_children", "rbd_info", "rbd_trash", "rbd_namespace",
                "rbd_task", "rbd_mirroring", "rbd_mirror_leader", "rbd_mirror_snapshot_schedule",
                "rbd_trash_purge_schedule"}


@dataclass(frozen=True)
class Snapshot:
    loops: frozenset      # devices with a backing file
    mounts: frozenset     # mount points of ours
    processes: frozenset  # (program, pid) of what runs from the build directory
    files: frozenset      # under the plugin's directories
    objects: frozenset    # of both pools
    images: frozenset     # names in the pool
    trash: frozenset      # names in the RBD trash, half-made images among them
    clients: frozenset    # (image, watcher or lock owner)
    fds: tuple            # of the server, by kind


def loop_devices():
    """{device: backing file} of all configured loop devices; none when SHARED_MACHINE=1 says that
    others use such devices at the same time."""
    found = {}
    if os.environ.get("SHARED_MACHINE") == "1":
        return found
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found[entry.parts[3]] = entry.read_text().strip()
        except OSError:
            continue
    return found


def mounts(directories):
    """Mount points under `directories`, in this mount namespace."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return frozenset(p for p in points if any(p.startswith(f"{d}/") for d in directories))


def files(plugin):
    found = set()
    for top in (plugin.run_dir, plugin.lib_dir):
        for directory, _, names in os.walk(top):
            if not os.path.ismount(directory) or directory == str(top):
                found.update(f"{directory}/{name}" for name in names)
                found.add(directory)
    return frozenset(found)


def of_cluster(cluster):
    """The part of a Snapshot that is in the cluster, as keyword arguments."""
    images = cluster.images()
    clients = set()
    for image in images:
        clients.update((image, address) for address in cluster.watchers(image))
        clients.update((image, lock["locker"]) for lock in cluster.lockers(image))
    objects = {f"{pool}/{name}" for pool in (POOL, DATA_POOL)
               for name in cluster.objects(pool) - POOL_OBJECTS}
    return {"objects": frozenset(objects), "images": frozenset(images),
            "trash": frozenset(cluster.trash()), "clients": frozenset(clients)}


def take(cluster, plugin, directories):
    """What exists now. `directories`: where mounts count as ours."""
    return Snapshot(
        loops=frozenset(loop_devices().items()),
        mounts=mounts(directories),
        processes=frozenset((name, pid) for pid, name in proc.running_from(BUILD).items()),
        files=files(plugin),
        fds=tuple(plugin.server_fds()),
        **of_cluster(cluster),
    )


def differences(before, after, ignore=()):
    """Lines that say what came and what went; empty when nothing did."""
    lines = []
    for field in fields(Snapshot):
        if field.name in ignore:
            continue
        old, new = getattr(before, field.name), getattr(after, field.name)
        if field.name == "fds":
            lines += [f"fds: {kind}: {old.count(kind)} before, {new.count(kind)} now"
                      for kind in sorted({*old, *new}) if new.count(kind) > old.count(kind)]
        else:
            lines += [f"{field.name}: left behind: {item}" for item in sorted(new - old)]
            lines += [f"{field.name}: gone: {item}" for item in sorted(old - new)]
    return lines


def check(before, take_again, ignore=()):
    """Fail when the state does not come back to `before` within SETTLE_S."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        lines = differences(before, take_again(), ignore)
        if not lines:
            return
        if time.monotonic() >= deadline:
            raise AssertionError("; ".join(lines))
        time.sleep(0.3)


def lasting(snapshot):
    """Without files that are being written: they will have another name."""
    return replace(snapshot, files=frozenset(file for file in snapshot.files
                                             if NEW_FILE not in file))


class Account:
    """The state after the last test, which is the one before the next."""

    def __init__(self, cluster, plugin, directories):
        self.take = lambda: take(cluster, plugin, directories)
        self.before = lasting(self.take())

    def settle(self):
        try:
            check(self.before, self.take)
        finally:
            self.before = lasting(self.take())
