# SPDX-License-Identifier: Apache-2.0
"""What is missing or broken on the host or in the cluster is named, with the next step; and nothing
half-made stays behind."""

import errno
import json
import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib import http
from lib.cluster import POOL
from lib.lengths import length
from lib.load import write_synced
from lib.paths import BUILD
from lib.plugin import PluginError, mount_id
from lib.proc import run, wait_until

KILLS = length(5, 10)
FILE_SYSTEMS = ("ext4", "xfs")


@pytest.fixture
def conf(cluster, tmp_path):
    """Write a ceph.conf in which client.docker has another keyring; returns its path."""

    def write(keyring):
        text = Path(cluster.conf).read_text()
        text, count = re.subn(r"(\[client\.docker\]\nkeyring = ).*", rf"\g<1>{keyring}", text)
        assert count == 1
        path = tmp_path / "ceph.conf"
        path.write_text(text)
        return path

    return write


def refusal(call, *args, **options):
    with pytest.raises(PluginError) as refused:
        call(*args, **options)
    return str(refused.value)


# --- The cluster cannot be used ------------------------------------------------------------


def test_no_ceph_conf(start_plugin, tmp_path):
    missing = tmp_path / "no-such.conf"
    plugin = start_plugin(conf=missing)
    wait_until(lambda: str(missing) in plugin.log(), "the file's name in the log")
    assert str(missing) in refusal(plugin.create, "v")


def test_no_keyring(start_plugin, conf):
    plugin = start_plugin(conf=conf("/no/such/keyring"))
    words = refusal(plugin.create, "v")
    assert "keyring" in words and "client.docker" in words
    wait_until(lambda: "keyring" in plugin.log(), "the same words in the log")


def test_wrong_key(start_plugin, conf, tmp_path):
    keyring = tmp_path / "keyring"
    keyring.write_text("[client.docker]\n\tkey = AQDQ0XJkAAAAABAAwXnAgoxMzFqDDGk4NmjYXA==\n")
    plugin = start_plugin(conf=conf(keyring))
    words = refusal(plugin.create, "v")
    assert "client.docker" in words and "key" in words
    assert "AQDQ0XJk" not in words + plugin.log()


def test_unknown_client(start_plugin):
    plugin = start_plugin(ceph_client="nobody")
    words = refusal(plugin.create, "v")
    assert "client.nobody" in words and "keyring" in words


def test_no_such_pool(start_plugin):
    plugin = start_plugin(pool="no-such-pool")
    words = refusal(plugin.create, "v")
    assert "no-such-pool" in words and "ceph osd pool create" in words


def test_a_client_without_rights(start_plugin, cluster, tmp_path):
    """client.poor may talk to the monitor and touch nothing."""
    keyring = tmp_path / "keyring"
    keyring.write_text(cluster.ceph("auth", "get-or-create", "client.poor", "mon", "allow r"))
    conf = tmp_path / "ceph.conf"
    conf.write_text(Path(cluster.conf).read_text() + f"\n[client.poor]\nkeyring = {keyring}\n")
    try:
        plugin = start_plugin(conf=conf, ceph_client="poor")
        words = refusal(plugin.create, "v")
        assert "'docker'" in words and "not permitted" in words
        assert ("ceph auth caps client.poor mon 'profile rbd' osd 'profile rbd pool=docker' "
                "mgr 'profile rbd pool=docker'") in words
        wait_until(lambda: plugin.log().count("ceph auth caps client.poor") >= 2,
                   "the same words in the log, also of the sweep")
    finally:
        cluster.ceph("auth", "del", "client.poor")


# --- A create that fails half-way ----------------------------------------------------------


def test_a_create_whose_data_cannot_be_written(start_plugin, cluster, tmp_path):
    """client.nodata may do everything but write data objects: no volume, no debris."""
    objects = ("rbd_id.", "rbd_header.", "rbd_directory", "rbd_trash", "rbd_info", "rbd_children")
    caps = ", ".join(f"allow rwx pool={POOL} object_prefix {name}" for name in objects)
    keyring = tmp_path / "keyring"
    keyring.write_text(cluster.ceph("auth", "get-or-create", "client.nodata", "mon",
                                    "profile rbd", "osd", caps))
    conf = tmp_path / "ceph.conf"
    conf.write_text(Path(cluster.conf).read_text() + f"\n[client.nodata]\nkeyring = {keyring}\n")
    try:
        plugin = start_plugin(conf=conf, ceph_client="nodata")
        words = refusal(plugin.create, "v", size="1G")
        assert "'v'" in words
        assert cluster.images() == [] and plugin.list() == []
        # Who may not write data may not delete any: the next plugin with all rights does.
        start_plugin(host="host-c")
        wait_until(lambda: not cluster.trash(), "an empty trash", 60)
    finally:
        cluster.ceph("auth", "del", "client.nodata")


@pytest.fixture
def quota(cluster):
    """quota(objects): let the pool have no more, and wait until it is full; 0: any number."""

    def full():
        return "full_quota" in cluster.ceph("osd", "pool", "ls", "detail").split("'docker-data'")[0]

    def set_quota(objects):
        cluster.ceph("osd", "pool", "set-quota", POOL, "max_objects", str(objects))
        wait_until(lambda: full() == (objects > 0), "the quota's effect", 60)

    yield set_quota
    set_quota(0)


@pytest.fixture
def full_pool(volumes, quota):
    """A pool over its quota."""
    volumes.create("old")
    quota(2)


def test_a_create_in_a_full_pool(full_pool, plugin, cluster):
    words = refusal(plugin.create, "new", size="1G")
    assert "full" in words or "quota" in words
    assert plugin.list() == ["old"]


def test_a_writer_in_a_full_pool_waits(volumes, plugin, cluster, quota):
    """Status says for what; with space again it goes on."""
    name = volumes.create()
    path, _ = volumes.mount(name)

    def health():
        return plugin.get(name)["Status"]["health"]

    assert health() == "ok"
    quota(2)
    wait_until(lambda: health() != "ok", "the OSDs to know", 60)
    words = health()
    assert POOL in words and "quota" in words and "wait until" in words
    data = os.urandom(64 << 20)  # more than the objects that are there have room for

    def write():
        with open(path / "file", "wb") as file:
            file.write(data)
            os.fsync(file.fileno())

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            with pytest.raises(TimeoutError):
                writer.result(5)
        finally:
            quota(0)
        writer.result(60)
    wait_until(lambda: health() == "ok", "the plugin to know", 60)
    assert (path / "file").read_bytes() == data


def test_a_writer_in_a_full_pool_fails_where_it_is_set_so(volumes, start_plugin, quota):
    """Nothing is restarted afterwards but what has failed: the volume is mounted again."""
    name = volumes.create()
    impatient = start_plugin(when_full="fail")
    an_id, again = mount_id(), mount_id()
    path = impatient.mount(name, an_id)
    data = os.urandom(64 << 20)
    quota(2)
    with pytest.raises(OSError) as error, open(path / "file", "wb") as file:
        file.write(data)
        os.fsync(file.fileno())
    assert error.value.errno in (errno.ENOSPC, errno.EIO, errno.EROFS)
    quota(0)
    impatient.unmount(name, an_id)
    path = impatient.mount(name, again)
    write_synced(path / "file", data)
    impatient.unmount(name, again)


def test_a_volume_in_a_full_pool_can_be_removed(full_pool, plugin):
    plugin.remove("old")
    assert plugin.list() == []


@pytest.fixture
def minutes_pass(cluster, start_plugin):
    """What a killed client was working on is locked until its locks lapse, after one to three
    minutes, and an entry without an image counts as abandoned after ten. Call this to have them
    behind us: the locks are broken, and a plugin starts, which sweeps."""

    def lapse():
        time.sleep(3)  # for operations that were under way at the kill
        for name in cluster.objects():
            if name.startswith("rbd_header."):
                for lock in json.loads(cluster.rados("lock", "list", name))["locks"]:
                    break_lock(cluster, name, lock["name"])
        for image_id in cluster.trash():
            if f"rbd_header.{image_id}" not in cluster.objects():
                cluster.rados("rmomapkey", "rbd_trash", f"id_{image_id}")
        start_plugin(host="host-c")
        wait_until(lambda: not cluster.trash(), "an empty trash", 60)

    return lapse


def break_lock(cluster, name, lock):
    info = json.loads(cluster.rados("lock", "info", name, lock, "--format", "json"))
    for locker in info["lockers"]:
        cluster.rados("lock", "break", name, lock, locker["name"], "--lock-cookie",
                      locker["cookie"])


def test_the_server_killed_during_create(start_plugin, cluster, plugin, volumes, minutes_pass):
    """At whatever instant: there is a whole volume or none, and create works at once."""
    killed = start_plugin(host="host-b")
    dice = random.Random(2)
    for i in range(KILLS):
        fs = FILE_SYSTEMS[i % 2]
        with http.Connection(killed.socket) as connection:
            connection.send(http.request_bytes("VolumeDriver.Create", (
                '{"Name": "v%d", "Opts": {"size": "1G", "fs": "%s"}}' % (i, fs)).encode()))
            time.sleep(dice.uniform(0, 0.25))
            os.kill(killed.server_pid(), 9)
        wait_until(lambda: answers(killed), "the next server", 30)
        volumes.create(f"v{i}", fs=fs)
        path, an_id = volumes.mount(f"v{i}")
        assert os.listdir(path) == []
        volumes.unmount(f"v{i}", an_id)
    minutes_pass()
    assert plugin.list() == cluster.images() == [f"v{i}" for i in range(KILLS)]


def answers(plugin):
    try:
        return plugin.call("VolumeDriver.Capabilities", timeout=5)
    except (OSError, http.ClosedWithoutAnswer):
        return None


def test_the_server_killed_during_remove(start_plugin, cluster, plugin, volumes, minutes_pass):
    """At whatever instant: the volume is there, whole, or it is gone."""
    killed = start_plugin(host="host-b")
    dice = random.Random(3)
    for i in range(KILLS):
        name = volumes.create(f"v{i}", fs=FILE_SYSTEMS[i % 2])
        with http.Connection(killed.socket) as connection:
            connection.send(http.request_bytes("VolumeDriver.Remove", b'{"Name": "%s"}'
                                               % name.encode()))
            time.sleep(dice.uniform(0, 0.1))
            os.kill(killed.server_pid(), 9)
        wait_until(lambda: answers(killed), "the next server", 30)
    minutes_pass()
    for name in plugin.list():
        path, an_id = volumes.mount(name)
        assert os.listdir(path) == []
        volumes.unmount(name, an_id)
        plugin.remove(name)
    assert cluster.images() == []


def test_the_server_killed_during_mount(start_plugin, volumes):
    """The next server knows what the killed one had begun; the same ID mounts and unmounts."""
    plugin = start_plugin(host="host-b")
    dice = random.Random(4)
    name = volumes.create()
    for i in range(KILLS):
        an_id = mount_id()
        with http.Connection(plugin.socket) as connection:
            connection.send(http.request_bytes(
                "VolumeDriver.Mount",
                b'{"Name": "%s", "ID": "%s"}' % (name.encode(), an_id.encode())))
            time.sleep(dice.uniform(0, 0.25))
            os.kill(plugin.server_pid(), 9)
        wait_until(lambda: answers(plugin), "the next server", 30)
        plugin.raw("Plugin.Activate")
        path = plugin.mount(name, an_id)
        (path / f"file-{i}").write_text("x")
        plugin.unmount(name, an_id)
        wait_until(lambda: not plugin.mounted(name), "the unmount")
    path, _ = volumes.mount(name)
    assert sorted(os.listdir(path)) == [f"file-{i}" for i in range(KILLS)]


def test_a_blockd_killed_under_a_container(docker, plugin):
    """Another one takes the device over; the container's I/O waits and goes on."""
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "data")
    container = docker.start_container("-v", "data:/data", "busybox", "sh", "-c", "i=0; while "
                                       "echo $i >>/data/log && sync /data/log; do i=$((i+1)); done")

    def lines():
        return int(docker.exec(container, "wc", "-l", "/data/log").split()[0])

    for _ in range(3):
        wait_until(lambda: lines() > 10, "the first lines")
        old = plugin.blockd_pids()
        os.kill(old[0], 9)
        before = lines()
        wait_until(lambda: lines() > before + 10, "more lines", 30)
        assert plugin.blockd_pids() != old
    docker.docker("rm", "-f", container)
    numbers = docker.run("-v", "data:/data", "busybox", "cat", "/data/log").split()
    assert numbers == [str(i) for i in range(len(numbers))]


# --- The host lacks something --------------------------------------------------------------


def in_own_namespace(*commands):
    """Words in front of a program: a mount namespace in which `commands` were run before."""
    return ["unshare", "--mount", "sh", "-ec", "; ".join(commands) + '; exec "$@"', "sh"]


def without_device(name, tmp_path):
    """A /dev with everything that the plugin could want, but one."""
    directory = tmp_path / "dev"
    directory.mkdir()
    return in_own_namespace(
        f"mount -t tmpfs none {directory}",
        f"cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/fuse /dev/loop* "
        f"{directory}/",
        f"rm {directory}/{name}",
        f"mount --bind {directory} /dev")


@pytest.mark.parametrize("fs, tool, package", [("ext4", "mkfs.ext4", "e2fsprogs"),
                                               ("xfs", "mkfs.xfs", "xfsprogs")])
def test_no_mkfs(start_plugin, fs, tool, package):
    plugin = start_plugin(wrap=in_own_namespace(f"mount --bind /dev/null /usr/sbin/{tool}"))
    wait_until(lambda: tool in plugin.log(), "the tool's name in the log")
    words = refusal(plugin.create, "v", size="1G", fs=fs)
    assert tool in words and package in words


@pytest.mark.parametrize("device, module", [("fuse", "fuse"), ("loop-control", "loop")])
def test_no_device(start_plugin, volumes, tmp_path, device, module):
    plugin = start_plugin(wrap=without_device(device, tmp_path))
    wait_until(lambda: f"/dev/{device}" in plugin.log(), "the device's name in the log")
    name = volumes.create()
    words = refusal(plugin.mount, name, mount_id())
    assert f"/dev/{device}" in words and f"modprobe {module}" in words
    assert plugin.get(name)["Name"] == name


def test_a_time_limit_on_fuse_requests(start_plugin, volumes, tmp_path):
    """It would end I/O that waits for the cluster: said at the start and with each volume."""
    for name in ("default_request_timeout", "max_request_timeout"):
        (tmp_path / name).write_text("0\n")
    (tmp_path / "max_request_timeout").write_text("60\n")
    plugin = start_plugin(wrap=in_own_namespace(f"mount --bind {tmp_path} /proc/sys/fs/fuse"))
    words = "fs.fuse.max_request_timeout is 60 s"
    wait_until(lambda: words in plugin.log(), "a warning at the start")
    assert "sysctl -w fs.fuse.max_request_timeout=0" in plugin.log()
    name = volumes.create()
    volumes.mount(name, plugin=plugin)
    assert any(words in line and f"'{name}'" in line for line in plugin.log().splitlines())


# --- Settings ------------------------------------------------------------------------------


@pytest.mark.parametrize("setting, value", [
    ("default_size", "much"), ("default_fs", "ntfs"), ("watch_timeout", "1"),
    ("log_level", "loud"), ("socket", "relative"), ("run_dir", "x" * 300), ("pool", "")])
def test_a_bad_setting_ends_the_start(start_plugin, setting, value):
    """Known at start-up, so said at start-up, with what is allowed."""
    plugin = start_plugin(wait=False, **{setting: value})
    wait_until(lambda: plugin.process.poll() is not None, "the end", 15)
    assert plugin.process.returncode not in (0, -6, -11)
    assert "--" + setting.replace("_", "-") in plugin.log()


def test_a_second_plugin_on_one_run_dir_is_refused(start_plugin, plugin):
    second = start_plugin(wait=False, run_dir=plugin.run_dir)
    wait_until(lambda: second.process.poll() is not None, "the end", 15)
    assert second.process.returncode != 0 and str(plugin.run_dir) in second.log()
    assert plugin.call("VolumeDriver.Capabilities")


def test_a_second_plugin_on_one_socket_is_refused(start_plugin, plugin):
    second = start_plugin(wait=False, socket=plugin.socket)
    wait_until(lambda: second.process.poll() is not None, "the end", 15)
    assert second.process.returncode != 0 and str(plugin.socket) in second.log()
    assert plugin.call("VolumeDriver.Capabilities")
    second.socket = second.base / "not-the-other-ones"


@pytest.mark.parametrize("flag, word", [("--help", "--ceph-conf"), ("--version", "0.")])
def test_help_and_version(flag, word):
    assert word in run(BUILD / "docker-volume-rados", flag).stdout
