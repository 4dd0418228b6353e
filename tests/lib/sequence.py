# SPDX-License-Identifier: Apache-2.0
"""A writer whose order is fixed: what a directory held at any one point in time is known by the
number of steps that were done. A step is one system call, so a frozen file system holds it whole or
not at all, whether it was synced or not."""

import hashlib
import os
import struct
import threading
import time
from pathlib import Path

from lib import proc

BLOCK = 4096
FILES = 4
BLOCKS = 64     # of a file: then it begins again at the first
MARK_EVERY = 8  # steps
MARKS = 32      # that are there at a time
SYNC_EVERY = 16
PAUSE_S = 0.002


def _block(step):
    return struct.pack("<Q", step) + hashlib.shake_128(str(step).encode()).digest(BLOCK - 8)


def _mark(step):
    """The mark that this step makes or removes, or None: (name, whether it is made)."""
    if step % MARK_EVERY == 0:
        return f"mark-{step}", True
    old = step - MARK_EVERY // 2 - MARK_EVERY * MARKS
    if old >= 0 and old % MARK_EVERY == 0:
        return f"mark-{old}", False
    return None


def _place(step):
    """(file, block) that it writes."""
    return step % FILES, step // FILES % BLOCKS


class State:
    """What there is after some steps: {(file, block): step that wrote it}, names of marks."""

    def __init__(self, steps=0):
        self.blocks, self.marks, self.steps = {}, set(), 0
        while self.steps < steps:
            self.advance()

    def advance(self):
        mark = _mark(self.steps)
        if mark is None:
            self.blocks[_place(self.steps)] = self.steps
        elif mark[1]:
            self.marks.add(mark[0])
        else:
            self.marks.remove(mark[0])
        self.steps += 1

    def same(self, other):
        return self.blocks == other.blocks and self.marks == other.marks


def read(directory):
    """The State of a directory, but for its number of steps. Fails on what no step wrote."""
    state = State()
    for path in Path(directory).iterdir():
        if path.name.startswith("mark-"):
            state.marks.add(path.name)
            continue
        data = path.read_bytes()
        for at in range(0, len(data), BLOCK):
            block = data[at:at + BLOCK]
            if block == bytes(BLOCK):
                continue  # a hole: the one behind it came first
            [step] = struct.unpack_from("<Q", block)
            assert block == _block(step), f"{path} at {at}: nothing that was ever written"
            state.blocks[int(path.name[-1]), at // BLOCK] = step
    return state


class Sequence:
    """Goes on in `directory`, which it makes, until stop()."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir()
        self.begun = self.done = 0
        self.waits = []  # (when it ended, seconds) of each step, by time.monotonic()
        self.error = None
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            files = [os.open(self.directory / f"file-{number}", os.O_CREAT | os.O_WRONLY)
                     for number in range(FILES)]
            while not self.stopping.is_set():
                data = _block(self.done)
                self.begun += 1
                before = time.monotonic()
                self._step(files, data)
                after = time.monotonic()
                self.done += 1
                self.waits.append((after, after - before))
                if self.done % SYNC_EVERY == 0:
                    os.fsync(files[self.done % FILES])
                time.sleep(PAUSE_S)
            for file in files:
                os.close(file)
        except OSError as error:
            self.error = error

    def _step(self, files, data):
        mark = _mark(self.done)
        if mark is None:
            file, block = _place(self.done)
            os.pwrite(files[file], data, block * BLOCK)
        elif mark[1]:
            os.close(os.open(self.directory / mark[0], os.O_CREAT | os.O_WRONLY))
        else:
            os.unlink(self.directory / mark[0])

    def wait_for(self, steps, seconds=60):
        target = self.done + steps
        proc.wait_until(lambda: self.done >= target or self.error, f"{steps} more steps", seconds)
        assert not self.error, self.error

    def longest_wait(self, since):
        """The longest step, in seconds, of those that ended after `since`."""
        return max((took for when, took in self.waits if when >= since), default=0.0)

    def stop(self, seconds=60):
        self.stopping.set()
        self.thread.join(seconds)
        assert not self.thread.is_alive(), f"a step does not end ({self.done} were done)"
        assert not self.error, self.error


def check(directory, least, most):
    """Fail unless the directory is as it was at one point in time, not before `least` steps and not
    after `most`. Returns the number of steps."""
    found, state = read(directory), State(least)
    while not state.same(found):
        assert state.steps < most, (
            f"{directory} is no state of the sequence between {least} and {most} steps: its newest "
            f"block is of {max(found.blocks.values(), default=None)}, marks {len(found.marks)}")
        state.advance()
    return state.steps
