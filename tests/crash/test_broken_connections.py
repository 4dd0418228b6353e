# SPDX-License-Identifier: Apache-2.0
"""The plugin's connections to the cluster break all the time: it makes new ones, and nobody who uses
a volume sees an error."""

import json
from pathlib import Path

import pytest

from lib.crash import report
from lib.lengths import length

ONE_IN = 200  # messages whose connection breaks
RECORDS = length(200, 8000)

pytestmark = pytest.mark.timeout(300 + RECORDS)


@pytest.fixture(scope="module")
def client_conf(cluster, tmp_path_factory):
    path = tmp_path_factory.mktemp("conf") / "ceph.conf"
    text = Path(cluster.conf).read_text()
    assert text.count("[client.docker]\n") == 1
    path.write_text(text.replace(
        "[client.docker]\n", f"[client.docker]\nms_inject_socket_failures = {ONE_IN}\n"))
    return path


def connections(cluster):
    """How many the OSDs have ever had."""
    workers = [(name, counters) for osd in range(3)
               for name, counters in json.loads(
                   cluster.ceph("tell", f"osd.{osd}", "perf", "dump")).items()
               if name.startswith("AsyncMessenger::Worker")]
    return sum(counters["msgr_created_connections"] for _, counters in workers)


@pytest.mark.parametrize("fs", length(["ext4"], ["ext4", "xfs"]))
def test_connections_break_under_verified_load(plugin, volumes, cluster, start_load, checked, fs):
    name = volumes.create(fs=fs)
    path, an_id = volumes.mount(name)
    blockds = plugin.blockds()
    load = start_load(path)
    load.wait_for(20)
    before = connections(cluster)
    load.pulse.wait_for(RECORDS, 60 + RECORDS)
    broken = connections(cluster) - before
    assert broken > 10
    longest = load.stop()
    assert plugin.blockds() == blockds
    assert len(cluster.lockers(name)) == 1
    volumes.unmount(name, an_id)
    checked(name, fs)
    path, _ = volumes.mount(name)
    load.verify(path)
    report(f"{fs}: {broken} connections made anew under load: {load.fio.passes} passes of fio "
           f"without an error, longest pause {longest:.1f} s")
