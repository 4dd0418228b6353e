# SPDX-License-Identifier: Apache-2.0
"""What tests/docker asks of a plugin that it starts itself, asked of the managed one: all that does
not depend on where it runs."""

import sys

import pytest

from conftest import ManagedPlugin
from lib.paths import REPO

sys.path.insert(0, str(REPO / "tests/docker"))
pytest.register_assert_rewrite("test_main_job", "test_data", "test_moby_scenarios")

import test_data  # noqa: E402
import test_main_job  # noqa: E402
import test_moby_scenarios  # noqa: E402

MOBY = ["test_bind_external_volume", "test_create_with_other_options_is_a_conflict",
        "test_daemon_restart", "test_get", "test_get_never_has_an_empty_response", "test_list",
        "test_list_shows_volumes_made_elsewhere", "test_out_of_band_delete"]

# The tests and their fixtures, as if they stood here.
globals().update(vars(test_data) | vars(test_main_job)
                 | {name: getattr(test_moby_scenarios, name) for name in MOBY},
                 __name__=__name__, __doc__=__doc__, __file__=__file__)


@pytest.fixture(scope="module")
def plugin(running, base):
    return ManagedPlugin(running, base / "managed")
