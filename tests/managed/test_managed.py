# SPDX-License-Identifier: Apache-2.0
"""The managed plugin's life: each test is the next step of it."""

import json
import os
import re
import signal
from pathlib import Path

from conftest import DRIVER, ROOTFS, build_plugin
from lib import proc
from lib.paths import REPO

VOLUME = "managed-volume"
LIMIT_MIB = 60


def digest(printed):
    return re.search(r"sha256 ([0-9a-f]{64})", printed)[1]


def attached(cluster):
    """Who has the volume open, as the cluster sees it."""
    return [*cluster.watchers(VOLUME), *cluster.lockers(VOLUME)]


def loop_devices():
    """Those that serve the volume: each is named after it."""
    return [path for path in Path("/sys/block").glob("loop*/loop/backing_file")
            if path.read_text().strip() == f"/{VOLUME}"]


def write(managed, text):
    managed.dockerd.run("-v", f"{VOLUME}:/data", "busybox", "sh", "-c", f"echo {text} >>/data/file")


def read(managed):
    return managed.dockerd.run("-v", f"{VOLUME}:/data", "busybox", "cat", "/data/file").split()


# --- Its files -----------------------------------------------------------------------------


def test_same_input_gives_the_same_bytes():
    first = digest(build_plugin("--only-files"))
    assert digest(build_plugin("--only-files")) == first
    # and other bytes give another digest
    assert digest(build_plugin("--only-files", SOURCE_DATE_EPOCH="1")) != first


def test_is_small_and_whole():
    printed = build_plugin("--only-files")
    assert int(re.search(r": (\d+)M,", printed)[1]) <= LIMIT_MIB
    for program in sorted(ROOTFS.glob("usr/sbin/*")) + sorted(ROOTFS.glob("usr/libexec/*/*")):
        done = proc.run("chroot", ROOTFS, "/lib64/ld-linux-x86-64.so.2", "--list",
                        f"/{program.relative_to(ROOTFS)}")
        assert "not found" not in done.stdout


def test_has_every_tool_that_the_driver_runs():
    known = re.findall(r'\{"([a-z0-9_.]+)", "[a-z0-9-]+"\}', (REPO / "driver/base/spawn.c").read_text())
    assert {"mkfs.ext4", "mkfs.xfs", "e2fsck"} <= set(known)
    source = "".join(path.read_text() for path in REPO.glob("driver/*/*.c")
                     if path.name != "spawn.c")
    for tool in known:
        if f'"{tool}"' in source:
            assert os.access(ROOTFS / "usr/sbin" / tool, os.X_OK), tool


def test_every_setting_of_config_is_one_of_the_plugin():
    usage = proc.run(ROOTFS / "usr/sbin/docker-volume-rados", "--help").stdout
    config = json.loads((REPO / "config.json").read_text())
    for setting in config["env"]:
        (line,) = [line for line in usage.splitlines() if f" {setting['name']} " in line]
        assert setting["value"] == "" or line.endswith(f"({setting['value']})"), line


# --- Its life ------------------------------------------------------------------------------


def test_container_uses_a_volume(running):
    running.docker("volume", "create", "-d", DRIVER, "-o", "size=1G", VOLUME)
    running.docker("volume", "create", "-d", DRIVER, "-o", "size=1G", "-o", "fs=xfs", "other")
    write(running, "one")
    assert read(running) == ["one"]
    running.dockerd.run("-v", "other:/data", "busybox", "touch", "/data/file")
    running.docker("volume", "rm", "other")
    assert running.dockerd.inspect_volume(VOLUME)["Status"]["size"] == "1G"


def test_radosvol_inside(running):
    root = running.dockerd.base / "exec/runtime-runc/plugins.moby"
    listed = proc.run("runc", "--root", root, "exec", running.id(), "radosvol", "ls", "--json").stdout
    assert [row["name"] for row in json.loads(listed)["volumes"]] == [VOLUME]


def test_only_what_the_loader_finds_is_used(running):
    """No library is opened that the image has not, and none of the host's is."""
    for name in ("docker-volume-rados", "docker-volume-rados-server"):
        (pid,) = running.pids(name)
        failed = re.findall(r"cannot open shared object.*", running.log())
        assert failed == [], name
        assert os.stat(f"/proc/{pid}/root/usr/sbin/radosvol").st_size > 0


def test_server_and_data_process_heal(running):
    container = running.dockerd.start_container("-v", f"{VOLUME}:/data", "busybox", "sleep", "600")
    try:
        for name in ("docker-volume-rados-server", "radosvol-blockd"):
            (pid,) = running.pids(name)
            os.kill(pid, signal.SIGKILL)
            proc.wait_until(lambda: running.pids(name) not in ([], [pid]), f"a new {name}", 30)
            running.dockerd.exec(container, "sh", "-c",
                                 f"echo {name} | dd of=/data/file oflag=append conv=notrunc,fsync")
    finally:
        running.docker("rm", "-f", container)
    assert read(running) == ["one", "docker-volume-rados-server", "radosvol-blockd"]


def test_supervisor_that_dies_is_started_again(running):
    """With it dies all of its container, so what was mounted is lost to the containers of that time;
    they are started again, and the data is there."""
    container = running.dockerd.start_container("-v", f"{VOLUME}:/data", "busybox", "sleep", "600")
    (pid,) = running.pids("docker-volume-rados")
    os.kill(pid, signal.SIGKILL)
    proc.wait_until(lambda: running.pids("docker-volume-rados") not in ([], [pid]),
                    "a new supervisor", 60)
    running.docker("rm", "-f", container)
    assert read(running)[0] == "one"


def test_disable_under_a_container_and_enable_again(running, cluster):
    """Its I/O fails, as nothing outlives the plugin's container; what was written before is there, and
    no lock is left that the next mount would have to take over."""
    takeovers = running.dockerd.inspect_volume(VOLUME)["Status"].get("takeovers")
    container = running.dockerd.start_container("-v", f"{VOLUME}:/data", "busybox", "sleep", "600")
    running.docker("plugin", "disable", "-f", DRIVER)
    running.docker("rm", "-f", container)
    assert attached(cluster) == []
    running.wait_for_nothing()
    proc.wait_until(lambda: not loop_devices(), "the end of the loop device", 30)
    running.enable()
    assert read(running)[0] == "one"
    assert running.dockerd.inspect_volume(VOLUME)["Status"].get("takeovers") == takeovers
    assert attached(cluster) == []
    assert not loop_devices()


def test_disable_lets_go_in_order(running, cluster):
    """Within the 10 s that dockerd gives: it logs when it has to kill."""
    logged = len(running.log())
    running.docker("plugin", "disable", "-f", DRIVER)
    log = running.log()[logged:]
    assert "ending on signal 15" in log
    assert not re.search(r"(?i)sigkill|force|timed? ?out", log), log
    running.wait_for_nothing()
    assert attached(cluster) == []


def test_upgrade_without_a_registry(running):
    """Another plugin of the same name. dockerd knows the volumes still, hence the -f."""
    running.docker("plugin", "rm", "-f", DRIVER)
    running.create()
    running.configure()
    running.enable()
    assert read(running)[0] == "one"


def test_upgrade_from_a_registry(running, registry, cluster):
    """Volumes stay; dockerd forgets the settings, which are set again."""
    running.docker("plugin", "rm", "-f", DRIVER)
    for version in ("1", "2"):
        running.create(f"{registry}/rados:{version}", description=f"version {version}")
        running.docker("plugin", "push", f"{registry}/rados:{version}")
        running.docker("plugin", "rm", f"{registry}/rados:{version}")
    running.docker("plugin", "install", "--alias", DRIVER, "--disable", "--grant-all-permissions",
                   f"{registry}/rados:1")
    running.configure()
    running.enable()
    write(running, "version-1")
    running.docker("plugin", "disable", "-f", DRIVER)
    running.wait_for_nothing()
    assert attached(cluster) == [] and not loop_devices()
    running.docker("plugin", "upgrade", "--skip-remote-check", "--grant-all-permissions", DRIVER,
                   f"{registry}/rados:2")
    running.configure()
    running.enable()
    shown = running.docker("plugin", "inspect", "-f", "{{.Config.Description}}", DRIVER).stdout
    assert shown.strip() == "version 2"
    assert read(running)[-1] == "version-1"


def test_removal_leaves_nothing(running, cluster):
    running.docker("volume", "rm", VOLUME)
    running.docker("plugin", "disable", DRIVER)  # without -f: nothing uses it
    running.docker("plugin", "rm", DRIVER)
    running.wait_for_nothing()
    assert cluster.images() == [] and cluster.trash() == []
