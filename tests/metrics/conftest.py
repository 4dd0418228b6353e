# SPDX-License-Identifier: Apache-2.0
"""One plugin that serves /metrics on TCP, too."""

import pytest

from lib.metrics import free_port
from lib.paths import BUILD
from lib.plugin import Plugin


@pytest.fixture(scope="session")
def address():
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="session")
def plugin(cluster, base, address):
    plugin = Plugin(cluster, base / "plugin", libexec_dir=BUILD, metrics_address=address,
                    watch_timeout=5).start()
    yield plugin
    plugin.close()
    plugin.check_reports()
    plugin.socket.unlink(missing_ok=True)
