# SPDX-License-Identifier: Apache-2.0
"""Processes are killed and stopped here, the plugin's and the cluster's, on one host and without a
dockerd: volumes are mounted by the plugin's protocol.

Measurements are printed: pytest -s shows them, and tests/run."""

import itertools

import pytest

from lib import proc
from lib.crash import ENDS_S, Account, CrashPlugin, Load, warm_up
from lib.paths import BUILD


@pytest.fixture(scope="module")
def client_conf(cluster):
    """The plugin's ceph.conf; a file of tests may have another one."""
    return cluster.conf


@pytest.fixture(scope="module")
def plugin(cluster, client_conf, base, request):
    """One for each file of tests."""
    plugin = CrashPlugin(cluster, base / request.module.__name__, conf=client_conf,
                         libexec_dir=BUILD)
    plugin.start()
    try:
        warm_up(plugin)
        yield plugin
        plugin.close()
    finally:
        plugin.destroy()


@pytest.fixture(autouse=True)
def nothing_left(cluster, plugin):
    account = Account(cluster, plugin)
    yield
    try:
        account.settle()
        plugin.check_reports()
    except BaseException:
        # Not only this test's business: nothing may hang once it has failed.
        plugin.start_over()
        raise


@pytest.fixture
def volumes(plugin, nothing_left, volumes):
    yield volumes
    plugin.revive()
    plugin.give_back()


@pytest.fixture
def start_load(plugin, volumes):
    """start_load(path): a Load, ended before its volume is taken away, whatever happens."""
    loads = []

    def start(directory):
        loads.append(Load(directory))
        return loads[-1]

    yield start
    parts = [part for load in loads for part in load.parts()]
    for part in parts:
        part.kill()
    if not all(part.join(0.5) for part in parts):
        plugin.revive()
    if not all(part.join(ENDS_S) for part in parts):
        plugin.destroy()
        plugin.revive()


def check_file_system(cluster, name, fs, directory, numbers=itertools.count()):
    """As anybody with stock Ceph tools would: export the image, and have it checked."""
    path = directory / f"export-{next(numbers)}"
    cluster.rbd("export", "--no-progress", name, path, timeout=300)
    try:
        if fs == "ext4":
            proc.run("e2fsck", "-f", "-n", path, timeout=120)
        else:
            proc.run("xfs_repair", "-n", "-f", path, timeout=120)
    finally:
        path.unlink()


@pytest.fixture
def checked(cluster, tmp_path):
    """checked(name, fs): fail when the file system of an unmounted volume is not clean."""
    return lambda name, fs: check_file_system(cluster, name, fs, tmp_path)
