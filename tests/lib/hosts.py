# SPDX-License-Identifier: Apache-2.0
"""Several hosts on this machine. Each has a network, mount, pid and uts namespace, /run and
/var/lib of its own, and in them a dockerd and the plugin under test, started as on a real host with
nothing but the defaults. They share the kernel, /dev with its loop devices, and all other files.

A host can be killed (as by pulling the power cord), cut off from the network and healed, and
started again: with the same /var/lib, name and address, and with an empty /run."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from lib import proc
from lib.cluster import Cluster
from lib.dockerd import Dockerd
from lib.network import Namespace, inside
from lib.paths import BUILD, DEV_CLUSTER
from lib.plugin import Plugin, mount_id

INIT = Path(__file__).with_name("host_init.sh")
DRIVER = "rados"  # the plugin's default name
WATCH_TIMEOUT_S = int(os.environ.get("HOSTS_WATCH_TIMEOUT", "15"))
START_S = 60
STOP_S = 30


def held_by(host):
    """What a refusal says of the host that has the volume, as a regular expression."""
    return rf"(mounted on|in use by) {host} since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


class NetworkCluster(Cluster):
    """A cluster on a Network, in a namespace of its own. It begins empty: what an earlier run left
    in the directory is on a network that is gone."""

    def __init__(self, directory, network, number=2):
        super().__init__(directory)
        self.network, self.number = network, number
        self.namespace = None

    def up(self):
        self.down(purge=True)
        self.namespace = Namespace()
        self.network.plug("cluster", self.namespace.pid, self.number)
        inside(self.namespace.pid, DEV_CLUSTER, "up", "--dir", self.directory, "--osds", self.osds,
               "--addr", self.network.address(self.number), timeout=180)
        self.started = True

    @contextlib.contextmanager
    def unheard_by(self, host):
        """What it sends to the host never arrives; what comes from there does."""
        neighbour = (self.network.address(host.number), "dev", "eth0")
        inside(self.namespace.pid, "ip", "neighbour", "replace", *neighbour,
               "lladdr", "02:00:00:00:00:00", "nud", "permanent")
        try:
            yield
        finally:
            inside(self.namespace.pid, "ip", "neighbour", "del", *neighbour)

    def close(self):
        super().close()
        self.down(purge=True)
        self.namespace.close()


class _HostPlugin(Plugin):
    """Started by the host's init, with the plugin's own defaults; see Plugin for the rest."""

    def argv(self):
        return [str(BUILD / "docker-volume-rados")] + [
            f"--{key.replace('_', '-')}={value}" for key, value in self.settings.items()]


class Host:
    """`number` is the last part of its address; `base`: where its directory is made; `settings`:
    more flags of the plugin. While it runs, .engine is its Dockerd, .plugin its Plugin (both talk
    to it from outside, also when it is cut off), and .root where its files are seen from outside.
    """

    def __init__(self, name, number, base, cluster, network, **settings):
        self.name, self.number, self.network = name, number, network
        self.directory = Path(base) / name
        (self.directory / "lib").mkdir(parents=True)
        self.cgroup = f"/{Path(base).name}-{name}"
        self.engine = Dockerd(self.directory)
        self.plugin = _HostPlugin(cluster, self.directory, driver=DRIVER, host=None,
                                  libexec_dir=BUILD, **settings)
        del self.plugin.settings["host"]  # it takes the host's name
        self.process = None  # unshare, the parent of the host's PID 1
        self.pid = None
        self.started_in_s = None

    def __repr__(self):
        return self.name

    # --- Life ------------------------------------------------------------------------------

    def start(self):
        """Boot, and wait until dockerd and the plugin answer."""
        begin = time.monotonic()
        with open(self.directory / "init.log", "ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--kill-child",
                 "--mount-proc", str(INIT), self.name, str(self.directory), self.cgroup,
                 *self.plugin.argv()],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.plugin.env)
        self.pid = proc.wait_until(lambda: proc.children(self.process.pid), f"{self}'s init")[0]
        self.network.plug(self.name, self.pid, self.number)
        self.root = Path(f"/proc/{self.pid}/root")
        # Until then it sees this machine's sockets, and somebody may answer there.
        proc.wait_until((self.root / "run/host").exists, f"{self}'s own /run", START_S)
        self.engine.process = self.plugin.process = self.process
        self.engine.socket = self.root / "run/docker.sock"
        self.plugin.socket = self.root / f"run/docker/plugins/{DRIVER}.sock"
        self.plugin.run_dir = self.root / "run/docker-volume-rados"
        self.plugin.lib_dir = self.root / "var/lib/docker-volume-rados"
        self.process.stdin.write(b"the network is there\n")
        self.process.stdin.flush()
        proc.wait_until(lambda: self.plugin.answers() and self.engine.answers(),
                        f"{self}'s dockerd and plugin (logs: {self.directory})", START_S)
        self.started_in_s = time.monotonic() - begin
        return self

    @property
    def running(self):
        return self.process is not None

    def cut(self):
        """Cut it off: the link goes down at the far end."""
        self.network.cut(self.name)

    def heal(self):
        self.network.heal(self.name)

    @contextlib.contextmanager
    def deaf(self, pid):
        """What arrives on the connections that a process has now is dropped; new ones work."""
        lines = inside(self.pid, "ss", "-Htnp", "state", "established").stdout.splitlines()
        ports = [line.split()[2].rpartition(":")[2] for line in lines if f"pid={pid}," in line]
        assert ports, f"process {pid} has no connection"
        rules = [("INPUT", "-p", "tcp", "--dport", port, "-j", "DROP") for port in ports]
        for rule in rules:
            inside(self.pid, "iptables", "-A", *rule)
        try:
            yield
        finally:
            for rule in rules:
                inside(self.pid, "iptables", "-D", *rule)

    def kill(self):
        """All its processes at once, and it does not say goodbye: a dead host's kernel sends no FIN
        for the connections of its processes, so the link goes first and does not come back."""
        self.network.cut(self.name)
        os.kill(self.pid, signal.SIGKILL)
        self._gone()

    def shut_down(self):
        """In good order: dockerd stops its containers, then the plugin gives back what it has."""
        pids = [pid for pid in proc.children(self.process.pid)
                if os.path.basename(proc.executable(pid)) == "dockerd"]
        for pid in [*pids, self.plugin.supervisor_pid()]:
            os.kill(pid, signal.SIGTERM)
            proc.wait_until(lambda: not proc.alive(pid), f"{self}: the end of pid {pid}", STOP_S)
        self.process.stdin.close()
        self._gone()

    def _gone(self):
        """The last process has ended. What only the kernel held goes a moment later."""
        self.process.wait(STOP_S)
        self.process = self.engine.process = self.plugin.process = None
        self.network.unplug(self.name)
        proc.wait_until(self._remove_cgroups, f"{self}: the end of its control groups")

    def _remove_cgroups(self):
        """A host that was killed has not removed those of its containers."""
        mounts = Path("/sys/fs/cgroup")
        for top in [mounts / self.cgroup[1:], *mounts.glob(f"*{self.cgroup}")]:
            for directory, _, _ in os.walk(top, topdown=False):
                try:
                    os.rmdir(directory)
                except FileNotFoundError:
                    pass
                except OSError:
                    return False  # busy: its processes are still ending
        return True

    # --- Use -------------------------------------------------------------------------------

    def docker(self, *words, **options):
        return self.engine.docker(*words, **options)

    def call(self, method, body=None, **options):
        """A call of the plugin's as dockerd makes it, such as "VolumeDriver.List"."""
        return self.plugin.call(method, body, **options)

    def create(self, name, **options):
        """A volume, through docker; 1 GiB unless told otherwise."""
        words = [f"--opt={key}={value}" for key, value in {"size": "1G", **options}.items()]
        self.docker("volume", "create", "--driver", DRIVER, *words, name)
        return name

    def run(self, volume, *words, **options):
        """`docker run` with the volume on /data; `words` are its command. Returns its output."""
        return self.engine.run("--volume-driver", DRIVER, "-v", f"{volume}:/data", "busybox",
                               *words, **options)

    def start_container(self, volume, *words, binds=()):
        """The same in the background, with `binds` = {path of the machine: path inside}."""
        flags = [f"-v={outside}:{inside_}" for outside, inside_ in dict(binds).items()]
        return self.engine.start_container("--volume-driver", DRIVER, "-v", f"{volume}:/data",
                                           *flags, "busybox", *words)

    def mount(self, name, an_id=None, **options):
        """Mount through the plugin; returns (path as seen from outside, ID)."""
        an_id = an_id or mount_id()
        path = self.plugin.mount(name, an_id, **options)
        return self.root / path.relative_to("/"), an_id

    def unmount(self, name, an_id):
        self.plugin.unmount(name, an_id)

    def status(self, name):
        return self.plugin.get(name)["Status"]

    def mounts(self):
        """Mount points of the plugin's, as the host sees them."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        return [point for point in (line.split()[4] for line in lines)
                if point.startswith("/var/lib/docker-volume-rados/")]

    def clean(self):
        """Remove all containers and give back all mounts."""
        containers = self.docker("ps", "-aq").stdout.split()
        if containers:
            self.docker("rm", "-f", "-v", *containers)
        for name in self.plugin.list():
            for an_id in self.status(name).get("mounts", []):
                self.unmount(name, an_id)
