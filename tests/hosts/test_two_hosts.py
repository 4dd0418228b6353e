# SPDX-License-Identifier: Apache-2.0
"""Two hosts and their volumes, while both are well: one cluster, one list, one writer a volume."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib import proc
from lib.cluster import POOL
from lib.hosts import DRIVER, held_by
from lib.plugin import PluginError
from lib.proc import CommandError
from lib.records import RecordWriter

HELD_BY_A = held_by("host-a")


@pytest.fixture
def writer(a, volume, tmp_path):
    """Container on A that writes to the volume until the test is over."""
    writer = RecordWriter(a, volume, tmp_path / "acks", "records")
    writer.wait_for(5)
    return writer


# --- What each sees of the other -----------------------------------------------------------


def test_a_volume_made_on_one_host_is_there_on_the_other(b, volume):
    assert volume in b.engine.volumes()
    seen = b.engine.inspect_volume(volume)
    assert seen["Driver"] == DRIVER and seen["Status"]["size"] == "1G"
    assert "holder" not in seen["Status"]


def test_one_host_sees_what_the_other_has_mounted(a, b, volume, writer):
    holder = b.engine.inspect_volume(volume)["Status"]["holder"]
    assert holder["host"] == "host-a"
    assert abs(time.time() - _seconds(holder["since"])) < 120
    assert a.status(volume)["holder"] == b.status(volume)["holder"]
    writer.stop()
    proc.wait_until(lambda: "holder" not in b.status(volume), "the end of the holder")


def _seconds(rfc3339):
    return time.mktime(time.strptime(rfc3339, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone


def test_making_a_volume_that_the_other_has_made_keeps_it(a, b, volume):
    a.run(volume, "sh", "-c", "echo kept >/data/file")
    b.create(volume)
    assert b.run(volume, "cat", "/data/file") == "kept\n"


def test_a_volume_removed_on_one_host_is_gone_on_the_other(a, b, volume):
    assert b.engine.inspect_volume(volume)
    a.docker("volume", "rm", volume)
    assert volume not in b.plugin.list()
    with pytest.raises(PluginError, match="no such volume"):
        b.plugin.get(volume)


# --- One writer ----------------------------------------------------------------------------


def test_a_volume_mounted_elsewhere_is_refused_by_name(b, volume, writer):
    with pytest.raises(PluginError, match=HELD_BY_A) as refusal:
        b.mount(volume)
    assert f"'{volume}'" in str(refusal.value)
    writer.wait_for(5)


def test_docker_run_says_where_the_volume_is(b, volume, writer):
    with pytest.raises(CommandError) as refusal:
        b.run(volume, "true")
    assert re.search(HELD_BY_A, refusal.value.stderr)
    writer.wait_for(5)


def test_a_volume_mounted_elsewhere_is_not_removed(a, b, volume, writer):
    with pytest.raises(PluginError, match="host-a"):
        b.plugin.remove(volume)
    with pytest.raises(CommandError) as refusal:
        b.docker("volume", "rm", volume)
    assert "host-a" in refusal.value.stderr
    writer.wait_for(5)
    assert volume in a.plugin.list()


def test_after_the_unmount_the_other_mounts_and_sees_the_data(b, volume, writer):
    writer.wait_for(20)
    writer.stop()
    assert writer.check(b, volume) >= 25


def test_a_volume_goes_back_and_forth(a, b, volume):
    for round_ in range(4):
        for host in (a, b):
            host.run(volume, "sh", "-c", f"echo {host} {round_} >>/data/log")
    assert a.run(volume, "cat", "/data/log").splitlines() == [
        f"{host} {round_}" for round_ in range(4) for host in (a, b)]


def test_different_volumes_are_mounted_side_by_side(a, b, volume):
    other = b.create(f"{volume}-other")
    (here, here_id), (there, there_id) = a.mount(volume), b.mount(other)
    (here / "file").write_text("of a")
    (there / "file").write_text("of b")
    a.unmount(volume, here_id)
    b.unmount(other, there_id)
    assert a.run(other, "cat", "/data/file") == "of b"
    assert b.run(volume, "cat", "/data/file") == "of a"


def test_many_mounts_of_a_volume_that_is_being_written(b, volume, writer, cluster):
    locker = cluster.lockers(volume)

    def attempt(_):
        try:
            b.mount(volume)
            return "mounted"
        except PluginError as error:
            return str(error)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(attempt, range(50)))
    assert [answer for answer in answers if not re.search(HELD_BY_A, answer)] == []
    assert cluster.lockers(volume) == locker
    assert b.mounts() == [] and b.plugin.blockd_pids() == []
    writer.wait_for(5)
    writer.stop()
    writer.check(b, volume)


def test_of_two_hosts_that_mount_at_once_one_gets_it(a, b, volume):
    for _ in range(5):
        start = threading.Barrier(2)

        def attempt(host):
            start.wait()
            try:
                return host, host.mount(volume)[1]
            except PluginError as error:
                return host, error

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(attempt, (a, b)))
        winners = [(host, an_id) for host, an_id in answers if isinstance(an_id, str)]
        assert len(winners) == 1, answers
        host, an_id = winners[0]
        assert all(str(host) in str(error) for _, error in answers if error != an_id), answers
        host.unmount(volume, an_id)


# --- A short network fault -----------------------------------------------------------------


def test_a_host_that_was_cut_off_for_a_moment_goes_on(a, b, volume, writer):
    a.cut()
    stalled = len(writer.acked())
    time.sleep(4)
    assert len(writer.acked()) <= stalled + 1
    a.heal()
    writer.wait_for(20)
    assert writer.failure() == ""
    writer.stop()
    writer.check(b, volume)


def test_while_the_holder_is_cut_off_the_other_says_who_it_is(a, b, volume, writer):
    a.cut()
    try:
        with pytest.raises(PluginError, match="host-a"):
            b.plugin.remove(volume)
        assert b.status(volume)["holder"]["host"] == "host-a"
        assert volume in b.plugin.list()
    finally:
        a.heal()
    writer.wait_for(5)


def test_a_mount_during_a_short_fault_of_the_holder_is_refused(a, b, volume, writer):
    """Whether it asks at once or waits to see if the holder is dead: it is not, and it says so."""
    a.cut()
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(b.mount, volume)
        time.sleep(4)
        a.heal()
        with pytest.raises(PluginError, match=HELD_BY_A):
            attempt.result()
    writer.wait_for(20)
    assert writer.failure() == ""


def test_a_host_that_is_cut_off_answers_its_own_docker(a, b, volume, writer):
    a.cut()
    try:
        assert volume in a.plugin.list()
        assert a.docker("ps", "-q").stdout.split()
        assert a.status(volume)["mounts"]
    finally:
        a.heal()
    writer.wait_for(5)


def test_a_connection_that_has_fallen_silent_is_replaced(a, volume):
    """A firewall has forgotten it, say: nothing comes on it any more, and a new one is answered."""
    def created():
        try:
            return a.plugin.create(f"{volume}-after") is not None
        except PluginError:
            return False

    with a.deaf(a.plugin.server_pid()):
        with pytest.raises(PluginError, match="no answer in time"):
            a.plugin.create(f"{volume}-silence")
        proc.wait_until(created, "an answer on another connection", 60, 1)
    assert "another connection to the cluster" in a.plugin.log()


# --- The bench itself ----------------------------------------------------------------------


def test_a_killed_host_is_gone_at_once_and_comes_back(a, b, volume):
    container = a.engine.start_container("busybox", "sleep", "1000")
    pids = proc.children(a.process.pid)
    assert a.engine.inspect(container)["State"]["Pid"] > 1 and len(pids) > 5
    a.kill()
    assert not [pid for pid in pids if proc.alive(pid)]
    assert b.plugin.list() == [volume]
    a.start()
    assert a.engine.inspect(container)["State"]["Running"] is False
    assert volume in a.engine.volumes()
    a.run(volume, "true")


def test_stock_rbd_agrees_on_who_holds_a_volume(a, b, cluster, volume, network):
    _, an_id = a.mount(volume)
    assert [w.split(":")[0] for w in cluster.watchers(volume)] == [network.address(a.number)]
    done = cluster.tool("rbd", "--pool", POOL, "rm", volume, check=False)
    assert done.returncode != 0 and "watchers" in done.stderr
    a.unmount(volume, an_id)
    proc.wait_until(lambda: not cluster.watchers(volume), "the release")
    _, an_id = b.mount(volume)
    assert [w.split(":")[0] for w in cluster.watchers(volume)] == [network.address(b.number)]
