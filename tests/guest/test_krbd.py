# SPDX-License-Identifier: Apache-2.0
"""The kernel's own RBD client and ours on the same volumes: same bytes, one lock."""

import pytest

from conftest import MOUNTS
from lib.plugin import PluginError

DIRECTORY = "/tmp/krbd"


@pytest.fixture
def krbd(guest):
    """map(name) has the kernel take the volume for itself alone and returns the exit status."""
    guest.vm.run(f"modprobe rbd; mkdir -p {DIRECTORY}")

    def mapped(name):
        return guest.vm.run(
            f"{guest.rbd} device map --options noudev,exclusive,ms_mode=prefer-crc {name}",
            check=False, timeout=90).returncode

    yield mapped
    guest.vm.run(f"umount {DIRECTORY} 2>/dev/null; [ ! -e /dev/rbd0 ] || "
                 f"{guest.rbd} device unmap --options noudev /dev/rbd0", timeout=90)


def test_same_bytes_both_ways(guest, krbd):
    guest.create("db")
    guest.mount("db")
    guest.vm.run(f"dd if=/dev/urandom of={MOUNTS}/db/ours bs=1M count=8")
    ours = guest.digest(f"{MOUNTS}/db/ours")
    guest.unmount("db")
    guest.wait_until_free()
    assert krbd("db") == 0
    guest.vm.run(f"mount -t ext4 /dev/rbd0 {DIRECTORY}")
    assert guest.digest(f"{DIRECTORY}/ours") == ours
    guest.vm.run(f"dd if=/dev/urandom of={DIRECTORY}/theirs bs=1M count=8")
    theirs = guest.digest(f"{DIRECTORY}/theirs")
    guest.vm.run(f"umount {DIRECTORY}; {guest.rbd} device unmap --options noudev /dev/rbd0",
                 timeout=90)
    guest.mount("db")
    assert guest.digest(f"{MOUNTS}/db/theirs") == theirs
    assert guest.digest(f"{MOUNTS}/db/ours") == ours


def test_our_lock_is_respected(guest, krbd):
    guest.create("db")
    guest.mount("db")
    before = guest.cluster.lockers("db")
    assert krbd("db") != 0
    assert "will not release lock" in guest.vm.kernel_log()
    assert guest.cluster.lockers("db") == before != []
    guest.vm.run(f"echo alive >{MOUNTS}/db/file && sync")


def test_their_lock_is_respected(guest, krbd):
    guest.create("db")
    assert krbd("db") == 0
    guest.vm.run(f"mount -t ext4 /dev/rbd0 {DIRECTORY}")
    before = guest.cluster.lockers("db")
    with pytest.raises(PluginError, match="is in use by client .* it is alive"):
        guest.mount("db")
    assert guest.cluster.lockers("db") == before != []
    guest.vm.run(f"echo alive >{DIRECTORY}/file && sync")
