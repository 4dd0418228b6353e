# SPDX-License-Identifier: Apache-2.0
"""The Debian package as a user gets it: built by `make deb`, then installed with dpkg on a small Debian
12 that boots with systemd as PID 1, and dockerd, in namespaces on this machine (init.sh).

The first run makes that Debian from the package mirror this machine uses (build/guest.tar, minutes).
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from lib import http, images, proc
from lib.paths import REPO
from lib.plugin import PluginError

HERE = Path(__file__).parent
GUEST_TAR = REPO / "build/guest.tar"
# What the package depends on, so that dpkg alone can install it, and what is tried with it.
GUEST_PACKAGES = ("systemd-sysv", "dbus", "docker.io", "bash-completion", "e2fsprogs", "xfsprogs",
                  "librados2", "libmicrohttpd12", "libjansson4", "libblkid1", "libmnl0", "libsmartcols1")
CGROUPS = Path("/sys/fs/cgroup")
# Without a bridge, as tests/lib/dockerd.py explains.
DOCKERD = ("unshare --net /usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock "
           "--bridge none --iptables=false --ip-masq=false --ip-forward=false "
           "--storage-driver overlay2")
SECONDS = 900  # with the making of the guest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def deb():
    """The package, with its .changes file beside it."""
    proc.run("make", "-C", REPO, "deb", timeout=600,
             env={**os.environ, "LC_ALL": "C.UTF-8", "MAKEFLAGS": ""})
    (package,) = (REPO / "build/deb").glob("docker-volume-rados_*.deb")
    return package


def _make_guest():
    if GUEST_TAR.exists() and GUEST_TAR.stat().st_mtime > Path(__file__).stat().st_mtime:
        return
    unfinished = GUEST_TAR.with_suffix(".tmp")
    proc.run("mmdebstrap", "--variant=minbase", f"--include={','.join(GUEST_PACKAGES)}",
             "--format=tar", "bookworm", unfinished, timeout=SECONDS)
    unfinished.rename(GUEST_TAR)


class Guest:
    """A Debian with systemd. `root`: its files; `cluster`: a cluster it can reach."""

    def __init__(self, root, cluster):
        self.root, self.cluster = Path(root), cluster
        self.process = None
        self.cgroups = []

    # --- Life ------------------------------------------------------------------------------

    def install(self):
        self.root.mkdir()
        proc.run("tar", "-x", "-C", self.root, "-f", GUEST_TAR, timeout=120)
        self.write("/etc/hostname", "package-test\n")
        self.write("/etc/systemd/system/docker.service.d/test.conf",
                   f"[Service]\nExecStart=\nExecStart=/usr/bin/{DOCKERD}\n")

    def _enter_cgroup(self):
        """A cgroup of the guest's own in each hierarchy, entered by the child before it is PID 1."""
        for directory in self.cgroups:
            (directory / "cgroup.procs").write_text("0\n")

    def boot(self):
        tops = [CGROUPS] if (CGROUPS / "cgroup.procs").exists() else sorted(CGROUPS.iterdir())
        self.cgroups = [top / f"guest-{os.getpid()}" for top in tops]
        for directory in self.cgroups:
            directory.mkdir(exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if (directory.parent / name).exists():
                    (directory / name).write_text((directory.parent / name).read_text())
        with open(f"{self.root}.log", "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork",
                 "--kill-child", HERE / "init.sh", self.root, self.cluster.directory],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=self._enter_cgroup)
        proc.wait_until(self._booted, "the end of the boot", 120, interval=0.5)

    def _booted(self):
        pids = proc.children(self.process.pid)
        return pids and proc.executable(pids[0]).endswith("/systemd/systemd") and \
            self.run("systemctl", "is-system-running", check=False).stdout.strip() in \
            ("running", "degraded")

    def shut_down(self):
        self.run("systemctl", "--no-block", "poweroff", check=False)
        self.process.wait(120)

    def _remove_cgroup(self, directory):
        """True once all is gone: what was killed leaves its cgroup when it is reaped."""
        try:
            for below in sorted((path for path in directory.rglob("*") if path.is_dir()),
                                reverse=True):
                below.rmdir()
            directory.rmdir()
        except OSError:
            return False
        return True

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)  # takes PID 1 along, and so all of it
            self.process.wait()
        for directory in self.cgroups:
            proc.wait_until(lambda: self._remove_cgroup(directory), f"the end of {directory}", 30)

    # --- Inside ----------------------------------------------------------------------------

    def run(self, *words, **options):
        """Run a program in the guest."""
        init = proc.children(self.process.pid)[0]
        return proc.run("nsenter", "-t", init, "-m", "-p", "-u", "-i", "-C", "env", "-i",
                        "PATH=/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8",
                        "DEBIAN_FRONTEND=noninteractive", *words, **options)

    def path(self, path):
        """How to reach a file of the guest's, mounts included, from outside."""
        return Path(f"/proc/{proc.children(self.process.pid)[0]}/root{path}")

    def write(self, path, text):
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def dpkg(self, *words, **options):
        return self.run("dpkg", *words, timeout=180, **options)

    def copy(self, deb):
        """Returns the package's path in the guest."""
        shutil.copy(deb, self.root / "root")
        return f"/root/{deb.name}"

    def configure(self):
        """Point the plugin to the cluster, as an administrator does."""
        self.write("/etc/default/docker-volume-rados", f"CEPH_CONF={self.cluster.conf}\nTRASH_EXPIRY=0\n")
        self.run("systemctl", "restart", "docker-volume-rados")

    def call(self, method, **body):
        reply = http.call(self.path("/run/docker/plugins/rados.sock"), f"VolumeDriver.{method}",
                          body, timeout=60).json()
        if reply.get("Err"):
            raise PluginError(reply["Err"])
        return reply

    def pids(self, name):
        """Pids, as this machine sees them, of what runs a program of that name in the guest."""
        return sorted(pid for pid in proc.children(self.process.pid)
                      if os.path.basename(proc.executable(pid)) == name)

    def files(self):
        """Every file and directory that a package could leave; not what any boot, dockerd, and
        dpkg's own records are made of."""
        pruned = [word for path in ("/proc", "/sys", "/dev", "/tmp", "/root", "/var/tmp", "/var/log",
                                    "/var/cache", "/var/lib/dpkg", "/var/lib/docker",
                                    "/var/lib/containerd", "/run/systemd")
                  for word in ("-path", path, "-prune", "-o")]
        names = self.run("find", "/", *pruned, "-print").stdout.splitlines()
        return {name for name in names if not name.startswith("/run/") or "rados" in name}

    def load_image(self, name):
        self.run("docker", "import", "-", name, input=images.archive(), text=False, timeout=120)


@pytest.fixture(scope="module")
def guest(cluster, base):
    _make_guest()
    guest = Guest(base / "guest", cluster)
    guest.install()
    guest.boot()
    yield guest
    guest.close()
