# SPDX-License-Identifier: Apache-2.0
"""/metrics of a real plugin: do the numbers follow what happens?"""

import json
import os
import re
import socket
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib import http, proc
from lib.load import Pulse, write_synced
from lib.metrics import Samples, free_port, promtool, scrape, wait_for

MIB = 1 << 20
OPERATIONS = ("read", "write", "discard")
DURATION = "volume_request_duration_seconds"


def write(path, mib):
    write_synced(path, os.urandom(mib * MIB))


def over_tcp(address, path="/metrics", **options):
    request = urllib.request.Request(f"http://{address}{path}", **options)
    with urllib.request.urlopen(request, timeout=30) as reply:
        return reply.read().decode()


def test_numbers_follow_io(plugin, volumes):
    name = volumes.create()
    path, _ = volumes.mount(name)
    before = scrape(plugin)
    beat = Pulse(path)
    beat.wait_for(20)
    write(path / "file", 8)
    beat.stop()
    after = scrape(plugin)

    def grown(metric, **labels):
        return after.get(metric, volume=name, **labels) - before.get(metric, volume=name, **labels)

    assert grown("volume_written_bytes_total") >= 8 * MIB
    assert grown(f"{DURATION}_count", operation="write") >= 20
    assert grown(f"{DURATION}_sum", operation="write") > 0
    assert after.get("volume_request_errors_total", volume=name) == 0
    assert after.get("volume_fenced", volume=name) == 0
    assert after.get("volume_mounted", volume=name) == 1
    assert after.get("volume_size_bytes", volume=name) == 1 << 30
    assert 8 * MIB <= after.get("volume_used_bytes", volume=name) < 64 * MIB
    assert after.get("volume_stats_age_seconds", volume=name) < 60
    assert after.get("volume_watch_age_seconds", volume=name) < 60


def test_histograms_are_whole(plugin, volumes):
    name = volumes.create()
    path, _ = volumes.mount(name)
    write(path / "file", 4)
    samples = scrape(plugin)
    for operation in OPERATIONS:
        buckets = [(float(labels["le"]), value) for labels, value in
                   samples.all(f"{DURATION}_bucket", volume=name, operation=operation)]
        assert len(buckets) == 22 and buckets == sorted(buckets)
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (float("inf"),
                               samples.get(f"{DURATION}_count", volume=name, operation=operation))
        for (bound, _), n in zip(buckets[:-1], range(6, 27)):
            assert bound == pytest.approx(2 ** n / 1e6)
    assert samples.get(f"{DURATION}_count", volume=name, operation="write") > 0


def test_facts_of_the_cluster(plugin, volumes, cluster):
    mounted, idle = volumes.create(), volumes.create("idle", size="2G")
    path, _ = volumes.mount(mounted)
    cluster.rbd("snap", "create", f"{idle}@one")
    started = time.time()
    try:
        samples = wait_for(plugin, "the snapshot and the holder", lambda s:
                           s.get("volume_snapshots", volume=idle) == 1
                           and s.get("volume_held", volume=mounted) == 1)
    finally:
        cluster.rbd("snap", "rm", f"{idle}@one")
    assert abs(samples.get("volume_newest_snapshot_timestamp_seconds", volume=idle) - started) < 60
    assert abs(samples.get("volume_created_timestamp_seconds", volume=idle) - started) < 120
    assert samples.get("volume_size_bytes", volume=idle) == 2 << 30
    assert samples.get("volume_mounted", volume=idle) == 0
    assert samples.get("volume_held", volume=idle) == 0
    assert samples.get("volume_fenced", volume=idle) is None
    assert samples.get("volume_holder_info", volume=mounted, host="host-a") == 1
    assert samples.get("volume_facts_age_seconds", volume=idle) < 60
    assert samples.get("volumes") == 2 and samples.get("volumes_left_out") == 0
    assert samples.get("cluster_reachable") == 1
    assert samples.get("pool_full", pool="docker") == 0
    assert samples.get("pool_available_bytes", pool="docker") > 0
    assert abs(samples.get("cluster_last_contact_timestamp_seconds") - time.time()) < 60
    assert os.path.ismount(path)


def test_removed_volumes_go(plugin, volumes):
    name = volumes.create("short-lived")
    wait_for(plugin, "the volume", lambda s: s.get("volume_size_bytes", volume=name))
    volumes.plugin.remove(name)
    wait_for(plugin, "its end", lambda s: not s.all("volume_size_bytes", volume=name))


def test_text_is_clean(plugin, volumes):
    path, _ = volumes.mount(volumes.create())
    write(path / "file", 1)
    promtool("check", "metrics", text=scrape(plugin).text)


def test_over_tcp(plugin, address):
    samples = Samples(over_tcp(address))
    assert samples.get("info", host="host-a", pool="docker") == 1
    assert samples.get("process_resident_memory_bytes", process="server") > MIB
    assert samples.get("process_resident_memory_bytes", process="supervisor") > 0
    assert samples.get("process_open_fds", process="server") > 3
    assert samples.get("workers_max", kind="read") > 0
    assert 0 < samples.get("process_start_time_seconds", process="server") <= time.time() + 1


def test_tcp_serves_nothing_else(plugin, address, volumes):
    for path, data in (("/VolumeDriver.List", b"{}"), ("/Plugin.Activate", b""), ("/", None)):
        with pytest.raises(urllib.error.HTTPError) as caught:
            over_tcp(address, path, data=data)
        assert caught.value.code == 404
    with pytest.raises(urllib.error.HTTPError) as caught:
        over_tcp(address, data=b"{}")
    assert caught.value.code == 405 and caught.value.headers["Allow"] == "GET"
    # A body, however long, is read past.
    assert Samples(over_tcp(address, data=b"x" * 4 * MIB, method="GET")).get("volumes") is not None


def test_health_over_tcp(address):
    assert json.loads(over_tcp(address, "/healthz")) == {"Err": ""}


def test_methods_on_the_socket(plugin):
    reply = plugin.raw("metrics")
    assert reply.status == 405 and reply.headers["allow"] == "GET"
    reply = http.call(plugin.socket, "VolumeDriver.List", None, verb="GET")
    assert reply.status == 405 and reply.headers["allow"] == "POST"


def test_many_scrapes_at_once(plugin, address, volumes):
    volumes.mount(volumes.create())
    with ThreadPoolExecutor(12) as pool:
        for text in pool.map(lambda _: over_tcp(address), range(60)):
            assert Samples(text).get("lines_left_out") == 0
    # More connections than there may be: the others go on all the same.
    host, port = address.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(40)]
    try:
        assert scrape(plugin).get("lines_left_out") == 0
        assert plugin.get(volumes.plugin.list()[0])
    finally:
        for connection in idle:
            connection.close()
    proc.wait_until(lambda: over_tcp(address), "an answer over TCP", 30)


def test_restarts_are_counted(plugin, volumes, address):
    name = volumes.create()
    path, _ = volumes.mount(name)
    before = scrape(plugin)
    proc.wait_until(lambda: len(plugin.blockd_pids()) == 1, "the end of other volumes' processes",
                    60)
    os.kill(plugin.blockd_pids()[0], 9)
    write(path / "file", 1)
    old = plugin.server_pid()
    os.kill(old, 9)
    proc.wait_until(lambda: plugin.server_pid() != old and plugin.answers(), "a new server", 30)
    after = wait_for(plugin, "the data process", lambda s:
                     s.get("volume_stats_age_seconds", volume=name) is not None)
    for process in ("server", "blockd"):
        assert (after.get("process_restarts_total", process=process)
                - before.get("process_restarts_total", process=process)) == 1
    started = "volume_process_start_time_seconds"
    assert after.get(started, volume=name) > before.get(started, volume=name)
    assert after.get("blockds") == 1
    assert proc.wait_until(lambda: over_tcp(address), "an answer over TCP", 30)


def test_fence_and_takeover(plugin, volumes, cluster):
    name = volumes.create()
    path, an_id = volumes.mount(name)
    write(path / "file", 1)
    wait_for(plugin, "its holder", lambda s: s.get("volume_held", volume=name) == 1)
    address = cluster.watchers(name)[0]
    cluster.ceph("osd", "blocklist", "add", address)
    samples = wait_for(plugin, "the fence", lambda s: s.get("volume_fenced", volume=name) == 1)
    assert samples.get("volume_fences_total", volume=name) == 1
    assert scrape(plugin).get("volume_fences_total", volume=name) == 1
    volumes.unmount(name, an_id)
    _, an_id = volumes.mount(name)
    samples = wait_for(plugin, "the volume's new life", lambda s:
                       s.get("volume_fenced", volume=name) == 0)
    assert samples.get("volume_mounted", volume=name) == 1
    assert len(cluster.watchers(name)) == 1 and cluster.watchers(name)[0] != address
    cluster.ceph("osd", "blocklist", "rm", address)


def test_scrape_never_waits_for_the_cluster(plugin, volumes, cluster, address):
    name = volumes.create()
    _, an_id = volumes.mount(name)
    wait_for(plugin, "facts", lambda s: s.get("volume_held", volume=name) == 1)
    frozen = cluster.freeze()
    try:
        for _ in range(3):
            samples = scrape(plugin, timeout=10)
            assert samples.get("volume_size_bytes", volume=name) == 1 << 30
            assert samples.get("volume_held", volume=name) == 1
            assert Samples(over_tcp(address)).get("volume_mounted", volume=name) == 1
            time.sleep(0.5)
        samples = wait_for(plugin, "word of the cluster's absence", lambda s:
                           s.get("cluster_reachable") == 0)
        assert samples.get("volume_held", volume=name) == 1
        assert samples.get("volume_facts_age_seconds", volume=name) > 1
    finally:
        cluster.thaw(frozen)
    wait_for(plugin, "the cluster's return", lambda s: s.get("cluster_reachable") == 1)
    volumes.unmount(name, an_id)
    # A watch that broke meanwhile is remembered for its timeout, and keeps the volume until then.
    proc.wait_until(lambda: not cluster.watchers(name), "the end of all watches", 60, interval=0.5)


def test_address_in_use_is_no_reason_not_to_serve_docker(start_plugin):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        plugin = start_plugin(metrics_address=address)
        proc.wait_until(lambda: f"cannot listen on {address}" in plugin.log(), "words about it")
        assert scrape(plugin).get("info") == 1


def open_sockets(pid):
    """Their inodes."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            yield target.removeprefix("socket:[").rstrip("]")


def test_no_address_no_listener(start_plugin):
    plugin = start_plugin()
    inodes = set(open_sockets(plugin.server_pid()))
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).readlines()[1:]:
            fields = line.split()
            assert not (fields[3] == "0A" and fields[9] in inodes), line  # 0A: LISTEN


@pytest.mark.parametrize("bad", ["9128", "localhost:80", "127.0.0.1:0", "::1:80"])
def test_bad_address_is_refused(start_plugin, bad):
    plugin = start_plugin(wait=False, metrics_address=bad)
    assert plugin.process.wait(30) == 2
    assert re.search("--metrics-address.*allowed", plugin.log())


def test_log_lines_name_host_and_volume(start_plugin):
    plugin = start_plugin()
    plugin.create("logged", size="1G")
    plugin.mount("logged", "1")
    plugin.unmount("logged", "1")
    plugin.remove("logged")
    lines = plugin.log().splitlines()
    for line in lines:
        assert re.fullmatch(r"<[3467]>[a-z-]+ host=host-a( volume=\S+)?: .+", line), line
        if "'logged'" in line or "image \"" in line:
            assert " volume=logged: " in line, line
    for program in ("docker-volume-rados", "docker-volume-rados-server", "radosvol-blockd"):
        assert any(f">{program} host=host-a volume=logged: " in line for line in lines), program


def test_unreachable_cluster_from_the_start(start_plugin, base):
    conf = base / "nowhere.conf"
    conf.write_text(f"[global]\nmon_host = 127.0.0.1:{free_port()}\nauth_client_required = none\n"
                    "auth_cluster_required = none\nauth_service_required = none\n")
    plugin = start_plugin(conf=conf)
    samples = scrape(plugin)
    assert samples.get("cluster_reachable") == 0
    assert samples.get("cluster_last_contact_timestamp_seconds") is None
    assert samples.get("pool_full") is None
