# SPDX-License-Identifier: Apache-2.0
"""A real supervisor in a directory of its own, with stand-ins for the programs it starts."""

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lib.paths import BUILD

HERE = Path(__file__).resolve().parent

REQUEST = struct.Struct("=II64sI2048s")
REPLY = struct.Struct("=IiI256s")
START, KILL, LIST = 1, 2, 3
BLOCKD_REQUEST = struct.Struct("=II")
BLOCKD_REPLY = struct.Struct("=IiIIQQ7Q64s16s512s")
STATUS, DETACH = 1, 2

# Generous: what is waited for takes a fraction of a second on an idle machine.
DEADLINE = 30


def wait_for(condition, what):
    """Waits until CONDITION returns something true, and returns that."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    pytest.fail(f"waited {DEADLINE} s for {what}")


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as text:
            return text.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid):
    """Kills it and sees it gone: while it dies it might still accept, and reset, a connection."""
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), f"the end of {pid}")


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Supervisor:
    """One directory; supervisors can be started in it one after another."""

    def __init__(self):
        # Short: socket paths have to fit into 107 bytes.
        self.dir = Path(tempfile.mkdtemp(prefix="sv-", dir="/tmp"))
        self.socket = self.dir / "plugins" / "rados.sock"
        self.run_dir = self.dir / "run"
        self.log_path = self.dir / "log"
        self.libexec = self.dir / "libexec"
        self.process = None
        self.seen = set()
        self.libexec.mkdir()
        for name, standin in (
            ("docker-volume-rados-server", "standin_server.py"),
            ("radosvol-blockd", "standin_blockd.py"),
        ):
            shutil.copy(HERE / standin, self.libexec / name)
            (self.libexec / name).chmod(0o755)

    def command(self, *args, program=None):
        """Its command line; a PROGRAM elsewhere has to find the others by itself."""
        return [
            program or BUILD / "docker-volume-rados",
            f"--socket={self.socket}",
            "--run-dir",
            self.run_dir,
            *([] if program else [f"--libexec-dir={self.libexec}"]),
            "--log-level=debug",
            *args,
        ]

    def start(self, *args, env=None, wrapper=(), program=None, **popen):
        """Starts it, by way of the command WRAPPER, and waits until it serves."""
        before = self.log().count("serving ")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*wrapper, *self.command(*args, program=program)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                **popen,
            )
        wait_for(
            lambda: self.log().count("serving ") > before or self.process.poll() is not None,
            "the supervisor to serve",
        )
        assert self.process.poll() is None, self.log()
        return self

    def start_in_pid_namespace(self):
        """Starts it as PID 1 of a namespace; its process id out here is init_pid."""
        self.start(wrapper=["unshare", "--pid", "--fork", "--mount-proc"])
        (self.init_pid,) = children_of(self.process.pid)
        self.seen.add(self.init_pid)

    def fails(self, *args, env=None):
        """Runs one that must refuse to start; returns its exit status and its words."""
        done = subprocess.run(
            self.command(*args),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env={**os.environ, **(env or {})},
        )
        assert done.returncode != 0
        return done.returncode, done.stderr

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def ask(self, **request):
        """One request to the stand-in server."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(self.socket))
            connection.sendall(json.dumps(request).encode() + b"\n")
            line = connection.makefile().readline()
        return json.loads(line) if line else None

    def about_server(self):
        about = self.ask(do="about")
        self.seen.add(about["pid"])
        return about

    def relay(self, packet):
        """Sends a packet to the supervisor; returns (result, words, ids)."""
        reply = bytes.fromhex(self.ask(do="relay", packet=packet.hex())["reply"])
        version, result, count, text = REPLY.unpack(reply[: REPLY.size])
        assert version == 1
        ids = [
            reply[REPLY.size + 64 * i : REPLY.size + 64 * (i + 1)].rstrip(b"\0").decode()
            for i in range(count)
        ]
        assert len(reply) == REPLY.size + 64 * count
        return result, text.rstrip(b"\0").decode(), ids

    def start_blockd(self, image, **options):
        args = json.dumps(options).encode() + b"\0"
        return self.relay(REQUEST.pack(1, START, image.encode(), len(args), args))[:2]

    def kill_blockd(self, image):
        return self.relay(REQUEST.pack(1, KILL, image.encode(), 0, b""))[:2]

    def list_blockds(self):
        result, _, ids = self.relay(REQUEST.pack(1, LIST, b"", 0, b""))
        assert result == 0
        return sorted(ids)

    def control(self, image):
        return self.run_dir / "blockd" / f"{image}.sock"

    def call(self, image, op=STATUS):
        """Calls a blockd; returns its pid and details, or None when it hung up."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(self.control(image)))
            try:
                connection.send(BLOCKD_REQUEST.pack(1, op))
                packet = connection.recv(BLOCKD_REPLY.size)
            except (ConnectionResetError, BrokenPipeError):
                return None
        if not packet:
            return None
        fields = BLOCKD_REPLY.unpack(packet)
        assert fields[1] == 0
        details = json.loads(fields[-1].rstrip(b"\0"))
        details["pid"] = fields[5]
        self.seen.add(details["pid"])
        return details

    def kill(self):
        """Ends the supervisor alone, as the worst bug would."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def terminate(self):
        self.process.terminate()
        return self.process.wait(DEADLINE)

    def files(self):
        return sorted(path.name for path in (self.run_dir / "blockd").iterdir())

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        for path in (self.run_dir / "blockd").glob("*.pid"):
            self.seen.add(int(path.read_text().split()[0]))
        for pid in self.seen:
            with contextlib.suppress(ProcessLookupError):
                if self.is_ours(pid):
                    os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.dir)

    def is_ours(self, pid):
        try:
            return str(self.libexec).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except FileNotFoundError:
            return False
