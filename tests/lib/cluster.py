# SPDX-License-Identifier: Apache-2.0
"""A Ceph cluster made by scripts/dev-cluster, and the stock tools that look at it."""

import json
import os
import signal

import rados  # of the package python3-rados

from lib.paths import DEV_CLUSTER
from lib.proc import run

POOL = "docker"
DATA_POOL = "docker-data"


class Cluster:
    """The cluster in `directory`. Everything raises CommandError when the tool behind it fails."""

    def __init__(self, directory, osds=3, steady=False):
        self.directory = str(directory)
        self.osds = osds
        self.making = ["--osds", osds, *(["--steady"] if steady else [])]
        self.conf = f"{self.directory}/ceph.conf"
        self.started = False  # by us: then we are the ones to stop it
        self.handle = None

    def _dev_cluster(self, command, *words, **options):
        return run(DEV_CLUSTER, command, "--dir", self.directory, *words, **options)

    def up(self):
        """Start it unless it runs."""
        if self._dev_cluster("status", check=False).returncode != 0:
            self._dev_cluster("up", *self.making, timeout=180)
            self.started = True

    def reset(self):
        """Make it anew, empty."""
        self.close()
        self._dev_cluster("reset", *self.making, timeout=180)

    def down(self, purge=False):
        self._dev_cluster("down", *(["--purge"] if purge else []), timeout=120)

    def daemons(self):
        """{"mon.a": pid, ...} of the running ones."""
        status = json.loads(self._dev_cluster("status", "--json", check=False).stdout)
        return {d["name"]: d["pid"] for d in status["daemons"] if d["pid"]}

    def freeze(self):
        """Stop all daemons in their tracks: connections stay open, nothing answers. Returns the
        pids, for thaw()."""
        pids = list(self.daemons().values())
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def thaw(self, pids):
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def tool(self, program, *words, user="docker", check=True, timeout=60, **options):
        """Run ceph, rados or rbd as client.`user`."""
        return run(program, "--conf", self.conf, "--id", user, *words, check=check,
                   timeout=timeout, **options)

    def ceph(self, *words):
        return self.tool("ceph", *words, user="admin").stdout

    def rados(self, *words, pool=POOL):
        return self.tool("rados", "-p", pool, *words, user="admin").stdout

    def rbd(self, *words, check=True, **options):
        """Stock rbd in the pool of the volumes, with the rights of the plugin."""
        return self.tool("rbd", "--pool", POOL, *words, check=check,
                         **options).stdout

    def rbd_json(self, *words):
        return json.loads(self.rbd(*words, "--format", "json"))

    def io(self, pool=POOL):
        """A librados context of a pool, as client.admin; for questions asked after every test,
        where starting a tool each time would take too long. Close it."""
        if not self.handle:
            self.handle = rados.Rados(conffile=self.conf, rados_id="admin")
            self.handle.connect(timeout=30)
        return self.handle.open_ioctx(pool)

    def close(self):
        if self.handle:
            self.handle.shutdown()
            self.handle = None

    def objects(self, pool=POOL):
        """Names of all objects of a pool."""
        with self.io(pool) as io:
            return {obj.key for obj in io.list_objects()}

    def _omap(self, name):
        """Keys and values of an object; {} when there is no such object."""
        with self.io() as io, rados.ReadOpCtx() as op:
            pairs, _ = io.get_omap_vals(op, "", "", 10000)
            try:
                io.operate_read_op(op, name)
            except rados.ObjectNotFound:
                return {}
            return dict(pairs)

    def images(self):
        """Sorted names, as `rbd ls`."""
        return sorted(key[len("name_"):] for key in self._omap("rbd_directory")
                      if key.startswith("name_"))

    def trash(self):
        """Ids of all images in the RBD trash, as `rbd trash ls --all`: images that are being made
        or removed are there too."""
        return sorted(key[len("id_"):] for key in self._omap("rbd_trash"))

    def forget_headless(self):
        """A client that died the moment it began an image has left an entry in the trash without an
        image, which everybody leaves alone for some minutes, in case it is not dead. It is."""
        objects = self.objects()
        for an_id in self.trash():
            if f"rbd_header.{an_id}" not in objects:
                self.rados("rmomapkey", "rbd_trash", f"id_{an_id}")

    def image_id(self, name):
        return self.rbd_json("info", name)["id"]

    def watchers(self, name):
        """Addresses of the clients that watch an image's header."""
        return [w["address"] for w in self.rbd_json("status", name).get("watchers", [])]

    def lockers(self, name):
        """[{"id": cookie, "locker": "client.4123", "address": ...}] of an image's lock."""
        return self.rbd_json("lock", "ls", name)

    def data_objects(self, name):
        """How many data objects an image has."""
        info = self.rbd_json("info", name)
        prefix = info["block_name_prefix"] + "."
        pool = info.get("data_pool") or POOL
        return sum(1 for o in self.objects(pool) if o.startswith(prefix))
