# SPDX-License-Identifier: Apache-2.0
"""The way of a user who removed the wrong volume."""

import json
import os

import pytest

from lib import proc
from lib.paths import BUILD


NAMESPACE = "kept"  # or the other plugin would show the same volumes to dockerd
# dockerd asks every plugin of the host for a volume that it does not know, also one that somebody
# uses beside the tests: it must not have a volume of this name.
NAME = "removed-by-mistake"


@pytest.fixture
def keeper(start_plugin, dockerd, cluster):
    """A plugin that keeps removed volumes, as it does unless set otherwise."""
    plugin = start_plugin(trash_expiry=None, namespace=NAMESPACE)
    yield plugin
    dockerd.remove_everything(plugin.driver)
    radosvol(cluster, "trash", "purge", "--all", "--yes")
    assert removed(cluster) == []


def radosvol(cluster, *words):
    env = {**os.environ, "CEPH_CONF": str(cluster.conf), "RADOS_NAMESPACE": NAMESPACE,
           "LC_ALL": "C.UTF-8"}
    return proc.run(BUILD / "radosvol", *words, env=env).stdout


def removed(cluster):
    return json.loads(radosvol(cluster, "trash", "ls", "--json"))["removed"]


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_undelete(keeper, dockerd, cluster, fs):
    def create():
        dockerd.docker("volume", "create", "-d", keeper.driver, "-o", "size=1G", "-o", f"fs={fs}",
                       NAME)

    def listed():  # by this driver; another one may run beside the tests
        return sorted(dockerd.volumes("-f", f"driver={keeper.driver}"))

    create()
    dockerd.run("-v", f"{NAME}:/data", "busybox", "sh", "-c", "echo precious >/data/file")
    dockerd.docker("volume", "rm", NAME)
    assert listed() == []

    # The name is free: a new volume is made, and is empty.
    create()
    assert dockerd.run("-v", f"{NAME}:/data", "busybox", "ls", "-A", "/data") == ""
    dockerd.docker("volume", "rm", NAME)
    second, first = removed(cluster)
    assert second["name"] == first["name"] == NAME

    radosvol(cluster, "trash", "restore", first["id"])
    assert listed() == [NAME]
    assert dockerd.inspect_volume(NAME)["Status"]["size"] == "1G"
    assert dockerd.run("-v", f"{NAME}:/data", "busybox", "cat", "/data/file") == "precious\n"

    keeper.call("Trash.Restore", {"ID": second["id"], "To": f"{NAME}-too"})
    assert listed() == [NAME, f"{NAME}-too"]
    assert dockerd.run("-v", f"{NAME}-too:/data", "busybox", "ls", "-A", "/data") == ""
