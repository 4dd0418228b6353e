# SPDX-License-Identifier: Apache-2.0
"""What radosvol shows, takes over, recovers and mounts, and what it refuses."""

import json
import os
import re
import secrets
import shlex
import signal
import struct
from pathlib import Path

import pytest
import rbd  # of the package python3-rbd

from lib import proc
from lib.load import write_synced
from lib.paths import BUILD
from lib.plugin import PluginError
from lib.proc import wait_until

WATCH_TIMEOUT_S = 5


@pytest.fixture
def other(start_plugin):
    """A second host's plugin. What a test leaves mounted there is unmounted."""
    plugin = start_plugin(host="host-b", watch_timeout=WATCH_TIMEOUT_S)
    yield plugin
    for name in plugin.list():
        if plugin.mounted(name):
            plugin.unmount(name, "1")


@pytest.fixture
def directory(base):
    """An empty directory for `radosvol mount`, not mounted on any more at the end."""
    path = base / f"rescue-{secrets.token_hex(3)}"
    path.mkdir()
    yield path
    assert not path.is_mount()
    path.rmdir()


def holder(radosvol, volume):
    """What `holders` says of a volume, or None."""
    rows = radosvol.json("holders", volume)["holders"]
    assert len(rows) <= 1
    return rows[0] if rows else None


# --- What there is -------------------------------------------------------------------------


def test_ls(radosvol, volumes):
    volumes.create("held", fs="xfs", owner="shöp tëam")
    volumes.create("idle", size="2G")
    volumes.mount("held")
    rows = {row["name"]: row for row in radosvol.json("ls")["volumes"]}
    assert list(rows) == ["held", "idle"]
    assert rows["held"] == {"name": "held", "size": 1 << 30, "used": None, "fs": "xfs",
                            "owner": "shöp tëam", "holder": "host-a",
                            "since": rows["held"]["since"]}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", rows["held"]["since"])
    assert rows["idle"]["size"] == 2 << 30 and rows["idle"]["holder"] is None
    table = [line.split() for line in radosvol.out("ls").splitlines()]
    assert table[0] == ["NAME", "SIZE", "USED", "FS", "OWNER", "HOLDER", "SINCE"]
    assert table[1][:3] == ["held", "1G", "xfs"] and table[2][:3] == ["idle", "2G", "ext4"]


def test_ls_of_many(radosvol, cluster):
    """More volumes than are read at a time come out whole and in order; those of stock tools too."""
    names = [f"many-{i:02}" for i in range(40)]
    with cluster.io() as io:
        for name in names:
            rbd.RBD().create(io, name, 1 << 30, old_format=False)
        try:
            assert [row["name"] for row in radosvol.json("ls")["volumes"]] == names
        finally:
            for name in names:
                rbd.RBD().remove(io, name)


def test_ls_of_nothing(radosvol):
    assert radosvol.json("ls") == {"volumes": []}
    assert radosvol.out("ls") == ""


def test_inspect(radosvol, volumes, cluster):
    volumes.create("db", **{"owner": "shop", "uid": 999, "mode": "1777", "object-size": "1M",
                            "mount-options": "noatime", "label.env": "prod",
                            "data-pool": "docker-data"})
    facts = radosvol.json("inspect", "db")
    assert facts["name"] == "db" and facts["image"] == cluster.image_id("db")
    assert facts["size"] == 1 << 30 and facts["object-size"] == 1 << 20
    assert facts["uid"] == "999" and facts["gid"] == "0" and facts["mode"] == "1777"
    assert facts["mount-options"] == "noatime" and facts["owner"] == "shop"
    assert facts["data-pool"] == "docker-data" and facts["fs"] == "ext4"
    assert facts["labels"] == {"env": "prod"} and facts["takeovers"] == {}
    assert facts["features"] == ["layering", "exclusive-lock", "data-pool"]
    assert "holder" not in facts and facts["protect"] is False and facts["health"] == "ok"
    volumes.mount("db")
    facts = radosvol.json("inspect", "db")
    assert facts["holder"]["host"] == "host-a" and facts["holder"]["state"] == "alive"
    lines = dict(line.split(maxsplit=1) for line in radosvol.out("inspect", "db").splitlines())
    assert lines["size"] == "1G" and lines["object-size"] == "1M"
    assert lines["holder.host"] == "host-a" and lines["labels.env"] == "prod"
    assert "no such volume: 'nope'" in radosvol.fails("inspect", "nope")


def test_text_of_others_cannot_play_with_the_terminal(radosvol, volumes, cluster):
    volumes.create("db")
    cluster.rbd("image-meta", "set", "db", "docker-volume-rados.owner", "\033[2J\nevil")
    assert "\033" not in radosvol.out("inspect", "db")
    assert "\033" not in radosvol.out("ls")
    assert radosvol.json("inspect", "db")["owner"] == "?[2J?evil"


def test_holders(radosvol, volumes, cluster):
    volumes.create("held")
    volumes.create("idle")
    volumes.mount("held")
    row = holder(radosvol, "held")
    locker = cluster.lockers("held")[0]
    assert row["volume"] == "held" and row["host"] == "host-a" and row["state"] == "alive"
    assert locker["locker"] == f"client.{row['client']}" and locker["address"] == row["address"]
    assert radosvol.json("holders")["holders"] == [row]
    assert radosvol.json("holders", "idle")["holders"] == []
    assert "no such volume: 'nope'" in radosvol.fails("holders", "nope", "held")
    text = radosvol.out("holders").splitlines()
    assert text[0].split() == ["VOLUME", "HOST", "SINCE", "CLIENT", "ADDRESS", "STATE",
                               "ACCESS"]


def test_a_lock_made_by_hand_is_left_alone(radosvol, volumes, cluster):
    volumes.create("db")
    cluster.rbd("lock", "add", "db", "mine")
    locker = cluster.lockers("db")[0]
    assert holder(radosvol, "db")["state"] == "foreign"
    assert "by hand" in radosvol.fails("takeover", "db", "--yes")
    assert cluster.lockers("db") == [locker]
    assert locker["address"] not in cluster.ceph("osd", "blocklist", "ls")
    cluster.rbd("lock", "rm", "db", locker["id"], locker["locker"])


# --- A silent and a dead holder ------------------------------------------------------------


def test_silent_and_dead(radosvol, volumes, other):
    """A holder is silent until its watch times out, and dead then."""
    volumes.create("db")
    other.mount("db", "1")
    pid = other.blockd_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert holder(radosvol, "db")["state"] == "silent"
        wait_until(lambda: holder(radosvol, "db")["state"] == "dead", "the end of the watch", 60)
        findings = [row for row in radosvol.json("doctor")["checks"] if row["check"] == "lock"]
        assert len(findings) == 1 and findings[0]["result"] == "warning"
        assert "'db'" in findings[0]["detail"] and "takeover" in findings[0]["detail"]
        radosvol.run("takeover", "db", "--yes")
        assert holder(radosvol, "db") is None
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: "fenced" in other.get("db")["Status"]["health"], "word of the fence", 60)


# --- takeover ------------------------------------------------------------------------------


def test_takeover(radosvol, volumes, plugin, other, cluster):
    """Exactly that client is fenced; another volume of the same host goes on; anybody can mount."""
    for name in ("db", "bystander"):
        volumes.create(name)
        other.mount(name, "1")
    write_synced(other.lib_dir / "mounts/db/kept", b"kept")
    before = holder(radosvol, "db")

    answer = radosvol.json("takeover", "db", "--yes")
    assert answer["volume"] == "db" and answer["free"] is True
    assert answer["from"]["host"] == "host-b" and answer["from"]["client"] == before["client"]
    assert holder(radosvol, "db") is None
    blocked = cluster.ceph("osd", "blocklist", "ls")
    assert before["address"] in blocked
    assert holder(radosvol, "bystander")["address"] not in blocked
    assert holder(radosvol, "bystander")["state"] == "alive"

    path, _ = volumes.mount("db")
    assert (path / "kept").read_bytes() == b"kept"
    record, = radosvol.json("inspect", "db")["takeovers"].values()
    assert record.startswith("rescue took over from host-b") and "operator" in record
    with pytest.raises(OSError):
        with open(other.lib_dir / "mounts/db/late", "wb") as file:
            file.write(b"late")
            os.fsync(file.fileno())
    write_synced(other.lib_dir / "mounts/bystander/file", b"fine")


def test_takeover_is_refused(radosvol, volumes):
    volumes.create("db")
    assert "nobody holds volume 'db'" in radosvol.fails("takeover", "db", "--yes")
    volumes.mount("db")
    before = holder(radosvol, "db")
    words = radosvol.fails("takeover", "db")
    assert "host-a" in words and "--yes" in words and "alive" in words
    status, printed = radosvol.on_terminal("n", "takeover", "db")
    assert status == 1 and "Go on?" in printed and "nothing was done" in printed
    assert holder(radosvol, "db") == before


def test_takeover_asks(radosvol, volumes, other):
    volumes.create("db")
    other.mount("db", "1")
    status, printed = radosvol.on_terminal("y", "takeover", "db")
    assert status == 0 and "host-b" in printed
    assert holder(radosvol, "db") is None


# --- recover -------------------------------------------------------------------------------


def create_again(plugin, words):
    """Run a `docker volume create` as a plugin hears of it."""
    assert words[:4] == ["docker", "volume", "create", "-d"]
    options = dict(word.split("=", 1) for flag, word in zip(words[5:-1:2], words[6:-1:2])
                   if flag == "-o")
    plugin.create(words[-1], **options)
    return options


def test_recover(radosvol, volumes, plugin, other):
    """What the host held and nothing else; the commands name every volume as it is."""
    volumes.create("db", **{"owner": "it's $HOME", "label.note": "a 'b' \"c\"", "uid": 999,
                            "mount-options": "noatime", "object-size": "1M"})
    volumes.create("files", fs="xfs", size="2G")
    volumes.create("elsewhere")
    volumes.mount("elsewhere")
    for name in ("db", "files"):
        other.mount(name, "1")
    assert "holds no volume" in radosvol.fails("recover", "--host", "host-c", "--yes")
    words = radosvol.fails("recover", "--host", "host-b")
    assert "db" in words and "files" in words and "elsewhere" not in words
    assert holder(radosvol, "db")["host"] == "host-b"

    answer = radosvol.json("recover", "--host", "host-b", "--yes")
    assert [row["volume"] for row in answer["volumes"]] == ["db", "files"]
    assert all(row["free"] for row in answer["volumes"])
    assert [row["volume"] for row in radosvol.json("holders")["holders"]] == ["elsewhere"]
    for row in answer["volumes"]:
        assert shlex.split(row["command"]) == row["words"]
        assert row["words"][4] == plugin.driver
    options = create_again(plugin, answer["volumes"][0]["words"])
    assert options == {"size": "1G", "fs": "ext4", "object-size": "1M", "mount-options": "noatime",
                       "uid": "999", "owner": "it's $HOME", "label.note": "a 'b' \"c\""}
    assert create_again(plugin, answer["volumes"][1]["words"]) == {"size": "2G", "fs": "xfs"}
    for name in ("db", "files"):
        other.unmount(name, "1")  # one kernel mounts an xfs once
        volumes.mount(name)
        assert len(radosvol.json("inspect", name)["takeovers"]) == 1


def test_recover_prints_only_commands(radosvol, volumes, other):
    volumes.create("db")
    other.mount("db", "1")
    lines = radosvol.out("recover", "--host", "host-b", "--yes").splitlines()
    assert len(lines) == 1 and lines[0].startswith("docker volume create -d ")


# --- mount and umount ----------------------------------------------------------------------


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_mount(radosvol, volumes, directory, fs):
    """What one writes the other reads: radosvol and the plugin, each when the other is gone."""
    volumes.create("db", fs=fs)
    path, an_id = volumes.mount("db")
    (path / "by-plugin").write_bytes(b"1" * 100000)
    volumes.unmount("db", an_id)

    answer = radosvol.json("mount", "db", directory)
    assert answer["directory"] == str(directory) and answer["fs"] == fs
    assert (directory / "by-plugin").read_bytes() == b"1" * 100000
    (directory / "by-hand").write_bytes(b"2" * 100000)
    row = holder(radosvol, "db")
    assert row["host"] == "rescue" and row["state"] == "alive"
    with pytest.raises(PluginError, match="rescue"):
        volumes.mount("db")
    assert "mounted already" in radosvol.fails("mount", "db", directory.parent)
    assert "something is mounted" in radosvol.fails("mount", "db", directory)

    radosvol.run("umount", f"{directory}/")
    assert not directory.is_mount() and list(directory.iterdir()) == []
    assert holder(radosvol, "db") is None
    path, an_id = volumes.mount("db")
    assert (path / "by-hand").read_bytes() == b"2" * 100000


def test_mount_read_only(radosvol, volumes, directory):
    volumes.create("db")
    path, an_id = volumes.mount("db")
    (path / "file").write_bytes(b"content")
    volumes.unmount("db", an_id)
    assert radosvol.json("mount", "--read-only", "db", directory)["read-only"] is True
    assert (directory / "file").read_bytes() == b"content"
    with pytest.raises(OSError):
        (directory / "other").write_bytes(b"")
    radosvol.run("umount", directory)


def test_mount_is_refused(radosvol, volumes, cluster, directory):
    volumes.create("db")
    volumes.mount("db")
    words = radosvol.fails("mount", "db", directory)
    assert "host-a" in words and "takeover" in words
    assert "no such volume" in radosvol.fails("mount", "nope", directory)
    assert "nowhere" in radosvol.fails("mount", "db", directory / "nowhere")
    assert "nothing is mounted" in radosvol.fails("umount", directory)
    cluster.rbd("create", "blank", "--size", "1G", "--image-feature", "layering,exclusive-lock")
    assert "no file system" in radosvol.fails("mount", "blank", directory)
    assert holder(radosvol, "blank") is None
    cluster.rbd("rm", "--no-progress", "blank")
    words = radosvol.fails("mount", "db", directory, env={"RADOS_LIBEXEC_DIR": "/nonexistent"})
    assert "/nonexistent/radosvol-blockd" in words


def test_umount_in_use(radosvol, volumes, directory):
    """A directory that is in use stays mounted, and umount may be repeated."""
    volumes.create("db")
    radosvol.run("mount", "db", directory)
    with open(directory / "file", "wb"):
        assert "in use" in radosvol.fails("umount", directory)
        assert directory.is_mount() and holder(radosvol, "db")["state"] == "alive"
    radosvol.run("umount", directory)


def processes_of(volume, program):
    """Pids of a volume's `radosvol keeper` or `radosvol-blockd`, not counting those of a plugin that
    runs from the same directory."""
    found = []
    for pid, name in proc.running_from(BUILD).items():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if name == program and volume in words and "rescue" in words:
            found.append(pid)
    return found


def test_a_dead_keeper_harms_nobody(radosvol, volumes, directory):
    volumes.create("db")
    radosvol.run("mount", "db", directory)
    keeper, = processes_of("db", "radosvol")
    os.kill(keeper, signal.SIGKILL)
    write_synced(directory / "file", b"content" * 100000)
    assert holder(radosvol, "db")["state"] == "alive"
    radosvol.run("umount", directory)
    path, _ = volumes.mount("db")
    assert (path / "file").read_bytes() == b"content" * 100000


def test_a_dead_blockd_is_cleaned_up(radosvol, volumes, directory):
    """The device fails at once instead of hanging; umount takes everything away; what was synced is
    there for the next one."""
    volumes.create("db")
    radosvol.run("mount", "db", directory)
    write_synced(directory / "file", b"content")
    blockd, = processes_of("db", "radosvol-blockd")
    os.kill(blockd, signal.SIGKILL)
    wait_until(lambda: not processes_of("db", "radosvol"), "the end of the keeper")
    words = radosvol.fails("mount", "db", directory.parent)
    assert "has ended" in words and "umount" in words
    assert "had ended" in radosvol.run("umount", directory)[1]
    assert not directory.is_mount()
    radosvol.run("mount", "db", directory)  # waits for the dead one's watch
    assert (directory / "file").read_bytes() == b"content"
    radosvol.run("umount", directory)


# --- doctor --------------------------------------------------------------------------------


def checks(radosvol, *words, **options):
    """{check: (result, detail)}; of several with one name the last."""
    rows = radosvol.json("doctor", *words, **options)["checks"]
    return {row["check"]: (row["result"], row["detail"]) for row in rows}


def test_doctor_is_content(radosvol, volumes, cluster):
    volumes.create("db")
    volumes.mount("db")
    before = cluster.objects()
    found = checks(radosvol)
    assert cluster.objects() == before
    bad = {name: finding for name, finding in found.items()
           if finding[0] != "ok" and name != "kernel"}
    assert not bad
    assert found["volumes"][1] == "1, of which 1 are held"
    for name in ("ceph.conf", "keyring", "connection", "copies", "right to fence", "right to write",
                 "clock", "FUSE", "loop devices", "tools for ext4", "tools for xfs", "plugin",
                 "leftovers"):
        assert name in found
    assert "ok" in radosvol.out("doctor").splitlines()[1]


def test_doctor_without_conf_and_keyring(radosvol, base, cluster):
    found = checks(radosvol, "--ceph-conf", base / "nowhere.conf", status=1)
    assert found["ceph.conf"][0] == "failed" and "nowhere.conf" in found["ceph.conf"][1]
    assert "connection" not in found and "kernel" in found
    found = checks(radosvol, "--ceph-client", "nobody", status=1)
    assert found["keyring"][0] == "failed" and "ceph auth get client.nobody" in found["keyring"][1]
    found = checks(radosvol, "--pool", "no-such-pool", status=1)
    assert found["connection"][0] == "failed" and "ceph osd pool create" in found["connection"][1]


@pytest.fixture
def weak(cluster, base):
    """A client that may look but neither write nor fence; the path of its ceph.conf."""
    cluster.ceph("auth", "get-or-create", "client.weak", "mon", "allow r", "osd",
                 "allow r pool=docker", "-o", str(base / "weak.keyring"))
    conf = base / "weak.conf"
    conf.write_text(Path(cluster.conf).read_text() +
                    f"\n[client.weak]\nkeyring = {base}/weak.keyring\n")
    yield conf
    cluster.ceph("auth", "rm", "client.weak")


def test_doctor_sees_missing_rights(radosvol, weak):
    found = checks(radosvol, "--ceph-conf", weak, "--ceph-client", "weak", status=1)
    assert found["connection"][0] == "ok"
    for name in ("right to fence", "right to write"):
        assert found[name][0] == "failed" and "profile rbd" in found[name][1]


@pytest.fixture
def single(cluster):
    """A pool that keeps one copy of everything."""
    cluster.ceph("osd", "pool", "create", "single", "1")
    cluster.ceph("osd", "pool", "set", "single", "size", "1", "--yes-i-really-mean-it")
    yield "single"
    cluster.ceph("osd", "pool", "rm", "single", "single", "--yes-i-really-really-mean-it")


def test_doctor_warns_of_a_pool_with_one_copy(radosvol, single):
    found = checks(radosvol, "--pool", single, status=1)
    assert found["copies"] == ("warning", "pool 'single' has one copy of everything, so a single "
                               "disk that fails takes volumes with it: "
                               "\"ceph osd pool set single size 3\"")
    assert checks(radosvol)["copies"] == ("ok", "each piece of data is on 2 disks")


def test_inspect_says_that_the_pool_is_full(radosvol, volumes, cluster):
    volumes.create("db")
    assert radosvol.json("inspect", "db")["health"] == "ok"
    cluster.ceph("osd", "pool", "set-quota", "docker", "max_objects", "1")
    try:
        wait_until(lambda: "quota" in radosvol.json("inspect", "db")["health"], "the quota", 60, 1)
    finally:
        cluster.ceph("osd", "pool", "set-quota", "docker", "max_objects", "0")
    wait_until(lambda: radosvol.json("inspect", "db")["health"] == "ok", "space", 60, 1)


def test_what_needs_more_rights_names_them(radosvol, volumes, weak):
    volumes.create("db")
    volumes.mount("db")
    words = radosvol.fails("takeover", "db", "--yes", "--ceph-conf", weak, "--ceph-client", "weak")
    assert "ceph auth caps client.weak mon 'profile rbd' osd 'profile rbd pool=docker'" in words


def test_doctor_and_the_plugin(radosvol, base, start_plugin):
    found = checks(radosvol, "--socket", base / "no.sock")
    assert found["plugin"][0] == "warning" and "no.sock" in found["plugin"][1]
    plugin = start_plugin()
    plugin.kill_all()
    found = checks(radosvol, "--socket", plugin.socket, status=1)
    assert found["plugin"][0] == "failed"


def test_doctor_sees_a_time_limit_on_fuse_requests(radosvol, tmp_path):
    (tmp_path / "default_request_timeout").write_text("90\n")
    done = proc.run("unshare", "--mount", "sh", "-ec",
                    f'mount --bind {tmp_path} /proc/sys/fs/fuse; exec "$@"', "sh",
                    BUILD / "radosvol", "doctor", "--json", env=radosvol.env, check=False)
    row, = [row for row in json.loads(done.stdout)["checks"] if row["check"] == "FUSE time limit"]
    assert row["result"] == "failed" and "fs.fuse.default_request_timeout is 90 s" in row["detail"]


def test_doctor_does_not_pass_for_a_dockerd(radosvol, plugin, volumes):
    """A dockerd's life begins with Plugin.Activate: what was mounted before is then nobody's."""
    volumes.create("db")
    volumes.mount("db")
    assert checks(radosvol)["plugin"][0] == "ok"
    with pytest.raises(PluginError, match="in use on this host by 1 mount"):
        plugin.remove("db")


def test_doctor_finds_names_that_lead_nowhere(radosvol, cluster):
    for name in ("headless", "unnamed"):
        cluster.rbd("create", name, "--size", "1G")
    headless, unnamed = cluster.image_id("headless"), cluster.image_id("unnamed")
    cluster.rados("rm", f"rbd_header.{headless}")
    cluster.rados("rm", "rbd_id.unnamed")
    try:
        names = [row for row in radosvol.json("doctor")["checks"] if row["check"] == "name"]
        assert [row["result"] for row in names] == ["warning", "warning"]
        assert "'headless'" in names[0]["detail"] and "rbd rm" in names[0]["detail"]
        assert "'unnamed'" in names[1]["detail"] and "rbd_id.unnamed" in names[1]["detail"]
        assert "headless" in radosvol.run("ls", status=1)[1]
    finally:
        with cluster.io() as io:
            io.execute("rbd_directory", "rbd", "dir_remove_image",
                       string("headless") + string(headless))
            io.execute("rbd_directory", "rbd", "dir_remove_image",
                       string("unnamed") + string(unnamed))
        cluster.rados("rm", "rbd_id.headless")
        cluster.rados("rm", f"rbd_header.{unnamed}")
        for object_map in (headless, unnamed):
            cluster.rados("rm", f"rbd_object_map.{object_map}")


def string(text):
    return struct.pack("<I", len(text)) + text.encode()


def test_doctor_finds_what_was_left_half_removed(radosvol, cluster):
    """An image in the trash as a removal that died leaves it; those of other tools are no matter
    of ours."""
    for name in ("ours", "theirs"):
        cluster.rbd("create", name, "--size", "1G", "--image-feature", "layering")
    cluster.rbd("image-meta", "set", "ours", "docker-volume-rados.removing", "removing")
    ids = {name: cluster.image_id(name) for name in ("ours", "theirs")}
    removing = bytes([3])
    with cluster.io() as io:
        for name, image_id in ids.items():
            spec = removing + string(name) + bytes(16) + bytes([1])
            spec = struct.pack("<BBI", 2, 1, len(spec)) + spec
            io.execute("rbd_trash", "rbd", "trash_add", string(image_id) + spec)
    try:
        left = [row for row in radosvol.json("doctor")["checks"] if row["check"] == "leftover"]
        assert len(left) == 1 and left[0]["result"] == "warning"
        assert ids["ours"] in left[0]["detail"] and "'ours'" in left[0]["detail"]
    finally:
        with cluster.io() as io:
            for image_id in ids.values():
                io.execute("rbd_trash", "rbd", "trash_remove", string(image_id))
        for name in ids:
            cluster.rbd("rm", "--no-progress", name)


# --- The command line ----------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    [], ["nope"], ["ls", "extra"], ["ls", "--nope"], ["inspect"], ["inspect", "a", "b"],
    ["takeover"], ["takeover", "a", "b"], ["recover"], ["mount", "a"], ["mount", "a", "b", "c"],
    ["umount"], ["ls", "--pool", "a b"], ["ls", "--ceph-client", "client.docker"],
    ["ls", "--yes"], ["--pool"], ["holders", "--json=1"],
])
def test_wrong_usage(radosvol, words):
    assert "radosvol" in radosvol.run(*words, status=2)[1]


def test_help(radosvol):
    text = radosvol.out("--help")
    for command in ("ls", "inspect", "holders", "takeover", "recover", "mount", "umount", "doctor"):
        assert re.search(rf"^  {command} ", text, re.M)
        assert "--ceph-conf" in radosvol.out(command, "--help")
    assert "keeper" not in text
    assert radosvol.out("--version").startswith("radosvol ")


def test_options_before_and_after_the_command(radosvol, volumes):
    volumes.create("db")
    expected = radosvol.json("ls")
    assert radosvol.json("--pool", "docker", "ls") == expected
    assert radosvol.json("ls", "--pool=docker", env={"RADOS_POOL": "other"}) == expected
    assert "no pool 'other'" in radosvol.fails("ls", env={"RADOS_POOL": "other"})


def test_the_cluster_is_away(radosvol, base):
    """It gives up, and says what does not answer."""
    conf = base / "away.conf"
    conf.write_text("[global]\nmon_host = 127.0.0.1:1\nkeyring = " + str(base / "away.keyring") +
                    "\n")
    (base / "away.keyring").write_text(
        "[client.docker]\nkey = AQAAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAA==\n")
    words = radosvol.fails("ls", "--ceph-conf", conf)
    assert "127.0.0.1:1" in words and "ceph -s" in words
