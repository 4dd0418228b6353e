# SPDX-License-Identifier: Apache-2.0
"""What a kernel with NBD and rbd is needed for: Debian's, in a guest (scripts/vm) that reaches the
cluster of the tests. One boot for all tests."""

import json
from pathlib import Path

import pytest

from lib import proc
from lib.plugin import PluginError
from lib.vm import Vm

HERE = Path(__file__).parent
SECONDS = 600  # with the fetching of the kernel
SOCKET = "/run/docker/plugins/rados.sock"
MOUNTS = "/var/lib/docker-volume-rados/mounts"
PROGRAMS = ("docker-volume-rados", "docker-volume-rados-server", "radosvol-blockd")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(SECONDS))


class Guest:
    """The guest with a plugin in it; what changes volumes is done with the plugin."""

    def __init__(self, vm, cluster):
        self.vm, self.cluster = vm, cluster
        self.rbd = f"rbd --conf {cluster.conf} --id docker --pool docker"
        self.mounts = []

    # --- The plugin ------------------------------------------------------------------------

    def start(self, **settings):
        words = "".join(f"{key}={value} " for key, value in {"BACKEND": "nbd", **settings}.items())
        self.vm.run(f"rm -f {SOCKET}; CEPH_CONF={self.cluster.conf} TRASH_EXPIRY=0 {words}"
                    "docker-volume-rados >>/tmp/plugin.log 2>&1 &")
        proc.wait_until(lambda: self.vm.run(f"[ -S {SOCKET} ]", check=False).returncode == 0,
                        "the plugin's socket", 30, interval=0.5)

    def stop(self):
        """In order; data processes stay."""
        self.vm.run("kill $(pidof docker-volume-rados); "
                    "while pidof docker-volume-rados; do usleep 100000; done")

    def log(self):
        return self.vm.out("cat /tmp/plugin.log")

    def call(self, method, **body):
        reply = json.loads(self.vm.out(
            f"curl -s --unix-socket {SOCKET} -d '{json.dumps(body)}' http://rados/VolumeDriver.{method}",
            timeout=90))
        if reply.get("Err"):
            raise PluginError(reply["Err"])
        return reply

    # --- Volumes ---------------------------------------------------------------------------

    def create(self, name, **options):
        self.call("Create", Name=name, Opts={"size": "1G", **options})

    def mount(self, name, an_id="0"):
        """Returns the device."""
        self.call("Mount", Name=name, ID=an_id)
        self.mounts.append((name, an_id))
        return self.device(name)

    def unmount(self, name, an_id="0"):
        self.mounts.remove((name, an_id))
        self.call("Unmount", Name=name, ID=an_id)

    def device(self, name):
        """Of a mounted volume, or ""."""
        return self.vm.out(f"awk '$2 == \"{MOUNTS}/{name}\" {{print $1}}' /proc/mounts")

    def nbd_devices(self):
        """{index of each that is in use: what it shows as its back end}"""
        lines = self.vm.out("grep -H . /sys/block/nbd*/backend 2>/dev/null || true").splitlines()
        return {int(line.split("/")[3].removeprefix("nbd")): line.split(":", 1)[1]
                for line in lines}

    def wait_until_free(self):
        proc.wait_until(lambda: not self.nbd_devices() and not self.pids("radosvol-blockd"),
                        "the end of devices and data processes", 30, interval=0.5)

    def clean_up(self):
        for name, an_id in list(self.mounts):
            self.unmount(name, an_id)
        self.wait_until_free()
        for volume in self.call("List")["Volumes"] or []:
            self.call("Remove", Name=volume["Name"])

    # --- Inside ----------------------------------------------------------------------------

    def pids(self, program):
        return self.vm.run(f"pidof {program}", check=False).stdout.split()

    def kill(self, *programs, signal="KILL"):
        """At once, and wait until those processes are gone."""
        pids = " ".join(pid for program in programs for pid in self.pids(program))
        self.vm.run(f"kill -{signal} {pids}; for pid in {pids}; do "
                    "while [ -e /proc/$pid/exe ]; do usleep 50000; done; done")

    def digest(self, path):
        """Of what the disk has, not of what is cached."""
        return self.vm.out(f"sync; echo 3 >/proc/sys/vm/drop_caches; sha256sum {path}").split()[0]


@pytest.fixture(scope="session")
def vm(cluster, base):
    files = [cluster.conf, *Path(cluster.directory).glob("client.*.keyring")]
    vm = Vm(base / "vm", files=files, programs=("rbd", "curl")).start()
    vm.run("mkdir -p /run/docker/plugins; modprobe nbd")
    yield vm
    vm.close()


@pytest.fixture(scope="session")
def plugin_in_guest(vm, cluster):
    guest = Guest(vm, cluster)
    guest.start()
    return guest


@pytest.fixture
def guest(plugin_in_guest):
    yield plugin_in_guest
    plugin_in_guest.clean_up()
