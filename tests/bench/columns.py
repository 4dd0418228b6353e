# SPDX-License-Identifier: Apache-2.0
"""The ways to one cluster that tests/bench/data compares: each makes a device, runs one kind of I/O
on it with fio (or dd, or raw_librados), and says what that cost.

All of them are durable when acknowledged: librbd's volatile cache is off, and QEMU's node and the
loop devices do direct I/O."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lib import proc
from lib.cluster import POOL
from lib.paths import BUILD
from lib.plugin import mount_id

MIB = 1 << 20
DISCARD_AT = 768 * MIB     # what is discarded: filled again before each time
DISCARD_REGION = 16 * MIB
CELL_S = 180               # how long a cell may take at most

SYNC, BUFFERED = "sync", "buffered"


@dataclass(frozen=True)
class Row:
    """One kind of I/O. `kind`: of raw_librados, and `fio`: the same in fio's words. `extra`: SYNC
    for a flush after each write, BUFFERED for one thread through the page cache (dd); librados and
    librbd have no page cache, so there it is 1 MiB at depth 8."""

    key: str
    label: str
    kind: str
    fio: str
    block: int
    depth: int
    extra: str = ""

    @property
    def in_mib(self):
        return self.block >= MIB


ROWS = [
    Row("read-1", "4 KiB random read, depth 1", "read", "randread", 4096, 1),
    Row("read-16", "4 KiB random read, depth 16", "read", "randread", 4096, 16),
    Row("read-32", "4 KiB random read, depth 32", "read", "randread", 4096, 32),
    Row("write-1", "4 KiB random write, depth 1", "write", "randwrite", 4096, 1),
    Row("write-16", "4 KiB random write, depth 16", "write", "randwrite", 4096, 16),
    Row("write-32", "4 KiB random write, depth 32", "write", "randwrite", 4096, 32),
    Row("fsync", "4 KiB random write + fsync, depth 1", "sync", "randwrite", 4096, 1, SYNC),
    Row("mix-16", "4 KiB random 70 % read, depth 16", "mix", "randrw", 4096, 16),
    Row("seqread-8", "1 MiB sequential read, depth 8", "seqread", "read", MIB, 8),
    Row("seqwrite-8", "1 MiB sequential write, depth 8", "seqwrite", "write", MIB, 8),
    Row("bufread", "buffered sequential read, 1 thread", "seqread", "read", MIB, 8, BUFFERED),
    Row("bufwrite", "buffered sequential write, 1 thread", "seqwrite", "write", MIB, 8, BUFFERED),
    Row("discard", "64 KiB discard, depth 1", "discard", "randtrim", 64 * 1024, 1),
]

FILL, WARM, AGE = (next(row for row in ROWS if row.key == key)
                   for key in ("seqwrite-8", "seqread-8", "write-32"))
AGE_S = 2  # new objects are in one piece, and faster than they will ever be again


def cell(requests, seconds, mean_us, p99_us, cpu_us):
    """What one run of one row in one column gave. mean_us, p99_us: None where a tool has none."""
    return {"iops": requests / seconds, "mean_us": mean_us, "p99_us": p99_us,
            "cpu_us": cpu_us / requests}


def private_kib(pid):
    """Memory that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def cpu_time_us(pid):
    """User + system time of a process so far, microseconds: its CPU clock (clock_getcpuclockid(3)),
    for /proc/PID/stat has hundredths of a second only."""
    return time.clock_gettime_ns(~pid << 3 | 2) / 1000


def fio_argv(row, seconds, region, target):
    """`region`: (offset, bytes), `target`: words that say where. seconds 0: each block once."""
    return ["fio", "--name=cell", f"--rw={row.fio}", f"--bs={row.block}", f"--iodepth={row.depth}",
            f"--offset={region[0]}", f"--size={region[1]}", "--direct=1", "--rwmixread=70",
            "--randrepeat=0", "--output-format=json", "--lat_percentiles=1", "--clat_percentiles=0",
            *(["--fsync=1"] if row.extra == SYNC else []),
            *(["--time_based", f"--runtime={seconds * 1000:.0f}ms"] if seconds else []), *target]


def fio_result(output):
    """(requests, seconds, mean, p99) of a run of fio, of all directions together. With a flush
    after each write both are waited for: their means add up, and so, at most, do their
    percentiles."""
    job = json.loads(output[output.index("{"):])["jobs"][0]
    parts = [job[way] for way in ("read", "write", "trim") if job[way]["total_ios"]]
    requests = sum(part["total_ios"] for part in parts)
    mean = sum(part["lat_ns"]["mean"] * part["total_ios"] for part in parts) / requests
    p99 = max(part["lat_ns"]["percentile"]["99.000000"] for part in parts)
    sync = job["sync"]["lat_ns"]
    if job["sync"]["total_ios"]:
        mean += sync["mean"]
        p99 += sync["percentile"]["99.000000"]
    return (requests, max(part["runtime"] for part in parts) / 1000, mean / 1000, p99 / 1000)


class Column:
    """One way. `key` and `label` name it; it is measured in every `every`th round."""

    every = 1

    def __init__(self, bench):
        self.bench = bench

    def can(self, row):
        return True

    def prepare(self):
        """Make it, and fill what the rows use."""
        raise NotImplementedError

    def run(self, row, seconds):
        """Measure; returns a cell()."""
        raise NotImplementedError

    def close(self):
        pass


class RawLibrados(Column):
    key, label = "a", "librados"

    def raw(self, row, seconds=0, region=None, prefix="raw"):
        return json.loads(proc.run(BUILD / "bench/raw_librados", self.bench.cluster.conf, "docker",
                                   POOL, prefix, row.kind, row.block, row.depth,
                                   region or self.bench.region, seconds, timeout=CELL_S).stdout)

    def prepare(self):
        self.raw(FILL)
        self.raw(WARM)
        self.raw(AGE, AGE_S)

    def run(self, row, seconds):
        if row.kind == "discard":
            self.raw(FILL, 0, DISCARD_REGION, "raw-discard")
            got = self.raw(row, 0, DISCARD_REGION, "raw-discard")
        else:
            got = self.raw(row, seconds)
        return cell(got["requests"], got["seconds"], got["mean_us"], got["p99_us"],
                    got["cpu_us"] * got["requests"])


class Fio(Column):
    """What fio does; fio() returns its output and the user + system time that counts."""

    def fio(self, row, seconds, region):
        raise NotImplementedError

    def fill(self):
        for row, seconds in ((FILL, 0), (WARM, 0), (AGE, AGE_S)):
            self.fio(row, seconds, (0, self.bench.region))

    def run(self, row, seconds):
        region = (0, self.bench.region)
        if row.kind == "discard":
            seconds, region = 0, (DISCARD_AT, DISCARD_REGION)
            self.fio(FILL, 0, region)
        output, cpu_us = self.fio(row, seconds, region)
        return cell(*fio_result(output), cpu_us)


class Librbd(Fio):
    """fio's rbd engine. Its user + system time is fio's, from its first request to its last: opening
    and closing the image costs more than some cells do."""

    key, label = "b", "librbd (fio)"
    image = "bench-b"

    def fio(self, row, seconds, region):
        target = ["--ioengine=rbd", "--clientname=docker", f"--pool={POOL}",
                  f"--rbdname={self.image}", "--busy_poll=0"]
        times = []
        for when in ("prerun", "postrun"):  # of each thread: nanoseconds on a CPU, and more
            times.append(self.bench.base / f"librbd-{when}")
            target.append(f"--exec_{when}=cat /proc/$PPID/task/*/schedstat >{times[-1]}; :")
        output = proc.run(*fio_argv(row, seconds, region, target), env=self.bench.env,
                          cwd=self.bench.base, timeout=CELL_S).stdout
        before, after = (sum(int(line.split()[0]) for line in file.read_text().splitlines())
                         for file in times)
        return output, (after - before) / 1000

    def prepare(self):
        self.bench.make_image(self.image)
        self.fill()


class Device(Fio):
    """A block device or a file that a process of ours or of others serves. The user + system time
    is that process', not fio's."""

    path = None
    pid = None

    def fio(self, row, seconds, region):
        engine = "psync" if row.extra == SYNC else "libaio"  # libaio's flushes are timed wrongly
        target = [f"--filename={self.path}", f"--ioengine={engine}", "--allow_file_create=0"]
        before = cpu_time_us(self.pid)
        output = proc.run(*fio_argv(row, seconds, region, target), timeout=CELL_S).stdout
        return output, cpu_time_us(self.pid) - before

    def run(self, row, seconds):
        self.forget()
        if row.extra != BUFFERED:
            return super().run(row, seconds)
        # Free memory of a virtual machine may be its host's again, and then touching it costs ten
        # times what copying to it does. The first time gets the page cache its memory.
        self.copy(row)
        count, took, cpu_us = 0, 0.0, 0.0
        while took < seconds:
            self.forget()
            count, took, cpu_us = (have + more for have, more in
                                   zip((count, took, cpu_us), self.copy(row)))
        return cell(count, took, None, None, cpu_us)

    def forget(self):
        """Nothing of it is in the page cache any more."""
        fd = os.open(self.path, os.O_RDWR)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def copy(self, row):
        """dd, one MiB after the other; writing ends with a flush, whose time counts. Returns
        (requests, seconds, user + system time)."""
        count = self.bench.region // row.block
        words = ([f"if={self.path}", "of=/dev/null"] if row.kind == "seqread" else
                 ["if=/dev/zero", f"of={self.path}", "conv=notrunc,fsync"])
        before = cpu_time_us(self.pid)
        done = proc.run("dd", f"bs={row.block}", f"count={count}", *words, timeout=CELL_S,
                        env={**os.environ, "LC_ALL": "C"})
        seconds = float(re.search(r"([\d.]+) s,", done.stderr)[1])
        return count, seconds, cpu_time_us(self.pid) - before


class OurDevice(Device):
    key, label = "c", "our device"
    volume = "bench-c"

    def plugin(self):
        return self.bench.plugin

    def prepare(self):
        plugin = self.plugin()
        before = set(plugin.blockd_pids())
        plugin.create(self.volume, size="1G")
        self.mount = mount_id()
        self.point = plugin.mount(self.volume, self.mount)
        (self.pid,) = set(plugin.blockd_pids()) - before
        self.use()
        self.fill()

    def use(self):
        """The device alone: the plugin keeps it while the file system on it is unmounted."""
        self.path = proc.run("findmnt", "-no", "SOURCE", self.point).stdout.strip()
        proc.run("umount", self.point)

    def close(self):
        if self.pid:
            self.plugin().unmount(self.volume, self.mount)
            self.plugin().remove(self.volume)


class OurFile(OurDevice):
    key, label = "d", "file on our ext4"
    volume = "bench-d"

    def can(self, row):
        return row.kind != "discard"  # a hole in a file is the file system's affair

    def use(self):
        self.path = self.point / "file"
        with open(self.path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.bench.region)


class OtherDevice(OurDevice):
    """Ours again, by the programs of another build: to prove what a change does."""

    key, label = "c2", "other build"
    volume = "bench-c2"

    def plugin(self):
        return self.bench.other_plugin


class OtherFile(OurFile):
    key, label = "d2", "other build, file"
    volume = "bench-d2"

    def plugin(self):
        return self.bench.other_plugin


class Looped(Device):
    """A file that a FUSE daemon offers, and a loop device with direct I/O on it."""

    image = None
    process = None
    every = 2  # they are slow, and far from what they are compared with

    def prepare(self):
        self.bench.make_image(self.image)
        file = self.start()
        self.path = proc.run("losetup", "--find", "--show", "--direct-io=on", file).stdout.strip()
        self.fill()

    def launch(self, *argv):
        self.process = subprocess.Popen([str(word) for word in argv], env=self.bench.env,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.pid = self.process.pid

    def start(self):
        raise NotImplementedError

    def close(self):
        if self.path:
            proc.run("losetup", "--detach", self.path)
        if self.process:
            proc.end(self.process)


class RbdFuse(Looped):
    key, label = "e", "rbd-fuse + loop"
    image = "bench-e"

    def can(self, row):
        return row.kind != "discard"  # it has none

    def start(self):
        point = self.bench.base / "rbd-fuse"
        point.mkdir()
        self.launch("rbd-fuse", "-c", self.bench.conf, "-p", POOL, point, "-f")
        return proc.wait_until(lambda: next(point.glob(self.image), None), "rbd-fuse")


class QemuFuse(Looped):
    key, label = "f", "QEMU FUSE + loop"
    image = "bench-f"

    def start(self):
        file = self.bench.base / "qemu-export"
        file.touch()
        self.launch("qemu-storage-daemon", "--blockdev",
                    f"driver=rbd,node-name=image,pool={POOL},image={self.image},user=docker,"
                    f"conf={self.bench.conf},cache.direct=on,discard=unmap",
                    "--export", f"type=fuse,id=export,node-name=image,mountpoint={file},"
                    "writable=on")
        proc.wait_until(lambda: file.stat().st_size, "qemu-storage-daemon's file")
        return file


COLUMNS = [RawLibrados, Librbd, OurDevice, OurFile, RbdFuse, QemuFuse]
OTHERS = [OtherDevice, OtherFile]
