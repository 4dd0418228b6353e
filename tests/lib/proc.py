# SPDX-License-Identifier: Apache-2.0
"""Processes: run one with a deadline, find them, wait for a condition."""

import os
import signal
import subprocess
import time
from pathlib import Path


class CommandError(AssertionError):
    """A command that should have succeeded did not; .stdout, .stderr and .returncode say more."""

    def __init__(self, argv, done):
        self.returncode, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr
        super().__init__(f"{' '.join(map(str, argv))} ended with {done.returncode}: "
                         f"{(done.stderr or '').strip()[-2000:]}")


def run(*argv, timeout=60, check=True, **options):
    """Run a program and return its CompletedProcess, output as text. Raises CommandError when it
    fails and `check` is set, subprocess.TimeoutExpired after `timeout` seconds."""
    argv = [str(word) for word in argv]
    options.setdefault("text", True)
    done = subprocess.run(argv, timeout=timeout, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **{"stdin": subprocess.DEVNULL, **options}
                          if "input" not in options else options)
    if check and done.returncode != 0:
        raise CommandError(argv, done)
    return done


def wait_until(condition, what, seconds=10.0, interval=0.05):
    """Call `condition` until it returns something true, and return that. Fails naming `what`, and
    what the condition last returned, once `seconds` have passed."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"after {seconds:g} s: still waiting for {what} ({result!r})")
        time.sleep(interval)


def alive(pid):
    """Does the process exist and is it no zombie?"""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def children(pid):
    """Pids of all living descendants of `pid`."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        for child in parents.get(todo.pop(), []):
            found.append(child)
            todo.append(child)
    return found


def executable(pid):
    """The file a process runs, or "" when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return ""


def running_from(directory):
    """{pid: name} of all processes whose executable lies in `directory`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            path = executable(entry.name)
            if path.startswith(f"{directory}/") and alive(entry.name):
                found[int(entry.name)] = os.path.basename(path)
    return found


def end(process, seconds=10):
    """Ask a Popen to end, kill it when it has not after `seconds`; returns its exit status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
