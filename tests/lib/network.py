# SPDX-License-Identifier: Apache-2.0
"""A network of several hosts on this machine: a bridge in a namespace of its own, and a cable (a
veth pair) to each network namespace that is plugged in. Namespaces have no name and live as long as
a process in them, so nothing is left behind when a test run is killed."""

import os
import re
import secrets
import subprocess
from pathlib import Path

from lib import proc
from lib.proc import run

BENCHMARK_NET = "198.18"  # RFC 2544: for tests between devices; routed nowhere


def _unused_subnet():
    routes = run("ip", "-4", "route", "show", "table", "all").stdout
    used = set(re.findall(rf"\b{re.escape(BENCHMARK_NET)}\.(\d+)\.", routes))
    return next(n for n in iter(lambda: str(secrets.randbelow(256)), None) if n not in used)


def inode(pid):
    """What identifies the network namespace of a process."""
    return os.stat(f"/proc/{pid}/ns/net").st_ino


class Namespace:
    """A network namespace, kept by a process that ends with us."""

    def __init__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.DEVNULL)
        self.pid = self.keeper.pid
        proc.wait_until(lambda: inode(self.pid) != inode("self"), "a network namespace")
        self.inode = inode(self.pid)

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait()


def inside(pid, *argv, **options):
    """Run a program in the network namespace of a process. (`ip netns exec` would hide the cgroup
    file systems too.)"""
    return run("nsenter", f"--net=/proc/{pid}/ns/net", *argv, **options)


class Network:
    """The bridge. A port has a name and, once plugged in, an address for ever; this machine's own
    namespace is plugged in as well, so that the tests' tools reach the cluster."""

    def __init__(self):
        self.namespace = Namespace()
        self.subnet = f"{BENCHMARK_NET}.{_unused_subnet()}"
        self.made = []  # inodes of all namespaces that were ever plugged in
        self._bridge("link", "set", "lo", "up")
        self._bridge("link", "add", "bridge", "type", "bridge")
        self._bridge("link", "set", "bridge", "up")
        self.link = f"dvr{secrets.token_hex(3)}"  # our end of our own cable
        self.plug("tester", os.getpid(), 1, interface=self.link)

    def _bridge(self, *words, **options):
        inside(self.namespace.pid, "ip", *words, **options)

    def address(self, number):
        return f"{self.subnet}.{number}"

    def plug(self, port, pid, number, interface="eth0"):
        """Connect the namespace of a process, with the address `number`."""
        self._bridge("link", "add", port, "type", "veth", "peer", "name", interface, "netns", pid)
        self._bridge("link", "set", port, "master", "bridge", "up")
        for words in (["link", "set", "lo", "up"],
                      ["address", "add", f"{self.address(number)}/24", "dev", interface],
                      ["link", "set", interface, "up"]):
            inside(pid, "ip", *words)
        if pid != os.getpid():
            self.made.append(inode(pid))

    def cut(self, port):
        self._bridge("link", "set", port, "down")

    def heal(self, port):
        self._bridge("link", "set", port, "up")

    def unplug(self, port):
        """Take the cable away: whatever its namespace still wanted to send is never sent. The
        kernel does the same when the namespace has ended, and may have been faster."""
        self._bridge("link", "delete", port, check=False)

    def leftovers(self):
        """Namespaces and links of ours that still exist, in words; to be asked after close()."""
        lines = run("lsns", "--type", "net", "--noheadings", "--output", "NS,PID,COMMAND").stdout
        found = [line for line in lines.splitlines()
                 if int(line.split()[0]) in [*self.made, self.namespace.inode]]
        if Path(f"/sys/class/net/{self.link}").exists():
            found.append(self.link)
        return found

    def close(self):
        """All cables go with the bridge's namespace; ours is waited for."""
        self.unplug("tester")
        self.namespace.close()
