# SPDX-License-Identifier: Apache-2.0
"""Create, remove, restore, clone, flatten, trash, resize and snapshots, killed by SIGKILL at each
step by which they change the cluster: afterwards there is the old state or the new one, as the
stock library sees it, the next call finishes what was begun or does it anew, and once all is
removed no object is left.

Which steps there are nobody has to write down: die.c counts the calls into librados, and an
operation is killed at the first, the second, and so on until it ends alive. What the source says of
such calls is compared with those that were met."""

from collections import defaultdict

import pytest

import source
from deaths import STEPS_MAX
from lib.crash import report
from lib.lengths import length
from operations import OPERATIONS
from place import PROGRAMS

pytestmark = pytest.mark.timeout(length(600, 7200))

# Functions of librados that change nothing which outlives the client.
HARMLESS = {
    "rados_aio_cancel", "rados_aio_create_completion2", "rados_aio_get_return_value",
    "rados_aio_get_version", "rados_aio_read", "rados_aio_read_op_operate", "rados_aio_release",
    "rados_aio_stat", "rados_aio_wait_for_complete", "rados_aio_watch_flush",
    "rados_application_list", "rados_buffer_free", "rados_conf_get", "rados_conf_read_file",
    "rados_conf_set", "rados_connect", "rados_create", "rados_create_read_op",
    "rados_create_write_op", "rados_get_instance_id", "rados_getaddrs", "rados_ioctx_create2",
    "rados_ioctx_destroy", "rados_ioctx_selfmanaged_snap_set_write_ctx",
    "rados_ioctx_set_namespace", "rados_ioctx_snap_set_read", "rados_mon_command",
    "rados_notify_ack", "rados_omap_get_end", "rados_omap_get_next2", "rados_pool_lookup",
    "rados_pool_reverse_lookup", "rados_read_op_assert_exists", "rados_read_op_exec",
    "rados_read_op_omap_get_vals_by_keys2", "rados_read_op_set_flags", "rados_release_read_op",
    "rados_release_write_op", "rados_set_pool_full_try", "rados_shutdown",
    "rados_wait_for_latest_osdmap", "rados_watch_check", "rados_write_op_assert_exists",
    "rados_write_op_create", "rados_write_op_exec", "rados_write_op_omap_cmp2",
    "rados_write_op_remove", "rados_write_op_truncate", "rados_write_op_write",
    "rados_write_op_zero",
}

# Places in the source that these operations do not come by.
NOT_MET = {
    ("driver/image/owner_server.c", "tell"): "is the owner of a mounted volume",
    ("driver/image/ownership.c", "rewatch"): "only when a watch breaks meanwhile",
    ("driver/image/reader.c", "image_readers_list"): "asks who reads a snapshot, changes nothing",
    ("driver/image/watch.c", "watch_reopen"): "only when a watch breaks meanwhile",
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_every_step(deaths, operation):
    failures = deaths.failures(operation)
    assert not failures, "\n".join(failures)
    assert 1 <= deaths.counts[operation] < STEPS_MAX
    report(f"{operation}: {deaths.counts[operation]} deaths")


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_function_that_changes_something_is_counted(program):
    unknown = source.imported(PROGRAMS[program]) - source.counted() - HARMLESS
    assert not unknown, f"add them to die.c, or say that they change nothing: {sorted(unknown)}"


def test_steps_are_in_one_room():
    for directory in ("driver/block", "driver/volume", "cli", "plugin", "plugin/server"):
        assert source.places(directory) == set(), directory


def test_every_place_in_the_source_was_met(deaths):
    assert set(deaths.series) == set(OPERATIONS), "only all operations together come by all places"
    for operation in OPERATIONS:
        deaths.failures(operation)  # waits
    offsets = defaultdict(set)
    for step in deaths.steps:
        offsets[step.program].update(step.way)
    ways = {name: source.resolve(PROGRAMS[name], sorted(some)) for name, some in offsets.items()}
    met = set()
    for step in deaths.steps:
        met.update(source.place_of([at for offset in step.way
                                    for at in ways[step.program][offset]]))
    expected = source.places()
    assert set(NOT_MET) <= expected, "NOT_MET names what is not there"
    assert not met & set(NOT_MET), f"these were met: {sorted(met & set(NOT_MET))}"
    missing = expected - met - set(NOT_MET)
    assert not missing, f"no operation came by {sorted(missing)}"
    report(f"{len(deaths.steps)} steps, {len(expected - set(NOT_MET))} places in the source")
