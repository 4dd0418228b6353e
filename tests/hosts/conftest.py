# SPDX-License-Identifier: Apache-2.0
"""Two hosts and a cluster on a network of their own (lib/hosts.py says of what they are made).

HOSTS_CLUSTER_DIR    the cluster's directory; what is in it is removed
                     (default /var/tmp/docker-volume-rados/hosts-cluster)
HOSTS_WATCH_TIMEOUT  the plugins' --watch-timeout (default 15, the plugin's own default)
"""

import itertools
import os
import time

import pytest

from lib import images, leaks, proc
from lib.hosts import DRIVER, WATCH_TIMEOUT_S, Host, NetworkCluster
from lib.network import Network
from lib.paths import BUILD

CLUSTER_DIR = os.environ.get("HOSTS_CLUSTER_DIR", "/var/tmp/docker-volume-rados/hosts-cluster")

# Files that come and go with what a host last heard.
MEMORIES = {"cache.json", "epoch"}


@pytest.fixture(scope="session")
def network():
    network = Network()
    yield network
    network.close()
    proc.wait_until(lambda: not network.leftovers(), "the end of the network")


@pytest.fixture(scope="session")
def cluster(network):
    cluster = NetworkCluster(CLUSTER_DIR, network)
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


class Bench:
    """Both hosts, and everything that must be as before when a test has ended."""

    def __init__(self, cluster, network, base):
        self.cluster = cluster
        self.base = base
        self.hosts = [Host(name, number, base, cluster, network, watch_timeout=WATCH_TIMEOUT_S)
                      for name, number in (("host-a", 11), ("host-b", 12))]

    def start(self):
        for host in self.hosts:
            host.start()
            print(f"{host}: dockerd and plugin answer after {host.started_in_s:.1f} s")
            images.load(host.engine, "busybox", programs=["/usr/bin/sqlite3"])
        # What is made once and then stays is made now.
        for host in self.hosts:
            host.create("warm-up")
            host.run("warm-up", "true")
            host.docker("volume", "rm", "warm-up")

    def snapshot(self):
        return leaks.Snapshot(
            loops=frozenset(leaks.loop_devices().items()),
            mounts=frozenset(f"{host}: {point}" for host in self.hosts for point in host.mounts()),
            processes=frozenset(f"{host}: {pid}" for host in self.hosts
                                for pid in host.plugin.blockd_pids()),
            files=frozenset(file.replace(str(host.root), str(host)) for host in self.hosts
                            for file in leaks.files(host.plugin)
                            if os.path.basename(file) not in MEMORIES),
            fds=(),
            **leaks.of_cluster(self.cluster))

    def repair(self):
        """Heal and start what a test has cut off or killed."""
        for host in self.hosts:
            if host.running:
                host.heal()
            else:
                host.start()

    def clean(self):
        for host in self.hosts:
            host.clean()
        self.hosts[0].engine.remove_everything(DRIVER)
        for host in self.hosts:
            host.plugin.list()  # forget what is gone

    def power_cycle(self):
        """After a failure that clean() could not clean: so that the next test has a chance."""
        for host in self.hosts:
            if host.running:
                host.kill()
        deadline = time.monotonic() + 60
        for name in self.cluster.images():
            for lock in self.cluster.lockers(name):
                self.cluster.rbd("lock", "rm", name, lock["id"], lock["locker"])
            while self.cluster.watchers(name) and time.monotonic() < deadline:
                time.sleep(1)
            self.cluster.rbd("rm", "--no-progress", name)
        for host in self.hosts:
            for directory in (host.directory / "lib/docker-volume-rados/mounts").iterdir():
                directory.rmdir()
            host.start()
        self.clean()

    def close(self):
        for host in self.hosts:
            if host.running:
                host.shut_down()


@pytest.fixture(scope="session")
def bench(cluster, network, base):
    others = set(proc.running_from(BUILD))  # somebody may use the same build beside the tests
    bench = Bench(cluster, network, base)
    try:
        bench.start()
        yield bench
    finally:
        bench.close()
    left = set(proc.running_from(BUILD)) - others
    assert not left or os.environ.get("SHARED_MACHINE") == "1"
    assert not leaks.mounts([base])


@pytest.fixture(scope="session")
def account(bench):
    return leaks.lasting(bench.snapshot())


@pytest.fixture(autouse=True)
def nothing_left(bench, account):
    """Every test begins with two sound hosts and no volume, and ends so."""
    yield
    try:
        bench.repair()
        bench.clean()
        leaks.check(account, bench.snapshot)
        for host in bench.hosts:
            host.plugin.check_reports()
    except Exception:
        bench.power_cycle()
        raise


@pytest.fixture
def a(bench):
    return bench.hosts[0]


@pytest.fixture
def b(bench):
    return bench.hosts[1]


NUMBERS = itertools.count(1)


@pytest.fixture
def volume(a):
    """An empty volume, with a name that no test had before: a dockerd remembers volumes of its own
    that another one removed."""
    return a.create(f"volume-{next(NUMBERS)}")
