# SPDX-License-Identifier: Apache-2.0
"""Data go to the cluster through processes that need memory themselves, on a machine that has hardly
any left because the data are still in it."""

import subprocess
import sys
import time

import pytest

from lib import memory
from lib.crash import report
from lib.lengths import length
from lib.load import Pulse

MIB = length(1024, 4096)  # written
LEFT_MIB = length(1024, 300)
HANGS_S = 60

pytestmark = pytest.mark.timeout(300 + MIB)

WRITER = """
import os, sys
block = os.urandom(1 << 20)
with open(sys.argv[1], "wb", buffering=0) as file:
    for _ in range(int(sys.argv[2])):
        file.write(block)
    os.fsync(file.fileno())
"""


def write(path, mib):
    subprocess.run([sys.executable, "-c", WRITER, path, str(mib)], check=True, timeout=300 + mib)


@pytest.mark.parametrize("fs", length(["ext4"], ["ext4", "xfs"]))
def test_much_is_written_while_memory_is_short(plugin, volumes, checked, fs):
    name, other = volumes.create(size="6G", fs=fs), volumes.create(size="1G", fs=fs)
    path, an_id = volumes.mount(name)
    other_path, _ = volumes.mount(other)
    blockds = plugin.blockds()
    write(path / "file", 256)  # whatever the cluster's processes grow by, they have grown by now
    with memory.Shortage(LEFT_MIB) as shortage:
        pulse = Pulse(other_path)
        begun = time.monotonic()
        write(path / "file", MIB)
        took = time.monotonic() - begun
        longest = pulse.stop()
        least = memory.available()
        assert shortage.survived()
    assert longest < HANGS_S
    assert plugin.blockds() == blockds
    volumes.unmount(name, an_id)
    checked(name, fs)
    report(f"{fs}: {MIB} MiB written in {took:.0f} s, {LEFT_MIB} MiB of memory left, {least} at its "
           f"end: longest pause of another volume {longest:.1f} s")
