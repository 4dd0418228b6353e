# SPDX-License-Identifier: Apache-2.0
"""The managed plugin in a dockerd of its own, made by scripts/build-plugin."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lib import proc
from lib.network import inside
from lib.paths import PLUGIN_SOCKETS, REPO
from lib.plugin import Plugin

DRIVER = "rados:latest"
SETTLE_S = 30
CAPABILITIES = {"CAP_IPC_LOCK": 14, "CAP_SYS_ADMIN": 21, "CAP_SYS_RESOURCE": 24}
ROOTFS = REPO / "build/plugin/rootfs"


def build_plugin(*words, **env):
    """Returns what it printed."""
    return proc.run(REPO / "scripts/build-plugin", *words, timeout=300,
                    env={**os.environ, "LC_ALL": "C.UTF-8", **env}).stdout


def affordable_config(**changes):
    """config.json with `changes`; on a machine that itself may not do all a host may (such as a container), without
    the capabilities it has not: runc refuses to give what nobody has."""
    config = {**json.loads((REPO / "config.json").read_text()), **changes}
    status = Path("/proc/self/status").read_text()
    bounding = int(re.search(r"^CapBnd:\s*(\w+)$", status, re.MULTILINE)[1], 16)
    linux = config["linux"]
    linux["capabilities"] = [name for name in linux["capabilities"]
                             if bounding >> CAPABILITIES[name] & 1]
    return config


class ManagedPlugin(Plugin):
    """For tests that were written for a plugin of their own: the same calls, over the socket that
    dockerd uses."""

    def __init__(self, managed, base):
        super().__init__(None, base, driver=DRIVER)
        an_id = managed.id()
        self.socket = PLUGIN_SOCKETS / an_id / "rados.sock"
        self.propagated = managed.dockerd.base / "data/plugins" / an_id / "propagated-mount"

    def runs(self):
        return True

    def mount(self, name, mount_id, **options):
        path = super().mount(name, mount_id, **options)
        return self.propagated / path.relative_to("/var/lib/docker-volume-rados")


class Managed:
    """The plugin in `dockerd`; `etc_ceph`: the directory it gets as /etc/ceph."""

    def __init__(self, dockerd, etc_ceph):
        self.dockerd, self.etc_ceph = dockerd, etc_ceph

    def create(self, name=DRIVER, **changes):
        config = self.dockerd.base / "config.json"
        config.write_text(json.dumps(affordable_config(**changes)))
        build_plugin("--config", config, name, DOCKER_HOST=f"unix://{self.dockerd.socket}")

    def id(self):
        return self.docker("plugin", "inspect", "-f", "{{.ID}}", DRIVER).stdout.strip()

    def docker(self, *words, **options):
        return self.dockerd.docker(*words, **options)

    def configure(self):
        self.docker("plugin", "set", DRIVER, f"ceph.source={self.etc_ceph}", "RADOS_HOST=host-a",
                    "WATCH_TIMEOUT=5", "TRASH_EXPIRY=0", "LOG_LEVEL=debug")

    def enable(self):
        self.docker("plugin", "enable", DRIVER)

    def enabled(self):
        state = self.docker("plugin", "inspect", "-f", "{{.Enabled}}", DRIVER, check=False)
        return state.stdout.strip() == "true"

    def pids(self, name):
        """Pids of what runs a program of that name in this dockerd's plugin."""
        return sorted(pid for pid in proc.children(self.dockerd.containerd.pid) + self._shims()
                      if os.path.basename(proc.executable(pid)) == name)

    def _shims(self):
        """Descendants of the shims, which belong to no daemon, that serve this containerd."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"containerd-shim" in line and str(self.dockerd.base).encode() in line:
                found += proc.children(int(entry.name))
        return found

    def leftovers(self):
        """Mounts and processes of the plugin's."""
        mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
                  if f"{self.dockerd.base}/data/plugins" in line]
        processes = [(name, pid) for name in ("docker-volume-rados", "docker-volume-rados-server",
                                              "radosvol-blockd") for pid in self.pids(name)]
        return mounts + processes

    def wait_for_nothing(self):
        proc.wait_until(lambda: not self.leftovers(), f"the end of {self.leftovers()}", SETTLE_S)

    def log(self):
        return self.dockerd.log_file.read_text(errors="replace")


@pytest.fixture(scope="module")
def etc_ceph(cluster, base):
    """What an administrator copies to a host: the way to the cluster, and one key."""
    directory = base / "etc-ceph"
    directory.mkdir(exist_ok=True)
    monitors = re.search(r"^\s*mon host\s*=.*$", Path(cluster.conf).read_text(), re.MULTILINE)[0]
    fsid = re.search(r"^\s*fsid\s*=.*$", Path(cluster.conf).read_text(), re.MULTILINE)[0]
    (directory / "ceph.conf").write_text(f"[global]\n{fsid}\n{monitors}\n")
    shutil.copy(f"{cluster.directory}/client.docker.keyring",
                directory / "ceph.client.docker.keyring")
    return directory


@pytest.fixture(scope="module")
def registry(dockerd, base):
    """Its address, as dockerd sees it: on the loopback device of dockerd's own network."""
    address = "127.0.0.1:5000"
    config = base / "registry.yml"
    config.write_text(f"version: 0.1\nhttp:\n  addr: {address}\n"
                      f"storage:\n  filesystem:\n    rootdirectory: {base}/registry\n")
    pid = dockerd.process.pid
    inside(pid, "ip", "link", "set", "lo", "up")
    with open(base / "registry.log", "wb") as log:
        process = subprocess.Popen(["nsenter", f"--net=/proc/{pid}/ns/net", "docker-registry",
                                    "serve", str(config)], stdout=log, stderr=log)
    proc.wait_until(lambda: inside(pid, "curl", "-s", f"http://{address}/v2/",
                                   check=False).returncode == 0, "the registry")
    yield address
    proc.end(process, SETTLE_S)


@pytest.fixture(scope="module")
def managed(dockerd, etc_ceph):
    managed = Managed(dockerd, etc_ceph)
    yield managed
    dockerd.remove_everything(DRIVER)
    managed.docker("plugin", "rm", "-f", DRIVER, check=False)


@pytest.fixture(scope="module")
def running(managed):
    managed.create()
    managed.configure()
    managed.enable()
    return managed
