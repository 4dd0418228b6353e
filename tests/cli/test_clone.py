# SPDX-License-Identifier: Apache-2.0
"""Volumes out of volumes: with radosvol, over the socket, and with `docker volume create -o from=`."""

import json
import os
import random
import signal
import time

import pytest

from lib import proc
from lib.load import Fio, write_synced
from lib.plugin import PluginError


# The fixture removes what a test left in the order of the names: clones before their source.


def write(path, name, text):
    write_synced(path / name, text.encode())


def children(cluster, name):
    """The clones of all snapshots of a volume, as the stock command knows them."""
    return {child["image"] for child in cluster.rbd_json("children", name, "--all")}


def has_parent(cluster, name):
    return "parent" in cluster.rbd_json("info", name)


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_clone_of_a_mounted_volume_is_mounted_beside_it(plugin, volumes, radosvol, cluster, fs):
    volumes.create("source", fs=fs, **{"label.app": "web"})
    path, source_id = volumes.mount("source")
    write(path, "kept", "before")
    assert radosvol.json("clone", "source", "clone") == {"volume": "clone", "from": "source"}
    write(path, "kept", "after")
    write(path, "new", "after")
    beside, an_id = volumes.mount("clone")
    assert (beside / "kept").read_text() == "before"
    assert not (beside / "new").exists()
    write(beside, "own", "mine")
    assert not (path / "own").exists()
    assert (path / "kept").read_text() == "after"
    assert children(cluster, "source") == {"clone"}
    assert cluster.rbd_json("snap", "ls", "source") == []
    assert plugin.call("Volume.Inspect", {"Name": "clone"})["Volume"]["Status"]["labels"] == {}

    volumes.unmount("source", source_id)
    with pytest.raises(PluginError, match="/clone: flatten or remove"):
        plugin.remove("source")
    volumes.unmount("clone", an_id)
    assert radosvol.json("flatten", "clone")["objects"] == 256
    assert children(cluster, "source") == set() and not has_parent(cluster, "clone")
    assert cluster.rbd_json("snap", "ls", "--all", "source") == []
    beside, _ = volumes.mount("clone")
    assert (beside / "kept").read_text() == "before"
    assert (beside / "own").read_text() == "mine"


WAYS = {
    "radosvol": lambda plugin, radosvol, cluster: radosvol.json("flatten", "clone"),
    "socket": lambda plugin, radosvol, cluster: plugin.call("Volume.Flatten", {"Name": "clone"}),
    "rbd": lambda plugin, radosvol, cluster: cluster.rbd("flatten", "--no-progress", "clone",
                                                         timeout=120),
}


@pytest.mark.parametrize("way, fs", [("radosvol", "ext4"), ("socket", "xfs"), ("rbd", "ext4")])
def test_a_clone_is_flattened_beside_its_load(plugin, volumes, radosvol, cluster, way, fs):
    volumes.create("source", fs=fs)
    path, an_id = volumes.mount("source")
    content = random.Random(1).randbytes(24 << 20)
    write_synced(path / "kept", content)
    volumes.unmount("source", an_id)
    plugin.create("clone", **{"from": "source"})
    path, an_id = volumes.mount("clone")
    load = Fio(path, mib=4)
    try:
        WAYS[way](plugin, radosvol, cluster)
        assert children(cluster, "source") == set() and not has_parent(cluster, "clone")
        assert cluster.rbd_json("snap", "ls", "--all", "source") == []
        passes = load.passes
        proc.wait_until(lambda: load.passes > passes, "fio goes on", seconds=60)
        load.stop()
    finally:
        load.kill()
        load.join(30)
    assert (path / "kept").read_bytes() == content
    volumes.unmount("clone", an_id)
    plugin.remove("source")
    path, _ = volumes.mount("clone")
    assert (path / "kept").read_bytes() == content


@pytest.fixture
def long_flatten(plugin, volumes, radosvol):
    """A clone that is mounted and takes some seconds to flatten: (its path, its mount's id, the
    command that does it)."""
    volumes.create("source", fs="xfs", size="40G")
    path, an_id = volumes.mount("source")
    write(path, "kept", "monday")
    volumes.unmount("source", an_id)
    plugin.create("clone", **{"from": "source"})
    path, an_id = volumes.mount("clone")
    command = radosvol.start("flatten", "clone", "--json")
    time.sleep(1)
    assert command.poll() is None
    yield path, an_id, command
    command.kill()
    command.communicate()


def test_an_unmount_ends_the_flatten_of_a_clone(volumes, cluster, long_flatten):
    path, an_id, command = long_flatten
    begun = time.monotonic()
    volumes.unmount("clone", an_id)
    assert time.monotonic() - begun < 15
    _, said = command.communicate(timeout=30)
    assert command.returncode == 1 and "flatten it again to go on" in said
    assert has_parent(cluster, "clone")
    path, _ = volumes.mount("clone")
    assert (path / "kept").read_text() == "monday"


def test_a_killed_blockds_successor_goes_on_with_the_flatten(plugin, cluster, long_flatten):
    path, _, command = long_flatten
    os.kill(plugin.blockd_pids()[0], signal.SIGKILL)
    out, said = command.communicate(timeout=120)
    assert command.returncode == 0, said
    assert json.loads(out)["volume"] == "clone"
    assert not has_parent(cluster, "clone") and children(cluster, "source") == set()
    assert (path / "kept").read_text() == "monday"


def test_clones_of_a_snapshot_over_the_socket(plugin, volumes, radosvol, cluster):
    volumes.create("source", uid="999")
    path, an_id = volumes.mount("source")
    write(path, "kept", "monday")
    cluster.rbd("snap", "create", "source@monday", "--no-progress")
    write(path, "kept", "tuesday")
    volumes.unmount("source", an_id)

    body = {"Name": "source", "Snapshot": "monday", "To": "clone-socket",
            "Opts": {"label.for": "test", "size": "2G"}}
    assert plugin.call("Volume.Clone", body) == {"Err": ""}
    plugin.create("clone-docker", **{"from": "source@monday"})
    plugin.create("clone-docker", **{"from": "source@monday"})
    radosvol.out("clone", "source@monday", "clone-command", "-o", "label.for=test")
    assert children(cluster, "source") == {"clone-socket", "clone-docker", "clone-command"}
    assert plugin.call("Volume.Inspect", {"Name": "clone-socket"})["Volume"]["Status"]["size"] == "2G"
    for name in ["clone-socket", "clone-docker", "clone-command"]:
        path, an_id = volumes.mount(name)
        assert (path / "kept").read_text() == "monday"
        assert path.stat().st_uid == 999
        volumes.unmount(name, an_id)
        assert plugin.call("Volume.Flatten", {"Name": name}) == {"Err": ""}
        assert plugin.call("Volume.Flatten", {"Name": name}) == {"Err": ""}
        assert not has_parent(cluster, name)
    assert children(cluster, "source") == set()
    cluster.rbd("snap", "rm", "source@monday", "--no-progress")


def test_stock_clones_are_volumes(plugin, volumes, radosvol, cluster):
    volumes.create("source")
    path, an_id = volumes.mount("source")
    write(path, "kept", "monday")
    volumes.unmount("source", an_id)
    cluster.rbd("snap", "create", "source@monday", "--no-progress")
    cluster.rbd("clone", "--rbd-default-clone-format", "2", "docker/source@monday", "docker/clone")
    path, an_id = volumes.mount("clone")
    assert (path / "kept").read_text() == "monday"
    write(path, "kept", "mine")
    volumes.unmount("clone", an_id)
    with pytest.raises(PluginError, match="/clone: flatten or remove"):
        plugin.remove("source")
    plugin.remove("clone")
    assert children(cluster, "source") == set()
    cluster.rbd("snap", "rm", "source@monday", "--no-progress")


def test_what_is_refused(plugin, volumes, radosvol, cluster):
    volumes.create("source")
    volumes.create("taken")
    before = cluster.objects()
    assert "no snapshot 'none'" in radosvol.fails("clone", "source@none", "new")
    assert "no volume 'none'" in radosvol.fails("clone", "none", "new")
    assert "volume 'taken' exists" in radosvol.fails("clone", "source", "taken")
    assert "volume name 'a/b'" in radosvol.fails("clone", "source", "a/b")
    assert "option 'from'" in radosvol.fails("clone", "d b", "new")
    assert "(512M)" in radosvol.fails("clone", "source", "new", "-o", "size=512M")
    assert "cannot have 'xfs'" in radosvol.fails("clone", "source", "new", "-o", "fs=xfs")
    assert "no image 'none'" in radosvol.fails("flatten", "none")
    radosvol.run("clone", "source", status=2)
    radosvol.run("clone", "source", "new", "-o", "size", status=2)
    radosvol.run("clone", "source", "new", "-o", "from=x", status=2)
    with pytest.raises(PluginError, match="cannot have 'xfs'"):
        plugin.create("new", **{"from": "source", "fs": "xfs"})
    with pytest.raises(PluginError, match="exists with from '', not 'source'"):
        plugin.create("taken", **{"from": "source"})
    with pytest.raises(PluginError, match="not the option 'from'"):
        plugin.call("Volume.Clone", {"Name": "source", "To": "new", "Opts": {"from": "source"}})
    assert cluster.objects() == before
    assert sorted(plugin.list()) == ["source", "taken"]
