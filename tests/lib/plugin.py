# SPDX-License-Identifier: Apache-2.0
"""The plugin under test: start it with directories of its own, call it, stop it."""

import os
import secrets
import subprocess
from pathlib import Path

from lib import http, proc
from lib.paths import BUILD, PLUGIN_SOCKETS, REPO

START_S = 30  # generous: under AddressSanitizer on a busy machine
STOP_S = 10   # what a managed plugin gets from dockerd before SIGKILL

SANITIZER_WORDS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:",
                   "WARNING: ThreadSanitizer", "Assertion `")


class PluginError(Exception):
    """The plugin answered with an Err; str() is its text."""


class Plugin:
    """One plugin: supervisor, server and blockds. `base`: an empty directory for its state.
    `driver`: its name for dockerd, by default one that nobody else uses. `wrap`: words in front of
    the program, such as unshare. `settings`: more flags, as pool="other"; without one for it,
    removed volumes are deleted at once."""

    def __init__(self, cluster, base, driver=None, socket=None, wrap=(), env=None, conf=None,
                 run_dir=None, **settings):
        self.base = Path(base)
        self.driver = driver or f"test-{secrets.token_hex(3)}"
        self.socket = Path(socket or PLUGIN_SOCKETS / f"{self.driver}.sock")
        self.run_dir = Path(run_dir or self.base / "run")
        self.lib_dir = self.base / "lib"
        self.log_file = self.base / "plugin.log"
        self.wrap = list(wrap)
        self.process = None
        self.settings = {"ceph_conf": conf or (cluster.conf if cluster else None), "host": "host-a",
                         "trash_expiry": "0", **settings}
        self.env = {**os.environ, **sanitizer_options(self.base), **(env or {})}
        for name in ("CEPH_ARGS", "CEPH_CONF", "CEPH_CLIENT", "NOTIFY_SOCKET", "LISTEN_FDS"):
            self.env.pop(name, None)

    def argv(self):
        flags = {"socket": self.socket, "run_dir": self.run_dir, "lib_dir": self.lib_dir,
                 **self.settings}
        return [*self.wrap, str(BUILD / "docker-volume-rados")] + [
            f"--{key.replace('_', '-')}={value}" for key, value in flags.items()
            if value is not None]

    # --- Life ------------------------------------------------------------------------------

    def launch(self):
        """Start it without waiting for an answer."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        self.base.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.env, cwd=REPO)

    def start(self):
        self.launch()
        proc.wait_until(self.answers, f"the plugin's answer ({self.log_file})", START_S)
        return self

    def answers(self):
        """Does it answer? Fails when the process has ended."""
        if self.process.poll() is not None:
            raise AssertionError(f"the plugin ended with {self.process.returncode}: {self.log()}")
        try:
            return http.call(self.socket, "VolumeDriver.Capabilities", timeout=5).status == 200
        except (OSError, http.ClosedWithoutAnswer):
            return False

    def stop(self, blockds_stay=False):
        """SIGTERM; it must end by itself, with status 0, in the time dockerd would give it. Blockds
        of mounted volumes stay, for the containers' sake: whoever expects that says so."""
        children = self.children()
        blockds = self.blockd_pids()
        self.process.terminate()
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"no end {STOP_S} s after SIGTERM: {self.log()}") from None
        assert status == 0, f"ended with {status}: {self.log()}"
        gone = set(children) - set(blockds) if blockds_stay else children
        try:
            proc.wait_until(lambda: not any(map(proc.alive, gone)), "the end of its children", 5)
        except AssertionError:
            for pid in filter(proc.alive, children):
                os.kill(pid, 9)
            raise
        self.check_reports()

    def kill_all(self):
        """SIGKILL to the supervisor and everything under it; to clean up, or to act a crash."""
        pids = self.children()
        for pid in [self.process.pid, *pids]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait()
        proc.wait_until(lambda: not any(map(proc.alive, pids)), "the end of killed children")

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def close(self):
        """Make sure that nothing of it is left; for fixtures."""
        if self.runs():
            self.stop()

    def supervisor_pid(self):
        """The supervisor's own pid, also behind unshare and the like."""
        for pid in [self.process.pid, *proc.children(self.process.pid)]:
            if os.path.basename(proc.executable(pid)) == "docker-volume-rados":
                return pid
        raise AssertionError("no supervisor is running")

    def children(self):
        return proc.children(self.process.pid)

    def pids(self, program):
        """Living children that run `program`."""
        return [pid for pid in self.children()
                if os.path.basename(proc.executable(pid)) == program]

    def server_pid(self):
        return proc.wait_until(lambda: self.pids("docker-volume-rados-server"), "a server")[0]

    def blockd_pids(self):
        return self.pids("radosvol-blockd")

    def server_fds(self):
        """What the server has open: a sorted list of link targets, sockets and pipes without their
        numbers. Left out: HTTP connections, which come and go with clients, and TCP sockets, of
        which librados keeps as many as it needs (a librados that is never closed shows in its epoll
        and event descriptors)."""
        counted = set()
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[-1] != str(self.socket):
                counted.add(f"socket:[{fields[6]}]")
        found = []
        for entry in Path(f"/proc/{self.server_pid()}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            if not target.startswith("socket:") or target in counted:
                found.append(target.split(":[")[0])
        return sorted(found)

    # --- Words -----------------------------------------------------------------------------

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def check_reports(self):
        """Fail when a sanitizer or an assertion had something to say."""
        reports = [path.read_text(errors="replace")
                   for path in sorted(self.base.glob("sanitizer.*"))]
        reports += [line for line in self.log().splitlines()
                    if any(word in line for word in SANITIZER_WORDS)]
        assert not reports, "\n".join(reports)[:20000]

    # --- Calls -----------------------------------------------------------------------------

    def raw(self, method, body=b"", **options):
        """One request on a connection of its own; returns http.Reply."""
        return http.call(self.socket, method, body, **options)

    def call(self, method, body=None, timeout=60):
        """One call as dockerd makes it; returns the decoded reply, raises PluginError on Err."""
        reply = self.raw(method, {} if body is None else body, timeout=timeout)
        answer = reply.json()
        if answer.get("Err"):
            raise PluginError(answer["Err"])
        assert reply.status == 200, reply
        return answer

    def create(self, name, **options):
        """Options with a dash or a dot are given as **{"mount-options": "noatime"}."""
        opts = {key: str(value) for key, value in options.items()} or None
        return self.call("VolumeDriver.Create", {"Name": name, "Opts": opts})

    def remove(self, name):
        return self.call("VolumeDriver.Remove", {"Name": name})

    def mount(self, name, mount_id, **options):
        """Returns the mount point."""
        return Path(self.call("VolumeDriver.Mount", {"Name": name, "ID": mount_id},
                              **options)["Mountpoint"])

    def unmount(self, name, mount_id):
        return self.call("VolumeDriver.Unmount", {"Name": name, "ID": mount_id})

    def path(self, name):
        return self.call("VolumeDriver.Path", {"Name": name})["Mountpoint"]

    def get(self, name):
        return self.call("VolumeDriver.Get", {"Name": name})["Volume"]

    def list(self):
        """Sorted names."""
        return sorted(v["Name"] for v in self.call("VolumeDriver.List")["Volumes"])

    def mounted(self, name):
        """Is something mounted where the plugin puts this volume?"""
        return os.path.ismount(self.lib_dir / "mounts" / name)


def remove_stale_sockets():
    """dockerd waits 15 s for each socket there that nobody listens on, whenever it is asked about a
    volume it does not know. Remove those that runs of ours left when they were cut off."""
    for path in PLUGIN_SOCKETS.glob("*.sock"):
        if path.name.startswith(("test-", "recorded-", "dead-")):
            try:
                http.Connection(path).close()
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)


def sanitizer_options(base):
    """Reports go to files: a report in the middle of other output is easily lost."""
    common = f"log_path={base}/sanitizer:exitcode=99"
    return {
        "ASAN_OPTIONS": f"{common}:abort_on_error=0:detect_leaks=1",
        "UBSAN_OPTIONS": f"{common}:print_stacktrace=1",
        "TSAN_OPTIONS": common,
    }


def mount_id():
    """A fresh ID such as dockerd's: 64 hexadecimal digits."""
    return secrets.token_hex(32)
