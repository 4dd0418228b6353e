# SPDX-License-Identifier: Apache-2.0
"""Restoring a volume in place, with radosvol and over the socket."""

import os
import signal
import sqlite3
import subprocess

import pytest

from lib.paths import BUILD
from lib.plugin import PluginError
from lib.proc import wait_until

pytestmark = pytest.mark.usefixtures("purged")

ROWS = 5000


def load(path):
    """A database with ROWS paid orders, each transaction on disk; returns what it holds."""
    with sqlite3.connect(path / "shop.db") as db:
        db.execute("pragma journal_mode=wal")
        db.execute("pragma synchronous=full")
        db.execute("create table orders(id integer primary key, item text, paid integer)")
        for start in range(0, ROWS, 500):
            with db:
                db.executemany("insert into orders values(?, ?, 1)",
                               [(i, f"item {i} " + "x" * 200) for i in range(start, start + 500)])
    db.close()
    return contents(path)


def contents(path):
    db = sqlite3.connect(path / "shop.db")
    try:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        return db.execute("select count(*), sum(id), sum(length(item)), sum(paid) from orders"
                          ).fetchone()
    finally:
        db.close()


def damage(path):
    """Somebody runs the wrong statement, and somebody else overwrites a file."""
    db = sqlite3.connect(path / "shop.db")
    with db:
        db.execute("update orders set paid = 0")
        db.execute("delete from orders where id > 100")
    db.close()
    after = contents(path)
    (path / "rubbish").write_bytes(os.urandom(8 << 20))
    os.sync()
    return after


def test_a_database_comes_back(radosvol, plugin, cluster, volumes):
    volumes.create("db", fs="xfs")
    path, an_id = volumes.mount("db")
    good = load(path)
    radosvol.out("snapshot", "create", "db", "monday")
    bad = damage(path)
    assert good != bad

    # Not while it is mounted, whoever asks.
    assert "host-a" in radosvol.fails("restore", "--yes", "db@monday")
    with pytest.raises(PluginError, match="in use on this host"):
        plugin.call("Snapshot.Restore", {"Name": "db", "Snapshot": "monday"})
    assert contents(path) == bad and [s["name"] for s in cluster.rbd_json("snap", "ls", "db")] == [
        "monday"]
    volumes.unmount("db", an_id)

    result = radosvol.json("restore", "--yes", "db@monday")
    assert result["volume"] == "db" and result["restored"] == "monday" and not result["resumed"]
    assert 0 < result["changed"] < result["objects"] == 256
    assert result["before"].startswith("before-restore-")
    assert [s["name"] for s in cluster.rbd_json("snap", "ls", "db")] == ["monday",
                                                                         result["before"]]
    assert list(radosvol.json("inspect", "db")["restores"].values()) == [
        f"rescue restored snapshot 'monday'; before it was '{result['before']}'"]
    assert list(plugin.get("db")["Status"]["restores"].values())[0].startswith("rescue restored")
    path, an_id = volumes.mount("db")
    assert contents(path) == good and not (path / "rubbish").exists()
    volumes.unmount("db", an_id)

    # And back, by the snapshot that was taken first; this time over the socket.
    undone = plugin.call("Snapshot.Restore", {"Name": "db", "Snapshot": result["before"]})
    assert undone["Changed"] > 0 and undone["Objects"] == 256 and not undone["Resumed"]
    path, _ = volumes.mount("db")
    assert contents(path) == bad and (path / "rubbish").stat().st_size == 8 << 20


def test_nothing_changed_nothing_to_do(radosvol, volumes):
    volumes.create("db")
    radosvol.out("snapshot", "create", "db", "monday")
    result = radosvol.json("restore", "--yes", "db@monday")
    assert result["changed"] == 0


def test_the_size_comes_back_too(radosvol, cluster, volumes):
    volumes.create("db", fs="xfs", size="1G")
    radosvol.out("snapshot", "create", "db", "small")
    radosvol.out("resize", "db", "2G")
    path, an_id = volumes.mount("db")
    wait_until(lambda: os.statvfs(path).f_blocks * os.statvfs(path).f_frsize > 1 << 30,
               "the growth", 30)
    (path / "file").write_bytes(b"x" * 100000)
    volumes.unmount("db", an_id)
    radosvol.out("restore", "--yes", "db@small")
    assert cluster.rbd_json("info", "db")["size"] == 1 << 30
    path, _ = volumes.mount("db")
    assert list(path.iterdir()) == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_cut_off_and_gone_on_with(radosvol, plugin, cluster, volumes, number):
    """Half restored, it cannot be mounted; the next restore ends it, with the same way back."""
    volumes.create("db", fs="xfs", size="2G", **{"object-size": "64K"})
    path, an_id = volumes.mount("db")
    good = load(path)
    radosvol.out("snapshot", "create", "db", "monday")
    bad = damage(path)
    (path / "rubbish").write_bytes(os.urandom(16 << 20))
    volumes.unmount("db", an_id)

    process = subprocess.Popen([BUILD / "radosvol", "restore", "--yes", "db@monday"],
                               env=radosvol.env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    half = "docker-volume-rados.rollback"
    wait_until(lambda: half in cluster.rbd_json("image-meta", "list", "db"), "the restore", 60)
    process.send_signal(number)
    words = process.communicate(timeout=60)[1]
    assert process.returncode != 0, "it had ended before it was cut off"
    if number == signal.SIGINT:
        assert "restore it again to go on" in words
    safety = cluster.rbd_json("snap", "ls", "db")[-1]["name"]
    assert safety.startswith("before-restore-")

    assert "restore" in radosvol.json("inspect", "db")["health"]
    with pytest.raises(PluginError, match="restore"):
        plugin.mount("db", "f" * 64)
    result = radosvol.json("restore", "--yes", "db@monday")
    assert result["resumed"] and result["before"] == safety
    assert radosvol.json("inspect", "db")["health"] == "ok"
    path, an_id = volumes.mount("db")
    assert contents(path) == good
    volumes.unmount("db", an_id)
    radosvol.out("restore", "--yes", f"db@{safety}")
    path, _ = volumes.mount("db")
    assert contents(path) == bad


def test_what_is_refused(radosvol, plugin, cluster, volumes):
    volumes.create("db")
    radosvol.out("snapshot", "create", "db", "monday")
    assert "volume 'db' has no snapshot 'x'" in radosvol.fails("restore", "--yes", "db@x")
    assert "no such volume: 'none'" in radosvol.fails("restore", "--yes", "none@x")
    assert "VOLUME@SNAPSHOT" in radosvol.fails("restore", "--yes", "db")
    assert "add --yes" in radosvol.fails("restore", "db@monday")
    status, printed = radosvol.on_terminal("n", "restore", "db@monday")
    assert status == 1 and "will hold again" in printed and "nothing was done" in printed
    status, printed = radosvol.on_terminal("y", "restore", "db@monday")
    assert status == 0 and "objects looked at" in printed
    with pytest.raises(PluginError, match="volume 'db' has no snapshot 'x'"):
        plugin.call("Snapshot.Restore", {"Name": "db", "Snapshot": "x"})
    assert "exists" in radosvol.fails("restore", "db@monday", "--to", "db")
    with pytest.raises(PluginError, match="exists"):
        plugin.call("Snapshot.Restore", {"Name": "db", "Snapshot": "monday", "To": "db"})
    assert cluster.images() == ["db"]


def test_restored_as_another_volume_while_it_is_in_use(radosvol, plugin, volumes):
    name = volumes.create("db")
    path, _ = volumes.mount(name)
    (path / "file").write_text("monday")
    radosvol.out("snapshot", "create", "db", "monday")
    (path / "file").write_text("tuesday")
    radosvol.out("restore", "db@monday", "--to", "by-command")
    plugin.call("Snapshot.Restore", {"Name": "db", "Snapshot": "monday", "To": "by-call"})
    for clone in ("by-command", "by-call"):
        other, an_id = volumes.mount(clone)
        assert (other / "file").read_text() == "monday"
        volumes.unmount(clone, an_id)
        plugin.remove(clone)
    assert (path / "file").read_text() == "tuesday"
