# SPDX-License-Identifier: Apache-2.0
"""A machine that has little memory left."""

import subprocess
import sys
from pathlib import Path

# Takes memory and keeps it in use, until the end of its input. Rather than anybody else it is killed
# should nothing be left. Huge pages, for a virtual machine can need minutes to touch 20 GiB one by one.
HOG = """
import mmap, sys
open("/proc/self/oom_score_adj", "w").write("1000")
pages = mmap.mmap(-1, int(sys.argv[1]), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
pages.madvise(mmap.MADV_HUGEPAGE)
for at in range(0, len(pages), 4096):
    pages[at] = 1
print("full", flush=True)
sys.stdin.read()
"""


def available():
    """MiB that programs could get."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    raise AssertionError("no MemAvailable")


class Shortage:
    """Takes all memory but so many MiB, while entered; .survived() tells whether it could keep it."""

    def __init__(self, left_mib):
        self.bytes = max(0, available() - left_mib) << 20

    def __enter__(self):
        self.hog = subprocess.Popen([sys.executable, "-c", HOG, str(self.bytes)], text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.hog.stdout.readline() == "full\n"
        return self

    def survived(self):
        return self.hog.poll() is None

    def __exit__(self, *exception):
        self.hog.communicate()
