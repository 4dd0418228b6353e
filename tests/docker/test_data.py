# SPDX-License-Identifier: Apache-2.0
"""The data are right: verified I/O over the whole path, and a database whose container is killed."""

import sqlite3
import subprocess
from contextlib import closing

import pytest

from lib import images
from lib.proc import run, wait_until

MIB = 1024  # what fio writes and reads back for each file system

pytestmark = pytest.mark.timeout(420)


def fio(directory, *options):
    """Write with checksums in each block, read all back and compare."""
    run("fio", "--name=verify", f"--directory={directory}", f"--size={MIB}M", "--ioengine=libaio",
        "--iodepth=16", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1",
        "--randseed=1", "--group_reporting", "--output-format=terse", *options, timeout=400)


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_random_writes_verify(volumes, fs):
    name = volumes.create(size="3G", fs=fs)
    path, an_id = volumes.mount(name)
    fio(path, "--rw=randwrite", "--bsrange=4k-256k", "--bs_unaligned=0", "--direct=1")
    volumes.unmount(name, an_id)
    # Once more from the cluster, with nothing of it in memory: another mount has an empty cache.
    path, an_id = volumes.mount(name)
    fio(path, "--rw=randwrite", "--bsrange=4k-256k", "--bs_unaligned=0", "--direct=1",
        "--verify_only")


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_buffered_rewrites_verify(volumes, fs):
    """Through the page cache, with rewrites, holes and fsync on the way."""
    name = volumes.create(size="2G", fs=fs)
    path, _ = volumes.mount(name)
    run("fio", "--name=rewrite", f"--directory={path}", f"--size={max(MIB // 8, 8)}M",
        "--rw=randrw", "--bsrange=512-64k", "--ioengine=psync", "--numjobs=2", "--fsync=64",
        "--verify=crc32c", "--verify_backlog=512", "--verify_fatal=1", "--randseed=2",
        "--group_reporting", "--output-format=terse", timeout=300)


@pytest.fixture(scope="session")
def sqlite_image(dockerd):
    return images.load(dockerd, "sqlite", programs=["/usr/bin/sqlite3"])


WRITER = """
sqlite3=/usr/bin/sqlite3
$sqlite3 /data/db 'pragma journal_mode=%s; create table if not exists t (n integer, v blob)'
n=0
while :; do
    $sqlite3 /data/db "pragma synchronous=full; begin; insert into t values ($n, randomblob(20000)); \
insert into t values ($n, randomblob(300)); commit" && echo $n
    n=$((n + 1))
done
"""


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_database_survives_its_container(docker, plugin, sqlite_image, fs, journal):
    """Killed in the middle: integrity_check passes and every transaction acknowledged is there."""
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "-o", f"fs={fs}", "db")
    acknowledged = -1
    for _ in range(2):
        container = docker.docker("run", "-d", "--network", "none", "-v", "db:/data", sqlite_image,
                                  "sh", "-c", WRITER % journal).stdout.strip()

        def last():
            numbers = [w for w in docker.docker("logs", container).stdout.split() if w.isdigit()]
            return int(numbers[-1]) if numbers else -1

        wait_until(lambda: last() > 15, "some transactions", 60)
        docker.docker("kill", "--signal", "KILL", container)
        acknowledged = last()
        docker.docker("rm", container)
        check = docker.run("-v", "db:/data", sqlite_image, "/usr/bin/sqlite3", "/data/db",
                           "pragma integrity_check; select count(*) from (select n from t "
                           f"group by n having n <= {acknowledged}); select count(*) %% 2 from t"
                           .replace("%%", "%"))
        assert check.split() == ["ok", str(acknowledged + 1), "0"]


def test_a_database_on_the_mount_with_many_writers(volumes):
    """WAL's shared memory, byte-range locks and fsync from several processes' view."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    with closing(sqlite3.connect(path / "db")) as db:
        db.execute("pragma journal_mode=wal")
        db.execute("create table t (who integer, n integer, v blob)")
    script = ("import sqlite3, sys\n"
              "db = sqlite3.connect(sys.argv[1], timeout=60)\n"
              "for n in range(50):\n"
              "    with db: db.execute('insert into t values (?, ?, randomblob(5000))', "
              "(int(sys.argv[2]), n))\n")
    writers = [subprocess.Popen(["/usr/bin/python3", "-c", script, path / "db", str(who)])
               for who in range(4)]
    assert [writer.wait(120) for writer in writers] == [0] * 4
    volumes.unmount(name, an_id)
    path, _ = volumes.mount(name)
    with closing(sqlite3.connect(path / "db")) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)
        assert db.execute("select count(distinct who * 1000 + n) from t").fetchone() == (200,)
