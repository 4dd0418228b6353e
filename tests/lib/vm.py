# SPDX-License-Identifier: Apache-2.0
"""A guest that scripts/vm boots: Debian's kernel, with the programs under test."""

import base64
import os
import socket
import subprocess

from lib import proc
from lib.paths import BUILD, REPO

BUILD_S = 300  # fetching the kernel and making the guest
BOOT_S = 120


class Vm:
    """`files` are in the guest under the same paths, `programs` with their libraries."""

    def __init__(self, directory, files=(), programs=()):
        self.directory = directory
        self.words = [word for file in files for word in ("--with", file)]
        self.words += [word for program in programs for word in ("--program", program)]
        self.process = self.shell = self.lines = None

    def start(self):
        with open(f"{self.directory}.log", "ab") as log:
            self.process = subprocess.Popen(
                [REPO / "scripts/vm", *map(str, self.words), self.directory],
                env={**os.environ, "BUILD_DIR": str(BUILD)}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log)
        proc.wait_until(self._connect, "the start of QEMU", BUILD_S, interval=0.2)
        self.shell.settimeout(BOOT_S)
        assert self.lines.readline().strip() == b"ready"
        return self

    def _connect(self):
        assert self.process.poll() is None, f"scripts/vm ended; see {self.directory}.log"
        self.shell = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.shell.connect(f"{self.directory}/shell")
        except OSError:
            self.shell.close()
            return False
        self.lines = self.shell.makefile("rb")
        return True

    def run(self, script, timeout=60, check=True):
        """Run a shell script in the guest; returns its CompletedProcess, with all output in stdout.
        Raises CommandError as proc.run does. After a timeout the guest is of no use any more."""
        self.shell.settimeout(timeout)
        self.shell.sendall(base64.b64encode(script.encode()) + b"\n")
        status = int(self.lines.readline())
        output = b"".join(iter(lambda: self.lines.readline().strip(), b"end"))
        done = subprocess.CompletedProcess(script, status, base64.b64decode(output).decode(), "")
        if check and status != 0:
            raise proc.CommandError([script], subprocess.CompletedProcess(
                script, status, done.stdout, done.stdout))
        return done

    def out(self, script, **options):
        return self.run(script, **options).stdout.strip()

    def kernel_log(self):
        with open(f"{self.directory}/console.log", errors="replace") as log:
            return log.read()

    def close(self):
        if self.shell:
            self.shell.close()
        if self.process:
            proc.end(self.process)
