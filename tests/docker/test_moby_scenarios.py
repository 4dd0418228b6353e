# SPDX-License-Identifier: Apache-2.0
"""The scenarios with which moby tests external volume drivers
(integration-cli/docker_cli_external_volume_driver_test.go), on a real dockerd and this driver."""

import os
import re
import secrets
import socket
import threading

import pytest

from lib.paths import PLUGIN_SOCKETS
from lib.plugin import Plugin, PluginError, mount_id
from lib.proc import wait_until
from lib.recorder import Recorder


@pytest.fixture(scope="module")
def recorder_for_all(dockerd, plugin):
    """One for all tests: dockerd asks every driver it ever used about a name it does not know, and
    waits 15 s for each that is gone."""
    with Recorder(plugin) as recorder:
        yield recorder


@pytest.fixture
def recorder(recorder_for_all, docker):
    recorder_for_all.calls.clear()
    yield recorder_for_all
    docker.remove_everything(recorder_for_all.driver)


def test_named_volume(docker, recorder, plugin):
    docker.run("--volume-driver", recorder.driver, "-v", "external:/data", "busybox", "true")
    assert recorder.count("Create") == 1
    assert recorder.count("Remove") == 0
    assert recorder.count("Mount") == recorder.count("Unmount") >= 1
    assert plugin.list() == ["external"]


def test_unnamed_volume(docker, recorder, plugin):
    docker.run("--volume-driver", recorder.driver, "-v", "/data", "busybox", "true")
    name = recorder.named("Create")[0].body["Name"]
    assert re.fullmatch("[0-9a-f]{64}", name)
    assert recorder.count("Remove") == 1
    assert recorder.count("Mount") == recorder.count("Unmount") >= 1
    assert plugin.list() == []


def test_volumes_from(docker, recorder):
    docker.docker("run", "--network", "none", "--name", "first", "--volume-driver",
                  recorder.driver, "-v", "/data", "busybox", "sh", "-c", "echo shared >/data/file")
    assert docker.run("--volumes-from", "first", "busybox", "cat", "/data/file") == "shared\n"
    docker.docker("rm", "-fv", "first")
    assert recorder.count("Create") == recorder.count("Remove") == 1
    assert recorder.count("Mount") == recorder.count("Unmount") >= 2


def test_delete_container_with_its_volume(docker, recorder, plugin):
    docker.start_container("--name", "doomed", "--volume-driver", recorder.driver, "-v", "/data",
                           "busybox", "sleep", "600")
    docker.docker("rm", "-fv", "doomed")
    assert recorder.count("Remove") == 1
    assert recorder.count("Mount") == recorder.count("Unmount")
    assert plugin.list() == []


def test_lookup_is_not_blocked_by_a_dead_driver(start_dockerd, plugin):
    """A driver that accepts connections and never answers must not hold up ours."""
    docker = start_dockerd()
    name = f"dead-{secrets.token_hex(3)}"
    path = PLUGIN_SOCKETS / f"{name}.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen(10)
        waiting = threading.Thread(target=docker.docker, args=("volume", "create", "-d", name, "x"),
                                   kwargs={"check": False})
        waiting.start()
        connection, _ = dead.accept()
        docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "alive")
        assert waiting.is_alive()
        path.unlink()
        connection.close()
    waiting.join(60)
    assert not waiting.is_alive()
    docker.remove_everything(plugin.driver)


def test_a_plugin_that_appears_late_is_waited_for(start_dockerd, start_plugin, base, cluster):
    """dockerd tries again for some 15 s: a plugin that starts meanwhile serves the call."""
    docker = start_dockerd()
    late = Plugin(cluster, base / "not-started")
    worker = threading.Thread(target=docker.docker, args=(
        "volume", "create", "-d", late.driver, "-o", "size=1G", "late"))
    worker.start()
    worker.join(2)
    assert worker.is_alive()
    plugin = start_plugin(driver=late.driver)
    worker.join(60)
    assert not worker.is_alive()
    assert plugin.list() == ["late"]
    docker.remove_everything(plugin.driver)


def test_bind_external_volume(docker, plugin):
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "bound")
    docker.docker("create", "--name", "user", "-v", "bound:/bar", "busybox", "true")
    mounts = docker.inspect("user")["Mounts"]
    assert [(m["Name"], m["Driver"], m["Destination"]) for m in mounts] == [
        ("bound", plugin.driver, "/bar")]


def test_list(docker, plugin):
    for name in ("one", "two", "three"):
        docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", name)
    lines = docker.docker("volume", "ls", "-f", f"driver={plugin.driver}").stdout.splitlines()[1:]
    assert sorted(line.split() for line in lines) == sorted(
        [plugin.driver, name] for name in ("one", "two", "three"))


def test_list_shows_volumes_made_elsewhere(docker, plugin, volumes):
    """Another host's docker made it; this dockerd has never heard of it."""
    volumes.create("elsewhere")
    # Docker looks a driver up on its first use; listing then asks it.
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "here")
    assert docker.volumes("-f", f"driver={plugin.driver}") == ["elsewhere", "here"]


def test_get(docker, plugin):
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "known")
    assert docker.inspect_volume("known")["Status"]["size"] == "1G"
    done = docker.docker("volume", "inspect", "unknown", check=False)
    assert done.returncode != 0 and "no such volume" in done.stderr.lower()


def test_daemon_restart(docker, plugin):
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "--label", "keep=me",
                  "restarted")
    docker.run("-v", "restarted:/data", "busybox", "sh", "-c", "echo before >/data/file")
    docker.restart()
    assert docker.inspect_volume("restarted")["Labels"] == {"keep": "me"}
    assert docker.run("-v", "restarted:/data", "busybox", "cat", "/data/file") == "before\n"


def test_get_never_has_an_empty_response(docker, plugin):
    """dockerd of old crashed on {"Volume": null}; an unknown name is an Err here."""
    reply = plugin.raw("VolumeDriver.Get", {"Name": "unknown"}).json()
    assert reply["Err"] and reply.get("Volume", "absent") is not None
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "unknown")
    assert plugin.get("unknown")["Name"] == "unknown"


def test_path_calls(docker, plugin):
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "where")
    assert plugin.path("where") == ""
    container = docker.start_container("-v", "where:/data", "busybox", "sleep", "600")
    path = plugin.path("where")
    assert path.startswith("/")
    docker.exec(container, "touch", "/data/file")
    assert os.listdir(path) == ["file"]
    assert docker.inspect_volume("where")["Mountpoint"] == path


def test_mount_id(docker, recorder):
    """Each use has an ID; it comes back with the unmount."""
    docker.run("--volume-driver", recorder.driver, "-v", "external:/data", "busybox", "true")
    mounts = [call.body["ID"] for call in recorder.named("Mount")]
    assert all(re.fullmatch("[0-9a-f]{64}", an_id) for an_id in mounts)
    assert sorted(mounts) == sorted(call.body["ID"] for call in recorder.named("Unmount"))


def test_capabilities(docker, recorder):
    for name in ("one", "two", "three"):
        docker.docker("volume", "create", "-d", recorder.driver, "-o", "size=1G", name)
    assert docker.inspect_volume("one")["Scope"] == "global"
    assert recorder.count("Capabilities") <= 1


def test_out_of_band_delete(docker, plugin, cluster):
    """What a stock tool removed is gone for docker too: the name is free."""
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "gone")
    cluster.rbd("rm", "gone")
    docker.docker("volume", "create", "-d", "local", "gone")
    assert docker.inspect_volume("gone")["Driver"] == "local"
    docker.docker("volume", "rm", "gone")
    docker.docker("volume", "create", "-d", plugin.driver, "-o", "size=1G", "gone")
    assert plugin.list() == ["gone"]


def test_a_failed_mount_gets_no_unmount_and_leaves_nothing(docker, recorder, plugin, start_plugin):
    """dockerd sends no Unmount after a failed Mount: the plugin must have cleaned up itself."""
    docker.docker("volume", "create", "-d", recorder.driver, "-o", "size=1G", "held")
    other = start_plugin(host="host-b")
    an_id = mount_id()
    other.mount("held", an_id)
    done = docker.docker("run", "--rm", "--network", "none", "-v", "held:/data", "busybox", "true",
                         check=False)
    assert done.returncode != 0 and "host-b" in done.stderr
    assert recorder.count("Mount") == 1 and recorder.count("Unmount") == 0
    assert not plugin.mounted("held") and plugin.path("held") == ""
    wait_until(lambda: not plugin.blockd_pids(), "the end of the blockd that could not attach")
    other.unmount("held", an_id)
    docker.run("-v", "held:/data", "busybox", "touch", "/data/file")


def test_docker_cp_is_a_mount_of_its_own(docker, recorder, plugin, tmp_path):
    """docker cp mounts and unmounts under the container's ID, perhaps more than once; the container's
    own mount stays."""
    (tmp_path / "file").write_text("copied\n")
    docker.docker("volume", "create", "-d", recorder.driver, "-o", "size=1G", "copied")
    container = docker.start_container("-v", "copied:/data", "busybox", "sleep", "600")
    mounts, unmounts = recorder.count("Mount"), recorder.count("Unmount")
    docker.docker("cp", tmp_path / "file", f"{container}:/data/")
    assert recorder.count("Unmount") - unmounts == recorder.count("Mount") - mounts >= 1
    assert plugin.mounted("copied")
    assert docker.exec(container, "cat", "/data/file") == "copied\n"
    docker.docker("rm", "-f", container)
    assert recorder.count("Mount") == recorder.count("Unmount")
    wait_until(lambda: not plugin.mounted("copied"), "the unmount")


def test_create_with_other_options_is_a_conflict(docker, plugin, volumes):
    """dockerd asks before it creates, so it never finds out; asked directly, the plugin says no."""
    volumes.create("same", size="1G")
    volumes.create("same", size="1G")
    with pytest.raises(PluginError, match="size"):
        volumes.create("same", size="2G")
    assert plugin.get("same")["Status"]["size"] == "1G"
