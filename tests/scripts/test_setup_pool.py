# SPDX-License-Identifier: Apache-2.0
"""scripts/setup-pool on a real cluster: what it makes suffices for the plugin, and for nothing more."""

import os
import secrets
import stat

import pytest

from lib import proc
from lib.paths import BUILD, REPO


class Setup:
    """A pool of the test's own. `out`: where the files for the hosts are."""

    def __init__(self, cluster, out):
        self.cluster, self.out = cluster, out
        self.pool = f"pool-{secrets.token_hex(3)}"
        self.clients = set()

    def run(self, *words, client=None, check=True, pool=None):
        client = client or f"{self.pool}-user"
        self.clients.add(client)
        env = {**os.environ, "CEPH_CONF": self.cluster.conf}
        env.pop("CEPH_ARGS", None)
        return proc.run(REPO / "scripts/setup-pool", "--pool", pool or self.pool, "--client", client,
                        "--out", self.out / client, *words, env=env, check=check, timeout=120)

    def rbd(self, client, *words, check=True):
        """Stock rbd with nothing but what was made for the hosts."""
        directory = self.out / client
        return proc.run("rbd", "--conf", directory / "ceph.conf", "--keyring",
                        directory / f"ceph.client.{client}.keyring", "--id", client, *words,
                        check=check, timeout=60)

    def close(self):
        for client in self.clients:
            self.cluster.ceph("auth", "rm", f"client.{client}")
        if self.pool in self.cluster.ceph("osd", "pool", "ls").split():
            self.cluster.ceph("osd", "pool", "rm", self.pool, self.pool,
                              "--yes-i-really-really-mean-it")


@pytest.fixture
def setup(cluster, tmp_path):
    setup = Setup(cluster, tmp_path)
    yield setup
    setup.close()


def refused(done):
    return done.returncode != 0 and "not permitted" in done.stderr


def test_one_pool(setup, cluster, start_plugin):
    printed = setup.run().stdout
    client = f"{setup.pool}-user"
    keyring = setup.out / client / f"ceph.client.{client}.keyring"
    assert stat.S_IMODE(keyring.stat().st_mode) == 0o600
    assert str(keyring) in printed
    key = [line.split()[-1] for line in keyring.read_text().splitlines() if "key =" in line][0]
    assert key not in printed
    assert (setup.out / client / "settings").read_text() == \
        f"RADOS_POOL={setup.pool}\nCEPH_CLIENT={client}\n"

    # another pool is out of reach
    assert refused(setup.rbd(client, "create", "--size", "1G", "docker/intruder", check=False))

    # all the plugin does is in reach, with the very files that were made
    conf = setup.out / client / "ceph.conf"
    conf.write_text(f"{conf.read_text()}\tkeyring = {keyring}\n")
    plugin = start_plugin(conf=conf, pool=setup.pool, ceph_client=client)
    plugin.create("volume", size="1G")
    path = plugin.mount("volume", "1")
    (path / "file").write_text("data")
    plugin.unmount("volume", "1")
    assert setup.rbd(client, "-p", setup.pool, "ls").stdout.split() == ["volume"]
    plugin.remove("volume")


def test_again_changes_nothing(setup, cluster):
    def state():
        return (cluster.ceph("auth", "get", f"client.{setup.pool}-user"),
                cluster.ceph("osd", "pool", "application", "get", setup.pool),
                cluster.ceph("osd", "pool", "ls"))

    setup.run()
    before = state()
    assert setup.run().stdout
    assert state() == before


def test_namespaces_are_apart(setup, cluster, start_plugin):
    for team in ("red", "blue"):
        printed = setup.run("--namespace", team, "--data-pool", "docker-data",
                            client=f"{setup.pool}-{team}").stdout
        assert f"RADOS_NAMESPACE={team}\n" in printed
    red, blue = f"{setup.pool}-red", f"{setup.pool}-blue"
    setup.rbd(red, "create", "--size", "1G", f"{setup.pool}/red/mine")
    assert setup.rbd(red, "ls", f"{setup.pool}/red").stdout.split() == ["mine"]
    for done in (setup.rbd(blue, "ls", f"{setup.pool}/red", check=False),
                 setup.rbd(blue, "rm", f"{setup.pool}/red/mine", check=False),
                 setup.rbd(blue, "create", "--size", "1G", f"{setup.pool}/all", check=False)):
        assert refused(done), done.stderr

    conf = setup.out / blue / "ceph.conf"
    keyring = setup.out / blue / f"ceph.client.{blue}.keyring"
    conf.write_text(f"{conf.read_text()}\tkeyring = {keyring}\n")
    plugin = start_plugin(conf=conf, pool=setup.pool, ceph_client=blue, namespace="blue")
    assert plugin.list() == []
    for options in ({}, {"data-pool": "docker-data"}):
        plugin.create("theirs", size="1G", **options)
        path = plugin.mount("theirs", "1")
        (path / "file").write_text("data")
        plugin.unmount("theirs", "1")
        listed = proc.run(BUILD / "radosvol", "--ceph-conf", conf, "--ceph-client", blue, "--pool",
                          setup.pool, "--namespace", "blue", "ls").stdout
        assert "theirs" in listed
        plugin.remove("theirs")


def test_what_is_used_otherwise_is_left_alone(setup, cluster):
    cluster.ceph("osd", "pool", "create", setup.pool)
    cluster.ceph("osd", "pool", "application", "enable", setup.pool, "cephfs")
    done = setup.run(check=False)
    assert done.returncode == 1 and "is used for 'cephfs'" in done.stderr
    setup.clients.clear()

    rights = cluster.ceph("auth", "get", "client.docker")
    done = setup.run(client="docker", pool="docker", check=False)
    setup.clients.clear()
    assert done.returncode == 1 and "exists with other rights" in done.stderr
    assert cluster.ceph("auth", "get", "client.docker") == rights


@pytest.mark.parametrize("words", [("--pool",), ("--pool", ""), ("--pool", "a b"), ("--size", "1"),
                                   ("--data-pool", "there-is-none")])
def test_wrong_usage(setup, words):
    done = setup.run(*words, check=False)
    assert done.returncode == 1 and done.stderr.startswith("setup-pool: ")
