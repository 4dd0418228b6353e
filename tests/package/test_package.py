# SPDX-License-Identifier: Apache-2.0
"""What is in the Debian package, without installing it."""

import re
import subprocess

import pytest

from lib import proc
from lib.paths import BUILD, REPO

UNITS = ("docker-volume-rados.service", "docker-volume-rados.socket")
EXPOSED_MOST = 5.0  # systemd calls it OK; what is missing would need a mount namespace


@pytest.fixture(scope="module")
def unpacked(deb, tmp_path_factory):
    directory = tmp_path_factory.mktemp("unpacked")
    proc.run("dpkg-deb", "--extract", deb, directory)
    return directory


def test_lintian_finds_no_error(deb):
    (changes,) = deb.parent.glob("*.changes")
    done = proc.run("lintian", "--allow-root", "--fail-on", "error", changes, timeout=120)
    assert "E: " not in done.stdout


def test_contents(unpacked):
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    doc = "usr/share/doc/docker-volume-rados"
    assert files == {
        "etc/default/docker-volume-rados",
        "lib/systemd/system/docker-volume-rados.service",
        "lib/systemd/system/docker-volume-rados.socket",
        "usr/libexec/docker-volume-rados/docker-volume-rados-server",
        "usr/libexec/docker-volume-rados/radosvol-blockd",
        "usr/libexec/docker-volume-rados/radosvol-freeze",
        "usr/sbin/docker-volume-rados",
        "usr/sbin/radosvol",
        "usr/share/bash-completion/completions/radosvol",
        "usr/share/man/man8/docker-volume-rados.8.gz",
        "usr/share/man/man8/radosvol.8.gz",
        *(f"{doc}/{name}" for name in ("README.md", "changelog.gz", "copyright",
                                       "api.md", "operations.md")),
    }


def test_depends_on_what_it_runs(deb):
    depends = proc.run("dpkg-deb", "--field", deb, "Depends").stdout
    for package in ("e2fsprogs", "xfsprogs", "librados2", "libmicrohttpd12", "libjansson4"):
        assert re.search(rf"\b{package}\b", depends), depends


def test_service_is_hardened(unpacked):
    unit = unpacked / "lib/systemd/system" / UNITS[0]
    table = proc.run("systemd-analyze", "security", "--offline=true", unit).stdout
    exposed = float(re.search(r"Overall exposure level for .*: ([\d.]+)", table)[1])
    assert exposed <= EXPOSED_MOST, table


def test_defaults_file_names_settings_that_exist(unpacked):
    """And gives the defaults they have."""
    text = (unpacked / "etc/default/docker-volume-rados").read_text()
    usage = proc.run(BUILD / "docker-volume-rados", "--help").stdout
    settings = dict(re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE))
    assert {"CEPH_CONF", "CEPH_CLIENT", "RADOS_POOL", "RADOS_NAMESPACE"} <= set(settings)
    for name, value in settings.items():
        (line,) = [line for line in usage.splitlines() if f" {name} " in line]
        assert line.endswith(f"({value or 'none'})"), line


@pytest.mark.parametrize("page", ["docker-volume-rados", "radosvol"])
def test_man_page_is_well_formed(page):
    done = proc.run("groff", "-Tutf8", "-ww", "-z", "-mandoc", REPO / f"docs/man/{page}.8")
    assert done.stderr == ""


def man_text(page):
    return (REPO / f"docs/man/{page}.8").read_text()


def test_man_page_has_every_setting():
    usage = proc.run(BUILD / "docker-volume-rados", "--help").stdout
    settings = re.findall(r"^  --(\S+) \S+ +([A-Z_]+) ", usage, re.MULTILINE)
    assert len(settings) >= 13
    for flag, variable in settings:
        assert re.search(rf"^\.It Fl -{flag} Ar \S+ , Ev {variable}$", man_text("docker-volume-rados"),
                         re.MULTILINE), flag


def commands():
    usage = proc.run(BUILD / "radosvol", "--help").stdout
    block = usage.split("Commands:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in block.splitlines()]


def test_man_page_has_every_command():
    assert {"ls", "inspect", "doctor"} <= set(commands())
    for command in commands():
        assert re.search(rf"^\.It Cm {command}\b", man_text("radosvol"), re.MULTILINE), command


class Shell:
    """bash with the completion loaded, and the radosvol under test in its PATH."""

    def __init__(self, cluster):
        self.env = {"PATH": f"{BUILD}:/usr/bin:/bin", "CEPH_CONF": cluster.conf, "LC_ALL": "C.UTF-8"}

    def complete(self, *words):
        """What is offered for the last word."""
        script = (f"source {REPO}/packaging/radosvol.bash-completion\n"
                  'COMP_WORDS=(radosvol "$@"); COMP_CWORD=$#; _radosvol\n'
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash", *words], env=self.env, text=True,
                              timeout=60, capture_output=True, check=True)
        assert done.stderr == ""
        return done.stdout.split()


@pytest.fixture
def shell(cluster):
    return Shell(cluster)


def test_completion_of_commands(shell):
    assert sorted(shell.complete("")) == sorted(commands())
    assert shell.complete("insp") == ["inspect"]
    assert {"create", "ls", "rm"} <= set(shell.complete("snapshot", ""))


def test_completion_of_options(shell):
    assert "--read-only" in shell.complete("mount", "--")
    assert shell.complete("takeover", "--y") == ["--yes"]
    assert shell.complete("ls", "--js") == ["--json"]


def test_completion_of_volumes(shell, cluster):
    cluster.rbd("create", "--size", "1G", "completed-volume")
    try:
        assert shell.complete("inspect", "compl") == ["completed-volume"]
        assert shell.complete("--pool=docker", "mount", "compl") == ["completed-volume"]
        assert shell.complete("doctor", "compl") == []
        assert shell.complete("snapshot", "create", "--volumes", "=", "db,compl") == [
            "db,completed-volume"]
    finally:
        cluster.rbd("rm", "--no-progress", "completed-volume")


def test_completion_runs_no_word_that_is_no_command(shell):
    """Only what --help lists is ever handed to the program."""
    assert set(shell.complete("no-such-command", "")) == set(commands())
