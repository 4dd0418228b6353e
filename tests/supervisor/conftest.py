# SPDX-License-Identifier: Apache-2.0
import pytest

from harness import Supervisor


@pytest.fixture
def supervisor():
    one = Supervisor()
    yield one
    log = one.log()
    one.close()
    print(log)  # shown when the test fails
    assert "Sanitizer" not in log and "runtime error" not in log
