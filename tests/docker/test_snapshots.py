# SPDX-License-Identifier: Apache-2.0
"""Snapshots and growth of a mounted volume, asked for with the stock rbd command."""

import os
import subprocess

import pytest

from lib.cluster import POOL
from lib.load import LineWriter
from lib.proc import run, wait_until
from test_stock_tools import digests, fill, loop_mounted

pytestmark = pytest.mark.usefixtures("trimmed")

COUNT = 4


@pytest.fixture(params=["ext4", "xfs"])
def fs(request):
    return request.param


def check(image, fs, tmp_path, written, least, most):
    """A file system that was frozen: ext4 is clean as it is, xfs has a log to be replayed."""
    if fs == "ext4":
        run("e2fsck", "-fn", image)
    with loop_mounted(image, tmp_path / "mnt", *(["ro,noload"] if fs == "ext4" else [])) as files:
        lines = (files / "lines").read_text(encoding="ascii").split()
        assert lines == [str(i + 1) for i in range(len(lines))]
        assert least <= len(lines) <= most
        found = digests(files)
        del found["lines"]
        assert found == written
    if fs == "xfs":
        run("xfs_repair", "-n", "-f", image)


def test_stock_snapshots_of_a_mounted_volume_are_frozen_file_systems(volumes, cluster, fs,
                                                                     tmp_path):
    name = volumes.create(fs=fs)
    path, an_id = volumes.mount(name)
    written = fill(path)
    writer = LineWriter(path / "lines")
    writer.start()
    wait_until(lambda: writer.lines > 0 or writer.error, "the first line")
    bounds = []
    for i in range(COUNT):
        before = writer.lines
        cluster.rbd("snap", "create", "--no-progress", f"{name}@s{i}")
        bounds.append((before, writer.lines + 1))
    writer.stop()
    volumes.unmount(name, an_id)
    assert [snap["name"] for snap in cluster.rbd_json("snap", "ls", name)] == \
        [f"s{i}" for i in range(COUNT)]
    for i, (least, most) in enumerate(bounds):
        image = tmp_path / f"image-{i}"
        cluster.rbd("export", "--no-progress", f"{name}@s{i}", image)
        check(image, fs, tmp_path, written, least, most)
        image.unlink()
    cluster.rbd("snap", "purge", "--no-progress", name)


def test_a_stock_snapshot_that_skips_the_freeze(volumes, cluster, tmp_path):
    """It is taken as a power cut would leave the file system: its journal has to be replayed."""
    name = volumes.create(fs="ext4")
    path, _ = volumes.mount(name)
    (path / "file").write_bytes(b"x" * 4096)
    for snap, option in (("cut", ["--skip-quiesce"]), ("clean", ["--ignore-quiesce-error"])):
        image = tmp_path / snap
        cluster.rbd("snap", "create", "--no-progress", *option, f"{name}@{snap}")
        cluster.rbd("export", "--no-progress", f"{name}@{snap}", image)
        found = run("dumpe2fs", "-h", image).stdout
        assert ("needs_recovery" in found) == (snap == "cut")
    cluster.rbd("snap", "purge", "--no-progress", name)


def test_a_mounted_volume_keeps_its_owner_and_works_on(volumes, cluster):
    """Snapshots come and go; what is written afterwards is there, and the lock never moved."""
    name = volumes.create()
    path, _ = volumes.mount(name)
    owner = cluster.lockers(name)
    for i in range(COUNT):
        (path / f"file-{i}").write_bytes(os.urandom(1 << 20))
        cluster.rbd("snap", "create", "--no-progress", f"{name}@s{i}")
    before = digests(path)
    for i in range(COUNT):
        cluster.rbd("snap", "rm", "--no-progress", f"{name}@s{i}")
    assert cluster.rbd_json("snap", "ls", name) == []
    assert cluster.lockers(name) == owner
    assert digests(path) == before


def test_a_stock_resize_reaches_the_device_of_a_mounted_volume(volumes, cluster):
    name = volumes.create(size="1G")
    path, _ = volumes.mount(name)
    device = subprocess.check_output(["findmnt", "-no", "SOURCE", str(path)], text=True).strip()
    cluster.rbd("resize", "--no-progress", "--size", "2G", name)
    assert int(run("blockdev", "--getsize64", device).stdout) == 2 << 30
    refused = cluster.tool("rbd", "--pool", POOL, "resize", "--no-progress", "--allow-shrink",
                           "--size", "1G", name, check=False)
    assert refused.returncode != 0
    assert cluster.rbd_json("info", name)["size"] == 2 << 30
