#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Stands in for radosvol-blockd: speaks its control and keeper protocols around a memory file.

Its only argument is a JSON object:
  "fail": true       ends with status 1 before it has stored anything, after a wait of 0.5 s
  "die_if": PATH     dies by SIGKILL once its descriptors are stored, as long as PATH exists
  "flood": true      sends malformed and surplus packets to the keeper first
Two descriptors are stored: "fuse", a memory file, and "loop", another one.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import time

REQUEST = struct.Struct("=II")
REPLY = struct.Struct("=IiIIQQ7Q64s16s512s")
KEEPER = struct.Struct("=I32s")
STATUS, DETACH, ADOPT = 1, 2, 3

options = json.loads(sys.argv[1])
control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=3)
keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=4)
kept = {}


def first_fds():
    fds = [int(fd) for fd in os.listdir("/proc/self/fd")]
    return sorted(fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}"))


def read_predecessor():
    while True:
        packet, fds, _, _ = socket.recv_fds(keeper, KEEPER.size, 1)
        version, name = KEEPER.unpack(packet)
        assert version == 1
        name = name.rstrip(b"\0").decode()
        if not name:
            assert not fds
            return
        kept[name] = fds[0]


def store(name, fd=None):
    packet = KEEPER.pack(1, name.encode())
    if fd is None:
        keeper.send(packet)
    else:
        socket.send_fds(keeper, [packet], [fd])


def flood():
    for _ in range(200):
        keeper.send(b"what")
    keeper.send(KEEPER.pack(9, b"fuse"))
    keeper.send(KEEPER.pack(1, b"x" * 32))
    store("unknown")
    for number in range(20):
        with open("/dev/null") as null:
            store(f"more{number}", null.fileno())
    for number in range(20):
        store(f"more{number}")


def attach():
    for name in ("fuse", "loop"):
        fd = os.memfd_create(name)
        kept[name] = fd
        store(name, fd)


def adopt(fds):
    """What BLOCKD_ADOPT asks for, in block/control.h."""
    global keeper
    keeper.close()
    keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=fds[0])
    for name, fd in kept.items():
        store(name, fd)
    store("control", control.fileno())


def answer(connection, fds):
    details = {
        "predecessor": predecessor,
        "inodes": {name: os.fstat(fd).st_ino for name, fd in kept.items()},
        "fds": fds,
        "sid": os.getsid(0),
    }
    reply = REPLY.pack(
        1, 0, 1, 0, 0, os.getpid(), *[0] * 7, b"/dev/loop0", b"fuse", json.dumps(details).encode()
    )
    connection.send(reply)


def serve():
    connections = []
    while True:
        ready, _, _ = select.select([control, *connections], [], [])
        for sock in ready:
            if sock is control:
                connections.append(control.accept()[0])
                continue
            packet, fds, _, _ = socket.recv_fds(sock, REQUEST.size, 1)
            if not packet:
                connections.remove(sock)
                continue
            version, op = REQUEST.unpack(packet)
            assert version == 1
            if op == ADOPT:
                adopt(fds)
            if op == DETACH:
                for name in kept:
                    store(name)
            answer(sock, start_fds)
            if op == DETACH:
                os._exit(0)


start_fds = first_fds()
read_predecessor()
predecessor = sorted(kept)
if options.get("fail"):
    time.sleep(0.5)
    os._exit(1)
if options.get("flood"):
    flood()
if not kept:
    attach()
if "die_if" in options and os.path.exists(options["die_if"]):
    os.kill(os.getpid(), signal.SIGKILL)
serve()
