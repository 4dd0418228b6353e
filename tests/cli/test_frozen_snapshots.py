# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a mounted volume under load, asked for by whoever may ask: each is a file system at
one point in time that needs no repair."""

import statistics
import time

import pytest

from lib import sequence
from lib.crash import report
from lib.load import Fio
from lib.proc import run

SNAPSHOTS = 200
STEPS = 40  # of the sequence, between two snapshots
IN_MOUNT = "sequence"


@pytest.fixture
def no_clone(purged, volumes):
    """None keeps a snapshot."""
    yield
    if "clone" in volumes.plugin.list():
        volumes.plugin.remove("clone")


def e2fsck(image):
    """Without a journal to replay: the freeze has written it out."""
    assert "needs_recovery" not in run("dumpe2fs", "-h", image).stdout
    assert "recovery" not in run("e2fsck", "-fn", image).stdout


def check_clone(plugin, volumes, cluster, fs, image, least, most):
    """Of the clone that is there: its blocks as they are, and its files by a mount. An ext4 that
    was frozen is clean as it is, an xfs has a log that the mount replays. Returns its steps."""
    def export():
        cluster.rbd("export", "--no-progress", "clone", image)

    if fs == "ext4":
        export()
        e2fsck(image)
    path, an_id = volumes.mount("clone")
    steps = sequence.check(path / IN_MOUNT, least, most)
    volumes.unmount("clone", an_id)
    if fs == "xfs":
        export()
        run("xfs_repair", "-n", "-f", image)
    image.unlink()
    plugin.remove("clone")
    return steps


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_every_snapshot_is_one_point_in_time(no_clone, plugin, radosvol, cluster, volumes,
                                             start_plugin, fs, tmp_path):
    elsewhere = start_plugin(host="host-b")
    asking = [
        lambda name: cluster.rbd("snap", "create", "--no-progress", f"db@{name}"),
        lambda name: elsewhere.call("Snapshot.Create", {"Name": "db", "Snapshot": name}),
        lambda name: plugin.call("Snapshot.Create", {"Name": "db", "Snapshot": name}),
        lambda name: radosvol.out("snapshot", "create", "db", name),
    ]
    volumes.create("db", size="512M", fs=fs)
    path, _ = volumes.mount("db")
    (path / "fio").mkdir()
    fio, writer = Fio(path / "fio"), sequence.Sequence(path / IN_MOUNT)
    bounds, waits, took = [], [], []
    try:
        for i in range(SNAPSHOTS):
            writer.wait_for(STEPS)
            fio.check()
            since, least = time.monotonic(), writer.done
            asking[i % len(asking)](f"s{i}")
            took.append(time.monotonic() - since)
            bounds.append((least, writer.begun))
            writer.wait_for(1)  # one that waited for the thaw has been counted
            waits.append(writer.longest_wait(since))
    finally:
        writer.stop()
        passes = fio.stop()
    assert [snap["name"] for snap in cluster.rbd_json("snap", "ls", "db")] == [
        f"s{i}" for i in range(SNAPSHOTS)]

    before = 0
    for i, (least, most) in enumerate(bounds):
        plugin.call("Volume.Clone", {"Name": "db", "Snapshot": f"s{i}", "To": "clone"})
        steps = check_clone(plugin, volumes, cluster, fs, tmp_path / "image", least, most)
        assert steps >= before
        before = steps
    sequence.check(path / IN_MOUNT, writer.done, writer.done)
    waits.sort()
    p99 = waits[min(len(waits) - 1, len(waits) * 99 // 100)]
    report(f"{fs}: {SNAPSHOTS} snapshots beside {passes} passes of fio with fsync, each whole: "
           f"writes waited {statistics.median(waits) * 1000:.0f} ms for the thaw (median), "
           f"{p99 * 1000:.0f} ms (p99; aim: 500), {waits[-1] * 1000:.0f} ms (most); "
           f"a snapshot took {statistics.median(took) * 1000:.0f} ms (median)")
