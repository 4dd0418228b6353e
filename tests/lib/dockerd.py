# SPDX-License-Identifier: Apache-2.0
"""A real dockerd and containerd of our own: their data and sockets live in one directory; no bridge
and no iptables rules, so containers run with --network none or host.

containerd is started here and not by dockerd, as on a Debian host: it outlives a killed dockerd."""

import json
import subprocess
from pathlib import Path

from lib import proc
from lib.proc import run

START_S = 60
STOP_S = 40


class Dockerd:
    """`base`: an empty directory, with a short path (it holds sockets)."""

    def __init__(self, base, storage="overlay2", live_restore=False):
        self.base = Path(base)
        self.socket = self.base / "docker.sock"
        self.log_file = self.base / "dockerd.log"
        self.process = None
        self.containerd = None
        self.flags = ["--storage-driver", storage] + (["--live-restore"] if live_restore else [])

    def _launch_containerd(self):
        home = self.base / "containerd"
        home.mkdir(parents=True, exist_ok=True)
        config = home / "config.toml"
        config.write_text(f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
                          f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                          f'[grpc]\naddress = "{home}/sock"\n')
        with open(home / "log", "ab") as log:
            self.containerd = subprocess.Popen(["containerd", "--config", str(config)], stdout=log,
                                               stderr=log, stdin=subprocess.DEVNULL)

    def launch(self):
        if not self.containerd:
            self._launch_containerd()
        # In a network namespace of its own: a dockerd without a bridge deletes docker0, which may be
        # another dockerd's.
        argv = ["unshare", "--net", "dockerd", "--host", f"unix://{self.socket}", "--data-root", self.base / "data",
                "--exec-root", self.base / "exec", "--pidfile", self.base / "docker.pid",
                "--config-file", self.base / "daemon.json",
                "--containerd", self.base / "containerd/sock", "--bridge", "none", "--iptables=false",
                "--ip-masq=false", "--ip-forward=false", *self.flags]
        (self.base / "daemon.json").write_text("{}")
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)

    def start(self):
        self.launch()
        proc.wait_until(self.answers, f"dockerd ({self.log_file})", START_S)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"dockerd ended with {self.process.returncode}: "
                                 f"{self.log_file.read_text()[-3000:]}")
        return self.docker("version", check=False).returncode == 0

    def stop(self):
        proc.end(self.process, STOP_S)

    def kill(self):
        """As a crash: SIGKILL to dockerd alone; containers and containerd go on."""
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        """End everything, also after a kill. Containers must have been removed before."""
        if self.process and self.process.poll() is None:
            self.stop()
        if self.containerd:
            proc.end(self.containerd, STOP_S)
        for point in self.own_mounts():
            run("umount", point)

    def own_mounts(self):
        """Mount points under our directory, deepest first."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        found = [line.split()[4] for line in lines]
        return sorted((p for p in found if p.startswith(f"{self.base}/")), reverse=True)

    # --- The client ------------------------------------------------------------------------

    def docker(self, *words, check=True, timeout=90, **options):
        """Run the docker client against this dockerd."""
        return run("docker", "--host", f"unix://{self.socket}", *words, check=check,
                   timeout=timeout, **options)

    def run(self, *words, **options):
        """`docker run --rm` without a network; returns what the container printed."""
        return self.docker("run", "--rm", "--network", "none", *words, **options).stdout

    def start_container(self, *words):
        """A container that runs in the background (its image's command is up to the caller);
        returns its ID. SIGTERM ends it at once: nothing here traps it but the init of docker."""
        return self.docker("run", "-d", "--network", "none", "--init", *words).stdout.strip()

    def exec(self, container, *words, **options):
        return self.docker("exec", container, *words, **options).stdout

    def inspect_volume(self, name, **options):
        return json.loads(self.docker("volume", "inspect", name, **options).stdout)[0]

    def inspect(self, name):
        return json.loads(self.docker("inspect", name).stdout)[0]

    def volumes(self, *words):
        return sorted(self.docker("volume", "ls", "-q", *words).stdout.split())

    def remove_everything(self, driver):
        """All containers, then all volumes of `driver`, also where a test failed half-way."""
        containers = self.docker("ps", "-aq").stdout.split()
        if containers:
            self.docker("rm", "-f", "-v", *containers)
        volumes = self.volumes("-f", f"driver={driver}")
        if volumes:
            self.docker("volume", "rm", *volumes)
