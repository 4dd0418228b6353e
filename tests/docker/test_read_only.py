# SPDX-License-Identifier: Apache-2.0
"""A snapshot to look at with the docker command alone: docker volume create -o access=ro."""

import pytest

from lib.proc import wait_until

pytestmark = pytest.mark.usefixtures("trimmed")


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_container_looks_at_a_snapshot(docker, plugin, cluster, fs):
    create = ["volume", "create", "-d", plugin.driver]
    docker.docker(*create, "-o", f"fs={fs}", "-o", "size=1G", "db")
    writer = docker.start_container("-v", "db:/data", "busybox", "sh", "-c",
                                    "echo monday >/data/day; sleep 1000000")
    wait_until(lambda: docker.exec(writer, "cat", "/data/day", check=False) == "monday\n",
               "the file", 60)
    cluster.rbd("snap", "create", "--no-progress", "db@monday")
    docker.exec(writer, "sh", "-c", "echo tuesday >/data/day")
    try:
        view = ["-o", "from=db@monday", "-o", "access=ro", "db-monday"]
        docker.docker(*create, *view)
        docker.docker(*create, *view)
        look = ["-v", "db-monday:/data", "busybox"]
        assert docker.run(*look, "cat", "/data/day") == "monday\n"
        reader = docker.start_container(*look, "sleep", "1000000")
        assert docker.run(*look, "cat", "/data/day") == "monday\n"
        refused = docker.docker("exec", reader, "touch", "/data/new", check=False)
        assert refused.returncode != 0 and "Read-only file system" in refused.stderr
        options = docker.inspect_volume("db-monday")["Status"]["options"]
        assert (options["access"], options["from"]) == ("ro", "db@monday")
        assert docker.exec(writer, "cat", "/data/day") == "tuesday\n"
        refused = docker.docker("volume", "rm", "db-monday", check=False)
        assert refused.returncode != 0 and "in use" in refused.stderr
        refused = docker.docker(*create, "-o", "access=ro", "lonely", check=False)
        assert refused.returncode != 0 and "from=<volume>@<snapshot>" in refused.stderr
        docker.docker("rm", "-f", reader)
        docker.docker("volume", "rm", "db-monday")
    finally:
        docker.docker("rm", "-f", *docker.docker("ps", "-aq").stdout.split())
        cluster.rbd("snap", "rm", "--no-progress", "db@monday")
