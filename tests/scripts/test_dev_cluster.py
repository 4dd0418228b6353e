# SPDX-License-Identifier: Apache-2.0
"""scripts/dev-cluster, run for real: two small clusters beside whatever else runs here.

Needs root and Debian's Ceph packages. About 40 s:
    /usr/bin/python3 -m pytest tests/scripts/test_dev_cluster.py
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "dev-cluster"
ADDR = "127.0.0.2"


def run(*args, check=True, timeout=120, env=None):
    """Runs a command, captures both outputs; with check, fails with them on a nonzero exit."""
    done = subprocess.run(
        [str(arg) for arg in args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **(env or {})},
    )
    if check:
        assert done.returncode == 0, f"{args}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def dev(command, directory, *args, **kwargs):
    return run(SCRIPT, command, "--dir", directory, *args, **kwargs)


def status(directory, **kwargs):
    return json.loads(dev("status", directory, "--json", **kwargs).stdout)


def pids(directory, **kwargs):
    return {d["name"]: d["pid"] for d in status(directory, **kwargs)["daemons"]}


def processes_of(directory):
    """All processes whose command line names the ceph.conf of this directory."""
    wanted = f"{directory}/ceph.conf".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            pass  # gone meanwhile
    return found


def listeners(pid):
    """The local addresses, as "ip:port", that a process listens on."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(os.readlink(fd))
        except OSError:
            pass  # closed meanwhile
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        if not path.exists():
            continue
        for line in path.read_text().splitlines()[1:]:
            field = line.split()
            if field[3] == "0A" and f"socket:[{field[9]}]" in inodes:
                host, port = field[1].split(":")
                ip = ".".join(str(b) for b in reversed(bytes.fromhex(host)))
                found.add(f"{ip}:{int(port, 16)}")
    return found


@pytest.fixture(scope="module")
def base():
    # Not pytest's own directory: OSDs need a filesystem with direct I/O, sockets a short path.
    path = Path(tempfile.mkdtemp(prefix="dev-cluster-test-", dir="/var/tmp"))
    yield path
    for directory in path.iterdir():
        if (directory / ".dev-cluster").exists():
            dev("down", directory, "--purge")
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def cluster(base):
    """A cluster of two OSDs on an address of its own."""
    directory = base / "one"
    done = dev("up", directory, "--addr", ADDR, "--osds", "2")
    assert "HEALTH_OK" in done.stderr
    return directory


@pytest.fixture(scope="module")
def conf(cluster):
    return dev("conf", cluster).stdout.rstrip("\n")


def test_status_names_every_daemon(cluster, conf):
    report = status(cluster)
    assert report["running"] is True
    assert report["health"] == "HEALTH_OK"
    assert report["pools"] == ["docker", "docker-data"]
    assert report["addr"] == ADDR
    assert report["conf"] == conf == f"{cluster}/ceph.conf"
    assert [d["name"] for d in report["daemons"]] == ["mon.a", "mgr.x", "osd.0", "osd.1"]
    assert sorted(d["pid"] for d in report["daemons"]) == sorted(processes_of(cluster))

    lines = dev("status", cluster).stdout.splitlines()
    assert len(lines) == 6
    assert all(line.endswith(" running") for line in lines[:4])
    assert lines[4].split() == ["health", "HEALTH_OK"]
    assert lines[5].split() == ["pools", "docker", "docker-data"]


def test_daemons_listen_on_their_address_only(cluster):
    for name, pid in pids(cluster).items():
        found = listeners(pid)
        assert found, name
        assert all(local.startswith(f"{ADDR}:") for local in found), (name, found)


def test_up_again_changes_nothing(cluster):
    before = pids(cluster)
    done = dev("up", cluster, timeout=10)
    assert "already running" in done.stderr
    assert pids(cluster) == before


def test_up_refuses_another_shape(cluster):
    for args in (("--osds", "3"), ("--addr", "127.0.0.1")):
        done = dev("up", cluster, *args, check=False)
        assert done.returncode == 1
        assert "reset" in done.stderr


def test_conf_serves_admin(conf):
    assert run("ceph", "-c", conf, "health").stdout.startswith("HEALTH_OK")
    pools = run("ceph", "-c", conf, "osd", "pool", "ls", "detail").stdout
    assert pools.count("size 2 min_size 1") == 2
    assert pools.count("application rbd") == 2


def test_client_docker_may_use_images(conf):
    rbd = ("rbd", "-c", conf, "--id", "docker", "-p", "docker")
    run(*rbd, "create", "x", "--size", "16M", "--image-feature", "layering,exclusive-lock")
    run(*rbd, "create", "y", "--size", "16M", "--data-pool", "docker-data")
    assert run(*rbd, "ls").stdout.split() == ["x", "y"]
    run(*rbd, "bench", "y", "--io-type", "write", "--io-total", "1M")
    run(*rbd, "rm", "x", "--no-progress")
    run(*rbd, "rm", "y", "--no-progress")


def test_client_docker_may_fence_one_client(conf):
    docker = ("ceph", "-c", conf, "--id", "docker")
    run(*docker, "osd", "blocklist", "add", f"{ADDR}:0/12345")
    run("ceph", "-c", conf, "osd", "blocklist", "rm", f"{ADDR}:0/12345")


def test_client_docker_may_do_no_more(conf):
    docker = ("ceph", "-c", conf, "--id", "docker")
    for command in (("auth", "ls"), ("osd", "pool", "create", "more", "8"), ("osd", "down", "0")):
        done = run(*docker, *command, check=False)
        assert done.returncode != 0, command
        assert "EACCES" in done.stderr, command


def test_keyrings_are_private(cluster):
    keyrings = list(cluster.glob("*.keyring"))
    assert {k.name for k in keyrings} >= {"client.admin.keyring", "client.docker.keyring"}
    assert all(k.stat().st_mode & 0o777 == 0o600 for k in keyrings)


def test_a_second_cluster_shares_nothing(base, cluster):
    other = base / "two"
    before = pids(cluster)
    dev("up", other, "--osds", "1")
    one, two = status(cluster), status(other)
    assert two["running"] and two["health"] == "HEALTH_OK"
    assert one["fsid"] != two["fsid"]
    assert pids(cluster) == before

    # Each knows its own keys only.
    done = run(
        "ceph", "-c", one["conf"], "--keyring", other / "client.admin.keyring",
        "--connect-timeout", "10", "health", check=False,
    )
    assert done.returncode != 0

    dev("down", other, "--purge")
    assert not other.exists()
    assert processes_of(other) == []
    assert pids(cluster) == before


def test_a_steady_cluster_is_written_through(base):
    steady = base / "steady"
    dev("up", steady, "--osds", "1", "--steady")
    assert status(steady)["health"] == "HEALTH_OK"
    file = (steady / "osd.0" / "block").stat()
    assert file.st_size == 3 << 30
    assert file.st_blocks * 512 >= file.st_size, "it is sparse"
    socket = steady / "run" / "osd.0.asok"
    threads = run("ceph", "--admin-daemon", socket, "config", "get", "ms_async_op_threads")
    assert json.loads(threads.stdout) == {"ms_async_op_threads": "1"}
    dev("down", steady, "--purge")


def test_data_survives_stop_and_start(base, cluster, conf):
    rados = ("rados", "-c", conf, "--id", "docker", "-p", "docker")
    data = base / "data"
    data.write_bytes(os.urandom(1 << 20))
    run(*rados, "put", "kept", data)

    dev("down", cluster)
    assert processes_of(cluster) == []
    done = dev("status", cluster, check=False)
    assert done.returncode == 1
    assert done.stdout.count("not running") == 4
    assert "was not running" in dev("down", cluster).stderr

    dev("up", cluster)
    assert status(cluster)["running"]
    back = base / "back"
    run(*rados, "get", "kept", back)
    assert back.read_bytes() == data.read_bytes()
    data.unlink()
    back.unlink()


def test_up_replaces_a_killed_daemon(cluster):
    before = pids(cluster)
    os.kill(before["osd.1"], 9)
    dev("up", cluster)
    after = pids(cluster)
    assert after.pop("osd.1") not in (None, before.pop("osd.1"))
    assert after == before


def test_a_pid_file_alone_kills_nobody(cluster):
    dev("down", cluster)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            (cluster / "run" / "osd.0.pid").write_text(f"{bystander.pid}\n")
            assert pids(cluster, check=False)["osd.0"] is None
            assert "was not running" in dev("down", cluster).stderr
            assert bystander.poll() is None
        finally:
            bystander.kill()
    dev("up", cluster)


def test_purge_leaves_what_it_did_not_make(cluster):
    stranger = cluster / "somebody's"
    stranger.write_text("data")
    done = dev("down", cluster, "--purge", check=False)
    assert done.returncode == 1
    assert "somebody's" in done.stderr
    assert stranger.read_text() == "data"

    stranger.unlink()
    dev("down", cluster, "--purge")
    assert not cluster.exists()
    assert processes_of(cluster) == []


def test_conf_and_status_without_a_cluster(base):
    for command in ("conf", "status"):
        done = dev(command, base / "none", check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        assert "there is no cluster" in done.stderr
    assert not (base / "none").exists()


@pytest.mark.parametrize("command", [("up",), ("reset",), ("down", "--purge")])
def test_somebodys_directory_is_refused(base, command):
    directory = base / "somebodys"
    directory.mkdir()
    (directory / "file").write_text("data")
    try:
        done = dev(command[0], directory, *command[1:], check=False)
        assert done.returncode == 1
        assert "not made by dev-cluster" in done.stderr
        assert [p.name for p in directory.iterdir()] == ["file"]
    finally:
        shutil.rmtree(directory)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("start",),
        ("up", "--bogus"),
        ("up", "extra"),
        ("up", "--dir"),
        ("up", "--dir", "/"),
        ("up", "--dir", "/tmp/a b"),
        ("up", "--dir", "/tmp/" + "x" * 100),
        ("up", "--osds", "0"),
        ("up", "--osds", "many"),
        ("up", "--addr", "0.0.0.0"),
        ("up", "--addr", "localhost"),
        ("up", "--purge"),
        ("down", "--json"),
        ("conf", "--osds", "3"),
        ("down", "--steady"),
    ],
)
def test_bad_options_are_refused(base, args):
    # The environment points elsewhere, should one of them be accepted.
    done = run(SCRIPT, *args, check=False, env={"DEV_CLUSTER_DIR": str(base / "unused")})
    assert done.returncode == 2
    assert done.stderr.startswith("dev-cluster: ")
    assert not (base / "unused").exists()


def test_a_foreign_address_is_refused(base):
    done = dev("up", base / "away", "--addr", "192.0.2.1", check=False)
    assert done.returncode == 1
    assert "192.0.2.1" in done.stderr
    assert not (base / "away").exists()


def test_help_is_the_comment():
    done = run(SCRIPT, "--help")
    assert "usage: scripts/dev-cluster COMMAND [options]" in done.stdout
    assert "set -euo pipefail" not in done.stdout
