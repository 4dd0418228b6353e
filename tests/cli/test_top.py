# SPDX-License-Identifier: Apache-2.0
"""radosvol top: what the volumes of this host do."""

import os
import signal

import pytest

from lib.load import Pulse
from lib.metrics import scrape
from lib.proc import wait_until

INTERVAL_S = 1
NUMBERS = ("reads", "read", "read-us", "writes", "written", "write-us", "discards", "waiting",
           "errors")


@pytest.fixture
def top(radosvol, plugin):
    """top(): {volume: its row}, in the order of the table."""
    def top(*words):
        rows = radosvol.json("top", f"--interval={INTERVAL_S}", *words,
                             env={"RADOS_RUN_DIR": str(plugin.run_dir)})["volumes"]
        return {row["volume"]: row for row in rows}

    return top


def test_nothing_is_mounted(top, volumes):
    volumes.create("idle")
    assert top() == {}


def test_the_busiest_comes_first(top, plugin, volumes):
    volumes.create("a-quiet-one")
    volumes.create("busy")
    volumes.mount("a-quiet-one")
    path, _ = volumes.mount("busy")

    def written():
        return scrape(plugin).get("volume_written_bytes_total", volume="busy")

    before = written()
    beat = Pulse(path)
    beat.wait_for(20)
    rows = top()
    beat.stop()
    assert list(rows) == ["busy", "a-quiet-one"]
    busy = rows["busy"]
    assert 0 < busy["written"] * INTERVAL_S <= written() - before + INTERVAL_S
    assert busy["writes"] > 0 and busy["write-us"] > 0
    assert (busy["errors"], busy["state"]) == (0, "ok")
    wait_until(lambda: not any(top()["a-quiet-one"][key] for key in NUMBERS), "it to be idle", 30)


def test_a_fenced_volume(top, plugin, volumes):
    volumes.create("lost")
    _, an_id = volumes.mount("lost")
    plugin.call("Volume.Takeover", {"Name": "lost"})
    wait_until(lambda: top()["lost"]["state"] == "fenced", "the loser to notice", 60)
    volumes.unmount("lost", an_id)


def test_a_data_process_that_does_not_answer(top, plugin, volumes):
    volumes.create("still")
    volumes.mount("still")
    (blockd,) = plugin.blockd_pids()
    os.kill(blockd, signal.SIGSTOP)
    try:
        row = top()["still"]
    finally:
        os.kill(blockd, signal.SIGCONT)
    assert row["state"] == "silent" and row["errors"] is None


def test_what_is_mounted_without_docker(top, radosvol, volumes, base):
    volumes.create("rescued")
    directory = base / "top"
    directory.mkdir()
    radosvol.run("mount", "rescued", directory)
    try:
        assert top()["rescued"]["state"] == "ok"
    finally:
        radosvol.run("umount", directory)
        directory.rmdir()


def test_on_a_terminal(radosvol, plugin, volumes):
    volumes.create("shown")
    volumes.mount("shown")
    radosvol.env["RADOS_RUN_DIR"] = str(plugin.run_dir)
    try:
        status, printed = radosvol.on_terminal("", "top", "--interval=1", "--count=2")
    finally:
        del radosvol.env["RADOS_RUN_DIR"]
    assert status == 0 and printed.count("VOLUME") == 2 and "shown" in printed


@pytest.mark.parametrize("words", ["--interval=0", "--interval=two", "--interval=3601",
                                   "--interval=-1", "--count=0", "--count=1x"])
def test_numbers_that_cannot_be(radosvol, words):
    assert "is allowed" in radosvol.run("top", words, status=2)[1]
