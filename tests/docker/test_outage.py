# SPDX-License-Identifier: Apache-2.0
"""The cluster away: docker still gets its answers, and loses nothing it knows."""

import os
import threading
import time

import pytest

from lib import http
from lib.cluster import Cluster
from lib.plugin import PluginError, mount_id
from lib.proc import wait_until

pytestmark = pytest.mark.timeout(300)

# dockerd gives up on a call after 60 or 120 s; every call ends well below that.
CALL_S = 45


@pytest.fixture(scope="module")
def away(cluster):
    """A second, small cluster, to be taken away."""
    second = Cluster(cluster.directory + "-outage", osds=1)
    second.up()
    yield second
    second.down(purge=True)


@pytest.fixture
def outage(away):
    """Takes the cluster away when called; it comes back at the test's end at the latest."""
    stopped = []

    class Outage:
        def begin(self):
            stopped.extend(away.freeze())

        def end(self):
            away.thaw(stopped)
            stopped.clear()

    outage = Outage()
    yield outage
    outage.end()
    wait_until(lambda: away.tool("rbd", "--pool", "docker", "ls", check=False).returncode == 0,
               "the cluster's return", 60)


@pytest.fixture
def plugin2(start_plugin, away):
    """A plugin of that cluster with one volume, "known"."""
    plugin = start_plugin(cluster=away)
    plugin.create("known", size="1G", owner="someone")
    plugin.get("known")
    yield plugin
    wait_until(lambda: _removed(plugin), "the removal of what the test made", 60, 1)


def _removed(plugin):
    for name in plugin.list():
        plugin.remove(name)
    return not plugin.list()


@pytest.fixture
def docker2(start_dockerd, plugin2):
    docker = start_dockerd()
    docker.docker("volume", "create", "-d", plugin2.driver, "-o", "size=1G", "--label",
                  "keep=this", "labelled")
    yield docker
    docker.remove_everything(plugin2.driver)


def test_a_known_volume_is_answered_from_the_cache(plugin2, outage):
    before = plugin2.get("known")
    outage.begin()
    for _ in range(3):
        volume = plugin2.get("known")
        assert volume["Name"] == "known" and volume["CreatedAt"] == before["CreatedAt"]
        assert volume["Status"]["size"] == "1G" and volume["Status"]["owner"] == "someone"
    assert "unreachable" in str(volume["Status"])


def test_list_is_answered_from_the_cache(plugin2, outage):
    assert plugin2.list() == ["known"]
    outage.begin()
    assert plugin2.list() == ["known"]


def test_an_unknown_volume_has_its_connection_closed(plugin2, outage):
    """An Err would tell dockerd that there is no such volume."""
    outage.begin()
    with pytest.raises(http.ClosedWithoutAnswer):
        plugin2.raw("VolumeDriver.Get", {"Name": "unknown"}, timeout=CALL_S)


def test_path_of_a_known_volume(plugin2, outage):
    outage.begin()
    assert plugin2.path("known") == ""


def health(plugin):
    """(status, Err) of GET /healthz."""
    reply = http.call(plugin.socket, "healthz", None, verb="GET")
    return reply.status, reply.json()["Err"]


def test_health_follows_the_cluster(plugin2, outage):
    """Also when nobody had asked the cluster anything."""
    assert health(plugin2) == (200, "")
    outage.begin()
    status, words = health(plugin2)
    assert status == 503 and "does not answer" in words
    status, words = health(plugin2)
    assert status == 503 and "unreachable since" in words and "ceph -s" in words
    outage.end()
    wait_until(lambda: health(plugin2) == (200, ""), "the cluster's answer", 60)


def test_create_says_that_the_cluster_is_away(plugin2, outage):
    outage.begin()
    with pytest.raises(PluginError) as refusal:
        plugin2.call("VolumeDriver.Create", {"Name": "new"}, timeout=CALL_S)
    assert "ceph -s" in str(refusal.value)


def test_remove_says_that_the_cluster_is_away(plugin2, outage):
    outage.begin()
    with pytest.raises(PluginError) as refusal:
        plugin2.call("VolumeDriver.Remove", {"Name": "known"}, timeout=CALL_S)
    assert "ceph -s" in str(refusal.value)
    outage.end()
    wait_until(lambda: plugin2.list() == ["known"], "the volume, unharmed", 30)


def test_a_mount_waits_for_a_short_outage(plugin2, outage):
    """At boot docker starts containers once and does not try again."""
    outage.begin()
    threading.Timer(4, outage.end).start()
    an_id = mount_id()
    path = plugin2.mount("known", an_id, timeout=CALL_S)
    (path / "file").write_text("x")
    plugin2.unmount("known", an_id)


def test_a_mount_in_a_long_outage_fails_and_leaves_nothing(plugin2, outage):
    outage.begin()
    with pytest.raises(PluginError) as refusal:
        plugin2.call("VolumeDriver.Mount", {"Name": "known", "ID": mount_id()}, timeout=CALL_S)
    assert "ceph -s" in str(refusal.value)
    outage.end()
    wait_until(lambda: not plugin2.blockd_pids(), "the end of the blockd", 60)
    assert not plugin2.mounted("known")


def test_other_calls_are_answered_while_some_wait(plugin2, outage):
    outage.begin()
    waiting = [threading.Thread(target=_closed, args=(plugin2, f"unknown-{i}")) for i in range(50)]
    for thread in waiting:
        thread.start()
    for _ in range(20):
        assert plugin2.call("VolumeDriver.Get", {"Name": "known"}, timeout=10)
        assert plugin2.call("VolumeDriver.Capabilities", timeout=10)
    for thread in waiting:
        thread.join(CALL_S * 2)
        assert not thread.is_alive()


def _closed(plugin, name):
    with pytest.raises(http.ClosedWithoutAnswer):
        plugin.raw("VolumeDriver.Get", {"Name": name}, timeout=CALL_S * 2)


def test_a_plugin_started_in_the_outage_knows_the_volumes(plugin2, outage):
    """The cache is on disk."""
    plugin2.list()
    plugin2.stop()
    outage.begin()
    plugin2.start()
    assert plugin2.get("known")["Status"]["size"] == "1G"
    assert plugin2.list() == ["known"]


def test_io_waits_and_goes_on(plugin2, outage):
    """Nothing fails in a container while the cluster is away, nothing is lost."""
    an_id = mount_id()
    path = plugin2.mount("known", an_id)
    written, errors, stop = [], [], threading.Event()

    def write():
        try:
            with open(path / "log", "ab", buffering=0) as log:
                while not stop.is_set():
                    log.write(b"%d\n" % len(written))
                    os.fsync(log.fileno())
                    written.append(len(written))
        except OSError as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    wait_until(lambda: len(written) > 10, "the first writes")
    outage.begin()
    time.sleep(5)
    stalled = len(written)
    time.sleep(1)
    assert len(written) <= stalled + 1
    outage.end()
    wait_until(lambda: len(written) > stalled + 10 or errors, "writes after the outage", 60)
    stop.set()
    writer.join()
    assert not errors
    plugin2.unmount("known", an_id)
    path = plugin2.mount("known", an_id)
    assert (path / "log").read_text().split() == [str(i) for i in written]
    plugin2.unmount("known", an_id)


def test_an_unmount_in_an_outage_ends_after_it(plugin2, away, outage):
    """dockerd gets its answer in time; what was written is not lost, and the volume is free again."""
    an_id, again = mount_id(), mount_id()
    path = plugin2.mount("known", an_id)
    data = os.urandom(8 << 20)
    (path / "file").write_bytes(data)  # in the page cache alone
    outage.begin()
    answer = plugin2.raw("VolumeDriver.Unmount", {"Name": "known", "ID": an_id}, timeout=CALL_S)
    words = answer.json()["Err"]
    assert words == "" or "in the background" in words
    assert plugin2.get("known")["Name"] == "known"
    outage.end()
    wait_until(lambda: not away.lockers("known"), "the lock given back", 90, 0.5)
    path = plugin2.mount("known", again)
    assert (path / "file").read_bytes() == data
    plugin2.unmount("known", again)


def test_docker_inspects_and_lists_in_the_outage(docker2, plugin2, outage):
    outage.begin()
    volume = docker2.inspect_volume("labelled")
    assert volume["Labels"] == {"keep": "this"} and volume["Status"]["size"] == "1G"
    assert docker2.volumes("-f", f"driver={plugin2.driver}") == ["known", "labelled"]


def test_dockerd_restarted_in_the_outage_keeps_its_records(docker2, plugin2, outage):
    outage.begin()
    docker2.restart()
    outage.end()
    volume = docker2.inspect_volume("labelled")
    assert volume["Labels"] == {"keep": "this"} and volume["Options"] == {"size": "1G"}


def test_dockerd_keeps_its_records_of_a_volume_the_plugin_cannot_judge(docker2, plugin2, outage):
    """The plugin has lost its cache and the cluster is away: the connection is closed, dockerd
    tries for 15 s, fails, and keeps label and option over its restart."""
    plugin2.stop()
    for path in sorted(plugin2.lib_dir.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    outage.begin()
    plugin2.start()
    assert docker2.docker("volume", "inspect", "labelled", check=False).returncode != 0
    docker2.restart()
    outage.end()
    wait_until(lambda: "labelled" in _list(plugin2), "the cluster's return", 30)
    volume = docker2.inspect_volume("labelled")
    assert volume["Labels"] == {"keep": "this"} and volume["Options"] == {"size": "1G"}


def _list(plugin):
    """Without a cache and without a cluster there is no list to give, and no answer."""
    try:
        return plugin.list()
    except http.ClosedWithoutAnswer:
        return []


def test_a_cluster_that_is_down_and_up_again(plugin2, away):
    """Connections refused instead of silence; and no restart of the plugin afterwards."""
    away.down()
    try:
        assert plugin2.get("known")["Status"]["size"] == "1G"
        assert plugin2.list() == ["known"]
    finally:
        away.up()
    plugin2.create("after", size="1G")
    assert plugin2.list() == ["after", "known"]
