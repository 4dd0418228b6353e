# SPDX-License-Identifier: Apache-2.0
"""Volumes with access=ro, whose processes are killed while they are read."""

import os
import signal
import threading

import pytest

from lib.lengths import length
from lib.plugin import mount_id
from lib.proc import run, wait_until

KILLS = length(2, 9)  # the tenth within a minute would be the end: crashes.h
SIZE = 8 << 20

pytestmark = pytest.mark.timeout(300 + 20 * KILLS)


class Reader(threading.Thread):
    """Reads a file over and over again from the device, and compares."""

    def __init__(self, path, data):
        super().__init__()
        self.path, self.data = path, data
        self.passes, self.error, self.stopping = 0, None, threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                with open(self.path, "rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    assert file.read() == self.data, "other bytes"
                self.passes += 1
        except (OSError, AssertionError) as error:
            self.error = error

    def wait_for(self, passes):
        goal = self.passes + passes
        wait_until(lambda: self.passes >= goal or self.error, f"{passes} more reads", 120)
        assert not self.error, self.error

    def stop(self):
        self.stopping.set()
        self.join(60)
        assert not self.is_alive() and not self.error, self.error


@pytest.fixture
def view(plugin, volumes, cluster, request):
    """(path, bytes of the file there, mount id, image id) of one that is mounted."""
    volumes.create("db", fs=getattr(request, "param", "ext4"))
    path, db_id = volumes.mount("db")
    data = os.urandom(SIZE)
    (path / "file").write_bytes(data)
    cluster.rbd("snap", "create", "--no-progress", "db@monday")
    volumes.unmount("db", db_id)
    plugin.create("a-view", **{"from": "db@monday", "access": "ro"})
    path, an_id = volumes.mount("a-view")
    yield path, data, an_id, cluster.image_id("a-view")
    plugin.revive()
    plugin.give_back()
    volumes.mounts.clear()
    plugin.remove("a-view")
    cluster.rbd("snap", "purge", "--no-progress", "db")


@pytest.mark.parametrize("view", ["ext4", "xfs"], indirect=True)
def test_blockd_killed_while_it_is_read(plugin, view):
    path, data, _, image = view
    reader = Reader(path / "file", data)
    try:
        for _ in range(KILLS):
            reader.wait_for(3)
            pid = plugin.blockd(image)
            os.kill(pid, signal.SIGKILL)
            plugin.blockd(image, other_than=pid)
            reader.wait_for(3)
    finally:
        reader.stop()


def test_blockd_killed_while_it_is_locked(plugin, view, cluster):
    """Its successor waits, and does not give the device up for that."""
    path, data, _, image = view
    reader = Reader(path / "file", data)
    try:
        reader.wait_for(1)
        cluster.rbd("lock", "add", "a-view", "by-hand")
        holder = cluster.lockers("a-view")
        pid = plugin.blockd(image)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "it is locked, perhaps for its removal" in plugin.log(), "a try", 60)
        cluster.rbd("lock", "rm", "a-view", "by-hand", holder[0]["locker"])
        reader.wait_for(3)
    finally:
        reader.stop()


def test_server_killed_while_it_is_read(plugin, view):
    path, data, an_id, image = view
    reader = Reader(path / "file", data)
    try:
        blockd, server = plugin.blockd(image), plugin.server_pid()
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: plugin.answers() and plugin.server_pid() != server, "a new server", 60)
        reader.wait_for(2)
        assert plugin.blockd(image) == blockd
        assert plugin.get("a-view")["Status"]["mounts"] == [an_id]
        again = mount_id()
        assert plugin.mount("a-view", again) == path
        plugin.unmount("a-view", again)
    finally:
        reader.stop()


def test_supervisor_killed_while_it_is_read(plugin, view):
    """The next one adopts the blockd, and starts another one when that is killed too."""
    path, data, an_id, image = view
    reader = Reader(path / "file", data)
    try:
        blockd = plugin.blockd(image)
        plugin.kill_supervisor()
        reader.wait_for(2)
        plugin.revive()
        assert plugin.blockd(image) == blockd
        wait_until(lambda: "follows a new supervisor" in plugin.log(), "the adoption", 60)
        os.kill(blockd, signal.SIGKILL)
        plugin.blockd(image, other_than=blockd)
        reader.wait_for(3)
        assert plugin.get("a-view")["Status"]["mounts"] == [an_id]
    finally:
        reader.stop()


def test_a_blocklisted_reader_goes_on_as_another_client(plugin, view, cluster):
    path, data, _, image = view
    assert (path / "file").read_bytes() == data
    pid = plugin.blockd(image)
    address = cluster.watchers("a-view")[0]
    cluster.ceph("osd", "blocklist", "add", address, "60")
    try:
        plugin.blockd(image, other_than=pid, seconds=60)
        with open(path / "file", "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            assert file.read() == data
        assert run("blockdev", "--getro", plugin.get("a-view")["Status"]["device"]).stdout == "1\n"
    finally:
        cluster.ceph("osd", "blocklist", "rm", address)
