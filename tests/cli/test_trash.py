# SPDX-License-Identifier: Apache-2.0
"""Removed volumes: through the plugin, its Trash endpoints and radosvol."""

import json
import re
import time

import pytest

from lib.cluster import POOL
from lib.plugin import PluginError
from lib.proc import wait_until


@pytest.fixture
def keeper(start_plugin, cluster):
    """A plugin that keeps removed volumes for a week; nothing is left of them after the test."""
    plugin = start_plugin(trash_expiry="7d")
    yield plugin
    for name in plugin.list():
        plugin.remove(name)
    plugin.call("Trash.Purge", {"All": True})
    assert cluster.trash() == []


def refusal(plugin, method, body):
    with pytest.raises(PluginError) as refused:
        plugin.call(method, body)
    return str(refused.value)


def write(plugin, name, text):
    path = plugin.mount(name, "0")
    (path / "file").write_text(text)
    plugin.unmount(name, "0")


def read(plugin, name):
    path = plugin.mount(name, "0")
    text = (path / "file").read_text()
    plugin.unmount(name, "0")
    return text


def trash(plugin):
    return plugin.call("Trash.List")["Volumes"]


def test_a_removed_volume_comes_back(keeper, plugin, cluster):
    keeper.create("db", size="1G", **{"label.app": "web"})
    write(keeper, "db", "precious")
    keeper.remove("db")
    assert keeper.list() == []
    assert "no such volume" in refusal(keeper, "VolumeDriver.Get", {"Name": "db"})
    [removed] = trash(keeper)
    assert removed["Name"] == "db" and removed["Size"] == 1 << 30 and removed["Swept"]
    assert removed["State"] == "removed"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", removed["ExpiresAt"])
    [stock] = cluster.rbd_json("trash", "ls", "--long")
    assert stock["id"] == removed["ID"] and stock["source"] == "USER"

    # A new one of the same name is a new one.
    keeper.create("db", size="1G")
    path = keeper.mount("db", "0")
    assert list(path.iterdir()) == []
    keeper.unmount("db", "0")
    error = refusal(keeper, "Trash.Restore", {"Name": "db"})
    assert "there is a volume 'db' now" in error and "another name" in error

    answer = keeper.call("Trash.Restore", {"Name": "db", "To": "db-old"})
    assert answer == {"Name": "db-old", "ID": removed["ID"], "Err": ""}
    assert keeper.list() == ["db", "db-old"] and plugin.list() == ["db", "db-old"]
    seen = keeper.call("VolumeDriver.Get", {"Name": "db-old"})["Volume"]
    assert seen["Status"]["labels"] == {"app": "web"}
    assert read(plugin, "db-old") == "precious"
    assert trash(keeper) == []


def test_several_of_one_name(keeper):
    for text in ("first", "second"):
        keeper.create("db", size="1G")
        write(keeper, "db", text)
        keeper.remove("db")
    second, first = trash(keeper)
    assert first["DeletedAt"] <= second["DeletedAt"]
    assert "2 removed volumes were called 'db'" in refusal(keeper, "Trash.Purge", {"Name": "db"})
    keeper.call("Trash.Restore", {"Name": "db"})
    assert read(keeper, "db") == "second"
    keeper.call("Trash.Restore", {"ID": first["ID"], "To": "older"})
    assert read(keeper, "older") == "first"


def test_purge(keeper, cluster):
    before = cluster.objects()
    for name in ("one", "two", "three"):
        keeper.create(name, size="1G")
        keeper.remove(name)
    assert keeper.call("Trash.Purge", {"Expired": True}) == {
        "Purged": [], "Failures": [], "Err": ""}
    [gone] = keeper.call("Trash.Purge", {"Name": "one"})["Purged"]
    assert gone["Name"] == "one"
    assert sorted(v["Name"] for v in trash(keeper)) == ["three", "two"]
    answer = keeper.call("Trash.Purge", {"All": True})
    assert sorted(v["Name"] for v in answer["Purged"]) == ["three", "two"]
    assert trash(keeper) == [] and cluster.objects() <= before | {"rbd_trash"}


@pytest.mark.parametrize("body, words", [
    ({}, "what to delete"),
    ({"Name": "db", "All": True}, "what to delete"),
    ({"All": "yes"}, '"All" must be true or false'),
    ({"Name": "none"}, "no removed volume 'none'"),
    ({"ID": "../x"}, "no removed volume '../x'"),
])
def test_purge_of_what_is_not_there(keeper, body, words):
    assert words in refusal(keeper, "Trash.Purge", body)


@pytest.mark.parametrize("body, words", [
    ({}, '"Name" or "ID"'),
    ({"Name": "none"}, "no removed volume 'none'"),
    ({"Name": "a/b"}, "a/b"),
    ({"Name": "none", "To": "a/b"}, "a/b"),
])
def test_restore_of_what_is_not_there(keeper, body, words):
    assert words in refusal(keeper, "Trash.Restore", body)


def test_snapshots_and_stock_tools(keeper, cluster):
    keeper.create("db", size="1G")
    cluster.rbd("snap", "create", "db@monday")
    keeper.remove("db")
    [removed] = trash(keeper)
    assert removed["Snapshots"] == 1
    cluster.rbd("trash", "restore", removed["ID"])
    assert keeper.list() == ["db"]
    assert [s["name"] for s in cluster.rbd_json("snap", "ls", "db")] == ["monday"]
    cluster.rbd("trash", "mv", "db")
    [removed] = trash(keeper)
    assert not removed["Swept"]
    keeper.call("Trash.Restore", {"Name": "db"})
    assert [s["name"] for s in cluster.rbd_json("snap", "ls", "db")] == ["monday"]
    keeper.remove("db")


def test_protected_volumes_stay(keeper, cluster):
    keeper.create("db", size="1G", protect="true")
    assert "protect" in refusal(keeper, "VolumeDriver.Remove", {"Name": "db"})
    assert keeper.list() == ["db"]
    cluster.rbd("image-meta", "remove", "db", "docker-volume-rados.protect")


# --- radosvol ------------------------------------------------------------------------------


def ls(radosvol):
    return json.loads(radosvol.out("trash", "ls", "--json"))["removed"]


def test_radosvol_undeletes(keeper, radosvol):
    for text in ("first", "second"):
        keeper.create("db", size="1G")
        write(keeper, "db", text)
        keeper.remove("db")
    second, first = ls(radosvol)
    assert [second["name"], second["size"], second["then"], second["state"]] == [
        "db", 1 << 30, "deleted", "removed"]
    text = radosvol.out("trash", "ls")
    assert first["id"] in text and "EXPIRES" in text and "1G" in text

    out, _ = radosvol.run("trash", "restore", "db")
    assert re.search(r"volume +db\n", out) and second["id"] in out
    assert keeper.list() == ["db"]
    assert read(keeper, "db") == "second"
    _, why = radosvol.run("trash", "restore", "db", status=1)
    assert "there is a volume 'db' now" in why
    answer = json.loads(radosvol.out("trash", "restore", first["id"], "--as", "older", "--json"))
    assert answer["volume"] == "older" and answer["id"] == first["id"]
    assert keeper.list() == ["db", "older"]
    assert read(keeper, "older") == "first"
    assert ls(radosvol) == []


def test_radosvol_purges(keeper, radosvol, cluster):
    for _ in range(2):
        keeper.create("db", size="1G")
        cluster.rbd("snap", "create", "db@monday")
        keeper.remove("db")
    second, first = ls(radosvol)
    assert second["snapshots"] == 1
    _, why = radosvol.run("trash", "purge", "db", "--yes", status=1)
    assert "2 removed volumes were called 'db'" in why
    _, why = radosvol.run("trash", "purge", first["id"], status=1)
    assert f"id {first['id']}, 1G, 1 snapshots" in why and "--yes" in why
    assert len(ls(radosvol)) == 2
    assert radosvol.out("trash", "purge", "--expired", "--yes").split() == ["deleted", "0"]
    assert len(ls(radosvol)) == 2
    radosvol.run("trash", "purge", first["id"], "--yes")
    assert ls(radosvol) == [second]
    done = json.loads(radosvol.out("trash", "purge", "--all", "--yes", "--json"))
    assert done == {"deleted": 1} and cluster.trash() == []


def test_radosvol_purges_clones_before_their_parent(keeper, radosvol, cluster):
    keeper.create("db", size="1G")
    cluster.rbd("snap", "create", "db@monday")
    cluster.rbd("clone", "--rbd-default-clone-format", "2", "--dest-pool", POOL, "db@monday",
                "copy")
    error = refusal(keeper, "VolumeDriver.Remove", {"Name": "db"})
    assert "1 clone(s) need its data: 'copy'" in error
    assert keeper.list() == ["copy", "db"]
    cluster.rbd("flatten", "copy")
    keeper.remove("copy")
    keeper.remove("db")
    assert radosvol.out("trash", "purge", "--all", "--yes").split() == ["deleted", "2"]


@pytest.mark.parametrize("words", [
    ["trash"], ["trash", "nothing"], ["trash", "ls", "db"], ["trash", "restore"],
    ["trash", "restore", "a", "b"], ["trash", "purge"], ["trash", "purge", "db", "--all"],
    ["trash", "purge", "--all", "--expired"],
], ids=" ".join)
def test_radosvol_wrong_usage(radosvol, words):
    _, why = radosvol.run(*words, status=2)
    assert "radosvol" in why


def test_radosvol_finds_nothing(radosvol):
    for command in (["restore", "none"], ["purge", "none", "--yes"]):
        _, why = radosvol.run("trash", *command, status=1)
        assert "no removed volume 'none'" in why


def test_expired_volumes_are_swept(start_plugin, cluster):
    plugin = start_plugin(trash_expiry="1s")
    plugin.create("db", size="1G")
    plugin.remove("db")
    assert len(cluster.trash()) == 1
    plugin.stop()
    time.sleep(2)
    plugin.start()  # sweeps when it starts
    wait_until(lambda: cluster.trash() == [], "the sweep")
