# SPDX-License-Identifier: Apache-2.0
"""Load on a mounted volume that notices every error, every wrong byte and every pause.

What writes to a device can be ended only while somebody serves the device, or once nobody is left
who could: so in tests that kill, end the load before whoever serves it."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from lib import proc

INTERVAL_S = 0.01
RECORD = "{:015d}\n"

# Two jobs: direct and deep, as databases do; buffered with a sync now and then, as everybody does.
# Slowed down: this is about being right all the time, and other tests want the machine too.
JOBS = ("--name=direct", "--rw=randwrite", "--bsrange=4k-64k", "--direct=1", "--ioengine=libaio",
        "--iodepth=16", "--size={direct}M", "--rate={rate}m",
        "--name=buffered", "--rw=randwrite", "--bsrange=4k-64k", "--ioengine=psync", "--fsync=16",
        "--size={buffered}M", "--rate={rate}m")


def write_synced(path, data):
    """And not a sync of everything: another volume of this machine may be stuck."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class LineWriter(threading.Thread):
    """Appends numbered lines to a file, each on disk before the next."""

    def __init__(self, path):
        super().__init__()
        self.path, self.lines, self.stopping, self.error = path, 0, threading.Event(), None

    def run(self):
        try:
            with open(self.path, "w", encoding="ascii") as file:
                while not self.stopping.is_set():
                    file.write(f"{self.lines + 1}\n")
                    file.flush()
                    os.fsync(file.fileno())
                    self.lines += 1
        except OSError as error:
            self.error = error

    def stop(self):
        self.stopping.set()
        self.join()
        assert self.error is None, self.error


class Fio:
    """fio over and over again until stop(): each pass writes files full of checksums at random
    offsets, reads them back and compares."""

    def __init__(self, directory, mib=12, rate_mib=12):
        self.directory = Path(directory)
        self.passes = 0
        self.failure = None
        self.sizes = {"direct": mib, "buffered": mib // 2, "rate": rate_mib}
        self.process = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._repeat, daemon=True)
        self.thread.start()

    def _argv(self, seed):
        return ["fio", f"--directory={self.directory}", "--verify=crc32c", "--verify_fatal=1",
                "--do_verify=1", "--verify_state_save=0", f"--randseed={seed}",
                "--output-format=json", *(word.format(**self.sizes) for word in JOBS)]

    def _repeat(self):
        while not self.stopping.is_set() and not self.failure:
            self.process = subprocess.Popen(self._argv(self.passes + 1), text=True,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=subprocess.STDOUT)
            output, _ = self.process.communicate()
            if self.process.returncode != 0 or self._errors(output):
                self.failure = f"fio ended with {self.process.returncode}: {output[-4000:]}"
            else:
                self.passes += 1

    def _errors(self, output):
        jobs = json.loads(output[output.index("{"):])["jobs"]
        return [job["jobname"] for job in jobs if job["error"]]

    def check(self):
        """Fail when anything went wrong until now."""
        assert not self.failure, self.failure

    def stop(self, seconds=120):
        """Let the pass that runs come to its end; returns how many were right."""
        self.stopping.set()
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"fio does not end ({self.passes} passes were right)"
        self.check()
        assert self.passes > 0
        return self.passes

    def kill(self):
        """End it in the middle; for cleaning up. Returns before it has ended: see join()."""
        self.stopping.set()
        if self.process and self.process.poll() is None:
            self.process.kill()

    def join(self, seconds):
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def verify_again(self, directory):
        """Compare what the last pass has left with what it wrote, on another mount: nothing of it
        is in this machine's memory any more."""
        self.directory = Path(directory)
        proc.run(*self._argv(self.passes), "--verify_only", timeout=120)


class Pulse:
    """Appends a small record every 10 ms and syncs it: what was acknowledged must be there
    afterwards, and between two of them lies the time that a user of the volume had to wait."""

    def __init__(self, directory):
        self.name = "pulse"
        self.acked = 0
        self.longest_s = 0.0
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._beat, args=(Path(directory) / self.name,),
                                       daemon=True)
        self.thread.start()

    def _beat(self, path):
        last = time.monotonic()
        try:
            with open(path, "wb", buffering=0) as file:
                os.fsync(file.fileno())
                while not self.stopping.is_set():
                    file.write(RECORD.format(self.acked).encode())
                    os.fsync(file.fileno())
                    self.acked += 1
                    now = time.monotonic()
                    self.longest_s = max(self.longest_s, now - last)
                    last = now
                    time.sleep(INTERVAL_S)
        except OSError as error:
            self.error = error

    def wait_for(self, count, seconds=60):
        """Until `count` more records were acknowledged."""
        target = self.acked + count
        proc.wait_until(lambda: self.acked >= target or self.error, f"{count} more records",
                        seconds)
        assert not self.error, self.error

    def wait_for_error(self, seconds=60):
        return proc.wait_until(lambda: self.error, "an error", seconds)

    def kill(self):
        self.stopping.set()

    def join(self, seconds):
        self.thread.join(seconds)
        return not self.thread.is_alive()

    def stop(self, seconds=60):
        """Returns the longest pause in seconds."""
        self.kill()
        assert self.join(seconds), f"a write or sync does not end ({self.acked} were acknowledged)"
        assert not self.error, self.error
        return self.longest_s

    def verify(self, directory):
        """Everything acknowledged is there; one record more may be."""
        records = (Path(directory) / self.name).read_text().split()
        assert records[:self.acked] == [RECORD.format(n).strip() for n in range(self.acked)]
        assert len(records) <= self.acked + 1
