# SPDX-License-Identifier: Apache-2.0
"""Snapshots of several volumes at one point in time, with radosvol and over the socket."""

import os
import re
import struct
import subprocess
import threading

import pytest

from lib import proc
from lib.cluster import POOL
from lib.lengths import length
from lib.paths import BUILD
from lib.plugin import PluginError
from lib.proc import run, wait_until

pytestmark = pytest.mark.usefixtures("purged")

ROUNDS = length(2, 20)  # of each way to ask for them


def snaps(cluster, *names):
    """The names of each volume's snapshots."""
    return [[s["name"] for s in cluster.rbd_json("snap", "ls", name)] for name in names]


def set_limit(cluster, name, limit):
    """How many snapshots a volume may have; `rbd snap limit` would want its lock."""
    with cluster.io() as io:
        io.execute(f"rbd_header.{cluster.image_id(name)}", "rbd", "snapshot_set_limit",
                   struct.pack("<Q", limit))


class Writer(threading.Thread):
    """Appends the same number to a file on each volume in turn, on disk before the next."""

    def __init__(self, *paths):
        super().__init__()
        self.paths, self.number, self.stopping, self.error = paths, 0, threading.Event(), None

    def run(self):
        try:
            files = [os.open(path / "numbers", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
                     for path in self.paths]
            while not self.stopping.is_set():
                for fd in files:
                    os.write(fd, b"%d\n" % (self.number + 1))
                    os.fsync(fd)
                self.number += 1
            for fd in files:
                os.close(fd)
        except OSError as error:
            self.error = error

    def go_on(self, count=3):
        """Wait until some more rounds are written."""
        seen = self.number
        wait_until(lambda: self.number >= seen + count or self.error, "more numbers", 60)
        assert self.error is None, self.error

    def stop(self):
        self.stopping.set()
        self.join()
        assert self.error is None, self.error


def last_number(volumes, plugin, radosvol, volume, snapshot):
    """The last number in a snapshot; all before must be there too."""
    clone = f"{volume}-{snapshot}"
    radosvol.out("restore", f"{volume}@{snapshot}", "--to", clone)
    path, an_id = volumes.mount(clone)
    lines = (path / "numbers").read_text(encoding="ascii").split()
    volumes.unmount(clone, an_id)
    plugin.remove(clone)
    assert lines == [str(i + 1) for i in range(len(lines))]
    return len(lines)


@pytest.mark.timeout(600)
def test_what_depends_on_each_other_fits_together(radosvol, plugin, cluster, volumes,
                                                  start_plugin):
    """A number is in the second volume only when it is in the first; the two are mounted on two
    hosts, and a third one nowhere."""
    other = start_plugin(host="host-b")
    volumes.create("a", fs="ext4", **{"label.app": "shop"})
    volumes.create("b", fs="xfs", **{"label.app": "shop"})
    volumes.create("c", **{"label.app": "shop"})
    path_a, id_a = volumes.mount("a")
    path_b, id_b = volumes.mount("b", plugin=other)
    writer = Writer(path_a, path_b)
    writer.start()
    taken = []
    for i in range(ROUNDS):
        writer.go_on()
        rows = radosvol.json("snapshot", "create", "--volumes=c,b,a", f"names-{i}")["snapshots"]
        assert [(s["volume"], s["snapshot"]) for s in rows] == [
            (name, f"names-{i}") for name in "abc"]
        writer.go_on()
        rows = radosvol.json("snapshot", "create", "--label", "app=shop", f"label-{i}")
        assert [s["volume"] for s in rows["snapshots"]] == ["a", "b", "c"]
        writer.go_on()
        made = plugin.call("Snapshot.Create", {"Names": ["b", "a"]})["Snapshots"]
        assert [s["Volume"] for s in made] == ["a", "b"] and made[0]["Name"] == made[1]["Name"]
        assert re.fullmatch(r"\d{8}-\d{6}\.\d{3}Z", made[0]["Name"])
        taken += [f"names-{i}", f"label-{i}", made[0]["Name"]]
    # What the check below is worth: taken one after the other, they do not fit together.
    radosvol.out("snapshot", "create", "a", "apart")
    writer.go_on()
    radosvol.out("snapshot", "create", "b", "apart")
    writer.stop()
    volumes.unmount("a", id_a)
    volumes.unmount("b", id_b)

    pairs = {name: tuple(last_number(volumes, plugin, radosvol, volume, name) for volume in "ab")
             for name in [*taken, "apart"]}
    first, second = pairs.pop("apart")
    assert second > first + 1
    assert all(a in (b, b + 1) for a, b in pairs.values()), pairs
    assert sorted(set(pairs.values())) == sorted(pairs.values()), "they hold nothing"
    named = {f"{way}-{i}" for way in ("names", "label") for i in range(ROUNDS)}
    assert [set(names) for names in snaps(cluster, "c")] == [named]


def test_a_member_in_use_by_stock_rbd(radosvol, cluster, volumes):
    """librbd takes part: it is asked as our own owners are."""
    volumes.create("a")
    volumes.create("stock")
    path, _ = volumes.mount("a")
    (path / "file").write_bytes(b"x" * 1000)
    bench = subprocess.Popen(
        ["rbd", "--conf", cluster.conf, "--id", "docker", "--pool", POOL, "bench", "--io-type",
         "write", "--io-size", "4K", "--io-threads", "1", "--io-total", "1T", "stock"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        owner = wait_until(lambda: cluster.lockers("stock"), "the bench's lock", 30)
        radosvol.out("snapshot", "create", "--volumes=a,stock", "monday")
        assert snaps(cluster, "a", "stock") == [["monday"], ["monday"]]
        assert cluster.lockers("stock") == owner and bench.poll() is None
    finally:
        proc.end(bench, 30)
    wait_until(lambda: not cluster.lockers("stock"), "the end of the bench's lock", 60)


def test_none_is_mounted(radosvol, cluster, volumes):
    for name in "ab":
        volumes.create(name)
    table = radosvol.out("snapshot", "create", "--volumes", "a,b", "monday").splitlines()
    assert table[0].split() == ["VOLUME", "SNAPSHOT", "ID", "SIZE", "CREATED"]
    assert [line.split()[:2] for line in table[1:]] == [["a", "monday"], ["b", "monday"]]
    assert snaps(cluster, "a", "b") == [["monday"], ["monday"]]
    assert cluster.lockers("a") == cluster.lockers("b") == []


def test_what_there_is_on_a_terminal(radosvol, volumes):
    for name in "ab":
        volumes.create(name)
    status, printed = radosvol.on_terminal("", "snapshot", "create", "--volumes=a,b")
    assert status == 0
    for words in ["2 volumes: freezing the file systems", "2 volumes: taking the snapshots"]:
        assert words in printed
    failed = radosvol.on_terminal("", "snapshot", "create", "--volumes=a,none")
    assert failed[0] == 1 and "no such volume: 'none'" in failed[1]


def test_all_or_nothing(radosvol, plugin, cluster, volumes):
    """Each member in turn is the one that hinders all."""
    paths = {}
    for name in "ab":
        volumes.create(name)
        paths[name] = volumes.mount(name)[0]
    volumes.create("c")
    radosvol.out("snapshot", "create", "--volumes=a,b,c", "monday")
    kept = [["monday"]] * 3

    def refused(volume, words):
        error = radosvol.fails("snapshot", "create", "--volumes=a,b,c", "tuesday")
        assert f"volume '{volume}': " in error and words in error
        assert "no snapshot 'tuesday' was kept of any of the 3 volumes" in error
        with pytest.raises(PluginError, match=f"volume '{volume}': "):
            plugin.call("Snapshot.Create", {"Names": ["a", "b", "c"], "Snapshot": "tuesday"})
        assert snaps(cluster, "a", "b", "c") == kept
        for path in paths.values():  # nothing is frozen any more
            (path / "file").write_bytes(os.urandom(1000))
            run("sync", "-f", path / "file")

    for name in "abc":  # it takes no more
        set_limit(cluster, name, 1)
        refused(name, "")
        set_limit(cluster, name, 2**64 - 1)
    for name in "ab":
        run("fsfreeze", "-f", paths[name])
        try:
            with pytest.raises(AssertionError, match=f"volume '{name}'.*frozen already"):
                raise AssertionError(radosvol.fails("snapshot", "create", "--volumes=a,b,c", "x"))
        finally:
            run("fsfreeze", "-u", paths[name])
    assert snaps(cluster, "a", "b", "c") == kept
    for name in "abc":  # the name is taken
        radosvol.out("snapshot", "create", name, "wednesday")
        error = radosvol.fails("snapshot", "create", "--volumes=a,b,c", "wednesday")
        assert f"volume '{name}': there is a snapshot 'wednesday' already" in error
        radosvol.out("snapshot", "rm", "--yes", f"{name}@wednesday")
    assert snaps(cluster, "a", "b", "c") == kept
    radosvol.out("snapshot", "create", "--volumes=a,b,c", "tuesday")
    assert snaps(cluster, "a", "b", "c") == [["monday", "tuesday"]] * 3


def test_what_is_refused(radosvol, plugin, cluster, volumes):
    volumes.create("a", **{"label.app": "shop"})
    volumes.create("b")
    many = [f"v{i}" for i in range(65)]
    refusals = [
        (["--volumes=a,none"], {"Names": ["a", "none"]}, "no such volume: 'none'"),
        (["--volumes=a,b,a"], {"Names": ["a", "b", "a"]}, "volume 'a' is named twice"),
        (["--volumes", ",".join(many)], {"Names": many}, "65 volumes; of at most 64"),
        (["--label=app=none"], {"Label": "app=none"}, "no volume has the label 'app=none'"),
        (["--label=ap"], {"Label": "ap"}, "no volume has the label 'ap'"),
        (["--label="], {"Label": ""}, "'' is no label"),
        (["--label==shop"], {"Label": "=shop"}, "'=shop' is no label"),
        (["--volumes=a,b", "a@b"], {"Names": ["a", "b"], "Snapshot": "a@b"}, "snapshot's name"),
    ]
    for words, body, error in refusals:
        assert error in radosvol.fails("snapshot", "create", *words)
        with pytest.raises(PluginError, match=re.escape(error)):
            plugin.call("Snapshot.Create", body)
    for body in [{"Names": []}, {"Name": "a", "Names": ["b"]}, {"Name": "a", "Label": "app"},
                 {"Names": ["a"], "Label": "app"}, {"Names": "a"}, {"Label": 7},
                 {"Names": ["a/b"]}]:
        with pytest.raises(PluginError):
            plugin.call("Snapshot.Create", body)
    for words in [["--volumes=a,,b"], ["--volumes="], ["--volumes=a", "--label=app"],
                  ["--volumes=a", "x", "y"], ["--label=app", "x", "y"]]:
        radosvol.run("snapshot", "create", *words, status=2)
    assert snaps(cluster, "a", "b") == [[], []]
    assert [s["volume"] for s in radosvol.json("snapshot", "create", "--label=app")[
        "snapshots"]] == ["a"]


def test_a_dead_process_of_a_member(radosvol, plugin, cluster, volumes):
    """Its blockd is killed and started again under load: each attempt makes all of them or none."""
    paths = []
    for name in "ab":
        volumes.create(name)
        paths.append(volumes.mount(name)[0])
    writer = Writer(*paths)
    writer.start()
    try:
        made = []
        for i in range(length(4, 40)):
            writer.go_on()
            name = f"s{i}"
            killing = threading.Timer(0.03 * (i % 8), os.kill, (plugin.blockd_pids()[0], 9))
            killing.start()
            done = run(BUILD / "radosvol", "snapshot", "create", "--volumes=a,b", name,
                       check=False, env=radosvol.env, timeout=120)
            killing.join()
            if done.returncode == 0:
                made.append(name)
            else:
                assert re.search(r"volume '[ab]': .*was kept of any of the 2 volumes$",
                                 done.stderr.strip()), done.stderr
            wait_until(lambda: len(plugin.blockd_pids()) == 2, "the blockd's return", 60)
            there = snaps(cluster, "a", "b")
            assert there[0] == there[1] == made
    finally:
        writer.stop()
