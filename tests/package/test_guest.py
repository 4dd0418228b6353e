# SPDX-License-Identifier: Apache-2.0
"""The package on a Debian that boots: one life of an installation, each test the next step of it."""

import json

import pytest

from lib import proc
from lib.load import Fio

UNITS = ("docker-volume-rados.service", "docker-volume-rados.socket")
VOLUME = "package-volume"


@pytest.fixture(scope="module")
def before(guest):
    return guest.files()


@pytest.fixture(scope="module")
def package(guest, deb, before):
    path = guest.copy(deb)
    guest.dpkg("-i", path)
    guest.configure()
    return path


def attached(cluster):
    """Who has the volume open, as the cluster sees it."""
    return [*cluster.watchers(VOLUME), *cluster.lockers(VOLUME)]


def test_units_are_valid(guest, package):
    done = guest.run("systemd-analyze", "verify", "--man=no", *UNITS)
    assert done.stdout + done.stderr == ""


def test_runs_after_installation(guest, package):
    assert guest.run("systemctl", "is-active", *UNITS).stdout.split() == ["active", "active"]
    assert guest.run("systemctl", "is-enabled", *UNITS).stdout.split() == ["enabled", "enabled"]
    assert len(guest.pids("docker-volume-rados-server")) == 1


def test_container_uses_a_volume(guest, package):
    guest.load_image("busybox")
    guest.run("docker", "volume", "create", "-d", "rados", "-o", "size=1G", VOLUME)
    guest.run("docker", "run", "-d", "--name", "app", "--restart", "always", "--network", "none",
              "-v", f"{VOLUME}:/data", "busybox", "/bin/sh", "-c",
              "date >>/data/starts; trap exit TERM; while :; do sleep 1; done", timeout=120)
    assert guest.run("docker", "exec", "app", "wc", "-l", "/data/starts").stdout.split()[0] == "1"


def test_upgrade_and_restart_under_load(guest, package):
    """The data process stays the same, and no I/O fails."""
    (blockd,) = guest.pids("radosvol-blockd")
    fio = Fio(guest.path(f"/var/lib/docker-volume-rados/mounts/{VOLUME}"))
    try:
        (server,) = guest.pids("docker-volume-rados-server")
        guest.dpkg("-i", package)
        assert guest.pids("docker-volume-rados-server") not in ([], [server])
        guest.run("systemctl", "restart", UNITS[0])
        assert guest.run("systemctl", "is-active", *UNITS).stdout.split() == ["active", "active"]
        assert guest.pids("radosvol-blockd") == [blockd]
        assert fio.stop() > 0
    finally:
        fio.kill()
    assert guest.run("docker", "exec", "app", "ls", "/data").stdout


def test_data_process_that_dies_is_started_again(guest, package):
    (blockd,) = guest.pids("radosvol-blockd")
    guest.run("systemctl", "kill", "--kill-who=all", "--signal=HUP", UNITS[0])
    assert guest.pids("radosvol-blockd") == [blockd]
    proc.run("kill", "-KILL", blockd)
    proc.wait_until(lambda: guest.pids("radosvol-blockd") not in ([], [blockd]), "a new blockd")
    guest.run("docker", "exec", "app", "sh", "-c", "echo on | dd of=/data/file conv=fsync")


def test_removal_is_refused_while_a_volume_is_mounted(guest, package):
    done = guest.dpkg("-r", "docker-volume-rados", check=False)
    assert done.returncode != 0
    assert f"volumes are mounted; stop the containers that use them first:\n    {VOLUME}\n" \
        in done.stderr
    assert guest.run("systemctl", "is-active", *UNITS).stdout.split() == ["active", "active"]


def test_boot_brings_containers_back(guest, package, cluster):
    """The shutdown lets go of the volume in order; dockerd finds the plugin at once at the boot."""
    guest.shut_down()
    assert attached(cluster) == []
    guest.boot()
    proc.wait_until(lambda: json.loads(guest.run("docker", "inspect", "app").stdout)
                    [0]["State"]["Running"], "the container", 60)
    assert guest.run("docker", "exec", "app", "wc", "-l", "/data/starts").stdout.split()[0] == "2"
    assert len(attached(cluster)) == 2  # one watch, one lock
    journal = guest.run("journalctl", "-b", "-u", "docker").stdout
    assert "Unable to connect to plugin" not in journal, journal


def test_bad_setting_is_healed_by_correcting_it(guest, package):
    guest.write("/etc/default/docker-volume-rados", "WATCH_TIMEOUT=never\n")
    guest.run("systemctl", "restart", UNITS[0], check=False)
    proc.wait_until(lambda: "WATCH_TIMEOUT" in guest.run("journalctl", "-b", "-u", UNITS[0]).stdout,
                    "words about the setting")
    guest.configure()
    assert guest.call("Get", Name=VOLUME)["Volume"]["Name"] == VOLUME


def test_purge_leaves_nothing(guest, package, before, cluster):
    guest.run("docker", "rm", "-f", "app", timeout=60)
    guest.run("docker", "volume", "rm", VOLUME)
    guest.dpkg("--purge", "docker-volume-rados")
    assert guest.files() - before == set()
    assert before - guest.files() == set()
    assert guest.run("systemctl", "list-unit-files", *UNITS, check=False).stdout.count("rados") == 0
    for name in ("docker-volume-rados", "docker-volume-rados-server", "radosvol-blockd"):
        assert guest.pids(name) == []
    assert cluster.images() == []
    guest.shut_down()
