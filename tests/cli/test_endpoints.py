# SPDX-License-Identifier: Apache-2.0
"""The operator's endpoints on the plugin's socket, called as curl calls them."""

import pytest

from lib.plugin import PluginError

# Endpoint: what it cannot do without, beside which everything else is as it should be.
NEEDS = {
    "Volume.Inspect": {"Name": "good"},
    "Volume.Holders": {},
    "Volume.Clone": {"Name": "good", "To": "new"},
    "Volume.Flatten": {"Name": "good"},
    "Volume.Resize": {"Name": "good", "Size": "2G"},
    "Volume.Takeover": {"Name": "good"},
    "Volume.Recover": {"Host": "host-x"},
    "Snapshot.Create": {"Name": "good"},
    "Snapshot.List": {"Name": "good"},
    "Snapshot.Remove": {"Name": "good", "Snapshot": "s"},
    "Snapshot.Rename": {"Name": "good", "Snapshot": "s", "To": "t"},
    "Snapshot.Protect": {"Name": "good", "Snapshot": "s"},
    "Snapshot.Restore": {"Name": "good", "Snapshot": "s"},
    "Snapshot.Unprotect": {"Name": "good", "Snapshot": "s"},
}


def refusal(plugin, method, body):
    with pytest.raises(PluginError) as refused:
        plugin.call(method, body)
    return str(refused.value)


def test_a_missing_member_is_named(plugin):
    for method, needs in NEEDS.items():
        for member in needs:
            body = {key: value for key, value in needs.items() if key != member}
            assert f'"{member}"' in refusal(plugin, method, body), method


@pytest.mark.parametrize("value", [None, 7, True, [], {}, ["good"]], ids=repr)
def test_members_of_the_wrong_type(plugin, value):
    for method, needs in NEEDS.items():
        for member in needs:
            assert f'"{member}"' in refusal(plugin, method, {**needs, member: value}), method


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "a b", "a@b", "x" * 300, "a\u0000b"],
                         ids=lambda name: repr(name[:10]))
def test_bad_names(plugin, name):
    for method, needs in NEEDS.items():
        for member in needs.keys() & {"Name", "To", "Snapshot"}:
            assert refusal(plugin, method, {**needs, member: name}), method


def test_bodies_that_are_no_request(plugin):
    for method, needs in NEEDS.items():
        for body in [b"{", b"[]", b"7", b"null", b"\x00", b"[" * 500000] + [b""] * bool(needs):
            reply = plugin.raw(method, body)
            assert reply.status == 200 and reply.json()["Err"], (method, body[:10])


def test_other_methods_and_paths(plugin):
    assert plugin.raw("Volume.Inspect", verb="GET").status == 405
    assert plugin.raw("Volume.NoSuch", {}).status == 404


def test_a_volume_that_does_not_exist(plugin):
    for method, needs in NEEDS.items():
        if "Name" in needs:
            assert "no such volume: 'none'" in refusal(plugin, method, {**needs, "Name": "none"})


def test_inspect(plugin, volumes):
    volumes.create("db", **{"label.app": "web"})
    seen = plugin.call("Volume.Inspect", {"Name": "db"})
    assert seen["Err"] == ""
    assert seen["Volume"]["Name"] == "db" and seen["Volume"]["Status"]["size"] == "1G"
    assert "holder" not in seen["Volume"]["Status"]
    path, _ = volumes.mount("db")
    seen = plugin.call("Volume.Inspect", {"Name": "db"})["Volume"]
    assert seen["Mountpoint"] == str(path)
    assert seen["Status"]["holder"]["host"] == "host-a"
    assert seen["Status"]["holder"]["state"] == "alive"
    assert seen["Status"]["labels"] == {"app": "web"}


def test_holders(plugin, volumes):
    volumes.create("free")
    volumes.create("held")
    volumes.mount("held")
    everybody = plugin.call("Volume.Holders")
    assert [(h["Name"], h["Host"], h["State"]) for h in everybody["Holders"]] == [
        ("held", "host-a", "alive")]
    assert everybody["Failures"] == []
    assert plugin.call("Volume.Holders", {"Name": "free"})["Holders"] == []
    some = plugin.call("Volume.Holders", {"Names": ["free", "held", "none"]})
    assert [h["Name"] for h in some["Holders"]] == ["held"]
    assert [f["Name"] for f in some["Failures"]] == ["none"]
    assert "no such volume" in some["Failures"][0]["Err"]


@pytest.mark.parametrize("how", ["Takeover", "Recover"])
def test_a_host_that_is_cut_off(plugin, volumes, start_plugin, how):
    other = start_plugin(host="host-b", watch_timeout=5)
    volumes.create("db")
    _, an_id = volumes.mount("db", plugin=other)
    assert "nobody holds volume 'free'" in refusal(
        plugin, "Volume.Takeover", {"Name": volumes.create("free")})
    assert plugin.call("Volume.Recover", {"Host": "host-c"}) == {
        "Volumes": [], "Failures": [], "Err": ""}
    if how == "Takeover":
        assert plugin.call("Volume.Takeover", {"Name": "db"})["Host"] == "host-b"
    else:
        freed = plugin.call("Volume.Recover", {"Host": "host-b"})["Volumes"]
        assert [(v["Name"], v["Host"], v["Err"]) for v in freed] == [("db", "host-b", "")]
    assert plugin.call("Volume.Holders")["Holders"] == []
    assert len(plugin.get("db")["Status"]["takeovers"]) == 1
    volumes.unmount("db", an_id)
