# SPDX-License-Identifier: Apache-2.0
"""Clients that err or mean harm: a clear Err, nothing changed, and good clients served meanwhile."""

import json
import resource
import socket
import threading
import time

import pytest

from lib import http
from lib.http import Connection, request_bytes
from lib.plugin import PluginError

MANY_CONNECTIONS = 10000

CALLS_WITH_NAME = ["Create", "Remove", "Mount", "Unmount", "Path", "Get"]

BAD_NAMES = {
    "empty": "",
    "parent": "../x",
    "slash": "a/b",
    "absolute": "/etc/passwd",
    "dot": ".",
    "dots": "..",
    "hidden": ".hidden",
    "dash": "-rf",
    "snapshot": "a@b",
    "space": "a b",
    "newline": "a\nb",
    "300-bytes": "x" * 300,
    "utf-8": "größe",
    "emoji": "\U0001f4be",
    "percent": "%s%n",
    "nul": "a\u0000b",
    "glob": "*",
}


@pytest.fixture(autouse=True)
def unchanged(plugin, volumes):
    """Each test begins with one good volume and must leave exactly that."""
    volumes.create("good")
    yield
    assert plugin.list() == ["good"]
    assert not plugin.mounted("good")
    assert plugin.get("good")["Name"] == "good"


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
def test_bad_names(plugin, name):
    for method in CALLS_WITH_NAME:
        answer = plugin.raw(f"VolumeDriver.{method}", {"Name": name, "ID": "f" * 64}).json()
        assert answer["Err"], method


@pytest.mark.parametrize("body", [
    b"{", b"}", b"[]", b"7", b'"text"', b"null", b"true", b"{}x", b"{'Name': 'good'}",
    b'{"Name": "good"', b'{"Name": }', b'\xff\xfe{"Name": "good"}', b'{"Name": "\xc3\x28"}',
    b'{"Name": "good", "Name": "good"}', b"\x00", b"{" * 5000, b"[" * 500000,
    b'{"Name": "good", "Opts": ' * 1000], ids=lambda body: repr(body[:20]))
def test_malformed_json(plugin, body):
    for method in CALLS_WITH_NAME:
        answer = plugin.raw(f"VolumeDriver.{method}", body).json()
        assert answer["Err"], method


@pytest.mark.parametrize("name", [None, 7, True, [], ["good"], {}, 1e300], ids=repr)
def test_names_of_the_wrong_type(plugin, name):
    for method in CALLS_WITH_NAME:
        answer = plugin.raw(f"VolumeDriver.{method}", {"Name": name, "ID": "x"}).json()
        assert "Name" in answer["Err"], method


@pytest.mark.parametrize("opts", [7, "size=1G", [], ["size"], {"size": 7}, {"size": None},
                                  {"size": ["1G"]}, {"size": {}}])
def test_options_of_the_wrong_type(plugin, opts):
    answer = plugin.raw("VolumeDriver.Create", {"Name": "bad", "Opts": opts}).json()
    assert "Opts" in answer["Err"] or "size" in answer["Err"]


@pytest.mark.parametrize("an_id", [None, 7, [], {}, "", "x" * 5000])
@pytest.mark.parametrize("method", ["Mount", "Unmount"])
def test_bad_mount_ids(plugin, method, an_id):
    answer = plugin.raw(f"VolumeDriver.{method}", {"Name": "good", "ID": an_id}).json()
    assert "ID" in answer["Err"]


@pytest.mark.parametrize("option, value", [
    ("size", ""), ("size", "0"), ("size", "-1G"), ("size", "1X"), ("size", "1G1"),
    ("size", "99999999999999999999"), ("size", "1K"), ("size", "ten"), ("size", "1e3"),
    ("fs", "ntfs"), ("fs", ""), ("uid", "-1"), ("uid", "root"), ("uid", "4294967296"),
    ("gid", "x"), ("mode", "9"), ("mode", "rwx"), ("mode", "77777"),
    ("mount-options", "remount"), ("mount-options", "loop,bind"), ("mount-options", "noatime,,x"),
    ("object-size", "5M"), ("object-size", "1"), ("data-pool", "a/b"), ("data-pool", ".hidden"),
    ("protect", "maybe"), ("owner", "x" * 5000)], ids=lambda text: text[:20])
def test_bad_options(plugin, option, value):
    with pytest.raises(PluginError) as refusal:
        plugin.create("bad", **{option: value})
    assert option in str(refusal.value).replace("mount option ", "mount-options ")


@pytest.mark.parametrize("option", ["sizes", "Size", "", "device", "o", "x" * 60])
def test_unknown_options_are_refused_by_name(plugin, option):
    with pytest.raises(PluginError) as refusal:
        plugin.create("bad", **{option: "1"})
    assert f"'{option}'" in str(refusal.value)


@pytest.mark.parametrize("option", ["label.", "label. x", "label.\n", "x" * 300, "label." + "x" * 200])
def test_option_names_that_cannot_be(plugin, option):
    with pytest.raises(PluginError, match="label|at most"):
        plugin.create("bad", **{option: "1"})


def test_a_data_pool_that_does_not_exist(plugin):
    with pytest.raises(PluginError, match="no pool 'no-such'.*ceph osd pool create"):
        plugin.create("bad", **{"data-pool": "no-such"})


def test_the_refusal_of_an_unknown_option_lists_what_is_allowed(plugin):
    with pytest.raises(PluginError) as refusal:
        plugin.create("bad", sized="1G")
    for option in ("size", "fs", "mount-options", "uid", "gid", "mode", "owner", "label",
                   "data-pool", "object-size", "protect"):
        assert option in str(refusal.value)


def test_too_many_options(plugin):
    with pytest.raises(PluginError):
        plugin.create("bad", **{f"label.{i}": "x" for i in range(100000 // 2)})


def test_docker_shows_the_words(dockerd, plugin):
    done = dockerd.docker("volume", "create", "-d", plugin.driver, "-o", "speed=11", "bad",
                         check=False)
    assert done.returncode != 0 and "speed" in done.stderr and "size" in done.stderr


# --- Bytes on the wire ---------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("megabytes", [2, 30])
def test_a_body_over_the_limit(plugin, megabytes, chunked):
    body = b'{"Name": "good", "Opts": {"owner": "%s"}}' % (b"x" * (megabytes << 20))
    if chunked:
        request = request_bytes("VolumeDriver.Create", b"", {"Transfer-Encoding": "chunked",
                                                             "Content-Length": None})
        request += b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    else:
        request = request_bytes("VolumeDriver.Create", body)
    with Connection(plugin.socket) as connection:
        connection.send(request)
        reply = connection.read_reply()
    assert "1 MiB" in reply.json()["Err"]


def test_a_body_that_is_announced_and_never_comes(plugin):
    with Connection(plugin.socket) as connection:
        connection.send(request_bytes("VolumeDriver.Remove", b"",
                                      {"Content-Length": str(1 << 40)}))
        assert plugin.list() == ["good"]


def test_a_body_shorter_than_announced(plugin):
    body = b'{"Name": "good"}'
    with Connection(plugin.socket) as connection:
        connection.send(request_bytes("VolumeDriver.Remove", body, {"Content-Length": "100"}))
        connection.socket.shutdown(socket.SHUT_WR)
        time.sleep(0.5)
    assert plugin.list() == ["good"]


@pytest.mark.parametrize("data", [
    b"\r\n\r\n", b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"POST\r\n\r\n",
    b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"POST /VolumeDriver.Remove HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
    b"POST /VolumeDriver.List HTTP/1.1\r\n" + b"X: y\r\n" * 50000 + b"\r\n"],
    ids=lambda data: repr(data[:40]))
def test_bytes_that_are_no_request(plugin, data):
    """Whether it is answered, closed or waited on for more: nothing comes of it."""
    with Connection(plugin.socket, timeout=1) as connection:
        try:
            connection.send(data)
            while connection.socket.recv(65536):
                pass
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        assert plugin.list() == ["good"]


def test_slow_senders_do_not_delay_a_good_client(plugin):
    """A hundred clients that send a byte now and then."""
    request = request_bytes("VolumeDriver.Remove", b'{"Name": "good"}')
    connections = [Connection(plugin.socket) for _ in range(100)]
    try:
        for i in range(60):
            for connection in connections:
                connection.send(request[i:i + 1])
            assert plugin.list() == ["good"]
    finally:
        for connection in connections:
            connection.close()


def test_a_slow_but_honest_client_is_served(plugin):
    with Connection(plugin.socket) as connection:
        connection.dribble(request_bytes("VolumeDriver.Get", b'{"Name": "good"}'), 0.01)
        assert connection.read_reply().json()["Volume"]["Name"] == "good"


def test_a_client_that_never_reads(plugin):
    """It asks and asks and lets the answers pile up."""
    with Connection(plugin.socket, timeout=1) as connection:
        with pytest.raises(TimeoutError):
            for _ in range(100000):
                connection.send(request_bytes("VolumeDriver.Get", b'{"Name": "good"}'))
        assert plugin.list() == ["good"]


@pytest.mark.timeout(300)
def test_ten_thousand_connections(plugin):
    """All open at once; a client that comes then is served, and one of the ten thousand too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, MANY_CONNECTIONS + 2000), hard))
    connections = []
    try:
        for _ in range(MANY_CONNECTIONS):
            connections.append(Connection(plugin.socket, timeout=60))
        assert plugin.list() == ["good"]
        for connection in (connections[0], connections[-1]):
            assert connection.call("VolumeDriver.Get", {"Name": "good"}).json()["Err"] == ""
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert plugin.list() == ["good"]


def test_large_bodies_all_at_once(plugin):
    """Thirty clients with 1 MiB each: answered, every one, with or without a wait."""
    body = json.dumps({"Name": "bad", "Opts": {"owner": "x" * 1000000}}).encode()
    answers = []

    def one():
        answers.append(plugin.raw("VolumeDriver.Create", body, timeout=60).json()["Err"])

    threads = [threading.Thread(target=one) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 30 and all(answers)


def test_connections_opened_and_closed(plugin):
    for _ in range(2000):
        Connection(plugin.socket).close()
    assert plugin.list() == ["good"]


def test_hang_up_at_every_byte(plugin):
    request = request_bytes("VolumeDriver.Remove", b'{"Name": "good"}')
    for length in range(len(request)):
        with Connection(plugin.socket) as connection:
            connection.send(request[:length])
    assert plugin.list() == ["good"]
    assert http.call(plugin.socket, "VolumeDriver.List", b"{}").status == 200
