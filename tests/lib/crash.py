# SPDX-License-Identifier: Apache-2.0
"""For tests that kill and stop processes at will."""

import dataclasses
import os
import signal
import sys
import threading

from lib import leaks, proc
from lib.load import Fio, Pulse
from lib.paths import BUILD
from lib.plugin import Plugin, PluginError

ENDS_S = 30  # for whatever has nothing left to wait for


class CrashPlugin(Plugin):
    """A plugin of which any process may have been killed or stopped."""

    def blockds(self):
        """{image id: pid} of the living blockds, also of those whose supervisor is dead."""
        found = {}
        for path in (self.run_dir / "blockd").glob("*.pid"):
            try:
                pid = int(path.read_text().split()[0])
            except (OSError, IndexError):
                continue  # it is being replaced
            if proc.alive(pid) and os.path.basename(proc.executable(pid)) == "radosvol-blockd":
                found[path.stem] = pid
        return found

    def blockd(self, image_id, other_than=None, seconds=ENDS_S):
        """The pid of an image's blockd, once there is one that is not `other_than`."""
        def look():
            pid = self.blockds().get(image_id)
            return pid if pid != other_than else None

        return proc.wait_until(look, f"a blockd of image {image_id}", seconds)

    def kill_supervisor(self):
        """SIGKILL to the supervisor alone; the server dies with it."""
        server = self.pids("docker-volume-rados-server")
        self.process.kill()
        self.process.wait()
        proc.wait_until(lambda: not any(map(proc.alive, server)), "the end of the server")

    def revive(self):
        """Whatever was done to it: let it serve again."""
        for pid in proc.running_from(BUILD):
            os.kill(pid, signal.SIGCONT)
        if self.process.poll() is not None:
            self.launch()
        proc.wait_until(self.answers, f"the plugin's answer ({self.log_file})", ENDS_S)

    def destroy(self):
        """Nothing else helped: kill everything, which makes all I/O fail, and unmount."""
        pids = [*self.blockds().values()]
        if self.process.poll() is None:
            self.kill_all()
        for pid in filter(proc.alive, pids):
            os.kill(pid, signal.SIGKILL)
        for point in leaks.mounts([self.lib_dir]):
            proc.run("umount", "--lazy", point, check=False)

    def start_over(self):
        """After a test that failed: no volume and no process of it may meet the next one."""
        self.destroy()
        self.launch()
        proc.wait_until(self.answers, f"the plugin's answer ({self.log_file})", ENDS_S)
        proc.wait_until(self._emptied, "the removal of all volumes", 90, 1)

    def _emptied(self):
        """The cluster takes a while to notice the death of those who had them."""
        for name in self.list():
            try:
                self.remove(name)
            except PluginError:
                return False
        return True

    def give_back(self):
        """All mounts, whoever asked for them."""
        for name in self.list():
            for an_id in self.get(name)["Status"].get("mounts", []):
                self.unmount(name, an_id)


class Account:
    """What exists must be what existed before, while processes may have been replaced by others of
    the same program."""

    def __init__(self, cluster, plugin):
        self.cluster, self.plugin = cluster, plugin
        self.before = leaks.lasting(self.take())

    def take(self):
        now = leaks.take(self.cluster, self.plugin, [self.plugin.base])
        names = sorted(name for name, _ in now.processes)
        return dataclasses.replace(now, processes=frozenset(
            (name, names.count(name)) for name in names))

    def settle(self):
        leaks.check(self.before, self.take, ignore=("fds",))


def warm_up(plugin):
    """Whatever is made once and then stays is made now."""
    plugin.raw("Plugin.Activate")
    plugin.create("warm-up", size="1G")
    (plugin.mount("warm-up", "0") / "file").write_bytes(os.urandom(1 << 20))
    plugin.unmount("warm-up", "0")
    plugin.remove("warm-up")
    proc.wait_until((plugin.lib_dir / "cache.json").exists, "the cache's file")


class Load:
    """Both kinds at once. `fio`: verified I/O; `pulse`: how long a user had to wait."""

    def __init__(self, directory):
        self.pulse = Pulse(directory)
        self.fio = Fio(directory)

    def parts(self):
        return self.fio, self.pulse

    def wait_for(self, count):
        """Both go on: `count` more records."""
        self.pulse.wait_for(count)
        self.fio.check()

    def stop(self):
        """Returns the longest pause in seconds, after all that was begun has been verified."""
        self.fio.stop()
        return self.pulse.stop()

    def verify(self, directory):
        """On another mount."""
        self.pulse.verify(directory)
        self.fio.verify_again(directory)


class Call(threading.Thread):
    """One call in the background; .error is the refusal, if there was one."""

    def __init__(self, call, *args):
        super().__init__()
        self.call, self.args = call, args
        self.error = None
        self.start()

    def run(self):
        try:
            self.call(*self.args)
        except PluginError as error:
            self.error = error

    def end(self):
        self.join(60)
        assert not self.is_alive(), "no answer"
        return self.error


def report(text):
    """A measurement, for whoever reads the output; tests/run shows it too."""
    line = f"measured: {text}\n"
    sys.stdout.write(line)
    if "TEST_MEASUREMENTS" in os.environ:
        with open(os.environ["TEST_MEASUREMENTS"], "a") as file:
            file.write(line)
