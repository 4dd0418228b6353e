# SPDX-License-Identifier: Apache-2.0
"""How long a test goes on: SOAK=1 (scripts/check --soak) asks for the full length."""

import os


def length(short, full):
    return full if os.environ.get("SOAK") == "1" else short
