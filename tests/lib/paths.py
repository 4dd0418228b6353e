# SPDX-License-Identifier: Apache-2.0
"""Where things are."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DEV_CLUSTER = REPO / "scripts/dev-cluster"

# The programs under test: BUILD_DIR=build/asan tests the sanitizer build.
BUILD = (REPO / os.environ.get("BUILD_DIR", "build")).resolve()

# Where dockerd looks for the sockets of plugins that are no managed plugins. The file's name is
# the driver's name.
PLUGIN_SOCKETS = Path("/run/docker/plugins")
