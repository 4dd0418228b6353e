#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""Stands in for docker-volume-rados-server: relays packets between the test and the supervisor.

Each connection to descriptor 4 carries one JSON line {"do": ...} and gets one JSON line back.
  about   pid, argv, environment, open descriptors, session, signal state
  relay   sends the hex "packet" to descriptor 3 and returns the hex reply
  exit    ends with "status"
With STANDIN_EXIT in the environment it ends at once with that status; with STANDIN_DEAF it does not
mind SIGTERM.
"""

import json
import os
import signal
import socket
import sys

supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=3)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=4)


def signal_state():
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return lines["SigBlk"].strip(), lines["SigIgn"].strip()


def about():
    # Python itself ignores SIGPIPE and SIGXFSZ.
    blocked, ignored = signal_state()
    return {
        "pid": os.getpid(),
        "argv": sys.argv,
        "env": dict(os.environ),
        "sid": os.getsid(0),
        "fds": first_fds,
        "blocked": int(blocked, 16),
        "ignored": int(ignored, 16) & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1),
    }


def serve(request):
    if request["do"] == "about":
        return about()
    if request["do"] == "relay":
        supervisor.send(bytes.fromhex(request["packet"]))
        return {"reply": supervisor.recv(1 << 20).hex()}
    if request["do"] == "exit":
        os._exit(request["status"])
    raise ValueError(request)


first_fds = sorted(
    int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)
)
if "STANDIN_EXIT" in os.environ:
    os._exit(int(os.environ["STANDIN_EXIT"]))
if "STANDIN_DEAF" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    connection, _ = listener.accept()
    with connection, connection.makefile("rw") as stream:
        line = stream.readline()
        if line:
            stream.write(json.dumps(serve(json.loads(line))) + "\n")
