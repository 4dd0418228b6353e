# SPDX-License-Identifier: Apache-2.0
"""No lock-in: what stock Ceph tools say about a volume is true, and what they make is a volume."""

import hashlib
import os
import random
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.cluster import POOL
from lib.plugin import PluginError, mount_id
from lib.proc import run, wait_until

CHECK = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n", "-f"]}
SIZES = (0, 1, 4095, 4096, 70000, 5 << 20, 9 << 20)


def fill(directory, seed=1):
    """Files of all kinds of sizes; returns {relative path: digest}."""
    dice = random.Random(seed)
    for i, size in enumerate(SIZES):
        folder = Path(directory) / f"folder-{i % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"file-{i}").write_bytes(dice.randbytes(size))
    with open(Path(directory) / "sparse", "wb") as sparse:
        sparse.seek(100 << 20)
        sparse.write(b"the end")
    return digests(directory)


def digests(directory):
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in Path(directory).rglob("*") if path.is_file()}


@contextmanager
def loop_mounted(image, target, *options):
    target.mkdir(exist_ok=True)
    run("mount", "-o", ",".join(("loop",) + options), image, target)
    try:
        yield target
    finally:
        run("umount", target)


@pytest.fixture(params=["ext4", "xfs"])
def fs(request):
    return request.param


# --- What rbd says of a volume -------------------------------------------------------------


def test_rbd_ls_is_the_list_of_volumes(volumes, cluster, plugin):
    names = [volumes.create() for _ in range(3)]
    assert sorted(cluster.rbd("ls").split()) == names == plugin.list()


def test_rbd_info_of_a_volume(volumes, cluster):
    name = volumes.create(size="3G")
    info = cluster.rbd_json("info", name)
    assert info["size"] == 3 << 30
    assert info["object_size"] == 4 << 20
    assert info["format"] == 2
    assert sorted(info["features"]) == ["exclusive-lock", "layering"]
    assert info["flags"] == []


def test_rbd_status_and_lock_of_a_mounted_volume(volumes, cluster):
    name = volumes.create()
    assert cluster.watchers(name) == [] and cluster.lockers(name) == []
    _, an_id = volumes.mount(name)
    watchers, lockers = cluster.watchers(name), cluster.lockers(name)
    assert len(watchers) == 1 and watchers[0].startswith("127.0.0.1:")
    assert len(lockers) == 1 and lockers[0]["id"].startswith("auto ")
    assert lockers[0]["address"] == watchers[0]
    volumes.unmount(name, an_id)
    wait_until(lambda: cluster.watchers(name) == [] and cluster.lockers(name) == [], "the release")


def test_rbd_image_meta_shows_the_facts(volumes, cluster, fs):
    name = volumes.create(fs=fs, owner="someone", **{"label.tier": "gold", "mount-options":
                                                     "noatime"})
    facts = cluster.rbd_json("image-meta", "list", name)
    assert all(key.startswith("docker-volume-rados.") for key in facts)
    values = {key.partition(".")[2]: value for key, value in facts.items()}
    assert values["fs"] == fs and values["owner"] == "someone"
    assert values["label.tier"] == "gold" and values["mount-options"] == "noatime"


def test_rbd_du_sees_what_is_used(volumes, cluster):
    name = volumes.create(size="10G")
    empty = cluster.rbd_json("du", name)["images"][0]
    assert empty["provisioned_size"] == 10 << 30 and empty["used_size"] < 500 << 20
    path, an_id = volumes.mount(name)
    (path / "file").write_bytes(os.urandom(64 << 20))
    volumes.unmount(name, an_id)
    used = cluster.rbd_json("du", name)["images"][0]["used_size"]
    assert empty["used_size"] + (60 << 20) <= used <= empty["used_size"] + (100 << 20)


def test_rbd_does_not_remove_a_mounted_volume(volumes, cluster, plugin):
    name = volumes.create()
    path, _ = volumes.mount(name)
    done = cluster.tool("rbd", "--pool", POOL, "rm", name, check=False)
    assert done.returncode != 0 and "watchers" in done.stderr
    (path / "file").write_text("still there")
    assert plugin.list() == [name]


def test_rbd_cannot_lock_a_mounted_volume(volumes, cluster):
    name = volumes.create()
    volumes.mount(name)
    assert cluster.tool("rbd", "--pool", POOL, "lock", "add", name, "mine",
                        check=False).returncode != 0


def test_a_volume_locked_by_a_stock_tool_is_not_mounted(volumes, cluster, plugin):
    name = volumes.create()
    cluster.rbd("lock", "add", name, "mine")
    with pytest.raises(PluginError, match="lock|holds|held|use"):
        plugin.mount(name, mount_id())
    locker = cluster.lockers(name)[0]
    cluster.rbd("lock", "rm", name, "mine", locker["locker"])
    volumes.mount(name)


def test_a_volume_with_snapshots_is_not_removed(volumes, cluster, plugin):
    name = volumes.create()
    cluster.rbd("snap", "create", f"{name}@before")
    with pytest.raises(PluginError, match="snapshot"):
        plugin.remove(name)
    assert plugin.list() == [name]
    cluster.rbd("snap", "rm", f"{name}@before")


def test_the_rbd_trash_is_not_listed(volumes, cluster, plugin):
    name = volumes.create()
    image_id = cluster.image_id(name)
    cluster.rbd("trash", "mv", name)
    assert plugin.list() == []
    cluster.rbd("trash", "restore", image_id)
    assert plugin.list() == [name]


# --- Out -----------------------------------------------------------------------------------


def test_an_exported_volume_is_a_sound_file_system(volumes, cluster, fs, tmp_path):
    name = volumes.create(fs=fs)
    path, an_id = volumes.mount(name)
    written = fill(path)
    volumes.unmount(name, an_id)
    cluster.rbd("export", name, tmp_path / "image")
    run(*CHECK[fs], tmp_path / "image")
    with loop_mounted(tmp_path / "image", tmp_path / "mnt", "ro") as directory:
        assert digests(directory) == written


def test_a_fresh_volume_is_a_sound_file_system(volumes, cluster, fs, tmp_path):
    name = volumes.create(fs=fs, uid=12, gid=34, mode="1777")
    cluster.rbd("export", name, tmp_path / "image")
    assert (tmp_path / "image").stat().st_size == 1 << 30
    run(*CHECK[fs], tmp_path / "image")
    with loop_mounted(tmp_path / "image", tmp_path / "mnt", "ro") as directory:
        stat = directory.stat()
        assert (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) == (12, 34, 0o1777)
        assert os.listdir(directory) == []


# --- In ------------------------------------------------------------------------------------


@pytest.fixture
def foreign(cluster, fs, tmp_path, request):
    """A file system made and filled with stock tools, as an image "foreign"; returns a function
    that takes the options of `rbd import` and returns the digests of what is in it."""

    def make(*options, mkfs=()):
        image = tmp_path / "image"
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        run(f"mkfs.{fs}", *mkfs, image)
        with loop_mounted(image, tmp_path / "mnt") as directory:
            written = fill(directory, 7)
        cluster.rbd("import", *options, image, "foreign")
        return written

    return make


@pytest.mark.parametrize("features", [None, "layering,exclusive-lock"],
                         ids=["default", "layering,exclusive-lock"])
def test_an_image_of_stock_tools_is_a_volume(docker, plugin, volumes, cluster, foreign, features):
    written = foreign(*(["--image-feature", features] if features else []))
    assert plugin.list() == ["foreign"]
    path, an_id = volumes.mount("foreign")
    assert digests(path) == written
    volumes.unmount("foreign", an_id)
    script = "cat /data/folder-0/file-3 | wc -c"
    docker.docker("volume", "create", "-d", plugin.driver, "foreign")
    assert docker.run("-v", "foreign:/data", "busybox", "sh", "-c", script).strip() == "4096"


def test_an_image_without_exclusive_lock_is_read_by_nobody_unawares(volumes, cluster, plugin,
                                                                    foreign):
    """Nothing would keep other clients away from it: refused, with the command that helps."""
    written = foreign("--image-feature", "layering")
    with pytest.raises(PluginError, match="exclusive-lock.*rbd feature enable"):
        plugin.mount("foreign", mount_id())
    cluster.rbd("feature", "enable", "foreign", "exclusive-lock")
    path, _ = volumes.mount("foreign")
    assert digests(path) == written


def test_an_image_with_small_blocks_mounts(volumes, foreign, fs):
    """ext4 with 1 KiB blocks, xfs with 512-byte sectors: the device must have small blocks too."""
    written = foreign(mkfs={"ext4": ("-b", "1024"), "xfs": ("-s", "size=512")}[fs])
    path, _ = volumes.mount("foreign")
    assert digests(path) == written
    (path / "more").write_bytes(os.urandom(1 << 20))


def test_an_object_map_is_flagged_invalid_and_can_be_rebuilt(volumes, cluster, foreign, tmp_path,
                                                             fs):
    """Images of `rbd create` have an object map by default. It is not kept here, and so must not be
    believed afterwards."""
    foreign()
    assert "object-map" in cluster.rbd_json("info", "foreign")["features"]
    path, an_id = volumes.mount("foreign")
    (path / "more").write_bytes(os.urandom(20 << 20))
    written = digests(path)
    volumes.unmount("foreign", an_id)
    assert "object map invalid" in cluster.rbd_json("info", "foreign")["flags"]
    cluster.rbd("object-map", "rebuild", "foreign")
    cluster.rbd("object-map", "check", "foreign")
    assert cluster.rbd_json("info", "foreign")["flags"] == []
    cluster.rbd("export", "foreign", tmp_path / "back")
    run(*CHECK[fs], tmp_path / "back")
    with loop_mounted(tmp_path / "back", tmp_path / "mnt", "ro") as directory:
        assert digests(directory) == written


def test_an_image_without_a_file_system_is_never_formatted(volumes, cluster, plugin):
    cluster.rbd("create", "--size", "1G", "blank")
    with pytest.raises(PluginError, match="blank"):
        plugin.mount("blank", mount_id())
    assert cluster.data_objects("blank") == 0


def test_an_image_with_something_else_on_it_is_left_alone(volumes, cluster, plugin, tmp_path):
    image = tmp_path / "swap"
    with open(image, "wb") as file:
        file.truncate(64 << 20)
    run("mkswap", image)
    before = image.read_bytes()
    cluster.rbd("import", image, "other")
    with pytest.raises(PluginError, match="swap"):
        plugin.mount("other", mount_id())
    cluster.rbd("export", "other", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == before


def test_create_over_an_image_of_stock_tools(volumes, cluster, plugin):
    """It exists: other options are refused, nothing is touched."""
    cluster.rbd("create", "--size", "1G", "theirs")
    with pytest.raises(PluginError, match="size"):
        plugin.create("theirs", size="2G")
    assert cluster.rbd_json("info", "theirs")["size"] == 1 << 30


@pytest.fixture
def special(cluster):
    """Make an image called "special" with commands of rbd; they are undone at the end."""
    undo = []

    def make(commands, undoing):
        undo.extend(undoing)
        for command in commands:
            cluster.rbd(*command.split())

    yield make
    for command in undo:
        cluster.rbd(*command.split())


SPECIAL = {
    "journaling": (["create --size 1G --image-feature exclusive-lock,journaling special"],
                   ["rm special"]),
    "striping": (["create --size 1G --stripe-unit 65536 --stripe-count 4 special"],
                 ["rm special"]),
}


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_not_understood_is_neither_written_nor_removed(volumes, plugin, cluster, special,
                                                               kind):
    special(*SPECIAL[kind])
    before = cluster.objects()
    with pytest.raises(PluginError, match="special"):
        plugin.mount("special", mount_id())
    with pytest.raises(PluginError, match="rbd rm"):
        plugin.remove("special")
    assert cluster.objects() == before
    assert "special" in plugin.list()
