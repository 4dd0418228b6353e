# SPDX-License-Identifier: Apache-2.0
"""Where something is killed: a namespace of the pool with nothing else in it, so that what one
death leaves is seen by itself. What is seen is seen by the stock library, librbd."""

import contextlib
import json
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import rados  # of the packages python3-rados and python3-rbd
import rbd

from lib import proc
from lib.cluster import DATA_POOL, POOL
from lib.leaks import POOL_OBJECTS
from lib.paths import BUILD
from lib.proc import wait_until

PROGRAMS = {"radosvol": BUILD / "radosvol", "lifecycle": BUILD / "tests/steps/lifecycle"}
DIE = BUILD / "tests/steps/die.so"

ORDER = 16
OBJECT = 1 << ORDER
SIZE = 4 * OBJECT
PLAIN = rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
MAPPED = PLAIN | rbd.RBD_FEATURE_OBJECT_MAP | rbd.RBD_FEATURE_FAST_DIFF
DEEP = PLAIN | rbd.RBD_FEATURE_DEEP_FLATTEN

RUN_S = 200      # one run; it may wait until the cluster has given a dead client up
SETTLE_S = 300   # more than any lock of ours lasts
TRIM_S = 240     # until the cluster has dropped what only removed snapshots kept

WORK_LOCK = "docker-volume-rados.work"
REMOVE_COOKIE = "docker-volume-rados remove"


def content(seed, size=SIZE):
    """Bytes that SEED decides; the third object is a hole."""
    data = bytearray(random.Random(seed).randbytes(size))
    data[2 * OBJECT:3 * OBJECT] = bytes(OBJECT)
    return bytes(data)


@dataclass(frozen=True)
class Step:
    program: str
    number: int
    function: str
    object: str
    way: tuple  # offsets in the program, the innermost first


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str
    steps: list

    @property
    def killed(self):
        return self.status == -signal.SIGKILL


class Clients:
    """What all places share: librados clients that differ in the clones they make."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.by_clone_format = {}
        for form in ("1", "2"):
            handle = rados.Rados(conffile=cluster.conf, rados_id="admin")
            handle.conf_set("rbd_default_clone_format", form)
            handle.connect(timeout=30)
            self.by_clone_format[form] = handle

    def close(self):
        for handle in self.by_clone_format.values():
            handle.shutdown()


class Place:
    def __init__(self, clients, name, directory):
        self.cluster, self.clients, self.name = clients.cluster, clients, name
        self.log = Path(directory) / f"{name}.steps"
        self.steps = []  # of all runs
        self.held = contextlib.ExitStack()
        with self.io(namespace="") as io:
            rbd.RBD().namespace_create(io, name)

    @contextlib.contextmanager
    def io(self, pool=POOL, namespace=None, clone_format="2"):
        with self.clients.by_clone_format[clone_format].open_ioctx(pool) as io:
            io.set_namespace(self.name if namespace is None else namespace)
            yield io

    # --- our programs ---------------------------------------------------------------------

    def run(self, program, *words, die=None):
        """Run one of our programs; DIE: "before 3" or "after 3". Returns a Done."""
        env = {**os.environ, "CEPH_CONF": self.cluster.conf, "RADOS_NAMESPACE": self.name,
               "RADOS_HOST": "host-a", "TOKEN": self.name, "LC_ALL": "C.UTF-8",
               "LD_PRELOAD": str(DIE), "STEPS_LOG": str(self.log)}
        for name in ("CEPH_ARGS", "CEPH_CLIENT", "RADOS_POOL", "STEPS_DIE"):
            env.pop(name, None)
        if die:
            env["STEPS_DIE"] = die
        self.log.unlink(missing_ok=True)
        done = proc.run(PROGRAMS[program], *words, check=False, timeout=RUN_S, env=env)
        steps = self._read_log(program)
        self.steps += steps
        return Done(done.returncode, done.stdout, done.stderr, steps)

    def _read_log(self, program):
        if not self.log.exists():
            return []
        steps = []
        for line in self.log.read_text().splitlines():
            number, function, name, *way = line.split()
            steps.append(Step(program, int(number), function, name, tuple(way)))
        self.log.unlink()
        return steps

    def again(self, words, done=()):
        """The same once more, until it ends well, or says one of the words in DONE: that nothing is
        left to do. One who is told to wait for what a dead client held waits."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            result = self.run(*words)
            if result.status == 0 or any(word in result.err for word in done):
                return result
            waits = any(word in result.err for word in (
                "try again", "being restored", "being moved", "being deleted", "being removed"))
            assert waits and time.monotonic() < deadline, f"{words}: {result.status}: {result.err}"
            self.let_time_pass()

    def settle(self):
        """Sweep until nothing is left to sweep."""
        deadline = time.monotonic() + SETTLE_S
        while (swept := self.run("lifecycle", "sweep")).out:
            assert swept.status == 0 and time.monotonic() < deadline, f"{swept} {self.trash_ids()}"
            self.forget_headless()
            self.let_time_pass()
        assert swept.status == 0, swept.err

    # --- time -----------------------------------------------------------------------------

    def let_time_pass(self):
        """What locks that lapse hold is free after minutes; SOAK=1 waits for that, else they are
        broken, which is the same to whoever looks."""
        if os.environ.get("SOAK") == "1":
            time.sleep(5)
            return
        for name in self.objects():
            if name.startswith("rbd_header."):
                self._break_lock(name, WORK_LOCK)
                self._break_lock(name, "rbd_lock", REMOVE_COOKIE)

    def _break_lock(self, name, lock, cookie=None):
        def lock_tool(command, *words, check=True):
            return self.cluster.tool("rados", "-p", POOL, "-N", self.name, "lock", command, name,
                                     lock, *words, user="admin", check=check).stdout

        info = json.loads(lock_tool("info", "--format", "json", check=False) or "{}")
        for holder in info.get("lockers", []):
            if cookie in (None, holder["cookie"]):
                lock_tool("break", holder["name"], "--lock-cookie", holder["cookie"])

    def forget_headless(self):
        """See Cluster.forget_headless: of this namespace."""
        objects = self.objects()
        for an_id in self.trash_ids():
            if f"rbd_header.{an_id}" not in objects:
                with self.io() as io, rados.WriteOpCtx() as op:
                    io.remove_omap_keys(op, (f"id_{an_id}",))
                    io.operate_write_op(op, "rbd_trash")

    # --- what a test begins with ----------------------------------------------------------

    def make(self, name, data, features=PLAIN):
        with self.io() as io:
            rbd.RBD().create(io, name, len(data), ORDER, old_format=False, features=features)
        self.write(name, data)

    def write(self, name, data):
        """Make it hold DATA; objects of zeroes stay as they are."""
        with self.image(name) as image:
            if image.size() < len(data):
                image.resize(len(data))
            for at in range(0, len(data), OBJECT):
                piece = data[at:at + OBJECT]
                if any(piece):
                    image.write(piece, at)

    def snapshot(self, name, snapshot, protect=False):
        with self.image(name) as image:
            image.create_snap(snapshot)
            if protect:
                image.protect_snap(snapshot)

    def clone(self, parent, snapshot, name, features=DEEP, clone_format="2"):
        with self.io(clone_format=clone_format) as io:
            rbd.RBD().clone(io, parent, snapshot, io, name, features=features)

    def hold(self, name):
        """Be a client that has the image open and owns its lock, until let_go()."""
        image = self.held.enter_context(self.image(name))
        image.write(image.read(0, 4096), 0)
        assert image.is_exclusive_lock_owner()

    def let_go(self):
        self.held.close()

    # --- what there is --------------------------------------------------------------------

    @contextlib.contextmanager
    def image(self, name=None, an_id=None, snapshot=None, read_only=False):
        with self.io() as io, rbd.Image(io, name, snapshot=snapshot, read_only=read_only,
                                        image_id=an_id) as image:
            yield image

    def seen(self, name=None, an_id=None, snapshot=None):
        """The same for looking at it."""
        return self.image(name, an_id, snapshot, read_only=True)

    def exists(self, name):
        try:
            with self.seen(name):
                return True
        except rbd.ImageNotFound:
            return False

    def read(self, name=None, snapshot=None, an_id=None):
        with self.seen(name, an_id, snapshot) as image:
            return image.read(0, image.size())

    def snapshots(self, name):
        """Those of users."""
        with self.seen(name) as image:
            return [s["name"] for s in image.list_snaps()
                    if s["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]

    def removed_snapshots(self, name):
        """What they were called that are only kept for clones."""
        with self.seen(name) as image:
            return [s["trash"]["original_name"] for s in image.list_snaps()
                    if s["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_TRASH]

    def children(self, name, snapshot):
        """Names of the clones of a snapshot; "" for those that are not in the directory."""
        listed = self._keys("rbd_directory", "id_")
        with self.seen(name) as image:
            image.set_snap(snapshot)
            return sorted(child["image"] if child["id"] in listed else ""
                          for child in image.list_children2())

    def has_parent(self, name):
        with self.seen(name) as image:
            try:
                image.parent_info()
                return True
            except rbd.ImageNotFound:
                return False

    def metadata(self, name):
        with self.seen(name) as image:
            return dict(image.metadata_list())

    def names(self):
        """Those in the directory. `rbd ls` adds what is in the trash with the source "removing",
        half made images among them, as it does with its own: `rbd rm` would finish those off."""
        return self._keys("rbd_directory", "name_")

    def _keys(self, name, prefix):
        with self.io() as io, rados.ReadOpCtx() as op:
            pairs, _ = io.get_omap_vals(op, "", prefix, 1000)
            try:
                io.operate_read_op(op, name)
            except rados.ObjectNotFound:
                return []
            return sorted(key.removeprefix(prefix) for key, _ in pairs)

    def trash(self):
        """What users see there."""
        with self.io() as io:
            return list(rbd.RBD().trash_list(io))

    def trash_ids(self):
        """Of all entries, half made and half removed images among them."""
        return self._keys("rbd_trash", "id_")

    def objects(self, pool=POOL):
        with self.io(pool) as io:
            return {obj.key for obj in io.list_objects()}

    def check_whole(self):
        """Whatever is listed can be opened and read, its snapshots too."""
        for name in self.names():
            self.read(name)
            for snapshot in self.snapshots(name):
                self.read(name, snapshot)
                for child in self.children(name, snapshot):
                    assert child == "" or self.exists(child), child
        for entry in self.trash():
            if f"rbd_header.{entry['id']}" in self.objects():
                self.read(an_id=entry["id"])

    def check_file_system(self, name):
        with tempfile.NamedTemporaryFile(dir=self.log.parent) as file:
            data = self.read(name)
            for at in range(0, len(data), OBJECT):
                if any(data[at:at + OBJECT]):
                    file.seek(at)
                    file.write(data[at:at + OBJECT])
            file.truncate(len(data))
            file.flush()
            proc.run("e2fsck", "-fn", file.name)

    # --- the end --------------------------------------------------------------------------

    def remove_all(self):
        """Remove everything with our own programs, but for snapshots of users."""
        for _ in range(8):
            for name in self.names():
                self._remove_snapshots(name)
                if not self._has_clones(name):
                    self.again(("lifecycle", "remove", name, "0"))
            self.settle()
            if not self.names():
                break
        assert self.names() == []
        if self.trash():
            self.again(("radosvol", "trash", "purge", "--all", "--yes"))
        assert self.trash_ids() == []

    def _remove_snapshots(self, name):
        with self.image(name) as image:
            for snapshot in [s["name"] for s in image.list_snaps()
                             if s["namespace"] == rbd.RBD_SNAP_NAMESPACE_TYPE_USER]:
                image.set_snap(snapshot)
                has_clones = any(image.list_children2())
                image.set_snap(None)
                if has_clones:
                    continue
                if image.is_protected_snap(snapshot):
                    image.unprotect_snap(snapshot)
                image.remove_snap(snapshot)

    def _has_clones(self, name):
        with self.seen(name) as image:
            for snapshot in list(image.list_snaps()):
                image.set_snap_by_id(snapshot["id"])
                if any(True for _ in image.list_children2()):
                    return True
        return False

    def close(self):
        """Nothing may be left but what belongs to the namespace itself."""
        for pool in (POOL, DATA_POOL):
            wait_until(lambda pool=pool: self.objects(pool) <= POOL_OBJECTS,
                       f"the end of what is left in {self.name}: {self.objects(pool)}", TRIM_S, 1)
            with self.io(pool) as io:
                for name in self.objects(pool):
                    io.remove_object(name)
        with self.io(namespace="") as io:
            rbd.RBD().namespace_remove(io, self.name)
