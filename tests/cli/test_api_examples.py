# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/api.md, as they stand there and in that order."""

import json
import re

import pytest

from lib.paths import REPO
from lib.proc import run

pytestmark = pytest.mark.usefixtures("purged")

SECTIONS = ["Volumes", "Snapshots"]
SOCKET = "/run/docker/plugins/rados.sock"


def examples():
    text = (REPO / "docs" / "api.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", text, re.MULTILINE))
    return [line for name in SECTIONS for line in sections[name].splitlines()
            if line.startswith("curl ")]


def test_the_examples_work(plugin, volumes):
    volumes.create("db", size="1G", fs="xfs", **{"label.app": "shop"})
    volumes.create("db-log", size="1G", fs="xfs")
    lines = examples()
    assert len(lines) >= 9
    for line in lines:
        assert SOCKET in line
        answer = json.loads(run("sh", "-c", line.replace(SOCKET, str(plugin.socket))).stdout)
        assert answer["Err"] == "", line
