# SPDX-License-Identifier: Apache-2.0
"""Operations killed at every step. Needs what `make all steps` builds."""

import pytest

from deaths import Deaths
from operations import OPERATIONS


@pytest.fixture(scope="session")
def deaths(cluster, base, request):
    """Of the operations that were selected, all under way."""
    selected = {item.callspec.params["operation"] for item in request.session.items
                if hasattr(item, "callspec") and "operation" in item.callspec.params}
    deaths = Deaths(cluster, base, {n: o for n, o in OPERATIONS.items() if n in selected})
    yield deaths
    deaths.close()
