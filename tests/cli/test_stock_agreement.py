# SPDX-License-Identifier: Apache-2.0
"""Random operations through radosvol, the endpoints and stock rbd: after each of them all three
must list the same, which is what a model says, and volumes and snapshots must hold what it says.

STOCK_SEED        the same seed makes the same operations (default: another one each time; a failure
                  names it)
STOCK_OPERATIONS  how many
"""

import os
import random

import pytest

from lib import proc
from lib.crash import report
from lib.leaks import POOL_OBJECTS
from lib.lengths import length
from lib.plugin import PluginError
from stock_operations import Operations

OPERATIONS = int(os.environ.get("STOCK_OPERATIONS", length(30, 500)))
SEED = int(os.environ.get("STOCK_SEED", random.SystemRandom().randrange(1 << 32)))
EVERYTHING = 20  # operations after which everything is looked at, in every way


@pytest.fixture
def operations(nothing_left, start_plugin, radosvol, cluster):
    """With a plugin that keeps removed volumes; nothing is left of them afterwards."""
    before = cluster.objects()
    plugin = start_plugin(trash_expiry="7d")
    operations = Operations(SEED, plugin, radosvol, cluster)
    yield operations
    for volume in operations.model.volumes:
        if volume.mounted:
            plugin.unmount(volume.name, volume.mounted)
    clean_up(plugin, cluster)
    proc.wait_until(lambda: cluster.objects() <= before | POOL_OBJECTS, "the trimming", 120)


def clean_up(plugin, cluster):
    """Clones first, whatever the model thinks: a failure may have left it behind."""
    for entry in cluster.rbd_json("trash", "ls"):
        cluster.rbd("trash", "restore", "--image", f"trashed-{entry['id']}", entry["id"])
    for name in plugin.list():
        for snap in cluster.rbd_json("snap", "ls", name):
            if snap["protected"] == "true":
                cluster.rbd("snap", "unprotect", f"{name}@{snap['name']}")
    while names := plugin.list():
        for name in names:
            try:
                plugin.remove(name)
            except PluginError:
                continue
        assert len(plugin.list()) < len(names), names
    assert plugin.call("Trash.Purge", {"All": True}, timeout=300)["Failures"] == []


@pytest.mark.timeout(length(900, 7200))
def test_stock_tools_agree_after_every_operation(operations):
    try:
        for number in range(1, OPERATIONS + 1):
            concerned = operations.step()
            operations.compare(concerned)
            operations.check_contents(concerned)
            if number % EVERYTHING == 0 or number == OPERATIONS:
                operations.look_at_everything()
    except BaseException as error:  # pytest's own are no Exceptions
        last = "\n".join(operations.done[-12:])
        raise AssertionError(f"STOCK_SEED={SEED} STOCK_OPERATIONS={len(operations.done)}: {error}\n"
                             f"the last operations:\n{last}") from error
    report(f"{OPERATIONS} random operations, {operations.refused} of them refused as they should "
           f"be: stock tools agreed after each (STOCK_SEED={SEED})")
