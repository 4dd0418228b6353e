# SPDX-License-Identifier: Apache-2.0
"""What the plugin says under /metrics, and a real Prometheus that reads it."""

import json
import re
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from lib import http, proc

PREFIX = "docker_volume_rados_"
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def free_port():
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Samples:
    """The samples of one scrape. Labels are matched as far as they are given."""

    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            match = SAMPLE.fullmatch(line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            assert name.startswith(PREFIX), line
            self.samples.append((name.removeprefix(PREFIX), dict(LABEL.findall(labels or "")),
                                 float(value)))

    def all(self, name, **labels):
        """[(labels, value), ...]"""
        return [(found, value) for a_name, found, value in self.samples
                if a_name == name and labels.items() <= found.items()]

    def get(self, name, **labels):
        """The one value, or None."""
        found = self.all(name, **labels)
        assert len(found) <= 1, found
        return found[0][1] if found else None


def scrape(plugin, timeout=30):
    """Over the plugin's own socket."""
    reply = http.call(plugin.socket, "metrics", None, verb="GET", timeout=timeout)
    assert reply.status == 200, reply
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4"), reply.headers
    return Samples(reply.body.decode())


def wait_for(plugin, what, check, seconds=90):
    """Scrape until CHECK(samples) says yes; returns those samples. What comes from the cluster is
    read again every 30 s."""
    last = []

    def look():
        last[:] = [scrape(plugin)]
        return check(last[0])

    try:
        proc.wait_until(look, what, seconds, interval=0.5)
    except AssertionError as error:
        raise AssertionError(f"{error}: {last[0].text[-6000:]}") from None
    return last[0]


class Prometheus:
    """/usr/bin/prometheus, scraping ADDRESSES each second with the rules of RULES."""

    def __init__(self, directory, addresses, rules):
        self.directory = Path(directory)
        self.directory.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log_file = self.directory / "log"
        config = {"global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                  "rule_files": [str(rules)],
                  "scrape_configs": [{"job_name": "plugin",
                                      "static_configs": [{"targets": addresses}]}]}
        (self.directory / "config.yml").write_text(json.dumps(config))  # which is YAML, too
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={self.directory}/config.yml",
                 f"--storage.tsdb.path={self.directory}/data",
                 f"--web.listen-address={self.url.removeprefix('http://')}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        proc.wait_until(self.ready, f"Prometheus ({self.log_file})", 60)

    def ready(self):
        assert self.process.poll() is None, self.log_file.read_text()
        try:
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def api(self, path, **arguments):
        """The data of an answer; fails with Prometheus' own words."""
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None

    def query(self, expression):
        return self.api("query", query=expression)["result"]

    def targets(self):
        return self.api("targets", state="active")["activeTargets"]

    def rules(self):
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def close(self):
        proc.end(self.process, 20)


def promtool(*words, text=""):
    """Fails when promtool finds anything to say about it."""
    result = subprocess.run(["promtool", *words], input=text, text=True, capture_output=True,
                            timeout=60)
    assert result.returncode == 0 and not result.stderr.strip(), result.stdout + result.stderr
