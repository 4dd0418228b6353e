# SPDX-License-Identifier: Apache-2.0
"""A host dies or is cut off, and another one takes its volumes over by itself: nothing that was
acknowledged is lost, and there are never two writers."""

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib import proc
from lib.cluster import POOL
from lib.hosts import WATCH_TIMEOUT_S, held_by
from lib.lengths import length
from lib.load import write_synced
from lib.plugin import PluginError
from lib.proc import CommandError, run
from lib.records import RecordWriter, RowWriter

ROUNDS = length(1, 20)  # how often a host is killed, and cut off
ATTEMPTS = length(100, 1000)  # mounts that two hosts try at the same time

# A volume's host is lost: the next mount waits for its watch to expire. Beyond that and the
# promised 3 s there is what a busy machine takes to start a container.
TAKEOVER_S = WATCH_TIMEOUT_S + 3
SLACK_S = 7
STOCK_WATCH_S = 30  # what librbd's clients get from the cluster
DETECT_S = 60       # for a host that is back on the network to notice that it has lost

# A client of librbd's that takes the lock as `rbd map --exclusive` does, and keeps it.
STOCK_CLIENT = """
import sys, rados, rbd
conf, pool, name = sys.argv[1:]
cluster = rados.Rados(conffile=conf, rados_id="docker")
cluster.connect()
image = rbd.Image(cluster.open_ioctx(pool), name)
try:
    image.lock_acquire(rbd.RBD_LOCK_MODE_EXCLUSIVE)
    image.write(b"of a stock client", 512 << 20)
    image.flush()
    print("locked", flush=True)
except Exception as error:
    print("refused:", error, flush=True)
sys.stdin.read()
image.close()
cluster.shutdown()
"""


def take_over(host, volume, *words):
    """`docker run` of a volume whose holder was lost a moment ago; returns its output, and says how
    long it took."""
    begin = time.monotonic()
    output = host.run(volume, *words or ["true"], timeout=TAKEOVER_S + SLACK_S)
    print(f"{host} has {volume} after {time.monotonic() - begin:.1f} s", flush=True)
    return output


def recorded_takeovers(cluster, volume):
    """What the volume's metadata says of takeovers, as one text."""
    facts = cluster.rbd_json("image-meta", "list", volume)
    return json.dumps({key: value for key, value in facts.items() if "takeover" in key})


def assert_sound(cluster, volume, directory):
    """The file system, as it lies in the cluster."""
    image = directory / "image"
    cluster.rbd("export", "--no-progress", volume, image, timeout=120)
    done = run("e2fsck", "-fn", image, check=False, timeout=120)
    assert done.returncode == 0, done.stdout
    image.unlink()


def digest_of_image(cluster, volume, directory):
    """Of every byte of a volume, as stock rbd reads it."""
    image = directory / "image"
    cluster.rbd("export", "--no-progress", volume, image, timeout=120)
    with open(image, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    image.unlink()
    return digest


# --- A host dies ---------------------------------------------------------------------------


@pytest.mark.timeout(300)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_host_kill(a, b, volume, cluster, tmp_path, round_):
    """Records and a database, each on a volume of its own, on a host that dies while writing."""
    of_rows = a.create(f"{volume}-rows")
    records = RecordWriter(a, volume, tmp_path / "records", "records")
    rows = RowWriter(a, of_rows, tmp_path / "rows", "database")
    records.wait_for(20 + 13 * round_)
    rows.wait_for(20)
    a.kill()

    with ThreadPoolExecutor(2) as pool:
        for result in [pool.submit(take_over, b, name) for name in (volume, of_rows)]:
            result.result()
    print(f"round {round_ + 1}: {records.check(b, volume)} records and {rows.check(b, of_rows)} "
          f"rows were acknowledged, 0 are lost")
    for name in (volume, of_rows):
        assert_sound(cluster, name, tmp_path)
        assert "host-a" in recorded_takeovers(cluster, name)
        assert "host-b" in recorded_takeovers(cluster, name)

    a.start()
    a.run(volume, "sh", "-c", "echo back >/data/back")
    assert b.run(volume, "cat", "/data/back") == "back\n"


def test_a_dead_host_keeps_its_other_clients(a, b, volume, network, cluster):
    """The fence is for one client instance: the same host, with the same address, is welcome."""
    a.mount(volume)
    a.kill()
    take_over(b, volume)
    fenced = cluster.ceph("osd", "blocklist", "ls")
    entries = [line for line in fenced.splitlines() if line.startswith(network.address(a.number))]
    assert entries and all(re.match(r"[\d.]+:\d+/[1-9]\d* ", entry) for entry in entries), fenced
    a.start()
    a.run(volume, "true")


def test_inspect_shows_a_takeover(a, b, volume):
    a.mount(volume)
    a.kill()
    take_over(b, volume)
    status = json.dumps(b.engine.inspect_volume(volume)["Status"])
    assert "takeover" in status and "host-a" in status


def test_a_volume_of_a_dead_host_is_removed(a, b, volume):
    """Once the cluster has forgotten the dead host, and not before; nobody needs to mount it."""
    a.mount(volume)
    a.kill()
    with pytest.raises(PluginError, match="host-a"):
        b.plugin.remove(volume)

    def removed():
        try:
            return b.plugin.remove(volume) is not None
        except PluginError as error:
            assert "host-a" in str(error)
            return False

    proc.wait_until(removed, "the volume to be free for removal", TAKEOVER_S + SLACK_S, 1)
    assert volume not in b.plugin.list()


def test_a_host_that_comes_back_takes_its_own_volume_over(a, volume, tmp_path):
    """No other host was there: after a power failure the same one mounts again."""
    writer = RecordWriter(a, volume, tmp_path / "records", "records")
    writer.wait_for(20)
    a.kill()
    a.start()
    take_over(a, volume)
    writer.check(a, volume)


# --- A host is cut off ---------------------------------------------------------------------


def wait_for_the_loser(host, volume, writer):
    """The one that was cut off: its I/O fails, and it says why."""
    proc.wait_until(writer.failure, f"an I/O error of the writer on {host}", DETECT_S)
    assert re.search("I/O error|Read-only|Input/output|shut ?down|Bad message",
                     writer.failure(), re.IGNORECASE), writer.failure()
    proc.wait_until(
        lambda: "fenced" in host.engine.inspect_volume(volume)["Status"]["health"],
        f"{host} to say that {volume} was fenced", DETECT_S)
    assert re.search(rf"{volume}'.*(fenced|took it over|taken over)", host.plugin.log())


def assert_recovers(host, volume):
    """When its containers have ended, the loser holds nothing of it and mounts it afresh."""
    proc.wait_until(lambda: not host.mounts() and not host.plugin.blockd_pids(),
                    f"{host} to put the lost volume away", DETECT_S)
    assert "fenced" not in host.status(volume)["health"]
    host.run(volume, "sh", "-c", "echo recovered >/data/recovered && sync /data/recovered")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_partition(a, b, volume, cluster, tmp_path, round_):
    """After B has mounted, not a byte of A's: A comes back while nothing else writes, and every
    byte of the image is compared. A write of A's that reached the cluster before the cut, and whose
    reply did not, may be acknowledged when A is back: B has found it."""
    writer = RecordWriter(a, volume, tmp_path / "records", "records")
    writer.wait_for(20 + 13 * round_)
    a.cut()
    take_over(b, volume)
    found = writer.read(b, volume)
    assert not writer.lost(found)
    acked = len(writer.acked())
    # Over what A was about to write, so that a late write of A's is seen.
    b.run(volume, "sh", "-c", "dd if=/dev/urandom of=/data/records bs=4096 seek=$0 count=2000 "
                              "conv=fsync,notrunc 2>/dev/null", acked)
    sums = b.run(volume, "md5sum", "/data/records")
    before = digest_of_image(cluster, volume, tmp_path)

    a.heal()
    wait_for_the_loser(a, volume, writer)
    time.sleep(3)
    assert not writer.lost(found), "acknowledged after the volume was lost, and not found there"
    assert digest_of_image(cluster, volume, tmp_path) == before
    assert b.run(volume, "md5sum", "/data/records") == sums
    print(f"round {round_ + 1}: {acked} records, 0 bytes of the lost host's after the takeover")

    writer.stop()
    assert_recovers(a, volume)
    assert b.run(volume, "cat", "/data/recovered") == "recovered\n"
    assert_sound(cluster, volume, tmp_path)


def test_a_reply_that_comes_late(a, b, volume, cluster, tmp_path):
    """A write reaches the cluster and its reply does not reach A, which loses the volume meanwhile:
    B finds what was written, so it is no lie when A is told that it was."""
    a.start_container(volume, "sh", "-c", """
        dd if=/dev/zero of=/data/block bs=4096 count=1 conv=fsync
        tr '\\0' x </dev/zero | head -c 4096 >/tmp/block
        touch /ack/ready
        until [ -e /ack/go ]; do sleep 0.1; done
        dd if=/tmp/block of=/data/block bs=4096 oflag=direct conv=notrunc 2>/ack/said
        echo $? >/ack/status""", binds={tmp_path: "/ack"})
    status = tmp_path / "status"
    proc.wait_until((tmp_path / "ready").exists, "the writer")
    with cluster.unheard_by(a):
        (tmp_path / "go").touch()
        assert take_over(b, volume, "cat", "/data/block") == "x" * 4096
        assert not status.exists()
    proc.wait_until(status.exists, "the writer to hear of its write", DETECT_S)
    print("told at last:", status.read_text().strip(), (tmp_path / "said").read_text())


@pytest.mark.timeout(300)
def test_partition_while_the_winner_writes(a, b, volume, cluster, tmp_path):
    lost = RecordWriter(a, volume, tmp_path / "lost", "lost")
    lost.wait_for(20)
    a.cut()
    take_over(b, volume)
    winner = RecordWriter(b, volume, tmp_path / "winner", "winner")
    winner.wait_for(20)
    a.heal()
    wait_for_the_loser(a, volume, lost)
    lost.stop()
    winner.wait_for(50)
    assert winner.failure() == ""
    with pytest.raises(PluginError, match=held_by(b)):
        a.mount(volume)
    winner.stop()
    lost.check(b, volume)
    winner.check(b, volume)
    assert_sound(cluster, volume, tmp_path)
    assert_recovers(a, volume)


def test_only_the_lost_volume_is_fenced(a, b, volume, tmp_path):
    """A's other volume, which nobody asks for, goes on once A is back."""
    other = a.create(f"{volume}-other")
    lost = RecordWriter(a, volume, tmp_path / "lost", "records")
    kept = RecordWriter(a, other, tmp_path / "kept", "records")
    lost.wait_for(10)
    kept.wait_for(10)
    a.cut()
    take_over(b, volume)
    a.heal()
    wait_for_the_loser(a, volume, lost)
    kept.wait_for(20)
    assert kept.failure() == ""
    lost.stop()
    kept.stop()
    kept.check(b, other)


def test_a_host_that_is_back_in_time_keeps_its_volume(a, b, volume, tmp_path):
    """B has begun to wait for A's end, but A has not ended."""
    writer = RecordWriter(a, volume, tmp_path / "records", "records")
    writer.wait_for(10)
    a.cut()
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(b.mount, volume)
        time.sleep(WATCH_TIMEOUT_S / 3)
        a.heal()
        with pytest.raises(PluginError, match=held_by(a)):
            attempt.result()
    writer.wait_for(20)
    assert writer.failure() == ""
    writer.stop()
    writer.check(b, volume)


# --- Two hosts at once ---------------------------------------------------------------------


class Exclusion:
    """Who has the volume, from the moment a mount was answered to the moment the unmount is asked
    for: never two hosts."""

    def __init__(self):
        self.lock = threading.Lock()
        self.holders = []
        self.mounted = {}

    def enter(self, host):
        with self.lock:
            self.holders.append(host)
            self.mounted[host] = self.mounted.get(host, 0) + 1
            assert len(set(self.holders)) == 1, f"two writers: {self.holders}"

    def leave(self, host):
        with self.lock:
            self.holders.remove(host)


@pytest.mark.timeout(600)
def test_never_two_writers(a, b, volume, cluster):
    exclusion = Exclusion()
    todo = iter(range(ATTEMPTS))
    refusals = []

    def attempts(host):
        while next(todo, None) is not None:
            try:
                path, an_id = host.mount(volume)
            except PluginError as error:
                refusals.append(str(error))
                time.sleep(random.uniform(0, 0.2))
                continue
            exclusion.enter(host)
            try:
                mine = path / an_id  # the same host may have it mounted several times
                mine.write_text(str(host))
                assert len(cluster.lockers(volume)) == 1
                assert mine.read_text() == str(host)
            finally:
                exclusion.leave(host)
                host.unmount(volume, an_id)

    with ThreadPoolExecutor(6) as pool:
        for result in [pool.submit(attempts, host) for host in (a, b) * 3]:
            result.result()
    assert sum(exclusion.mounted.values()) + len(refusals) == ATTEMPTS
    assert [words for words in refusals if not re.search("host-[ab]", words)] == []
    print(f"{exclusion.mounted} mounts, {len(refusals)} refusals, never two writers")


def test_never_two_takers(a, b, volume, cluster):
    """A dead client's volume, which both hosts want: each gets it in turn, fenced by nobody."""
    taken = stock_client(cluster, volume)
    taken.kill()
    taken.wait()
    exclusion = Exclusion()

    def attempt(host):
        deadline = time.monotonic() + STOCK_WATCH_S + TAKEOVER_S + SLACK_S
        while time.monotonic() < deadline:
            try:
                path, an_id = host.mount(volume)
            except PluginError:
                time.sleep(0.5)
                continue
            exclusion.enter(host)
            write_synced(path / str(host), b"mine")
            time.sleep(2)
            exclusion.leave(host)
            host.unmount(volume, an_id)
            return True
        return False

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(attempt, (a, b)))
    assert a.run(volume, "ls", "/data").split() == ["host-a", "host-b"]


# --- Stock tools ---------------------------------------------------------------------------


def stock_client(cluster, volume, expect="locked"):
    client = subprocess.Popen([sys.executable, "-c", STOCK_CLIENT, cluster.conf, POOL, volume],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answer = client.stdout.readline()
    if not answer.startswith(expect):
        client.kill()
        client.wait()
        raise AssertionError(f"the stock client says: {answer}")
    return client


def test_a_lock_of_rbd_lock_add_is_respected(a, volume, cluster):
    """Nobody watches for it: `rbd lock add` has long ended. It is broken by hand or not at all."""
    cluster.rbd("lock", "add", volume, "by-hand")
    locker = cluster.lockers(volume)[0]
    time.sleep(1)
    for _ in range(2):
        with pytest.raises(PluginError) as refusal:
            a.mount(volume)
        client = locker["locker"].removeprefix("client.")
        assert f"'{volume}'" in str(refusal.value) and client in str(refusal.value)
        assert "rbd lock" in str(refusal.value)
    assert cluster.lockers(volume) == [locker]
    cluster.rbd("lock", "rm", volume, "by-hand", locker["locker"])
    a.run(volume, "true")


def test_a_stock_client_that_lives_is_respected(a, b, volume, cluster):
    client = stock_client(cluster, volume)
    locker = cluster.lockers(volume)[0]
    for host in (a, b):
        with pytest.raises(PluginError) as refusal:
            host.mount(volume)
        assert locker["locker"].removeprefix("client.") in str(refusal.value)
    assert cluster.lockers(volume) == [locker]
    client.stdin.close()
    assert client.wait(30) == 0
    a.run(volume, "true")


def test_a_stock_client_that_died_is_taken_over(a, volume, cluster):
    """Its watch lives as long as the cluster's own setting, which is more than a mount waits for:
    then docker is told to try again."""
    client = stock_client(cluster, volume)
    client.send_signal(signal.SIGKILL)
    client.wait()
    deadline = time.monotonic() + STOCK_WATCH_S + TAKEOVER_S + SLACK_S
    while True:
        try:
            a.run(volume, "true")
            break
        except CommandError as error:
            assert time.monotonic() < deadline, error
            assert f"'{volume}'" in error.stderr
    fenced = cluster.ceph("osd", "blocklist", "ls")
    assert re.search(r"^[\d.]+:\d+/[1-9]\d* ", fenced, re.MULTILINE), fenced


def test_a_stock_client_does_not_get_a_mounted_volume(a, volume, cluster, tmp_path):
    writer = RecordWriter(a, volume, tmp_path / "records", "records")
    writer.wait_for(10)
    client = stock_client(cluster, volume, expect="refused")
    client.stdin.close()
    client.wait(30)
    writer.wait_for(20)
    assert writer.failure() == ""
    writer.stop()
    writer.check(a, volume)
