# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus reads the plugin, with the example's dashboard and alerts."""

import json
import os
import re

import pytest

from lib import metrics, proc
from lib.load import Pulse, write_synced
from lib.paths import REPO

DASHBOARD = REPO / "examples" / "grafana-dashboard.json"
ALERTS = REPO / "examples" / "alerts.yaml"

pytestmark = pytest.mark.soak


def dashboard_queries():
    """(panel, query) as Grafana would send it."""
    found = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            expression = target["expr"].replace("$volume", ".*").replace("$__rate_interval", "30s")
            assert "$" not in expression, expression
            found.append((panel["title"], expression))
    return found


@pytest.fixture
def prometheus(plugin, address, tmp_path):
    prometheus = metrics.Prometheus(tmp_path / "prometheus", [address], ALERTS)
    yield prometheus
    prometheus.close()


def test_dashboard_and_alerts(prometheus, plugin, volumes, cluster):
    name = volumes.create()
    cluster.rbd("snap", "create", f"{name}@one")
    path, an_id = volumes.mount(name)
    beat = Pulse(path)
    missing = []

    def all_answered():
        # Discards and reads, which a heartbeat alone does not make.
        write_synced(path / "more", os.urandom(1 << 20))
        fd = os.open(path / "more", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.read(fd, 1 << 20)
        os.close(fd)
        (path / "more").unlink()
        proc.run("fstrim", path)
        missing[:] = [query for query in dashboard_queries() if not prometheus.query(query[1])]
        return not missing

    try:
        proc.wait_until(all_answered, "data for each query", 100, interval=2)
    except AssertionError as error:
        raise AssertionError(f"{error}: {missing}") from None
    finally:
        beat.stop()
        volumes.unmount(name, an_id)
        cluster.rbd("snap", "rm", f"{name}@one")
    assert len(dashboard_queries()) > 25
    assert [target["health"] for target in prometheus.targets()] == ["up"]
    rules = prometheus.rules()
    assert len(rules) == 9
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_alert_of_a_fenced_volume(prometheus, plugin, volumes, cluster):
    name = volumes.create()
    path, an_id = volumes.mount(name)
    address = cluster.watchers(name)[0]
    cluster.ceph("osd", "blocklist", "add", address)

    def firing():
        return [alert["labels"] for rule in prometheus.rules() for alert in rule["alerts"]
                if rule["name"] == "VolumeFenced" and alert["state"] == "firing"]

    labels = proc.wait_until(firing, "the alert", 60, interval=0.5)
    assert [label["volume"] for label in labels] == [name]
    volumes.unmount(name, an_id)
    proc.wait_until(lambda: not firing(), "the alert's end", 60, interval=0.5)
    volumes.mount(name)  # takes it over from the fenced one, so that it can be removed
    cluster.ceph("osd", "blocklist", "rm", address)
    assert os.path.ismount(path)


def test_rules_are_clean():
    metrics.promtool("check", "rules", str(ALERTS))


def test_rules_fire():
    """examples/alerts.yaml on numbers made up for it."""
    metrics.promtool("test", "rules", str(REPO / "tests" / "metrics" / "alerts_test.yaml"))


def test_dashboard_asks_only_for_what_is_there(plugin, volumes):
    """A name that is misspelt there, or gone here."""
    path, _ = volumes.mount(volumes.create())
    text = metrics.scrape(plugin).text
    known = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    known |= {f"{name}_{suffix}" for name in known for suffix in ("bucket", "sum", "count")}
    for source in (DASHBOARD.read_text(), ALERTS.read_text()):
        for word in set(re.findall(r"docker_volume_rados_\w+", source)):
            assert word in known, word
    assert os.path.ismount(path)
