# SPDX-License-Identifier: Apache-2.0
"""Container images made here from what is installed: no registry is asked."""

import io
import json
import re
import tarfile
from pathlib import Path

from lib.proc import run

BUSYBOX = Path("/bin/busybox")  # of the package busybox-static


def _directory(tar, name, mode=0o755, uid=0, gid=0):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, mode, uid, gid
    tar.addfile(info)


def _file(tar, name, data, mode=0o644, uid=0, gid=0):
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.uid, info.gid = len(data), mode, uid, gid
    tar.addfile(info, io.BytesIO(data))


def _libraries(program):
    """The shared libraries of a program, its loader included, as absolute paths."""
    text = run("ldd", program, check=False).stdout
    return [Path(path) for path in re.findall(r"(/\S+) \(0x", text)]


def archive(files=(), programs=()):
    """A root file system as tar bytes: busybox with a link for each applet, `programs` of this
    machine with their libraries, and `files`: (path, bytes or None for a directory, mode, uid,
    gid)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc", "tmp", "root"):
            _directory(tar, name, 0o1777 if name == "tmp" else 0o755)
        _file(tar, "etc/passwd", b"root:x:0:0::/root:/bin/sh\n")
        _file(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in run(BUSYBOX, "--list").stdout.split():
            if applet != "busybox":
                info = tarfile.TarInfo(f"bin/{applet}")
                info.type, info.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(info)
        copied = set()
        for program in programs:
            for path in [Path(program), *_libraries(program)]:
                if path not in copied:
                    copied.add(path)
                    _file(tar, str(path)[1:], path.read_bytes(), 0o755)
        for path, data, mode, uid, gid in files:
            if data is None:
                _directory(tar, path.lstrip("/"), mode, uid, gid)
            else:
                _file(tar, path.lstrip("/"), data, mode, uid, gid)
    return out.getvalue()


def load(dockerd, name, files=(), programs=(), command=None):
    """Make an image called `name` in a dockerd; `command`: what it runs by default, for sh -c."""
    changes = ["--change", f"CMD {json.dumps(['/bin/sh', '-c', command])}"] if command else []
    dockerd.docker("import", *changes, "-", name, input=archive(files, programs), text=False)
    return name
