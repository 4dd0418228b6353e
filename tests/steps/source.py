# SPDX-License-Identifier: Apache-2.0
"""Where in the source a program changes the cluster: as the source says, and as its call stacks do."""

import re
from collections import defaultdict
from pathlib import Path

from lib.paths import REPO
from lib.proc import run

HERE = Path(__file__).resolve().parent

# The calls of our own that end in a function of librados which die.c counts.
CALLS = {"op_run", "op_call_write", "op_snap_create", "op_snap_remove", "op_notify",
         "op_watch_begin", "op_unwatch"}
OPERATIONS = "driver/rados/op.c"  # where they are

# Functions that run what their callers have made: each caller is a place of its own.
PASSING = {("driver/image/clone.c", "tell_parent"), ("driver/image/owner_work.c", "run"),
           ("driver/image/remove.c", "remove_object"), ("driver/image/rollback.c", "set_record"),
           ("driver/image/snapshot.c", "change_header")}


def counted():
    """The functions of librados that die.c knows as steps."""
    return set(re.findall(r"^(?:int|void) (rados_\w+)\(", (HERE / "die.c").read_text(), re.M))


def imported(program):
    """The functions of librados that a program uses."""
    return set(re.findall(r" U (rados_\w+)", run("nm", "-D", program).stdout))


def functions(path):
    """{name: text} of the functions that a C file defines."""
    found, name = defaultdict(str), None
    for line in (REPO / path).read_text().splitlines():
        start = re.match(r"[a-z][^;={]*?\b(\w+)\(", line)
        if start and not line.endswith(";"):
            name = start[1]
        elif name:
            found[name] += f"{line}\n"
        if line == "}":
            name = None
    return found


def called(text):
    return set(re.findall(r"\b(\w+)\(", text))


def places(directory="driver/image"):
    """{(file, function)} of all functions in a directory that change something in the cluster."""
    changing = CALLS | counted()
    found = set()
    for file in sorted((REPO / directory).glob("*.c")):
        path = str(file.relative_to(REPO))
        passing = {name for where, name in PASSING if where == path}
        for name, text in functions(path).items():
            calls = called(text) & (changing | passing)
            if calls == {"op_run"} and "op_read" in called(text):
                continue  # reads
            if calls:
                found.add((path, name))
    return found


def resolve(program, offsets):
    """{offset: [(file, function), ...]}, what was inlined first."""
    found, at = {}, None
    text = run("addr2line", "-e", program, "-a", "-f", "-i", input="\n".join(offsets)).stdout
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("0x"):
            at = found.setdefault(hex(int(line, 16)), [])
            continue
        path = Path(next(lines).split(":")[0])
        if path.is_relative_to(REPO):
            path = path.relative_to(REPO)
        at.append((str(path), line))
    return found


def place_of(way):
    """The places of a call stack, the innermost first: one, or more where some pass things on."""
    found = []
    for place in way:
        if place[0] == OPERATIONS:
            continue
        found.append(place)
        if place not in PASSING:
            break
    return found
