# SPDX-License-Identifier: Apache-2.0
"""Many rounds of what users do all day, several at a time, with nothing left behind."""

import concurrent.futures
import os
from pathlib import Path

import pytest

from lib.lengths import length

ROUNDS = length(50, 200)
THREADS = 4
MANY = 100


@pytest.mark.timeout(900)
def test_create_run_remove(docker, plugin, cluster):
    def one(number):
        name, fs = f"round-{number}", ("ext4", "xfs")[number % 2]
        docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "-o", f"fs={fs}",
                      name)
        assert docker.run("-v", f"{name}:/data", "busybox", "sh", "-c",
                          f"echo {number} >/data/file && sync && cat /data/file") == f"{number}\n"
        docker.docker("volume", "rm", name)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(one, range(ROUNDS)):
            pass
    assert plugin.list() == [] and cluster.images() == []


def test_mount_and_unmount_one_volume(plugin, volumes):
    """Four users of one volume come and go; it is mounted whenever one of them is there."""
    name = volumes.create()

    def one(number):
        for i in range(ROUNDS // 8):
            path, an_id = volumes.mount(name)
            (path / f"{number}-{i}").write_text("x")
            volumes.unmount(name, an_id)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(one, number) for number in range(THREADS)]:
            done.result()
    path, _ = volumes.mount(name)
    assert len(os.listdir(path)) == THREADS * (ROUNDS // 8)


@pytest.mark.timeout(600)
def test_a_hundred_volumes_at_once(plugin, volumes):
    """Each has a data process, a device and a mount of its own, and only what was written to it."""
    def prepare(number):
        name = volumes.create(f"many-{number}", fs=("ext4", "xfs")[number % 2])
        path, _ = volumes.mount(name)
        (path / "file").write_text(name)
        return path

    def read(path):
        return (path / "file").read_text(), len(set(os.listdir(path)) - {"lost+found"})

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        paths = list(pool.map(prepare, range(MANY)))
        assert len(plugin.blockd_pids()) == len({os.stat(path).st_dev for path in paths}) == MANY
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        assert list(pool.map(read, paths)) == [(f"many-{number}", 1) for number in range(MANY)]
    assert all(plugin.mounted(f"many-{number}") for number in range(MANY))
