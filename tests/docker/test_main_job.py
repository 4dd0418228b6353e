# SPDX-License-Identifier: Apache-2.0
"""What the plugin is for: a container's data in a volume, there for the next container."""

import json

import pytest

from lib import images
from lib.plugin import PluginError


@pytest.fixture
def create(docker, plugin):
    """Make a volume as a user does; returns its name."""

    def create(name="data", *words, **options):
        options = {"size": "1G", **options}
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        docker.docker("volume", "create", "-d", plugin.driver, *flags, *words, name)
        return name

    return create


def test_a_second_container_reads_what_the_first_wrote(docker, create):
    create("data")
    docker.run("-v", "data:/data", "busybox", "sh", "-c", "echo hello >/data/file")
    assert docker.run("-v", "data:/data", "busybox", "cat", "/data/file") == "hello\n"


def test_run_makes_the_volume_it_names(docker, plugin):
    docker.run("--volume-driver", plugin.driver, "-v", "named:/data", "busybox",
               "sh", "-c", "echo made by run >/data/file")
    assert "named" in plugin.list()
    assert docker.run("-v", "named:/data", "busybox", "cat", "/data/file") == "made by run\n"


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_the_file_system_is_the_one_asked_for(docker, create, fs):
    create("data", fs=fs)
    mounts = docker.run("-v", "data:/data", "busybox", "cat", "/proc/mounts")
    assert [line.split()[2] for line in mounts.splitlines() if line.split()[1] == "/data"] == [fs]


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_a_new_volume_is_empty(docker, create, fs):
    create("data", fs=fs)
    assert docker.run("-v", "data:/data", "busybox", "ls", "-A", "/data") == ""


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_the_root_has_owner_and_mode_as_asked_for(docker, create, fs):
    create("data", fs=fs, uid=1234, gid=5678, mode="2750")
    seen = docker.run("-v", "data:/data", "busybox", "stat", "-c", "%u %g %a", "/data")
    assert seen == "1234 5678 2750\n"


def test_the_root_is_roots_unless_asked_for(docker, create):
    create("data")
    seen = docker.run("-v", "data:/data", "busybox", "stat", "-c", "%u %g %a", "/data")
    assert seen == "0 0 755\n"


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_the_size_is_the_one_asked_for(docker, create, fs):
    create("data", fs=fs, size="3G")
    line = docker.run("-v", "data:/data", "busybox", "df", "-k", "/data").splitlines()[-1]
    kib = int(line.split()[1])
    assert 0.9 * 3 * 2**20 < kib <= 3 * 2**20


def test_mount_options_reach_the_mount(docker, create):
    create("data", **{"mount-options": "noatime,nodev"})
    mounts = docker.run("-v", "data:/data", "busybox", "cat", "/proc/mounts")
    flags = [line.split()[3] for line in mounts.splitlines() if line.split()[1] == "/data"]
    assert {"noatime", "nodev"} <= set(flags[0].split(","))


def test_a_read_only_mount_refuses_writes(docker, create):
    create("data")
    done = docker.docker("run", "--rm", "--network", "none", "-v", "data:/data:ro", "busybox",
                         "touch", "/data/file", check=False)
    assert done.returncode != 0 and "Read-only" in done.stderr


def test_two_containers_share_a_volume(docker, create):
    create("data")
    first = docker.start_container("-v", "data:/data", "busybox", "sleep", "600")
    second = docker.start_container("-v", "data:/data", "busybox", "sleep", "600")
    docker.exec(first, "sh", "-c", "echo from the first >/data/file")
    assert docker.exec(second, "cat", "/data/file") == "from the first\n"
    docker.docker("rm", "-f", first)
    docker.exec(second, "sh", "-c", "echo and the second >>/data/file")
    assert docker.exec(second, "cat", "/data/file") == "from the first\nand the second\n"


def test_docker_cp_into_and_out_of_a_running_container(docker, create, tmp_path):
    create("data")
    container = docker.start_container("-v", "data:/data", "busybox", "sleep", "600")
    (tmp_path / "in").write_bytes(bytes(range(256)) * 4096)
    docker.docker("cp", tmp_path / "in", f"{container}:/data/copied")
    assert docker.exec(container, "wc", "-c", "/data/copied").split()[0] == str(256 * 4096)
    docker.docker("cp", f"{container}:/data/copied", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()
    docker.exec(container, "touch", "/data/still-mounted")


def test_docker_cp_into_a_container_that_was_never_started(docker, create, tmp_path):
    create("data")
    docker.docker("create", "--name", "idle", "-v", "data:/data", "busybox", "true")
    (tmp_path / "in").write_text("before the start\n")
    docker.docker("cp", tmp_path / "in", "idle:/data/file")
    assert docker.run("-v", "data:/data", "busybox", "cat", "/data/file") == "before the start\n"


@pytest.mark.parametrize("fs", ["ext4", "xfs"])
def test_what_an_image_has_there_is_copied_into_a_new_volume(docker, create, fs):
    images.load(docker, "with-content", files=[
        ("/data", None, 0o750, 1234, 5678),
        ("/data/file", b"of the image\n", 0o640, 1234, 5678),
        ("/data/folder", None, 0o711, 0, 5678),
        ("/data/folder/deep", b"x" * 70000, 0o600, 33, 33)])
    create("data", fs=fs)
    seen = docker.run("-v", "data:/data", "with-content", "stat", "-c", "%n %u %g %a %s",
                      "/data/file", "/data/folder/deep")
    assert seen == "/data/file 1234 5678 640 13\n/data/folder/deep 33 33 600 70000\n"
    seen = docker.run("-v", "data:/data", "with-content", "stat", "-c", "%n %u %g %a",
                      "/data", "/data/folder")
    assert seen == "/data 1234 5678 750\n/data/folder 0 5678 711\n"
    docker.docker("rmi", "with-content")


def test_what_a_volume_holds_is_not_overwritten_by_the_image(docker, create):
    images.load(docker, "with-content", files=[("/data", None, 0o755, 0, 0),
                                               ("/data/file", b"of the image\n", 0o644, 0, 0)])
    create("data")
    docker.run("-v", "data:/data", "busybox", "sh", "-c", "echo mine >/data/own")
    assert docker.run("-v", "data:/data", "with-content", "ls", "/data") == "own\n"
    docker.docker("rmi", "with-content")


def test_inspect_shows_what_the_volume_is(docker, create):
    create("data", size="2G", fs="xfs", owner="team database", **{"label.tier": "gold"})
    volume = docker.inspect_volume("data")
    assert volume["Scope"] == "global"
    status = volume["Status"]
    assert status["size"] == "2G"
    assert status["fs"] == "xfs"
    assert status["owner"] == "team database"
    assert "gold" in json.dumps(status)


def test_inspect_shows_who_holds_a_mounted_volume(docker, create, plugin):
    create("data")
    assert "host-a" not in json.dumps(docker.inspect_volume("data")["Status"])
    docker.start_container("-v", "data:/data", "busybox", "sleep", "600")
    status = docker.inspect_volume("data")["Status"]
    assert "host-a" in json.dumps(status["holder"])


def test_labels_given_to_docker_stay_with_docker(docker, create):
    create("data", "--label", "stage=test")
    assert docker.inspect_volume("data")["Labels"] == {"stage": "test"}
    assert docker.volumes("-f", "label=stage=test") == ["data"]


def test_docker_refuses_to_remove_a_volume_a_container_uses(docker, create, plugin):
    create("data")
    docker.docker("create", "--name", "user", "-v", "data:/data", "busybox", "true")
    done = docker.docker("volume", "rm", "data", check=False)
    assert done.returncode != 0 and "in use" in done.stderr
    assert "data" in plugin.list()


def test_the_plugin_refuses_to_remove_a_mounted_volume(docker, create, plugin):
    create("data")
    container = docker.start_container("-v", "data:/data", "busybox", "sleep", "600")
    docker.exec(container, "sh", "-c", "echo kept >/data/file")
    with pytest.raises(PluginError) as refusal:
        plugin.remove("data")
    assert "'data'" in str(refusal.value) and "in use on this host" in str(refusal.value)
    assert docker.exec(container, "cat", "/data/file") == "kept\n"


def test_a_protected_volume_is_not_removed(docker, create, cluster, plugin):
    create("data", protect="true")
    done = docker.docker("volume", "rm", "data", check=False)
    assert done.returncode != 0 and "protect" in done.stderr
    cluster.rbd("image-meta", "rm", "data", "docker-volume-rados.protect")
    docker.docker("volume", "rm", "data")
    assert plugin.list() == []


def test_remove_takes_everything_out_of_the_cluster(docker, create, cluster):
    create("data")
    docker.run("-v", "data:/data", "busybox", "dd", "if=/dev/urandom", "of=/data/file", "bs=1M",
               "count=30")
    assert cluster.data_objects("data") > 7
    docker.docker("volume", "rm", "data")
    assert cluster.images() == []


def test_data_go_to_the_data_pool_asked_for(docker, create, cluster):
    create("data", **{"data-pool": "docker-data"})
    docker.run("-v", "data:/data", "busybox", "dd", "if=/dev/urandom", "of=/data/file", "bs=1M",
               "count=9")
    assert cluster.rbd_json("info", "data")["data_pool"] == "docker-data"
    assert cluster.data_objects("data") > 2


def test_objects_have_the_size_asked_for(docker, create, cluster):
    create("data", **{"object-size": "8M"})
    docker.run("-v", "data:/data", "busybox", "sh", "-c", "echo 8 >/data/file")
    assert cluster.rbd_json("info", "data")["object_size"] == 8 << 20
    assert docker.run("-v", "data:/data", "busybox", "cat", "/data/file") == "8\n"


def test_deleted_files_give_their_space_back_to_the_cluster(docker, create, cluster):
    create("data", **{"mount-options": "discard"})
    docker.run("-v", "data:/data", "busybox", "sh", "-c",
               "dd if=/dev/urandom of=/data/file bs=1M count=64 && sync")
    full = cluster.data_objects("data")
    docker.run("-v", "data:/data", "busybox", "sh", "-c", "rm /data/file && sync")
    assert cluster.data_objects("data") <= full - 14
