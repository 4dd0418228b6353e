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
