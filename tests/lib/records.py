# SPDX-License-Identifier: Apache-2.0
"""Writers in a container that say, outside of the volume, what the volume has promised to keep:
what was acknowledged must be there, whatever happened to the host."""

import hashlib
from pathlib import Path

from lib import proc

RECORD_BYTES = 4096

# A record is written, then synced, then acknowledged with its number and its checksum.
RECORDS = """
n=0
while dd if=/dev/urandom of=/tmp/record bs=4096 count=1 2>/dev/null; do
    sum=$(md5sum </tmp/record)
    dd if=/tmp/record of=/data/$1 bs=4096 seek=$n conv=fsync,notrunc 2>/tmp/error || break
    echo "$n ${sum%% *}" >>/ack/acked
    n=$((n + 1))
done
cat /tmp/error >>/ack/failed
exec sleep 1000000
"""

# A row is acknowledged once its transaction has been committed.
ROWS = """
sqlite3 /data/$1 'PRAGMA journal_mode = WAL; CREATE TABLE rows (n INTEGER, content BLOB)'
n=0
while sqlite3 -bail /data/$1 "PRAGMA synchronous = FULL;
                              INSERT INTO rows VALUES ($n, randomblob(3000))" 2>/tmp/error; do
    echo "$n -" >>/ack/acked
    n=$((n + 1))
done
cat /tmp/error >>/ack/failed
exec sleep 1000000
"""


class Writer:
    """Starts on construction, and stays when it has failed, for what is then seen of its volume.
    `directory`: made on this machine, for what it says; it must be on a disk that the hosts' fate
    does not touch. `file`: where it writes, in the volume."""

    script = None

    def __init__(self, host, volume, directory, file):
        self.host, self.file = host, file
        self.directory = Path(directory)
        self.directory.mkdir()
        self.container = host.start_container(volume, "sh", "-c", self.script, "writer", file,
                                              binds={self.directory: "/ack"})

    def acked(self):
        """[(number, checksum), ...], as far as the lines are complete."""
        try:
            text = (self.directory / "acked").read_text()
        except FileNotFoundError:
            return []
        return [(int(line.split()[0]), line.split()[1]) for line in text.split("\n")[:-1]]

    def wait_for(self, count, seconds=60):
        """Until `count` more than now have been acknowledged."""
        target = len(self.acked()) + count
        proc.wait_until(lambda: len(self.acked()) >= target, f"{count} more records on {self.host}",
                        seconds)

    def failure(self):
        """The error that ended it, or "": a writer is never ended by anything but an error."""
        try:
            return (self.directory / "failed").read_text()
        except FileNotFoundError:
            return ""

    def stop(self):
        self.host.docker("rm", "-f", self.container)


class RecordWriter(Writer):
    script = RECORDS

    def read(self, host, volume):
        """What the volume holds, as `host` sees it."""
        return host.run(volume, "cat", f"/data/{self.file}", text=False)

    def lost(self, data):
        """The numbers of the records that are acknowledged by now and are not in `data`, bit by
        bit."""
        acked = self.acked()
        assert [number for number, _ in acked] == list(range(len(acked)))
        return [number for number, checksum in acked if checksum != hashlib.md5(
            data[number * RECORD_BYTES:(number + 1) * RECORD_BYTES]).hexdigest()]

    def check(self, host, volume):
        """Read the volume on `host` and fail if anything acknowledged is not there. Returns the
        number of acknowledged records."""
        lost = self.lost(self.read(host, volume))
        acked = len(self.acked())
        assert not lost, f"{len(lost)} of {acked} acknowledged records are lost: {lost[:10]}"
        return acked


class RowWriter(Writer):
    script = ROWS

    def check(self, host, volume):
        """The same with a database, which also must find itself sound. Returns the number of
        acknowledged rows."""
        lines = host.run(volume, "sqlite3", f"/data/{self.file}", "PRAGMA integrity_check; "
                         "SELECT n FROM rows ORDER BY n").split()
        assert lines[0] == "ok", lines[:20]
        acked = {number for number, _ in self.acked()}
        lost = sorted(acked - {int(line) for line in lines[1:]})
        assert not lost, f"{len(lost)} of {len(acked)} acknowledged rows are lost: {lost[:10]}"
        return len(acked)
