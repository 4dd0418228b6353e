# SPDX-License-Identifier: Apache-2.0
"""Every test here ends with an account of what it left behind."""

import pytest

from lib import leaks


@pytest.fixture(scope="session")
def account(cluster, plugin, dockerd, base):
    return leaks.Account(cluster, plugin, [base])


@pytest.fixture(autouse=True)
def nothing_left(account, plugin):
    """Comes first and so is torn down last, after everything a test's own fixtures remove."""
    yield
    account.settle()
    plugin.check_reports()
