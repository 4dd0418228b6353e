# SPDX-License-Identifier: Apache-2.0
"""Many rounds of what users do all day, several at a time, with nothing left behind."""

import concurrent.futures
import os

import pytest

from lib.lengths import length

ROUNDS = length(50, 200)
THREADS = 4


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
