# SPDX-License-Identifier: Apache-2.0
"""Volumes on NBD devices: what a file system on one sees, and who survives what."""

import re

import pytest

from conftest import MOUNTS, PROGRAMS
from lib import proc
from lib.plugin import PluginError


def fill(guest, name, megabytes=8):
    """Write a file; returns its digest."""
    guest.vm.run(f"dd if=/dev/urandom of={MOUNTS}/{name}/file bs=1M count={megabytes} conv=fsync")
    return guest.vm.out(f"sha256sum {MOUNTS}/{name}/file").split()[0]


def read_direct(guest, device, skip):
    """A read of the device that no cache answers; returns its exit status."""
    return guest.vm.run(f"dd if={device} of=/dev/null bs=4k count=1 skip={skip} iflag=direct",
                        check=False).returncode


def test_how_it_is_set_up(guest):
    guest.create("db")
    assert guest.mount("db") == "/dev/nbd0"
    ((index, shown),) = guest.nbd_devices().items()
    assert shown.startswith("docker//") and guest.cluster.image_id("db") in shown
    queue = {name: guest.vm.out(f"cat /sys/block/nbd{index}/queue/{name}") for name in
             ("max_sectors_kb", "io_timeout", "read_ahead_kb", "logical_block_size", "write_cache")}
    assert queue == {"max_sectors_kb": "1024", "io_timeout": "10000", "read_ahead_kb": "4096",
                     "logical_block_size": "4096", "write_cache": "write through"}


def test_data_is_read_as_it_was_written(guest):
    guest.create("db")
    guest.mount("db")
    written = fill(guest, "db", 16)
    assert guest.digest(f"{MOUNTS}/db/file") == written
    guest.unmount("db")
    guest.mount("db")
    assert guest.digest(f"{MOUNTS}/db/file") == written


def test_discard_gives_space_back(guest):
    guest.create("db")
    guest.mount("db")
    fill(guest, "db", 16)
    before = guest.cluster.data_objects("db")
    guest.vm.run(f"rm {MOUNTS}/db/file; sync; fstrim {MOUNTS}/db")
    assert guest.cluster.data_objects("db") <= before - 3


def test_a_killed_data_process_is_survived(guest):
    """Under load, twice; the writer sees a pause."""
    guest.create("db")
    device = guest.mount("db")
    written = fill(guest, "db")
    guest.vm.run(f"rm -f /tmp/load; (dd if=/dev/zero bs=64k count=320 | tr '\\0' x >{MOUNTS}/db/load && "
                 f"sync {MOUNTS}/db/load; echo $? >/tmp/load) >/dev/null 2>&1 &")
    for _ in range(2):
        pids = guest.pids("radosvol-blockd")
        guest.kill("radosvol-blockd")
        proc.wait_until(lambda: guest.pids("radosvol-blockd") not in ([], pids),
                        "the successor", 30, interval=0.5)
    proc.wait_until(lambda: guest.vm.out("cat /tmp/load 2>/dev/null || true") == "0",
                    "the good end of the load", 90, interval=1)
    assert guest.device("db") == device and len(guest.nbd_devices()) == 1
    assert guest.digest(f"{MOUNTS}/db/file") == written
    assert guest.vm.out(f"tr -d x <{MOUNTS}/db/load | wc -c; wc -c <{MOUNTS}/db/load").split() == \
        ["0", str(320 * 65536)]
    assert "I/O error" not in guest.vm.kernel_log()


def test_another_supervisor(guest):
    """A plugin that was stopped and started adopts the data process, and survives its death."""
    guest.create("db")
    guest.mount("db")
    pids = guest.pids("radosvol-blockd")
    guest.stop()
    guest.start()
    assert guest.pids("radosvol-blockd") == pids
    guest.kill("radosvol-blockd")
    assert guest.vm.run(f"echo alive >{MOUNTS}/db/file && sync", timeout=90).returncode == 0
    assert guest.pids("radosvol-blockd") not in ([], pids)


def test_growth_while_mounted(guest):
    guest.create("db")
    device = guest.mount("db")
    guest.vm.run(f"CEPH_CONF={guest.cluster.conf} radosvol resize db 2G")
    proc.wait_until(lambda: guest.vm.out(f"blockdev --getsize64 {device}") == str(2 << 30),
                    "the device's new size", 30, interval=0.5)
    proc.wait_until(lambda: int(guest.vm.out(f"df -m {MOUNTS}/db | awk 'END {{print $2}}'")) > 1500,
                    "the growth of the file system", 60, interval=1)


def test_snapshot_while_mounted(guest):
    """Frozen for it, so the snapshot needs no recovery of its journal."""
    guest.create("db")
    guest.mount("db")
    written = fill(guest, "db")
    guest.vm.run(f"CEPH_CONF={guest.cluster.conf} radosvol snapshot create db now")
    guest.create("look", **{"from": "db@now", "access": "ro"})
    device = guest.mount("look")
    assert guest.vm.out(f"cat /sys/block/{device.removeprefix('/dev/')}/ro") == "1"
    assert guest.digest(f"{MOUNTS}/look/file") == written
    assert guest.vm.run(f"dd if=/dev/zero of={device} bs=4k count=1", check=False).returncode != 0
    guest.unmount("look")
    guest.unmount("db")
    guest.wait_until_free()
    guest.call("Remove", Name="look")
    guest.cluster.rbd("snap", "rm", "--no-progress", "db@now")


def test_a_device_that_is_open_stays(guest):
    """Whoever has it open keeps it, and the lock, until he closes it."""
    guest.create("db")
    device = guest.mount("db")
    guest.vm.run(f"sleep 1000 <{device} >/dev/null 2>&1 & echo $! >/tmp/sleeper")
    guest.unmount("db")
    assert f"{device} is open in another program" in guest.log()
    assert read_direct(guest, device, 7000) == 0
    assert guest.cluster.lockers("db")
    guest.vm.run("kill $(cat /tmp/sleeper)")
    guest.wait_until_free()
    assert guest.cluster.lockers("db") == []


def test_a_device_that_is_given_up_fails(guest):
    """Nobody is left to answer, so I/O must not wait."""
    guest.create("db")
    device = guest.mount("db")
    guest.kill("radosvol-blockd", signal="QUIT")
    proc.wait_until(lambda: read_direct(guest, device, 7000) != 0, "an I/O error", 10)
    guest.unmount("db")
    guest.wait_until_free()
    assert guest.mount("db") == device


def test_everything_killed(guest):
    """Data process and keeper: I/O waits until somebody comes who knows that it is in vain."""
    guest.create("db")
    guest.mount("db")
    guest.kill(*PROGRAMS)
    assert len(guest.nbd_devices()) == 1
    guest.start()
    guest.mount("db", "1")  # makes a new one
    assert len(guest.nbd_devices()) == 1
    guest.vm.run(f"echo alive >{MOUNTS}/db/file && sync")


def test_everything_killed_beside_a_sync(guest):
    """The sync holds the lock that closing the device wants, until its requests end: whoever had the
    device open could not die, nor be replaced."""
    guest.create("db")
    guest.mount("db")
    fill(guest, "db")
    (blockd,) = guest.pids("radosvol-blockd")
    guest.vm.run(f"touch {MOUNTS}/db/more; sync {MOUNTS}/db/more; kill -STOP {blockd}; "
                 "rm -f /tmp/synced; (sync; touch /tmp/synced) >/dev/null 2>&1 & sleep 2")

    def synced():
        return guest.vm.run("[ -e /tmp/synced ]", check=False).returncode == 0

    assert not synced()
    guest.kill(*PROGRAMS)
    guest.start()
    proc.wait_until(synced, "the end of the sync", 30, interval=0.5)
    guest.mount("db", "1")
    guest.vm.run(f"echo alive >{MOUNTS}/db/file && sync")


def test_mount_without_the_plugin(guest):
    """The keeper of such a mount ends the device of a data process that has died."""
    radosvol = f"BACKEND=nbd CEPH_CONF={guest.cluster.conf} radosvol"
    guest.create("db")
    guest.vm.run(f"mkdir -p /mnt; {radosvol} mount db /mnt && echo 1 >/mnt/file")
    assert list(guest.nbd_devices()) == [0]
    guest.vm.run(f"{radosvol} umount /mnt")
    guest.wait_until_free()
    guest.vm.run(f"{radosvol} mount db /mnt && grep 1 /mnt/file")
    guest.kill("radosvol-blockd")
    proc.wait_until(lambda: read_direct(guest, "/dev/nbd0", 7000) != 0, "an I/O error", 10)
    guest.vm.run(f"{radosvol} umount /mnt")
    guest.mount("db")  # has the dead one's lock taken away
    guest.vm.run(f"grep 1 {MOUNTS}/db/file")


def test_what_survives_a_crash_comes_first(guest):
    """This kernel is too old for that with FUSE, which is what there is without NBD."""
    guest.vm.run("modprobe -a fuse loop")
    guest.create("db")
    guest.stop()
    guest.start(BACKEND="auto")
    assert guest.mount("db").startswith("/dev/nbd")
    written = fill(guest, "db")
    guest.unmount("db")
    guest.stop()
    guest.vm.run("rmmod nbd")
    guest.start(BACKEND="auto")
    assert guest.mount("db").startswith("/dev/loop")
    assert guest.digest(f"{MOUNTS}/db/file") == written
    assert "containers see I/O errors when a volume's process crashes" in guest.log()
    guest.unmount("db")
    guest.stop()
    guest.vm.run("modprobe nbd")
    guest.start()


def test_doctor_knows_the_back_end(guest):
    found = guest.vm.out(f"BACKEND=nbd CEPH_CONF={guest.cluster.conf} radosvol doctor || true")
    assert re.search("^back end +ok +nbd$", found, re.MULTILINE)
    assert "Linux 6.9" not in found and "FUSE" not in found


def test_without_a_back_end(guest):
    """A machine that lacks what is wanted says what, and what to do."""
    guest.vm.run("rmmod nbd")
    guest.create("db")
    guest.stop()
    guest.start()
    with pytest.raises(PluginError, match="nbd: the kernel has no NBD .*modprobe nbd"):
        guest.mount("db")
    guest.vm.run("modprobe nbd")
    guest.stop()
    guest.start()
