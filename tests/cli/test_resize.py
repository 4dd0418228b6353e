# SPDX-License-Identifier: Apache-2.0
"""Growing a volume while it is used: image, device and file system follow each other."""

import os
import re
from pathlib import Path

import pytest

from lib.plugin import PluginError
from lib.proc import wait_until

GIB = 1 << 30


def size_of(path):
    """Bytes of the file system that is mounted there, its own tables left out."""
    st = os.statvfs(path)
    return st.f_blocks * st.f_frsize


def grown(path, size):
    """Nearly SIZE: a file system's own tables take some of it."""
    return 0.9 * size < size_of(path) <= size


@pytest.fixture(params=["ext4", "xfs"])
def fs(request):
    return request.param


def may_grow(fs):
    """The kernel lets ext4 grow only for who has CAP_SYS_RESOURCE (bit 24), which a container that
    runs these tests may lack."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return fs == "xfs" or int(re.search(r"CapEff:\s*(\w+)", status)[1], 16) >> 24 & 1


def test_over_the_socket(plugin, cluster, volumes, fs):
    volumes.create("db", fs=fs, size="1G")
    path, an_id = volumes.mount("db")
    if not may_grow(fs):
        with pytest.raises(PluginError, match="CAP_SYS_RESOURCE"):
            plugin.call("Volume.Resize", {"Name": "db", "Size": "3G"})
        assert cluster.rbd_json("info", "db")["size"] == 3 * GIB and grown(path, GIB)
        return
    (path / "file").write_bytes(b"x" * 100000)
    answer = plugin.call("Volume.Resize", {"Name": "db", "Size": "3G"})
    assert answer["Size"] == 3 * GIB and 0.99 * 3 * GIB < answer["FilesystemSize"] <= 3 * GIB
    assert cluster.rbd_json("info", "db")["size"] == 3 * GIB
    assert grown(path, 3 * GIB)
    with open(path / "large", "wb") as file:  # what did not fit before
        os.posix_fallocate(file.fileno(), 0, 2 * GIB)
    # Once more, and the same size.
    for _ in range(2):
        assert plugin.call("Volume.Resize", {"Name": "db", "Size": "4G"})["Size"] == 4 * GIB
    assert grown(path, 4 * GIB)
    volumes.unmount("db", an_id)
    path, _ = volumes.mount("db")
    assert grown(path, 4 * GIB) and (path / "file").read_bytes() == b"x" * 100000


@pytest.mark.parametrize("how", ["radosvol", "stock rbd"])
def test_asked_for_elsewhere(radosvol, cluster, volumes, how):
    """The host that has it mounted sees its device grow, and the file system follows."""
    volumes.create("db", fs="xfs", size="1G")
    path, _ = volumes.mount("db")
    if how == "radosvol":
        result = radosvol.json("resize", "db", "2G")
        assert result == {"volume": "db", "size": 2 * GIB, "before": GIB,
                          "file-system": "follows on host-a, which has it mounted"}
    else:
        cluster.rbd("resize", "--no-progress", "--size", "2G", "db")
    wait_until(lambda: grown(path, 2 * GIB), "the growth of the file system", 30)


def test_while_it_is_mounted_nowhere(radosvol, plugin, volumes, fs):
    volumes.create("db", fs=fs, size="1G")
    assert radosvol.json("resize", "db", "2G")["file-system"] == "follows with the next mount"
    before = plugin.log().count("CAP_SYS_RESOURCE")
    path, _ = volumes.mount("db")
    if not may_grow(fs):
        wait_until(lambda: plugin.log().count("CAP_SYS_RESOURCE") > before, "the reason", 30)
        return
    wait_until(lambda: grown(path, 2 * GIB), "the growth of the file system", 30)


def test_what_is_refused(radosvol, plugin, cluster, volumes):
    volumes.create("db", size="2G")
    volumes.mount("db")
    words = "volume 'db' has 2G and cannot be made smaller \\(1G\\): the file system"
    with pytest.raises(PluginError, match=words):
        plugin.call("Volume.Resize", {"Name": "db", "Size": "1G"})
    assert "cannot be made smaller" in radosvol.fails("resize", "db", "1G")
    for size in ["", "x", "-1G", "1e3", "99999999999999999999", "0"]:
        with pytest.raises(PluginError, match="size"):
            plugin.call("Volume.Resize", {"Name": "db", "Size": size})
    with pytest.raises(PluginError, match="size"):
        plugin.call("Volume.Resize", {"Name": "db", "Size": "1024P"})
    for words in [["db"], ["db", "x"], ["db", "3G", "4G"], []]:
        radosvol.run("resize", *words, status=2)
    assert "no such volume: 'none'" in radosvol.fails("resize", "none", "3G")
    assert cluster.rbd_json("info", "db")["size"] == 2 * GIB
