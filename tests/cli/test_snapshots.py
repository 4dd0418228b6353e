# SPDX-License-Identifier: Apache-2.0
"""Snapshots with radosvol and over the socket; stock rbd must see the same."""

import calendar
import json
import os
import random
import re
import time

import pytest
import rbd  # of the package python3-rbd

from lib import proc
from lib.plugin import PluginError
from lib.proc import run, wait_until

pytestmark = pytest.mark.usefixtures("purged")


def listed(radosvol, cluster, volume):
    """What we say of a volume's snapshots, by name; stock rbd must say the same."""
    ours = radosvol.json("snapshot", "ls", volume)["snapshots"]
    theirs = cluster.rbd_json("snap", "ls", volume)
    assert [(s["name"], s["id"], s["size"], s["protected"]) for s in ours] == [
        (s["name"], s["id"], s["size"], s["protected"] == "true") for s in theirs]
    for snap, stock in zip(ours, theirs):
        at = calendar.timegm(time.strptime(snap["created"], "%Y-%m-%dT%H:%M:%SZ"))
        assert time.ctime(at) == stock["timestamp"], (snap, stock)
    return {snap["name"]: snap for snap in ours}


def listed_over_the_socket(plugin, cluster, volume):
    ours = plugin.call("Snapshot.List", {"Name": volume})["Snapshots"]
    theirs = cluster.rbd_json("snap", "ls", volume)
    assert [(s["Name"], s["ID"], s["Size"], s["Protected"]) for s in ours] == [
        (s["name"], s["id"], s["size"], s["protected"] == "true") for s in theirs]
    return {snap["Name"]: snap for snap in ours}


@pytest.mark.parametrize("mounted", [False, True], ids=["free", "mounted"])
def test_a_snapshots_life(radosvol, cluster, volumes, mounted):
    volumes.create("db")
    if mounted:
        volumes.mount("db")
    made = radosvol.json("snapshot", "create", "db", "monday")
    assert made["volume"] == "db" and made["snapshot"] == "monday" and made["size"] == 1 << 30
    by_time = radosvol.json("snapshot", "create", "db")["snapshot"]
    assert re.fullmatch(r"\d{8}-\d{6}\.\d{3}Z", by_time)
    snaps = listed(radosvol, cluster, "db")
    assert list(snaps) == ["monday", by_time]
    assert snaps["monday"]["id"] == made["id"] and snaps["monday"]["created"] == made["created"]
    assert snaps["monday"]["children"] == 0 and snaps["monday"]["protected"] is False

    radosvol.json("snapshot", "protect", "db@monday")
    assert listed(radosvol, cluster, "db")["monday"]["protected"] is True
    assert "protected: unprotect it first" in radosvol.fails("snapshot", "rm", "--yes", "db@monday")
    radosvol.json("snapshot", "unprotect", "db@monday")
    removed = radosvol.json("snapshot", "rm", "--yes", "db@monday")
    assert removed == {"volume": "db", "removed": "monday", "kept-for-clones": False}
    assert list(listed(radosvol, cluster, "db")) == [by_time]


def test_what_stock_rbd_makes_and_removes(radosvol, cluster, volumes, plugin):
    volumes.create("db")
    volumes.mount("db")
    for i in range(20):
        cluster.rbd("snap", "create", "--no-progress", f"db@s{i}")
    cluster.rbd("snap", "protect", "db@s3")
    assert list(listed(radosvol, cluster, "db")) == [f"s{i}" for i in range(20)]
    for i in range(0, 20, 2):
        cluster.rbd("snap", "rm", "--no-progress", f"db@s{i}")
    assert list(listed(radosvol, cluster, "db")) == [f"s{i}" for i in range(1, 20, 2)]
    assert list(listed_over_the_socket(plugin, cluster, "db")) == [
        f"s{i}" for i in range(1, 20, 2)]


def test_another_name(radosvol, cluster, volumes, plugin):
    """In use or not, with clones or without: nothing else of it changes."""
    volumes.create("db")
    volumes.mount("db")
    radosvol.out("snapshot", "create", "db", "monday")
    radosvol.out("snapshot", "create", "db", "tuesday")
    radosvol.out("clone", "db@monday", "clone")
    radosvol.out("snapshot", "protect", "db@monday")
    before = listed(radosvol, cluster, "db")
    assert radosvol.json("snapshot", "rename", "db@monday", "gold") == {
        "volume": "db", "snapshot": "gold", "before": "monday"}
    after = listed(radosvol, cluster, "db")
    assert list(after) == ["gold", "tuesday"]
    assert after["gold"] == {**before["monday"], "name": "gold"} and after["gold"]["children"] == 1
    assert plugin.call("Snapshot.Rename", {"Name": "db", "Snapshot": "gold", "To": "monday"}) == {
        "Err": ""}
    assert listed(radosvol, cluster, "db") == before

    assert "there is a snapshot 'tuesday' already" in radosvol.fails(
        "snapshot", "rename", "db@monday", "tuesday")
    with pytest.raises(PluginError, match="there is a snapshot 'monday' already"):
        plugin.call("Snapshot.Rename", {"Name": "db", "Snapshot": "tuesday", "To": "monday"})
    assert "volume 'db' has no snapshot 'x'" in radosvol.fails("snapshot", "rename", "db@x", "y")
    assert "no such volume: 'none'" in radosvol.fails("snapshot", "rename", "none@x", "y")
    for name in ["", "a/b", "db@new", ".hidden", "a b", "x" * 300]:
        assert "snapshot" in radosvol.fails("snapshot", "rename", "db@monday", name), name
    for words in [[], ["db@monday"], ["db@monday", "a", "b"]]:
        radosvol.run("snapshot", "rename", *words, status=2)
    assert listed(radosvol, cluster, "db") == before


def test_a_table(radosvol, cluster, volumes):
    volumes.create("db", size="2G")
    radosvol.out("snapshot", "create", "db", "monday")
    table = [line.split() for line in radosvol.out("snapshot", "ls", "db").splitlines()]
    assert table[0] == ["NAME", "ID", "SIZE", "CREATED", "PROTECTED", "CHILDREN"]
    assert table[1][0] == "monday" and table[1][2] == "2G" and table[1][4:] == ["no", "0"]


def test_one_with_clones_is_kept_for_them(radosvol, cluster, volumes):
    volumes.create("db")
    radosvol.out("snapshot", "create", "db", "monday")
    cluster.rbd("clone", "--rbd-default-clone-format", "2", "db@monday", "docker/child")
    try:
        assert listed(radosvol, cluster, "db")["monday"]["children"] == 1
        assert radosvol.json("snapshot", "rm", "--yes", "db@monday")["kept-for-clones"] is True
        assert listed(radosvol, cluster, "db") == {}
        rows = radosvol.json("snapshot", "ls", "--all", "db")["snapshots"]
        assert [(s["name"], s["removed"], s["children"]) for s in rows] == [("monday", True, 1)]
    finally:
        cluster.rbd("rm", "--no-progress", "child")


def test_a_mounted_volumes_snapshot_is_a_clean_file_system(radosvol, cluster, volumes, tmp_path):
    volumes.create("db")
    path, _ = volumes.mount("db")
    (path / "file").write_bytes(os.urandom(5 << 20))  # not synced
    radosvol.out("snapshot", "create", "db", "now")
    cluster.rbd("export", "--no-progress", "db@now", tmp_path / "image")
    run("e2fsck", "-fn", tmp_path / "image")
    listing = run("debugfs", "-R", "ls -l /", tmp_path / "image").stdout
    assert re.search(rf"\b{5 << 20}\b.*\bfile$", listing, re.MULTILINE), listing


def test_with_the_plugin_dead(radosvol, cluster, volumes, start_plugin):
    """The volume's data process lives on and takes the snapshot."""
    other = start_plugin(host="host-b")
    volumes.create("db")
    path, an_id = volumes.mount("db", plugin=other)
    pids = [other.supervisor_pid(), other.server_pid()]
    for pid in pids:
        os.kill(pid, 9)
    other.process.wait()
    wait_until(lambda: not any(map(proc.alive, pids)), "the plugin's end")
    try:
        (path / "file").write_bytes(b"x" * 100000)
        radosvol.out("snapshot", "create", "db", "orphaned")
        assert list(listed(radosvol, cluster, "db")) == ["orphaned"]
        radosvol.out("snapshot", "rm", "--yes", "db@orphaned")
    finally:
        other.start()
    volumes.unmount("db", an_id)


def test_what_is_refused(radosvol, cluster, volumes):
    volumes.create("db")
    radosvol.out("snapshot", "create", "db", "monday")
    before = listed(radosvol, cluster, "db")
    assert "there is a snapshot 'monday' already" in radosvol.fails("snapshot", "create", "db",
                                                                    "monday")
    for name in ["", "a/b", "a@b", ".hidden", "a b", "größe", "x" * 300]:
        assert "snapshot" in radosvol.fails("snapshot", "create", "db", name), name
    for word in ["db", "@monday", "db@", "db@a b"]:
        assert "snapshot" in radosvol.fails("snapshot", "rm", "--yes", word), word
    assert "no such volume: 'none'" in radosvol.fails("snapshot", "create", "none")
    assert "no such volume: 'none'" in radosvol.fails("snapshot", "ls", "none")
    for verb in ["rm --yes", "protect", "unprotect"]:
        words = verb.split()
        assert "volume 'db' has no snapshot 'x'" in radosvol.fails("snapshot", *words, "db@x")
        assert "no such volume: 'none'" in radosvol.fails("snapshot", *words, "none@x")
    assert "add --yes" in radosvol.fails("snapshot", "rm", "db@monday")
    status, printed = radosvol.on_terminal("n", "snapshot", "rm", "db@monday")
    assert status == 1 and "gone for good" in printed
    assert listed(radosvol, cluster, "db") == before
    for words in [["snapshot"], ["snapshot", "frob"], ["snapshot", "create"],
                  ["snapshot", "create", "db", "a", "b"], ["snapshot", "ls"],
                  ["snapshot", "ls", "a", "b"], ["snapshot", "rm"]]:
        radosvol.run(*words, status=2)
    assert listed(radosvol, cluster, "db") == before


def test_over_the_socket(plugin, cluster, volumes):
    volumes.create("db")
    volumes.mount("db")
    made = plugin.call("Snapshot.Create", {"Name": "db", "Snapshot": "monday"})["Snapshot"]
    assert made["Name"] == "monday" and made["Size"] == 1 << 30 and made["Children"] == 0
    by_time = plugin.call("Snapshot.Create", {"Name": "db"})["Snapshot"]["Name"]
    assert listed_over_the_socket(plugin, cluster, "db")["monday"] == made
    assert plugin.call("Snapshot.Protect", {"Name": "db", "Snapshot": "monday"}) == {"Err": ""}
    with pytest.raises(PluginError, match="protected: unprotect it first"):
        plugin.call("Snapshot.Remove", {"Name": "db", "Snapshot": "monday"})
    with pytest.raises(PluginError, match="there is a snapshot 'monday' already"):
        plugin.call("Snapshot.Create", {"Name": "db", "Snapshot": "monday"})
    assert listed_over_the_socket(plugin, cluster, "db")["monday"]["Protected"] is True
    for status in [plugin.get("db")["Status"],
                   plugin.call("Volume.Inspect", {"Name": "db"})["Volume"]["Status"]]:
        assert status["snapshot-count"] == 2
        assert [(s["name"], s["size"]) for s in status["snapshots"]] == [
            (by_time, "1G"), ("monday", "1G")]
        assert status["snapshots"][1]["created"] == made["CreatedAt"]
    plugin.call("Snapshot.Unprotect", {"Name": "db", "Snapshot": "monday"})
    assert plugin.call("Snapshot.Remove", {"Name": "db", "Snapshot": "monday"}) == {
        "KeptForClones": False, "Err": ""}
    with pytest.raises(PluginError, match="volume 'db' has no snapshot 'monday'"):
        plugin.call("Snapshot.Remove", {"Name": "db", "Snapshot": "monday"})
    assert list(listed_over_the_socket(plugin, cluster, "db")) == [by_time]


def kept_by_one(cluster, volume):
    """{snapshot id: bytes of the copies of objects that only it needs}, from what the OSDs say of
    each object."""
    kept = {}
    for name in cluster.objects():
        if not name.startswith(f"rbd_data.{cluster.image_id(volume)}."):
            continue
        for copy in json.loads(cluster.rados("listsnaps", name, "--format", "json"))["clones"]:
            if copy["id"] != "head" and len(copy["snapshots"]) == 1:
                snap = copy["snapshots"][0]["id"]
                kept[snap] = kept.get(snap, 0) + copy["size"]
    return kept


def test_the_space_that_a_snapshot_keeps(radosvol, plugin, cluster, volumes):
    volumes.create("db")
    dice = random.Random(1)
    with cluster.io() as io, rbd.Image(io, "db") as image:
        for number in range(4):
            for _ in range(20):
                offset = dice.randrange(100, 110) << 22
                if dice.random() < 0.2:
                    image.discard(offset, 4 << 20)
                else:
                    image.write(b"x" * dice.choice((4096, 1 << 20)), offset)
            image.create_snap(f"snap-{number}")
    used = {s["id"]: s["used"] for s in radosvol.json("snapshot", "ls", "db", "--used")["snapshots"]}
    assert len(used) == 4 and sum(used.values()) > 0
    assert {snap: kept for snap, kept in used.items() if kept} == kept_by_one(cluster, "db")
    answer = plugin.call("Snapshot.List", {"Name": "db", "Used": True})["Snapshots"]
    assert {s["ID"]: s["Used"] for s in answer} == used
    assert "USED" in radosvol.out("snapshot", "ls", "db", "--used")
    assert "used" not in radosvol.json("snapshot", "ls", "db")["snapshots"][0]
    # What was shared with the one that goes is its neighbour's alone now.
    radosvol.out("snapshot", "rm", "--yes", "db@snap-1")
    wait_until(lambda: {s["id"]: s["used"] for s in radosvol.json(
        "snapshot", "ls", "db", "--used")["snapshots"] if s["used"]} == kept_by_one(cluster, "db"),
        "the trimming of the removed one", 60)


def test_the_space_of_a_removed_snapshot_that_a_clone_needs(radosvol, cluster, volumes):
    volumes.create("db")
    with cluster.io() as io, rbd.Image(io, "db") as image:
        image.write(b"x" * 4096, 200 << 22)
        image.create_snap("monday")
        image.write(b"y" * 4096, 200 << 22)
    radosvol.out("clone", "db@monday", "copy")
    radosvol.out("snapshot", "rm", "--yes", "db@monday")
    assert radosvol.json("snapshot", "ls", "db", "--used")["snapshots"] == []
    [snap] = radosvol.json("snapshot", "ls", "db", "--used", "--all")["snapshots"]
    assert (snap["removed"], snap["used"]) == (True, 4096)
    volumes.plugin.remove("copy")
