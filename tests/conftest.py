# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests on real parts: one Ceph cluster, one plugin and one dockerd for all of them.

BUILD_DIR         the programs under test (default build)
TEST_CLUSTER_DIR  the cluster's directory; it must be of the tests alone, for they count its
                  objects (default /var/tmp/docker-volume-rados/test-cluster)
SHARED_MACHINE=1  others use loop devices here: do not count those
SOAK=1            full lengths (lib/lengths.py), and the tests that are marked "soak" too
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.dont_write_bytecode = True

from lib import images  # noqa: E402
from lib.cluster import DATA_POOL, Cluster  # noqa: E402
from lib.dockerd import Dockerd  # noqa: E402
from lib.leaks import POOL_OBJECTS  # noqa: E402
from lib.lengths import length  # noqa: E402
from lib.paths import BUILD  # noqa: E402
from lib.plugin import Plugin, mount_id, remove_stale_sockets  # noqa: E402
from lib.proc import wait_until  # noqa: E402

CLUSTER_DIR = os.environ.get("TEST_CLUSTER_DIR", "/var/tmp/docker-volume-rados/test-cluster")
TEST_TIMEOUT_S = 180


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: long, and left out unless SOAK=1")


def pytest_collection_modifyitems(config, items):
    soaks = [item for item in items if item.get_closest_marker("soak")]
    if not length(False, True) and soaks:
        config.hook.pytest_deselected(items=soaks)
        items[:] = [item for item in items if item not in soaks]
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests mount file systems and run a dockerd: they need root", 2)
    if not (BUILD / "docker-volume-rados").exists():
        pytest.exit(f"there is no docker-volume-rados in {BUILD}; run 'make'", 2)


@pytest.fixture(scope="session")
def base(request):
    """A directory for everything of this run, with a short path. Kept when a test failed."""
    path = Path(tempfile.mkdtemp(prefix="dvr-", dir="/var/tmp"))
    yield path
    if request.session.testsfailed:
        sys.stderr.write(f"\nlogs of this run: {path}\n")
    else:
        shutil.rmtree(path)


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster(CLUSTER_DIR)
    cluster.up()
    if cluster.objects() | cluster.objects(DATA_POOL):
        # What a run left that was cut off, or failed: this one's account starts from nothing.
        cluster.reset()
    yield cluster
    cluster.close()
    if cluster.started:
        cluster.down(purge=True)


@pytest.fixture(scope="session")
def plugin(cluster, base):
    plugin = Plugin(cluster, base / "plugin", libexec_dir=BUILD).start()
    # Whatever is made once and then stays (files, connections to every OSD) is made now.
    plugin.raw("Plugin.Activate")
    for fs in ("ext4", "xfs"):
        plugin.create("warm-up", size="1G", fs=fs)
        path = plugin.mount("warm-up", "0")
        (path / "file").write_bytes(os.urandom(1 << 20))
        plugin.get("warm-up")
        plugin.unmount("warm-up", "0")
        plugin.remove("warm-up")
    wait_until((plugin.lib_dir / "cache.json").exists, "the cache's file")
    yield plugin
    plugin.close()


@pytest.fixture(scope="session")
def dockerd(base):
    remove_stale_sockets()
    dockerd = Dockerd(base / "docker").start()
    images.load(dockerd, "busybox")
    yield dockerd
    dockerd.close()


@pytest.fixture
def docker(dockerd, plugin):
    """The dockerd, emptied after each test: a volume that cannot be removed fails the test."""
    yield dockerd
    dockerd.remove_everything(plugin.driver)


class Volumes:
    """Volumes of a test and its mounts through the protocol; all are taken away at its end."""

    def __init__(self, plugin):
        self.plugin = plugin
        self.mounts = []
        self.count = 0

    def create(self, name=None, **options):
        """Make a volume, 1 GiB unless told otherwise, and return its name."""
        self.count += 1
        name = name or f"volume-{self.count}"
        self.plugin.create(name, **{"size": "1G", **options})
        return name

    def mount(self, name, an_id=None, plugin=None):
        """Mount it under a fresh ID; returns (path, ID)."""
        plugin = plugin or self.plugin
        an_id = an_id or mount_id()
        path = plugin.mount(name, an_id)
        self.mounts.append((plugin, name, an_id))
        return path, an_id

    def unmount(self, name, an_id):
        for entry in self.mounts:
            if entry[1:] == (name, an_id):
                self.mounts.remove(entry)
                entry[0].unmount(name, an_id)
                return
        raise AssertionError(f"{name} is not mounted as {an_id}")

    def close(self):
        for plugin, name, an_id in self.mounts:
            if plugin.runs():
                plugin.unmount(name, an_id)
        for name in self.plugin.list():
            self.plugin.remove(name)


@pytest.fixture
def volumes(plugin):
    volumes = Volumes(plugin)
    yield volumes
    volumes.close()


@pytest.fixture
def trimmed(nothing_left, cluster):
    """The cluster drops what only removed snapshots kept when it finds the time: wait for it."""
    before = cluster.objects()
    yield
    wait_until(lambda: cluster.objects() <= before | POOL_OBJECTS, "the trimming",
               length(120, 300))


@pytest.fixture
def purged(trimmed, volumes, cluster):
    """No volume keeps a snapshot."""
    yield
    for name in cluster.images():
        for snap in cluster.rbd_json("snap", "ls", name):
            if snap["protected"] == "true":
                cluster.rbd("snap", "unprotect", f"{name}@{snap['name']}")
        cluster.rbd("snap", "purge", "--no-progress", name, timeout=300)


@pytest.fixture
def start_plugin(cluster, base, request):
    """Start more plugins: start_plugin(cluster=other, **settings). Each must end by itself at the
    test's end."""
    started = []

    def start(cluster=cluster, wait=True, **settings):
        directory = Path(tempfile.mkdtemp(prefix="plugin-", dir=base))
        settings.setdefault("libexec_dir", BUILD)
        plugin = Plugin(cluster, directory, **settings)
        started.append(plugin)
        if wait:
            plugin.start()
        else:
            plugin.launch()
        return plugin

    yield start
    for plugin in started:
        plugin.close()
        plugin.socket.unlink(missing_ok=True)


@pytest.fixture
def start_dockerd(base):
    """Start more dockerds; each has the image `busybox`."""
    started = []

    def start(**options):
        dockerd = Dockerd(Path(tempfile.mkdtemp(prefix="docker-", dir=base)), **options).start()
        started.append(dockerd)
        images.load(dockerd, "busybox")
        return dockerd

    yield start
    for dockerd in started:
        dockerd.close()
