# SPDX-License-Identifier: Apache-2.0
"""The VolumeDriver protocol in the ways dockerd really uses it, and those it does not show."""

import concurrent.futures
import json
import os
import re
import time

import pytest

from lib import http
from lib.http import Connection, request_bytes
from lib.load import write_synced
from lib.paths import BUILD
from lib.plugin import PluginError, mount_id
from lib.proc import alive, wait_until


# --- Transport -----------------------------------------------------------------------------


def test_three_calls_on_one_connection(plugin):
    with Connection(plugin.socket) as connection:
        for _ in range(3):
            reply = connection.call("VolumeDriver.List", {})
            assert reply.status == 200 and reply.json() == {"Volumes": [], "Err": ""}


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", "x"])
def test_any_content_type_will_do(plugin, volumes, content_type):
    name = volumes.create()
    body = b'{"Name": "%s"}' % name.encode()
    reply = plugin.raw("VolumeDriver.Get", body, headers={"Content-Type": content_type})
    assert reply.json()["Volume"]["Name"] == name


def test_a_chunked_body(plugin, volumes):
    name = volumes.create()
    reply = plugin.raw("VolumeDriver.Get", {"Name": name}, chunked=True)
    assert reply.json()["Volume"]["Name"] == name


def test_a_client_that_waits_for_100_continue(plugin, volumes):
    name = volumes.create()
    body = b'{"Name": "%s"}' % name.encode()
    request = request_bytes("VolumeDriver.Get", body, {"Expect": "100-continue"})
    head, _, _ = request.partition(b"\r\n\r\n")
    with Connection(plugin.socket) as connection:
        connection.send(head + b"\r\n\r\n")
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 100")
        connection.send(body)
        assert connection.read_reply().json()["Volume"]["Name"] == name


def test_two_requests_sent_at_once(plugin, volumes):
    name = volumes.create()
    one = request_bytes("VolumeDriver.Get", b'{"Name": "%s"}' % name.encode())
    with Connection(plugin.socket) as connection:
        connection.send(one + request_bytes("VolumeDriver.List", b"{}"))
        assert connection.read_reply().json()["Volume"]["Name"] == name
        assert connection.read_reply().json()["Volumes"][0]["Name"] == name


def test_an_old_client_of_http_1_0(plugin):
    with Connection(plugin.socket) as connection:
        connection.send(b"POST /VolumeDriver.List HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}")
        assert connection.read_reply().json() == {"Volumes": [], "Err": ""}


@pytest.mark.parametrize("method", ["Create", "Remove", "Mount", "Unmount", "Path"])
def test_an_empty_body_does_nothing(plugin, volumes, method):
    """dockerd repeats a call whose connection broke with Content-Length 0."""
    volumes.create()
    answer = plugin.raw(f"VolumeDriver.{method}", b"").json()
    assert answer["Err"]
    assert plugin.list() == ["volume-1"]
    assert not plugin.mounted("volume-1")


def test_a_get_with_an_empty_body_makes_dockerd_forget_nothing(plugin):
    """Any Err would: dockerd takes it for the volume's absence."""
    with pytest.raises(http.ClosedWithoutAnswer):
        plugin.raw("VolumeDriver.Get", b"")


@pytest.mark.parametrize("method", ["List", "Capabilities"])
def test_calls_without_arguments_need_no_body(plugin, method):
    for body in (b"", b"{}", b"null", None):
        if body == b"null":
            continue
        assert plugin.raw(f"VolumeDriver.{method}", body).json().get("Err", "") == ""


def test_activation_names_the_interface(plugin):
    for body in (b"", b"{}"):
        assert plugin.raw("Plugin.Activate", body).json()["Implements"] == ["VolumeDriver"]


def test_an_unknown_path_is_not_found(plugin):
    assert plugin.raw("VolumeDriver.Explode", {"Name": "x"}).status == 404
    assert plugin.raw("", b"").status == 404


def test_only_post_is_served(plugin):
    assert plugin.raw("VolumeDriver.List", None, verb="GET").status == 405
    assert plugin.raw("VolumeDriver.List", b"{}", verb="DELETE").status == 405


# --- Answers -------------------------------------------------------------------------------


def test_created_at_is_a_time_go_understands(plugin, volumes):
    created = plugin.get(volumes.create())["CreatedAt"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", created)
    parsed = time.mktime(time.strptime(created[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone
    assert abs(parsed - time.time()) < 600


def test_get_of_a_mounted_volume_writes_nothing(plugin, volumes, cluster):
    """It once made and removed an object to see whether there is space; one whose making was late
    stayed in the pool."""
    def writes():
        return sum(json.loads(cluster.ceph("tell", f"osd.{i}", "perf", "dump"))["osd"]["op_w"]
                   for i in range(cluster.osds))

    name = volumes.create()
    path, _ = volumes.mount(name)
    os.sync()
    before = writes()
    for _ in range(100):
        assert plugin.get(name)["Status"]["health"] == "ok"
    of_gets = writes() - before
    write_synced(path / "file", b"x")
    assert writes() - before > of_gets
    assert of_gets < 50  # the file system, and what is left over from the mount


def test_list_has_no_nulls(plugin, volumes):
    names = [volumes.create() for _ in range(3)]
    volumes.mount(names[1])
    answer = plugin.call("VolumeDriver.List")
    assert sorted(v["Name"] for v in answer["Volumes"]) == names
    assert all(isinstance(v["Mountpoint"], str) for v in answer["Volumes"])


def test_scope_is_global(plugin):
    assert plugin.call("VolumeDriver.Capabilities")["Capabilities"] == {"Scope": "global"}


def test_capabilities_and_activation_need_no_cluster(start_plugin, tmp_path):
    """Whatever the cluster does: dockerd's start hangs on these two."""
    conf = tmp_path / "nowhere.conf"
    conf.write_text("[global]\nmon host = 127.0.0.1:1\nauth client required = none\n")
    plugin = start_plugin(conf=conf)
    assert plugin.raw("Plugin.Activate", b"", timeout=5).json()["Implements"] == ["VolumeDriver"]
    assert plugin.call("VolumeDriver.Capabilities", timeout=5)["Capabilities"]["Scope"] == "global"


# --- Create --------------------------------------------------------------------------------


def test_create_again_with_the_same_options(plugin, volumes):
    volumes.create("same", size="2G", fs="xfs", uid=7, **{"label.a": "b"})
    volumes.create("same", size="2048M", fs="xfs", uid=7, **{"label.a": "b"})
    plugin.create("same")
    assert plugin.list() == ["same"]


@pytest.mark.parametrize("option, value", [
    ("size", "3G"), ("fs", "ext4"), ("uid", "8"), ("label.a", "c"), ("mount-options", "noatime"),
    ("owner", "someone"), ("object-size", "8M"), ("data-pool", "docker-data"), ("mode", "700"),
    ("protect", "true")])
def test_create_again_with_another_option(plugin, volumes, option, value):
    volumes.create("same", size="2G", fs="xfs", uid=7, **{"label.a": "b"})
    with pytest.raises(PluginError, match=option.partition(".")[0]):
        plugin.create("same", **{option: value})


def test_many_create_the_same_volume_at_once(plugin, volumes, cluster):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(plugin.create, "same", size="1G") for _ in range(16)]
        for call in calls:
            call.result(timeout=60)
    assert cluster.images() == ["same"]


def test_opts_may_be_null(plugin, volumes):
    plugin.call("VolumeDriver.Create", {"Name": "plain", "Opts": None})
    assert plugin.get("plain")["Status"]["size"] == "10G"


# --- Mount and unmount ---------------------------------------------------------------------


def test_mounts_of_one_id_are_counted(plugin, volumes):
    """docker cp mounts with the ID of the running container."""
    name = volumes.create()
    an_id = mount_id()
    volumes.mount(name, an_id)
    volumes.mount(name, an_id)
    volumes.unmount(name, an_id)
    assert plugin.mounted(name)
    volumes.unmount(name, an_id)
    wait_until(lambda: not plugin.mounted(name), "the unmount")


def test_mounts_of_two_ids_are_two(plugin, volumes):
    name = volumes.create()
    path, first = volumes.mount(name)
    again, second = volumes.mount(name)
    assert path == again
    volumes.unmount(name, first)
    assert plugin.mounted(name)
    volumes.unmount(name, second)
    wait_until(lambda: not plugin.mounted(name), "the unmount")


def test_an_unmount_repeated_is_a_success(plugin, volumes):
    name = volumes.create()
    _, first = volumes.mount(name)
    _, second = volumes.mount(name)
    volumes.unmount(name, first)
    plugin.unmount(name, first)
    plugin.unmount(name, first)
    assert plugin.mounted(name)
    volumes.unmount(name, second)


def test_many_mount_the_same_volume_at_once(plugin, volumes):
    name = volumes.create()
    ids = [mount_id() for _ in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        paths = {str(path) for path, _ in pool.map(lambda i: volumes.mount(name, i), ids)}
        assert len(paths) == 1 and len(plugin.blockd_pids()) == 1
        list(pool.map(lambda i: volumes.unmount(name, i), ids))
    wait_until(lambda: not plugin.mounted(name), "the unmount")


def test_a_mount_of_a_former_dockerd_is_taken_over(plugin, volumes):
    """A killed dockerd sends no unmount; the next mounts with the same ID and unmounts once."""
    name = volumes.create()
    _, an_id = volumes.mount(name)
    plugin.raw("Plugin.Activate")
    plugin.mount(name, an_id)
    volumes.unmount(name, an_id)
    wait_until(lambda: not plugin.mounted(name), "the unmount")


def test_an_unmount_after_live_restore(plugin, volumes):
    """Under live-restore a new dockerd unmounts what the former one mounted."""
    name = volumes.create()
    _, an_id = volumes.mount(name)
    plugin.raw("Plugin.Activate")
    assert plugin.mounted(name)
    volumes.unmount(name, an_id)
    wait_until(lambda: not plugin.mounted(name), "the unmount")


def test_containers_survive_a_dockerd_with_live_restore(start_dockerd, plugin):
    docker = start_dockerd(live_restore=True)
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "data")
    container = docker.start_container("-v", "data:/data", "busybox", "sh", "-c",
                                       "while :; do date >>/data/log; usleep 100000; done")
    docker.kill()
    assert plugin.mounted("data")
    docker.start()
    docker.exec(container, "touch", "/data/after")
    docker.docker("rm", "-f", container)
    wait_until(lambda: not plugin.mounted("data"), "the unmount")
    assert "after" in docker.run("-v", "data:/data", "busybox", "ls", "/data")
    docker.remove_everything(plugin.driver)


def test_a_container_is_restarted_after_its_dockerd_was_killed(start_dockerd, plugin):
    """Without live-restore: no unmount ever comes for the container that died with dockerd."""
    docker = start_dockerd()
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "data")
    container = docker.start_container("-v", "data:/data", "busybox", "sleep", "600")
    docker.exec(container, "sh", "-c", "echo before >/data/file; sync")
    docker.kill()
    docker.start()
    docker.docker("start", container)
    assert docker.exec(container, "cat", "/data/file") == "before\n"
    docker.docker("stop", container)
    wait_until(lambda: not plugin.mounted("data"), "the unmount")
    docker.remove_everything(plugin.driver)


def test_a_client_that_hangs_up_takes_away_only_its_own_mount(plugin, volumes):
    name = volumes.create()
    path, an_id = volumes.mount(name)
    for _ in range(5):
        with Connection(plugin.socket) as connection:
            connection.send(request_bytes("VolumeDriver.Mount", b'{"Name": "%s", "ID": "%s"}' % (
                name.encode(), mount_id().encode())))
    (path / "file").write_text("still mounted")
    assert plugin.mounted(name)
    volumes.unmount(name, an_id)

    def removed():
        try:
            plugin.remove(name)
        except PluginError:  # the last of them may still be under way
            return False
        return True

    wait_until(removed, "the end of the mounts that nobody wants", 20)


@pytest.fixture
def slow_blockd(tmp_path):
    """A directory of programs in which a blockd waits for the file `go` before it starts."""
    directory = tmp_path / "libexec"
    directory.mkdir()
    (directory / "docker-volume-rados-server").symlink_to(BUILD / "docker-volume-rados-server")
    script = directory / "radosvol-blockd"
    script.write_text(f"#!/bin/sh\nwhile [ ! -e {directory}/go ]; do sleep 0.05; done\n"
                      f"exec {BUILD}/radosvol-blockd \"$@\"\n")
    script.chmod(0o755)
    return directory


def test_a_client_that_hangs_up_during_mount(start_plugin, volumes, slow_blockd):
    """dockerd sends no unmount for a mount it did not wait for. A mount of a volume that is quick was
    answered before the client hung up, now and then."""
    plugin = start_plugin(libexec_dir=slow_blockd)
    name = volumes.create()
    blockds = plugin.run_dir / "blockd"
    with Connection(plugin.socket) as connection:
        connection.send(request_bytes("VolumeDriver.Mount", b'{"Name": "%s", "ID": "%s"}' % (
            name.encode(), mount_id().encode())))
        wait_until(lambda: any(blockds.iterdir()), "the mount to begin")
    (slow_blockd / "go").touch()
    wait_until(lambda: not any(blockds.iterdir()), "the end of the mount nobody wants", 30)
    assert not plugin.mounted(name)


def test_a_hundred_gets_while_a_mount_hangs(start_plugin, volumes, slow_blockd):
    plugin = start_plugin(libexec_dir=slow_blockd)
    name = volumes.create("slow")
    other = volumes.create("other")
    an_id = mount_id()
    with concurrent.futures.ThreadPoolExecutor(102) as pool:
        mount = pool.submit(plugin.mount, name, an_id)
        names = [name, other] * 50
        gets = [pool.submit(plugin.get, n) for n in names]
        for get, wanted in zip(gets, names):
            assert get.result(timeout=20)["Name"] == wanted
        assert plugin.list() == ["other", "slow"]
        assert not mount.done()
        (slow_blockd / "go").touch()
        mount.result(timeout=60)
    plugin.unmount(name, an_id)


def test_a_mount_that_hangs_does_not_delay_another_volume(start_plugin, volumes, slow_blockd):
    plugin = start_plugin(libexec_dir=slow_blockd)
    volumes.create("slow")
    an_id = mount_id()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        mount = pool.submit(plugin.mount, "slow", an_id)
        plugin.create("quick", size="1G")
        plugin.remove("quick")
        assert not mount.done()
        (slow_blockd / "go").touch()
        mount.result(timeout=60)
    plugin.unmount("slow", an_id)


# --- The plugin's own end --------------------------------------------------------------------


def test_sigterm_ends_the_plugin_and_not_the_containers(start_plugin, volumes, cluster):
    """It ends in the 10 s that dockerd allows; whoever uses a volume goes on, and the next plugin
    takes over what it finds."""
    plugin = start_plugin(host="host-b")
    name = volumes.create()
    an_id = mount_id()
    path = plugin.mount(name, an_id)
    blockds = plugin.blockd_pids()
    plugin.stop(blockds_stay=True)
    write_synced(path / "file", b"x" * 5000000)
    plugin.start()
    assert plugin.path(name) == str(path)
    plugin.unmount(name, an_id)
    wait_until(lambda: not any(map(alive, blockds)), "the end of the blockd")
    assert not cluster.lockers(name) and not cluster.watchers(name)
    path, _ = volumes.mount(name)
    assert (path / "file").stat().st_size == 5000000


def test_sigterm_gives_back_what_nobody_uses(start_plugin, volumes, cluster):
    """Unmounted for docker while a process still sat in it: once that is gone, so is the device."""
    plugin = start_plugin(host="host-b")
    name = volumes.create()
    an_id = mount_id()
    path = plugin.mount(name, an_id)
    with open(path / "file", "w"):
        plugin.unmount(name, an_id)
        assert plugin.blockd_pids()
    plugin.stop()
    assert not os.path.ismount(path)
    assert not cluster.lockers(name) and not cluster.watchers(name)


def test_a_volume_in_use_after_its_unmount_is_mounted_again(plugin, volumes):
    """docker starts the next container while the last one's mount is still being given up."""
    name = volumes.create()
    path, an_id = volumes.mount(name)
    with open(path / "file", "w") as file:
        volumes.unmount(name, an_id)
        again, an_id = volumes.mount(name)
        file.write("still here")
    assert (again / "file").read_text() == "still here"


def test_a_plugin_started_again_finds_its_mounts(start_plugin, volumes):
    """The server killed: another one takes the ledger over."""
    plugin = start_plugin(host="host-b")
    name = volumes.create()
    an_id = mount_id()
    path = plugin.mount(name, an_id)
    server = plugin.server_pid()
    os.kill(server, 9)
    (path / "file").write_text("no server needed")
    wait_until(lambda: plugin.pids("docker-volume-rados-server") not in ([], [server]),
               "a new server")
    assert wait_until(lambda: _try(lambda: plugin.path(name)), "its answer") == str(path)
    plugin.unmount(name, an_id)
    wait_until(lambda: not os.path.ismount(path), "the unmount")
    path, _ = volumes.mount(name)
    assert (path / "file").read_text() == "no server needed"


def test_a_host_that_was_refused_forgets_a_volume_removed_elsewhere(start_plugin, plugin, volumes):
    """It keeps the token of its attempt, in case that left a lock: until the volume is gone."""
    other = start_plugin(host="host-b")
    ledger = other.run_dir / "ledger"
    names = [volumes.create() for _ in range(2)]
    for name in names:
        _, an_id = volumes.mount(name)
        with pytest.raises(PluginError, match="in use"):
            other.mount(name, mount_id())
        volumes.unmount(name, an_id)
    files = {f"{name}.json" for name in names}
    assert set(os.listdir(ledger)) == files
    plugin.remove(names[0])
    other.list()
    assert set(os.listdir(ledger)) == files - {f"{names[0]}.json"}
    path = other.mount(names[1], "id")
    (path / "file").write_text("it still knows the other")
    other.unmount(names[1], "id")


def _try(call):
    try:
        return call()
    except (OSError, http.ClosedWithoutAnswer):
        return None


def test_the_socket_is_for_root_alone(plugin):
    assert plugin.socket.stat().st_mode & 0o077 == 0


def test_the_mounts_are_for_root_alone(start_plugin):
    """Users of the host do not get at a volume past its container's rights; also not where somebody
    made the directories before."""
    plugin = start_plugin(wait=False)
    plugin.kill_all()
    directories = [plugin.lib_dir / name for name in ("mounts", "scratch")]
    for directory in directories:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o755)
    plugin.start()
    assert [directory.stat().st_mode & 0o777 for directory in directories] == [0o700, 0o700]


def test_one_volume_takes_one_process(plugin, volumes):
    names = [volumes.create() for _ in range(3)]
    for name in names:
        volumes.mount(name)
        volumes.mount(name)
    assert len(plugin.blockd_pids()) == 3
