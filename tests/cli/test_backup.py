# SPDX-License-Identifier: Apache-2.0
"""Backups that are kept outside of the cluster, made and brought back as docs/operations.md says."""

import pytest

from lib.load import LineWriter, write_synced
from lib.proc import wait_until

pytestmark = pytest.mark.usefixtures("purged")

OPTIONS = {"owner": "the shop", "label.app": "shop", "uid": "999"}


def snapshot_under_load(radosvol, path, name):
    """Returns the least and the most number of lines that it can hold."""
    writer = LineWriter(path / f"lines-{name}")
    writer.start()
    wait_until(lambda: writer.lines > 10 or writer.error, "the first lines", 60)
    least = writer.lines
    radosvol.out("snapshot", "create", "db", name)
    most = writer.lines + 1
    writer.stop()
    return least, most


def assert_lines(path, name, least, most):
    lines = (path / f"lines-{name}").read_text(encoding="ascii").split()
    assert lines == [str(i + 1) for i in range(len(lines))]
    assert least <= len(lines) <= most


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_backup_brings_a_lost_volume_back(plugin, volumes, radosvol, cluster, tmp_path, fs):
    volumes.create("db", fs=fs, **OPTIONS)
    path, an_id = volumes.mount("db")
    write_synced(path / "file", b"monday's")
    monday = snapshot_under_load(radosvol, path, "monday")
    writer = LineWriter(path / "busy")  # what was written during the export is of no moment
    writer.start()
    cluster.rbd("export", "--no-progress", "--export-format", "2", "db", tmp_path / "db.rbd",
                timeout=120)
    writer.stop()
    write_synced(path / "file", b"tuesday's")
    tuesday = snapshot_under_load(radosvol, path, "tuesday")
    write_synced(path / "file", b"in no backup")
    cluster.rbd("export-diff", "--no-progress", "--from-snap", "monday", "db@tuesday",
                tmp_path / "db.tuesday", timeout=120)
    volumes.unmount("db", an_id)
    cluster.rbd("snap", "purge", "--no-progress", "db")
    plugin.remove("db")
    assert cluster.images() == []

    cluster.rbd("import", "--no-progress", "--export-format", "2", "--dest-pool", "docker",
                tmp_path / "db.rbd", "db", timeout=120)
    radosvol.out("restore", "--yes", "db@monday")
    path, an_id = volumes.mount("db")
    assert (path / "file").read_bytes() == b"monday's"
    assert not (path / "busy").exists() and not (path / "lines-tuesday").exists()
    assert_lines(path, "monday", *monday)
    volumes.unmount("db", an_id)

    radosvol.out("restore", "--yes", "db@monday")  # the mount has written to it
    cluster.rbd("import-diff", "--no-progress", tmp_path / "db.tuesday", "db", timeout=120)
    path, an_id = volumes.mount("db")
    assert (path / "file").read_bytes() == b"tuesday's"
    assert_lines(path, "monday", *monday)
    assert_lines(path, "tuesday", *tuesday)
    assert path.stat().st_uid == 999
    status = plugin.get("db")["Status"]
    assert status["owner"] == "the shop" and status["labels"] == {"app": "shop"}, status
    assert [s["name"] for s in cluster.rbd_json("snap", "ls", "db")
            if not s["name"].startswith("before-restore-")] == ["monday", "tuesday"]
    volumes.unmount("db", an_id)
