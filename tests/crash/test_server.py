# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the server and of the supervisor at random points of what users do all day. The client
here does as dockerd does: a call that was not answered is made again."""

import json
import os
import random
import signal
import threading
import time

import pytest

from lib import http
from lib.crash import report
from lib.lengths import length
from lib.load import Pulse
from lib.plugin import PluginError, mount_id
from lib.proc import run, wait_until

KILLS = length(8, 200)
THREADS = 3
VOLUMES = 2  # of each thread

# A server that keeps dying is started with growing delays. They begin anew with a supervisor, so
# every so often it is the supervisor that is killed.
SUPERVISOR_EVERY = 4
BACK_S = 30   # promised is 1 s, for a single death on a machine that has nothing else to do
ANSWER_S = 90

pytestmark = pytest.mark.timeout(300 + 8 * KILLS)


class Client:
    """Calls until it gets an answer."""

    def __init__(self, plugin):
        self.plugin = plugin
        self.repeated = 0

    def call(self, method, body):
        """Returns (answer, repeated: did an earlier try get no answer?); raises PluginError."""
        deadline = time.monotonic() + ANSWER_S
        repeated = False
        while True:
            try:
                return self.plugin.call(method, body), repeated
            except (http.ClosedWithoutAnswer, ConnectionError, FileNotFoundError):
                assert time.monotonic() < deadline, f"no answer to {method}"
                self.repeated += 1
                repeated = True
                time.sleep(0.05)

    def create(self, name, fs):
        self.call("VolumeDriver.Create", {"Name": name, "Opts": {"size": "1G", "fs": fs}})

    def mount(self, name):
        """Under a fresh ID. A mount that got no answer is given back: who asked for it does not
        have it. Returns (path, ID)."""
        while True:
            an_id = mount_id()
            try:
                answer = self.plugin.call("VolumeDriver.Mount", {"Name": name, "ID": an_id})
                return answer["Mountpoint"], an_id
            except (http.ClosedWithoutAnswer, ConnectionError, FileNotFoundError):
                self.repeated += 1
                self.unmount(name, an_id)

    def unmount(self, name, an_id):
        self.call("VolumeDriver.Unmount", {"Name": name, "ID": an_id})

    def remove(self, name):
        """Repeated, it may find that it has been done."""
        try:
            self.call("VolumeDriver.Remove", {"Name": name})
        except PluginError as error:
            if "no such volume" not in str(error):
                raise


class User(threading.Thread):
    """Does at random what can be done with its volumes, and knows what must be the case: .model is
    {volume: {mount ID: path}}, .written {volume: how many files}."""

    def __init__(self, plugin, number, stopping):
        super().__init__()
        self.client = Client(plugin)
        self.names = [f"user-{number}-{i}" for i in range(VOLUMES)]
        self.dice = random.Random(number)
        self.model, self.written = {}, {}
        self.calls = 0
        self.failure = None
        self.stopping = stopping
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                self.step(self.dice.choice(self.names))
                self.calls += 1
        except BaseException as error:  # noqa: B902 - told by check()
            self.failure = error

    def step(self, name):
        if name not in self.model:
            self.client.create(name, self.dice.choice(("ext4", "xfs")))
            self.model[name], self.written[name] = {}, 0
            return
        mounts = self.model[name]
        if not mounts and self.dice.random() < 0.4:
            self.client.remove(name)
            del self.model[name]
        elif len(mounts) < 2 and self.dice.random() < 0.6:
            path, an_id = self.client.mount(name)
            mounts[an_id] = path
            self.read(name, path)
        elif mounts:
            an_id = self.dice.choice(list(mounts))
            self.write(name, mounts[an_id])
            self.client.unmount(name, an_id)
            del mounts[an_id]

    def write(self, name, path):
        with open(f"{path}/{self.written[name]}", "wb") as file:
            file.write(b"%d" % self.written[name] * 1000)
            file.flush()
            os.fsync(file.fileno())
        self.written[name] += 1

    def read(self, name, path):
        files = {entry for entry in os.listdir(path)}
        assert files == {str(n) for n in range(self.written[name])}
        for n in range(self.written[name]):
            with open(f"{path}/{n}", "rb") as file:
                assert file.read() == b"%d" % n * 1000

    def check(self):
        if self.failure:
            raise self.failure


def model_of(users):
    return {name: mounts for user in users for name, mounts in user.model.items()}


def state_of(plugin):
    """The same from the plugin's answers: {volume: set of mount IDs}."""
    return {name: set(plugin.get(name)["Status"].get("mounts", [])) for name in plugin.list()}


def ledger_of(plugin):
    """The same from its files. One without uses or a device keeps the token of a mount that was killed
    before it had any: there may be a lock that carries it."""
    entries = [json.loads(path.read_text()) for path in (plugin.run_dir / "ledger").glob("*.json")]
    return {entry["volume"]: {ref["id"] for ref in entry["refs"]} for entry in entries
            if entry["refs"] or entry["device"]}


def settled(plugin, cluster, users, apart):
    """Everybody agrees on what there is: the users, the plugin, its ledger, the mount table, the
    cluster. `apart`: a volume that is nobody's."""
    model = model_of(users)
    expected = {name: set(mounts) for name, mounts in model.items()}
    mounts = {name: ids for name, ids in expected.items() if ids}

    def differences():
        state = {name: ids for name, ids in state_of(plugin).items() if name != apart}
        found = []
        if state != expected:
            found.append(f"Get and List say {state}, not {expected}")
        if set(cluster.images()) - {apart} != set(expected):
            found.append(f"images: {cluster.images()}")
        if cluster.trash():
            found.append(f"in the trash: {cluster.trash()}")
        ledger = {name: ids for name, ids in ledger_of(plugin).items() if name != apart}
        if ledger != mounts:
            found.append(f"ledger: {ledger}, not {mounts}")
        for name in expected:
            if plugin.mounted(name) != (name in mounts):
                found.append(f"{name} is {'not ' * (name in mounts)}mounted")
        blockds = len(plugin.blockds())
        if blockds != len(mounts) + 1:
            found.append(f"{blockds} blockds for {len(mounts) + 1} volumes")
        return found

    deadline = time.monotonic() + 60
    while differences() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not differences(), "\n".join(differences())


def test_killed_at_random_points(plugin, volumes, cluster):
    dice = random.Random(0)
    apart = volumes.create("apart")
    path, an_id = volumes.mount(apart)
    blockd = plugin.blockd(cluster.image_id(apart))
    pulse = Pulse(path)
    stopping = threading.Event()
    users = [User(plugin, number, stopping) for number in range(THREADS)]
    back = {"server": [], "supervisor": []}
    try:
        for i in range(KILLS):
            time.sleep(dice.uniform(0.1, 2))
            if i % SUPERVISOR_EVERY == SUPERVISOR_EVERY - 1:
                victim = "supervisor"
                plugin.kill_supervisor()
                begin = time.monotonic()
                plugin.launch()
            else:
                victim = "server"
                os.kill(plugin.server_pid(), 9)
                begin = time.monotonic()
            wait_until(plugin.answers, "the API", BACK_S)
            back[victim].append(time.monotonic() - begin)
            for user in users:
                user.check()
    finally:
        stopping.set()
        for user in users:
            user.join(ANSWER_S + 60)
        pulse.kill()
    for user in users:
        assert not user.is_alive()
        user.check()
    cluster.forget_headless()
    settled(plugin, cluster, users, apart)
    assert pulse.stop() < BACK_S
    assert plugin.blockd(cluster.image_id(apart)) == blockd
    report(f"{KILLS} kills in {sum(user.calls for user in users)} calls, "
           f"{sum(user.client.repeated for user in users)} of them repeated; the API was back "
           f"after at most {max(back['server']):.2f} s (server), "
           f"{max(back['supervisor'], default=0):.2f} s (supervisor); longest pause of I/O "
           f"meanwhile {pulse.longest_s:.2f} s")
    for name, mounts in model_of(users).items():
        for mount in mounts:
            plugin.unmount(name, mount)
    volumes.unmount(apart, an_id)
    path, _ = volumes.mount(apart)
    pulse.verify(path)


def test_a_mount_and_its_use_survive_the_server(plugin, volumes):
    """Killed with nothing under way: the next one knows of every mount ID, and unmounts with the
    last."""
    name = volumes.create()
    ids = [volumes.mount(name)[1] for _ in range(3)]
    for an_id in ids:
        os.kill(plugin.server_pid(), 9)
        wait_until(plugin.answers, "the next server", BACK_S)
        assert an_id in plugin.get(name)["Status"]["mounts"]
        assert plugin.mounted(name)
        volumes.unmount(name, an_id)
    assert not plugin.mounted(name)


def test_uses_of_what_is_gone_do_not_stay_in_the_ledger(plugin, volumes, cluster):
    """As a server leaves it that is killed between the last step of an unmount and its end."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    assert ledger_of(plugin) == {name: {an_id}}
    os.kill(plugin.server_pid(), signal.SIGSTOP)
    run("umount", path)
    os.kill(plugin.blockd(cluster.image_id(name)), signal.SIGTERM)
    wait_until(lambda: not plugin.blockds(), "the end of the blockd", 30)
    os.kill(plugin.server_pid(), signal.SIGKILL)
    wait_until(plugin.answers, "the next server", BACK_S)
    assert "mounts" not in plugin.get(name)["Status"]
    assert ledger_of(plugin) == {}
    volumes.mount(name)


def test_half_a_state_file_goes_with_the_next_server(plugin):
    """What a server leaves that is killed while it writes one."""
    halves = [directory / ".new.a1B2c3" for directory in
              (plugin.run_dir, plugin.run_dir / "ledger", plugin.lib_dir)]
    for half in halves:
        half.write_text("{")
    os.kill(plugin.server_pid(), 9)
    wait_until(plugin.answers, "the next server", BACK_S)
    assert not any(half.exists() for half in halves)
