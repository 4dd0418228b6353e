# SPDX-License-Identifier: Apache-2.0
"""Processes that stand still for a while, the plugin's or the cluster's: I/O waits, goes on, and
nothing is lost."""

import os
import signal
import statistics
import time

import pytest

from lib.cluster import Cluster
from lib.crash import report
from lib.proc import wait_until

WATCH_TIMEOUT_S = 15  # the plugin's default: after this the cluster forgets a silent watcher

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module")
def cluster(cluster):
    """One of its own: it is hurt here."""
    hurt = Cluster(cluster.directory + "-hurt")
    hurt.up()
    yield hurt
    hurt.close()
    hurt.down(purge=True)


@pytest.fixture
def stop(cluster):
    """stop(pids): stand still until go(), at the latest until the test's end."""
    stopped = []

    class Stop:
        def __call__(self, pids):
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)

        def go(self):
            while stopped:
                os.kill(stopped.pop(), signal.SIGCONT)

    stop = Stop()
    yield stop
    stop.go()


def answers(plugin, name, seconds):
    """Ask Get and List for so long: [how long each answer took, ...]."""
    took = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for ask in (lambda: plugin.get(name)["Name"], lambda: plugin.list()[0]):
            begin = time.monotonic()
            assert ask() == name
            took.append(time.monotonic() - begin)
        time.sleep(0.1)
    return took


def check_answers(took):
    """Promised are 2 s; a busy machine may make one of them wait."""
    assert statistics.median(took) < 2 and max(took) < 10, sorted(took)[-5:]


def finish(cluster, volumes, name, an_id, load, words):
    """Everything that was begun is right, here and on another mount; the volume is still ours."""
    load.wait_for(50)
    longest = load.stop()
    assert len(cluster.lockers(name)) == 1 and len(cluster.watchers(name)) == 1
    volumes.unmount(name, an_id)
    path, _ = volumes.mount(name)
    load.verify(path)
    report(f"{words}: {load.fio.passes} passes of fio without an error, longest pause "
           f"{longest:.1f} s")


@pytest.mark.parametrize("seconds", [5, 20])
def test_a_blockd_stands_still(plugin, volumes, cluster, start_load, stop, seconds):
    """Also for longer than the watch timeout: it watches again, with the lock it has."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    load = start_load(path)
    load.wait_for(20)
    locker = cluster.lockers(name)[0]["locker"]
    blockd = plugin.blockd(cluster.image_id(name))
    stop([blockd])
    took = answers(plugin, name, seconds)
    if seconds > WATCH_TIMEOUT_S:
        wait_until(lambda: not cluster.watchers(name), "the cluster to forget the watcher", 30)
    stop.go()
    load.wait_for(20)
    wait_until(lambda: cluster.watchers(name), "the blockd to watch again", 30)
    assert cluster.lockers(name)[0]["locker"] == locker
    assert plugin.blockd(cluster.image_id(name)) == blockd
    finish(cluster, volumes, name, an_id, load, f"blockd stopped for {seconds} s")
    check_answers(took)


def test_an_osd_is_killed_and_comes_back(plugin, volumes, cluster, start_load):
    name = volumes.create()
    path, an_id = volumes.mount(name)
    load = start_load(path)
    load.wait_for(20)
    os.kill(cluster.daemons()["osd.0"], signal.SIGKILL)
    load.wait_for(50)
    cluster.up()
    finish(cluster, volumes, name, an_id, load, "an OSD killed and started again")


def test_the_monitor_stands_still(plugin, volumes, cluster, start_load, stop):
    """Who has its maps needs no monitor: I/O goes on."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    load = start_load(path)
    load.wait_for(20)
    stop([cluster.daemons()["mon.a"]])
    load.wait_for(50)
    took = answers(plugin, name, 20)
    stop.go()
    finish(cluster, volumes, name, an_id, load, "monitor stopped for 20 s")
    check_answers(took)


def test_all_osds_stand_still(plugin, volumes, cluster, start_load, stop):
    """I/O waits, and fails nowhere; Get and List are answered meanwhile."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    load = start_load(path)
    load.wait_for(20)
    stop([pid for daemon, pid in cluster.daemons().items() if daemon.startswith("osd.")])
    time.sleep(1)
    acked = load.pulse.acked
    took = answers(plugin, name, 20)
    assert load.pulse.acked == acked
    stop.go()
    finish(cluster, volumes, name, an_id, load, "all OSDs stopped for 20 s")
    check_answers(took)
