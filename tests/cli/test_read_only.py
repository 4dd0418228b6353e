# SPDX-License-Identifier: Apache-2.0
"""Volumes with access=ro: a snapshot to look at, on any number of hosts at once."""

import errno
import hashlib
import os
import random

import pytest

from lib.load import LineWriter, write_synced
from lib.plugin import PluginError
from lib.proc import run, wait_until

pytestmark = pytest.mark.usefixtures("purged")

# The fixture removes what a test left in the order of the names: "db" is last among those here.


@pytest.fixture(params=["ext4", "xfs"])
def fs(request):
    return request.param


def fill(path, seed=1):
    dice = random.Random(seed)
    for i, size in enumerate([0, 1, 4095, 70000, 5 << 20]):
        (path / f"folder-{i % 2}").mkdir(exist_ok=True)
        (path / f"folder-{i % 2}/file-{i}").write_bytes(dice.randbytes(size))


def manifest(path):
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in path.rglob("*") if file.is_file()}


def assert_read_only(path):
    for write in [lambda: (path / "new").touch(), lambda: (path / "folder-0/file-0").unlink(),
                  lambda: (path / "folder-0/file-0").write_text("x"),
                  lambda: os.utime(path / "folder-0/file-0")]:
        with pytest.raises(OSError) as refused:
            write()
        assert refused.value.errno == errno.EROFS


def source(path):
    return run("findmnt", "-no", "SOURCE", path).stdout.strip()


def readers(plugin, name):
    return plugin.call("Volume.Holders", {"Name": name})["Holders"]


def test_a_snapshot_taken_under_load_is_shown_on_two_hosts(plugin, volumes, radosvol, cluster,
                                                           start_plugin, fs):
    other = start_plugin(host="host-b")
    volumes.create("db", fs=fs, uid="999", mode="0700", **{"mount-options": "noatime"})
    path, db_id = volumes.mount("db")
    fill(path)
    written = manifest(path)
    writer = LineWriter(path / "lines")
    writer.start()
    wait_until(lambda: writer.lines > 10 or writer.error, "the first lines", 60)
    least = writer.lines
    radosvol.out("snapshot", "create", "db", "monday")
    most = writer.lines + 1
    writer.stop()
    (path / "folder-0/file-0").write_text("changed on tuesday")

    options = {"from": "db@monday", "access": "ro"}
    for _ in range(2):
        plugin.create("a-view", **options)
    # Beside each other on one host, beside the volume itself, and on another one.
    plugin.create("a-second-view", **options)
    views = [volumes.mount("a-view"), volumes.mount("a-view", plugin=other),
             volumes.mount("a-second-view")]
    for view, _ in views:
        found = manifest(view)
        del found["lines"]
        assert found == written
        lines = (view / "lines").read_text(encoding="ascii").split()
        assert lines == [str(i + 1) for i in range(len(lines))]
        assert least <= len(lines) <= most
        assert view.stat().st_uid == 999 and view.stat().st_mode & 0o7777 == 0o700
        assert_read_only(view)
        assert run("blockdev", "--getro", source(view)).stdout.strip() == "1"
    assert "not replayed" not in plugin.log()

    status = plugin.get("a-view")["Status"]
    assert status["options"]["access"] == "ro" and status["options"]["from"] == "db@monday"
    assert status["health"] == "ok" and "holder" not in status
    assert plugin.get("db")["Status"]["options"]["access"] == "rw"
    assert cluster.lockers("a-view") == [] and len(cluster.watchers("a-view")) == 2
    rows = readers(plugin, "a-view")
    assert sorted((row["Host"], row["State"], row["Access"]) for row in rows) == [
        ("host-a", "alive", "ro"), ("host-b", "alive", "ro")]
    assert sorted(row["Address"] for row in rows) == sorted(cluster.watchers("a-view"))
    assert all(row["Since"].startswith("20") and row["Client"] > 0 for row in rows)
    for listed in [plugin.call("Volume.Inspect", {"Name": "a-view"})["Volume"]["Status"]["readers"],
                   radosvol.json("inspect", "a-view")["readers"],
                   radosvol.json("holders", "a-view")["holders"]]:
        assert sorted(reader["host"] for reader in listed) == ["host-a", "host-b"]
    assert "nothing to take over" in radosvol.fails("takeover", "--yes", "a-view")

    # It is not removed while one host reads it, and stock tools see a clone.
    children = {child["image"] for child in cluster.rbd_json("children", "db", "--all")}
    assert children == {"a-view", "a-second-view"}
    with pytest.raises(PluginError, match="in use on this host"):
        plugin.remove("a-view")
    volumes.unmount("a-view", views[0][1])
    with pytest.raises(PluginError, match="open by client .* on host-b"):
        plugin.remove("a-view")
    assert {**manifest(views[1][0]), "lines": ""} == {**written, "lines": ""}
    volumes.unmount("a-view", views[1][1])
    plugin.remove("a-view")
    volumes.unmount("a-second-view", views[2][1])
    volumes.unmount("db", db_id)


def test_what_is_shown_outlives_its_snapshot(plugin, volumes, radosvol, cluster):
    """And without one, what the volume holds now is shown."""
    volumes.create("db")
    path, db_id = volumes.mount("db")
    write_synced(path / "file", b"now")
    plugin.create("a-view", **{"from": "db", "access": "ro"})
    write_synced(path / "file", b"later")
    radosvol.out("snapshot", "create", "db", "monday")
    radosvol.out("clone", "db@monday", "b-view", "-o", "access=ro")
    (path / "file").unlink()
    assert radosvol.json("snapshot", "rm", "--yes", "db@monday")["kept-for-clones"] is True
    assert cluster.rbd_json("snap", "ls", "db") == []
    volumes.unmount("db", db_id)
    for name, data in [("a-view", b"now"), ("b-view", b"later")]:
        view, an_id = volumes.mount(name)
        assert (view / "file").read_bytes() == data
        volumes.unmount(name, an_id)
        plugin.remove(name)
    assert cluster.rbd_json("snap", "ls", "--all", "db") == []


def test_a_snapshot_that_was_not_frozen(plugin, volumes, cluster, tmp_path, fs):
    """An image as a dead host leaves it, made by stock tools: what only its journal holds need not
    show, the rest does, and the log says so. A clone that is not read-only replays it."""
    made, crashed, mounted = tmp_path / "made", tmp_path / "crashed", tmp_path / "mnt"
    mounted.mkdir()
    run("truncate", "-s", "512M", made)
    run(f"mkfs.{fs}", "-q", made)
    run("mount", "-o", "loop", made, mounted)
    try:
        write_synced(mounted / "early", b"in its place")
        run("fsfreeze", "--freeze", mounted)
        run("fsfreeze", "--unfreeze", mounted)
        write_synced(mounted / "late", b"in the journal")
        run("cp", "--sparse=always", made, crashed)
    finally:
        run("umount", mounted)
    cluster.rbd("import", "--no-progress", crashed, "db")
    cluster.rbd("snap", "create", "--no-progress", "db@crash")
    plugin.create("a-view", **{"from": "db@crash", "access": "ro"})
    view, an_id = volumes.mount("a-view")
    assert (view / "early").read_bytes() == b"in its place"
    with pytest.raises(OSError) as refused:
        (view / "new").touch()
    assert refused.value.errno == errno.EROFS
    if fs == "ext4":
        wait_until(lambda: "'db@crash' was not frozen" in plugin.log(), "the warning")
        assert not (view / "late").exists()
    plugin.create("b-clone", **{"from": "db@crash"})
    clone, _ = volumes.mount("b-clone")
    assert (clone / "late").read_bytes() == b"in the journal"
    assert (view / "early").read_bytes() == b"in its place"


def test_without_docker(plugin, volumes, radosvol, cluster, tmp_path, fs):
    """radosvol mount, beside the plugin's."""
    volumes.create("db", fs=fs)
    path, db_id = volumes.mount("db")
    fill(path)
    written = manifest(path)
    radosvol.out("snapshot", "create", "db", "monday")
    volumes.unmount("db", db_id)
    plugin.create("a-view", **{"from": "db@monday", "access": "ro"})
    volumes.mount("a-view")
    radosvol_dir = tmp_path / "mnt"
    radosvol_dir.mkdir()
    assert radosvol.json("mount", "a-view", radosvol_dir)["read-only"] is True
    try:
        assert manifest(radosvol_dir) == written
        assert_read_only(radosvol_dir)
        assert sorted(row["Host"] for row in readers(plugin, "a-view")) == ["host-a", "rescue"]
    finally:
        radosvol.out("umount", radosvol_dir)
    assert [row["Host"] for row in readers(plugin, "a-view")] == ["host-a"]


def test_stock_tools_beside_its_readers(plugin, volumes, radosvol, cluster):
    """Who takes its lock is told of; what is read stays right, also when its source goes."""
    volumes.create("db")
    path, db_id = volumes.mount("db")
    fill(path)
    written = manifest(path)
    radosvol.out("snapshot", "create", "db", "monday")
    plugin.create("a-view", **{"from": "db@monday", "access": "ro"})
    view, an_id = volumes.mount("a-view")
    assert manifest(view) == written
    cluster.rbd("snap", "create", "--no-progress", "a-view@again")
    wait_until(lambda: any("'a-view'" in line and "has taken its lock" in line
                           for line in plugin.log().splitlines()), "the warning")
    cluster.rbd("flatten", "--no-progress", "a-view", timeout=120)
    volumes.unmount("db", db_id)
    cluster.rbd("snap", "rm", "--no-progress", "db@monday")
    run("sh", "-c", "echo 1 >/proc/sys/vm/drop_caches")
    assert manifest(view) == written
    volumes.unmount("a-view", an_id)
    assert manifest(volumes.mount("a-view")[0]) == written


def test_a_volume_out_of_one(plugin, volumes, radosvol, cluster):
    """What shows a snapshot can be cloned and snapshotted like any other."""
    volumes.create("db")
    path, db_id = volumes.mount("db")
    fill(path)
    written = manifest(path)
    radosvol.out("snapshot", "create", "db", "monday")
    volumes.unmount("db", db_id)
    plugin.create("c-view", **{"from": "db@monday", "access": "ro"})
    volumes.mount("c-view")
    plugin.create("a-clone", **{"from": "c-view"})
    clone, _ = volumes.mount("a-clone")
    assert manifest(clone) == written
    write_synced(clone / "own", b"mine")
    assert plugin.get("a-clone")["Status"]["options"]["access"] == "rw"
    assert not any("'c-view'" in line and "has taken its lock" in line
                   for line in plugin.log().splitlines())


def test_what_is_refused(plugin, volumes, radosvol, cluster):
    volumes.create("db")
    radosvol.out("snapshot", "create", "db", "monday")
    before = cluster.objects()
    view = {"from": "db@monday", "access": "ro"}
    for options, words in [
            ({"access": "ro"}, "with from=<volume>@<snapshot>"),
            ({"access": "r"}, "option 'access' has value 'r': use rw, or ro together with from"),
            ({**view, "uid": "1"}, "option 'uid' would have to be written"),
            ({**view, "gid": "1"}, "option 'gid' would have to be written"),
            ({**view, "mode": "0700"}, "option 'mode' would have to be written"),
            ({**view, "size": "2G"}, "cannot grow into more \\(2G\\)"),
            ({**view, "fs": "xfs"}, "cannot have 'xfs'"),
            ({**view, "from": "db@none"}, "no snapshot 'none'")]:
        with pytest.raises(PluginError, match=words):
            plugin.create("a-view", **options)
    assert cluster.objects() == before

    plugin.create("a-view", **view)
    plugin.create("a-view", **{"from": "db@monday"})  # it is used as it is
    plugin.create("b-clone", **{"from": "db@monday", "access": "rw"})
    with pytest.raises(PluginError, match="exists with access 'ro', not 'rw'"):
        plugin.create("a-view", **{**view, "access": "rw"})
    with pytest.raises(PluginError, match="exists with access 'rw', not 'ro'"):
        plugin.create("b-clone", **view)
    radosvol.out("snapshot", "create", "a-view", "again")
    for words in [("flatten", "a-view"), ("resize", "a-view", "2G"),
                  ("restore", "--yes", "a-view@again")]:
        assert "(access=ro)" in radosvol.fails(*words)
    for method, body in [("Volume.Flatten", {}), ("Volume.Resize", {"Size": "2G"}),
                         ("Snapshot.Restore", {"Snapshot": "again"})]:
        with pytest.raises(PluginError, match="shows 'db@monday' as it is"):
            plugin.call(method, {"Name": "a-view", **body})
    assert "parent" in cluster.rbd_json("info", "a-view")
