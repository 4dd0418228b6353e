# SPDX-License-Identifier: Apache-2.0
"""Single blocks of volumes, read and written past their file systems: of an image by librbd, of a
mounted volume by its device."""

import fcntl
import mmap
import os
import struct

import rbd  # of the package python3-rbd

from lib import proc, stock
from lib.volume_model import BLOCK

BLKGETSIZE64 = 0x80081272


def write_image(cluster, name, offset, data):
    """As a stock client does that nobody else is in the way of. DATA None: zero the block; librbd takes
    a discard of so little for a hint, which it does not follow."""
    with cluster.io() as io, rbd.Image(io, name) as image:
        if data is None:
            image.write_zeroes(offset, BLOCK)
        else:
            image.write(data, offset)
        image.flush()


def read_image(io, image_id, offsets, snap_id=None):
    """{offset: bytes} of an image, or of one of its snapshots."""
    with stock.opened(io, image_id) as image:
        if snap_id is not None:
            image.set_snap_by_id(snap_id)
        return {offset: image.read(offset, BLOCK) for offset in offsets}


class Device:
    """The device that is mounted on PATH, past this machine's page cache."""

    def __init__(self, path):
        device = proc.run("findmnt", "-no", "SOURCE", path).stdout.strip()
        self.fd = os.open(device, os.O_RDWR | os.O_DIRECT)
        self.memory = mmap.mmap(-1, BLOCK)  # direct I/O wants whole pages
        size = fcntl.ioctl(self.fd, BLKGETSIZE64, bytes(8))
        [self.size] = struct.unpack("Q", size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)
        self.memory.close()

    def write(self, offset, data):
        self.memory[:] = data
        assert os.pwritev(self.fd, [self.memory], offset) == BLOCK
        os.fsync(self.fd)

    def read(self, offset):
        assert os.preadv(self.fd, [self.memory], offset) == BLOCK
        return bytes(self.memory)
