# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the supervisor: blockds go on alone, the next supervisor adopts them."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lib.crash import report
from lib.lengths import length
from lib.load import Pulse
from lib.plugin import mount_id
from lib.proc import alive, run, wait_until

KILLS = length(1, 20)

pytestmark = pytest.mark.timeout(300 + 20 * KILLS)


def adopted(plugin, count):
    """Wait until the running supervisor has adopted so many, all in all."""
    words = "adopted radosvol-blockd"
    wait_until(lambda: plugin.log().count(words) >= count, f"the adoption ({plugin.log_file})", 30)


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_killed_under_verified_load(plugin, volumes, cluster, start_load, checked, fs):
    """After each adoption a blockd that is killed is replaced as before."""
    name = volumes.create(fs=fs)
    image = cluster.image_id(name)
    path, an_id = volumes.mount(name)
    load = start_load(path)
    for _ in range(KILLS):
        load.wait_for(20)
        blockd = plugin.blockd(image)
        adoptions = plugin.log().count("adopted radosvol-blockd")
        plugin.kill_supervisor()
        load.wait_for(50)
        assert alive(blockd)
        plugin.start()
        adopted(plugin, adoptions + 1)
        assert plugin.blockd(image) == blockd
        load.wait_for(20)
        os.kill(blockd, signal.SIGKILL)
        plugin.blockd(image, other_than=blockd)
        load.wait_for(20)
    longest = load.stop()
    assert plugin.get(name)["Status"]["mounts"] == [an_id]
    volumes.unmount(name, an_id)
    checked(name, fs)
    path, _ = volumes.mount(name)
    load.verify(path)
    report(f"{fs}: {KILLS} kills of the supervisor, then of a blockd: {load.fio.passes} passes of "
           f"fio without an error, longest pause {longest:.2f} s")


def test_killed_again_and_again(plugin, volumes, cluster):
    """A supervisor that dies while it adopts leaves all to the next."""
    names = [volumes.create() for _ in range(3)]
    paths = [volumes.mount(name)[0] for name in names]
    blockds = plugin.blockds()
    pulses = [Pulse(path) for path in paths]
    try:
        for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1):
            plugin.process.kill()
            plugin.process.wait()
            plugin.launch()
            time.sleep(delay)
        plugin.process.kill()
        plugin.process.wait()
        plugin.start()
        for pulse in pulses:
            pulse.wait_for(20)
        assert plugin.blockds() == blockds
        for pid in blockds.values():
            os.kill(pid, signal.SIGKILL)
        for pulse in pulses:
            pulse.wait_for(20)
    finally:
        for pulse in pulses:
            pulse.kill()
    for pulse, path in zip(pulses, paths):
        pulse.stop()
        pulse.verify(path)


def test_a_blockd_that_dies_without_a_supervisor(plugin, volumes, cluster):
    """Nobody keeps its device then: I/O fails, and does not hang. What was acknowledged is there
    once the volume is mounted anew."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    pulse = Pulse(path)
    pulse.wait_for(20)
    blockd = plugin.blockd(cluster.image_id(name))
    plugin.kill_supervisor()
    os.kill(blockd, signal.SIGKILL)
    assert pulse.wait_for_error()
    assert pulse.join(30)
    plugin.start()
    volumes.unmount(name, an_id)
    path, _ = volumes.mount(name)
    pulse.verify(path)


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
@pytest.mark.parametrize("unmounted", [True, False], ids=["unmounted", "still-mounted"])
def test_everything_killed_at_once(plugin, volumes, cluster, checked, fs, unmounted):
    """I/O fails; the next mount works, whether the dead one was given back or not, and everything
    that was acknowledged is there."""
    name = volumes.create(fs=fs)
    path, an_id = volumes.mount(name)
    pulse = Pulse(path)
    pulse.wait_for(50)
    pids = [plugin.process.pid, plugin.server_pid(), *plugin.blockds().values()]
    assert len(pids) == 3
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    plugin.process.wait()
    assert pulse.wait_for_error()
    assert pulse.join(30)
    wait_until(lambda: not any(map(alive, pids)), "the end of the killed processes", 30)
    plugin.start()
    if unmounted:
        volumes.unmount(name, an_id)
    begin = time.monotonic()
    path, new_id = volumes.mount(name, mount_id())
    took = time.monotonic() - begin
    pulse.verify(path)
    (path / "file").write_text("x")
    volumes.unmount(name, new_id)
    if not unmounted:
        volumes.unmount(name, an_id)
    assert not plugin.mounted(name)
    checked(name, fs)
    report(f"{fs}: supervisor, server and blockd killed at once: {pulse.acked} records, none lost; "
           f"the next mount took {took:.2f} s")


def test_everything_killed_beside_a_sync(plugin, volumes, cluster):
    """A sync of the whole machine holds the lock of the device it waits for, and whoever lets go of
    the device wants that lock: the session behind it must have ended by then, or both hang for
    good."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    device = plugin.get(name)["Status"]["device"]
    pids = [plugin.process.pid, plugin.server_pid(), *plugin.blockds().values()]
    session = session_of(pids[-1])
    run("umount", path)  # or the sync would wait for the file system's own writes, before that
    os.kill(pids[-1], signal.SIGSTOP)
    with open(device, "r+b", buffering=0) as file:
        file.seek(300 << 20)
        file.write(bytes(4096))
    sync = subprocess.Popen(["sync"])
    try:
        wait_until(lambda: "sync_bdevs" in kernel_stack(sync.pid), "a sync that waits", 30)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        plugin.process.wait()
        wait_until(lambda: not any(map(alive, pids)), "the end of the killed processes", 30)
        assert sync.wait(30) == 0
    finally:
        if sync.poll() is None:
            abort_session(session)
        sync.wait()
    plugin.start()
    volumes.unmount(name, volumes.mount(name, mount_id())[1])
    volumes.unmount(name, an_id)


def kernel_stack(pid):
    return Path(f"/proc/{pid}/stack").read_text()


def session_of(blockd):
    """The number of the FUSE session that a blockd serves."""
    roots = [fd for fd in Path(f"/proc/{blockd}/fd").iterdir() if os.readlink(fd) == "/"]
    return os.minor(os.stat(roots[0]).st_dev)


def abort_session(number):
    """What the test failed to have ended ends in no other way."""
    with tempfile.TemporaryDirectory() as directory:
        run("mount", "-t", "fusectl", "none", directory)
        try:
            (Path(directory) / str(number) / "abort").write_text("1")
        finally:
            run("umount", directory)
