# SPDX-License-Identifier: Apache-2.0
"""radosvol, run as an operator does. Every test ends with an account of what it left behind."""

import json
import os
import pty
import subprocess

import pytest

from lib import leaks, proc
from lib.paths import BUILD
from lib.plugin import SANITIZER_WORDS, sanitizer_options

RESCUE_DIR = "/run/radosvol"


class Radosvol:
    """The program, for one cluster. `base`: for reports of sanitizers."""

    def __init__(self, cluster, base, socket):
        self.base = base
        self.env = {**os.environ, **sanitizer_options(base), "CEPH_CONF": cluster.conf,
                    "RADOS_SOCKET": str(socket), "RADOS_HOST": "rescue", "WATCH_TIMEOUT": "5",
                    "LC_ALL": "C.UTF-8", "RADOS_LIBEXEC_DIR": str(BUILD)}
        # A search for leaks takes seconds at the end of each of a hundred runs, of a program that
        # ends anyway.
        self.env["ASAN_OPTIONS"] += ":detect_leaks=0"
        for name in ("CEPH_ARGS", "CEPH_CLIENT", "RADOS_POOL", "RADOS_NAMESPACE"):
            self.env.pop(name, None)

    def run(self, *words, status=0, env=None):
        """Run it without a terminal; it must end with `status`. Returns (stdout, stderr)."""
        done = proc.run(BUILD / "radosvol", *words, check=False, timeout=120,
                        env={**self.env, **(env or {})})
        assert done.returncode == status, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        assert not any(word in done.stderr for word in SANITIZER_WORDS), done.stderr
        return done.stdout, done.stderr

    def out(self, *words):
        return self.run(*words)[0]

    def json(self, *words, status=0, **options):
        return json.loads(self.run(*words, "--json", status=status, **options)[0])

    def fails(self, *words, **options):
        """It must end with status 1 and say why; returns that."""
        stdout, stderr = self.run(*words, status=1, **options)
        assert "radosvol: " in stderr, stderr
        return stderr

    def start(self, *words):
        """Run it in the background: a process whose output is text, for the caller to end."""
        return subprocess.Popen([BUILD / "radosvol", *words], env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def on_terminal(self, answer, *words):
        """Run it on a terminal and type `answer`; returns (status, everything it printed)."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(BUILD / "radosvol", ["radosvol", *map(str, words)], self.env)
        os.write(terminal, f"{answer}\n".encode())
        printed = b""
        while True:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # EIO: the program has ended
                break
            if not data:
                break
            printed += data
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), printed.decode()


@pytest.fixture(scope="session")
def radosvol(cluster, plugin, base):
    return Radosvol(cluster, plugin.base, plugin.socket)


@pytest.fixture(scope="session")
def account(cluster, plugin, base):
    # What librados opens when it first fences somebody stays, too.
    plugin.create("warm-up", size="1G")
    plugin.mount("warm-up", "0")
    plugin.call("Volume.Takeover", {"Name": "warm-up"})
    plugin.unmount("warm-up", "0")
    proc.wait_until(lambda: not cluster.watchers("warm-up"), "the end of the fenced one", 60)
    plugin.remove("warm-up")
    # Those of the warm-up have given their volumes back, and may not have ended yet.
    blockds = plugin.run_dir / "blockd"
    proc.wait_until(lambda: not plugin.blockd_pids() and not any(blockds.iterdir()),
                    "the end of the first blockds", 30)
    return leaks.Account(cluster, plugin, [base])


@pytest.fixture(autouse=True)
def nothing_left(account, plugin):
    """Comes first and so is torn down last, after everything a test's own fixtures remove."""
    before = rescue_files()
    yield
    account.settle()
    plugin.check_reports()
    assert rescue_files() == before


def rescue_files():
    return set(os.listdir(RESCUE_DIR)) if os.path.isdir(RESCUE_DIR) else set()
