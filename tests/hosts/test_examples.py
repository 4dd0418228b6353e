# SPDX-License-Identifier: Apache-2.0
"""The examples as they are written. Images come from no registry: one with the name of the example's
stands in, and does with its volume what the real one would."""

import pytest

from lib import images, proc
from lib.paths import REPO

COMPOSE = REPO / "examples/compose.yaml"
RESTORE = ("--file", REPO / "examples/restore.yaml")
# Like the database: a directory of its own, a record of each start in it, an end on SIGTERM.
POSTGRES = ('mkdir -p "$PGDATA" && date >>"$PGDATA/starts" && trap exit TERM; '
            'while :; do sleep 1; done')


class Compose:
    def __init__(self, host):
        self.host = host
        images.load(host.engine, "postgres:16", command=POSTGRES)

    def __call__(self, *words):
        return proc.run("docker-compose", "--host", f"unix://{self.host.engine.socket}", "--file",
                        COMPOSE, "--project-name", "shop", *words, timeout=180).stdout

    def starts(self, service="db", more=()):
        """How often the database has been started on this data."""
        return len(self(*more, "exec", "-T", service, "cat", "/data/pgdata/starts").splitlines())


@pytest.fixture
def compose(a, b):
    composes = [Compose(a), Compose(b)]
    yield composes
    for each in composes:
        each("down", "--remove-orphans", "--timeout", "5")


@pytest.mark.timeout(300)  # stock rbd copies a volume in the middle
def test_compose(compose, a, b, cluster):
    on_a, on_b = compose
    on_a("up", "-d")
    assert on_a.starts() == 1
    status = a.status("db")
    assert (status["size"], status["fs"], status["owner"]) == ("5G", "ext4", "shop-team")
    assert status["labels"] == {"tier": "production"}
    assert on_a("exec", "-T", "db", "stat", "-c", "%u:%g %a", "/data").strip() == "999:999 700"
    assert a.engine.inspect_volume("db")["Labels"]["com.example.team"] == "shop"

    # the copy to look at, beside the original
    on_a("stop", "--timeout", "5", "db")
    cluster.rbd("cp", "--no-progress", "docker/db", "docker/db-restored")
    on_a("start", "db")
    on_a(*RESTORE, "up", "-d", "restored")
    assert on_a.starts("restored", RESTORE) == 2
    assert on_a.starts() == 2

    # "down" keeps the volume, and another host finds it by its name; docker-compose wants to see its
    # options there too, which are dockerd's own
    on_a(*RESTORE, "down", "--timeout", "5")
    b.docker("volume", "create", "-d", "rados", "-o", "size=5G", "-o", "uid=999", "-o", "gid=999",
             "-o", "mode=0700", "-o", "owner=shop-team", "-o", "label.tier=production",
             "--label", "com.example.team=shop", "db")
    on_b("up", "-d")
    assert on_b.starts() == 3

    # only this removes it, and an external volume never
    on_b("down", "--volumes", "--timeout", "5")
    assert cluster.images() == ["db-restored"]
    b.plugin.remove("db-restored")


# --- Swarm ---------------------------------------------------------------------------------

STACK = REPO / "examples/stack.yaml"
# In place of the store: a record of each start that is on the disk before the task counts as started.
REDIS_SERVER = b"""#!/bin/sh
while [ "$1" != --dir ]; do shift; done
date >>"$2/starts" && sync && touch /tmp/started
trap exit TERM
while :; do sleep 1; done
"""


class Swarm:
    """Both hosts, `manager` being the one that lives."""

    def __init__(self, manager, worker):
        self.manager, self.worker = manager, worker
        address = manager.network.address(manager.number)
        manager.docker("swarm", "init", "--advertise-addr", address)
        token = manager.docker("swarm", "join-token", "-q", "worker").stdout.strip()
        worker.docker("swarm", "join", "--token", token, f"{address}:2377")
        for host in (manager, worker):
            images.load(host.engine, "redis:7",
                        files=[("bin/redis-server", REDIS_SERVER, 0o755, 0, 0)])

    def tasks(self):
        """{slot: host} of the tasks that run."""
        lines = self.manager.docker("service", "ps", "--filter", "desired-state=running", "--format",
                                    "{{.Name}} {{.Node}} {{.CurrentState}}", "shop_store").stdout
        rows = [line.split() for line in lines.splitlines()]
        return {name.rsplit(".", 1)[1]: node for name, node, state, *_ in rows if state == "Running"}

    def wait_for_tasks(self, nodes):
        proc.wait_until(lambda: sorted(self.tasks().values()) == nodes, f"tasks on {nodes}", 120)

    def starts(self, slot):
        """What the task's volume says, on the manager."""
        engine = self.manager.engine
        container = engine.docker("ps", "-q", "--filter", f"name=shop_store.{slot}.").stdout.strip()
        proc.wait_until(lambda: engine.exec(container, "ls", "/tmp/started", check=False), "a start")
        return engine.exec(container, "cat", "/data/starts").splitlines()

    def close(self):
        self.manager.docker("stack", "rm", "shop")
        for host in (self.worker, self.manager):
            if not host.running:
                host.start()
            proc.wait_until(lambda: not host.docker("ps", "-q").stdout.split(), "the tasks' end", 60)
        for host in (self.worker, self.manager):
            host.docker("swarm", "leave", "--force")


@pytest.mark.soak
@pytest.mark.timeout(300)  # Swarm takes its time to give a node up
def test_a_swarm_task_moves_with_its_volume(a, b):
    swarm = Swarm(manager=b, worker=a)
    try:
        b.docker("stack", "deploy", "--resolve-image", "never", "-c", STACK, "shop")
        swarm.wait_for_tasks(["host-a", "host-b"])
        (lost,) = [slot for slot, node in swarm.tasks().items() if node == "host-a"]
        (kept,) = set(swarm.tasks()) - {lost}
        assert b.status(f"store-{lost}")["holder"]["host"] == "host-a"
        a.kill()
        swarm.wait_for_tasks(["host-b", "host-b"])
        assert len(swarm.starts(lost)) == 2
        assert len(swarm.starts(kept)) == 1
        assert b.status(f"store-{lost}")["holder"]["host"] == "host-b"
    finally:
        swarm.close()
