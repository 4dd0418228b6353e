# SPDX-License-Identifier: Apache-2.0
"""The real supervisor with stand-ins for server and blockd; needs root, no Ceph. About a minute."""

import errno
import os
import shutil
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest
from harness import (
    DEADLINE,
    DETACH,
    LIST,
    REQUEST,
    START,
    alive,
    children_of,
    kill,
    wait_for,
)
from lib.paths import BUILD


def in_background(function, *args):
    """Runs FUNCTION in a thread; the returned function waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function(*args)), daemon=True)
    thread.start()

    def result():
        thread.join(DEADLINE)
        assert results, "no result in time"
        return results[0]

    return result


# The server


def test_server_gets_arguments_and_descriptors(supervisor):
    supervisor.start("--pool", "rbd", env={"CEPH_CLIENT": "other"})
    about = supervisor.about_server()
    assert about["argv"][0] == str(supervisor.libexec / "docker-volume-rados-server")
    assert about["argv"][1:] == [str(arg) for arg in supervisor.command("--pool", "rbd")[1:]]
    assert about["env"]["CEPH_CLIENT"] == "other"
    assert about["fds"] == [0, 1, 2, 3, 4]
    assert about["sid"] == about["pid"]
    assert about["blocked"] == 0 and about["ignored"] == 0


def test_signals_ignored_by_the_parent_are_default_in_children(supervisor):
    ignore = lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    supervisor.start(preexec_fn=ignore)
    assert supervisor.about_server()["ignored"] == 0


def test_descriptors_left_open_by_the_parent_do_not_reach_children(supervisor):
    with open("/dev/null") as null:
        fds = [os.dup2(null.fileno(), number) for number in (198, 199, 200)]
        supervisor.start(pass_fds=fds)
        for fd in fds:
            os.close(fd)
    assert supervisor.about_server()["fds"] == [0, 1, 2, 3, 4]


def test_socket_is_private(supervisor):
    supervisor.start()
    assert stat.S_IMODE(supervisor.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(supervisor.run_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((supervisor.run_dir / "blockd").stat().st_mode) == 0o700


def test_killed_server_comes_back_and_waiting_connections_are_served(supervisor):
    supervisor.start()
    first = supervisor.about_server()["pid"]
    # Stopped, it accepts nothing, so the calls below are sure to wait in the listener.
    os.kill(first, signal.SIGSTOP)
    waiting = [in_background(lambda: supervisor.ask(do="about")) for _ in range(8)]
    time.sleep(0.3)
    kill(first)
    pids = {result()["pid"] for result in waiting}
    assert len(pids) == 1 and first not in pids


def test_server_that_keeps_dying_is_started_ever_later(supervisor):
    supervisor.start(env={"STANDIN_EXIT": "1"})
    wait_for(lambda: supervisor.log().count("server ended with status 1") >= 4, "four ends")
    assert supervisor.process.poll() is None
    time.sleep(1)
    # 0.1 + 0.2 + 0.4 + 0.8 s: in any second after that there are few starts.
    assert supervisor.log().count("server ended with status 1") < 10


def test_bad_settings_found_by_the_server_end_the_supervisor(supervisor):
    status, words = supervisor.fails(env={"STANDIN_EXIT": "2"})
    assert status == 2
    assert "refused its settings" in words
    assert not supervisor.socket.exists()


def test_server_dies_with_its_supervisor(supervisor):
    supervisor.start()
    server = supervisor.about_server()["pid"]
    supervisor.kill()
    wait_for(lambda: not alive(server), "the server's end")


# Requests


def test_start_list_kill(supervisor):
    supervisor.start()
    assert supervisor.list_blockds() == []
    assert supervisor.start_blockd("10a2") == (0, "")
    blockd = supervisor.call("10a2")
    assert blockd["predecessor"] == []
    assert blockd["fds"] == [0, 1, 2, 3, 4]
    assert blockd["sid"] == blockd["pid"]
    assert stat.S_IMODE(supervisor.control("10a2").stat().st_mode) == 0o600
    result, words = supervisor.start_blockd("10a2")
    assert result == -errno.EEXIST and "10a2" in words
    assert supervisor.start_blockd("10a3") == (0, "")
    assert supervisor.list_blockds() == ["10a2", "10a3"]
    assert supervisor.kill_blockd("10a2") == (0, "")
    assert not alive(blockd["pid"])
    assert supervisor.list_blockds() == ["10a3"]
    assert supervisor.files() == ["10a3.args", "10a3.pid", "10a3.sock"]
    assert supervisor.kill_blockd("10a2") == (0, "")
    assert supervisor.start_blockd("10a2") == (0, "")
    assert supervisor.call("10a2")["predecessor"] == []


def test_call_made_before_blockd_is_ready_waits(supervisor):
    supervisor.start()
    assert supervisor.start_blockd("10a2", fail=True)[0] == 0
    called = in_background(supervisor.call, "10a2")
    assert called() is None
    wait_for(lambda: supervisor.list_blockds() == [], "the blockd to be forgotten")
    assert supervisor.files() == []
    assert "before the volume was attached" in supervisor.log()


def test_blockds_survive_their_server(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    blockd = supervisor.call("10a2")
    kill(supervisor.about_server()["pid"])
    assert supervisor.list_blockds() == ["10a2"]
    assert supervisor.call("10a2")["pid"] == blockd["pid"]


def test_garbage_is_answered_and_changes_nothing(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    good = REQUEST.pack(1, START, b"10a3", 2, b"x\0")
    garbage = [
        b"x",
        b"\xff" * REQUEST.size,
        b"\0" * REQUEST.size,
        b"\0" * 65536,
        good[:-1],
        good + b"\0",
        REQUEST.pack(2, START, b"10a3", 2, b"x\0"),
        REQUEST.pack(1, 77, b"10a3", 0, b""),
        REQUEST.pack(1, START, b"", 2, b"x\0"),
        REQUEST.pack(1, START, b"../x", 2, b"x\0"),
        REQUEST.pack(1, START, b"a" * 64, 2, b"x\0"),
        REQUEST.pack(1, START, b"10a3", 2, b"xx"),
        REQUEST.pack(1, START, b"10a3", 2049, b"x" * 2048),
        REQUEST.pack(1, START, b"10a3", 0xFFFFFFFF, b"x" * 2048),
        REQUEST.pack(1, START, b"10a3", 65, b"\0" * 65),
        REQUEST.pack(1, LIST, b"10a3", 0, b""),
    ]
    for packet in garbage:
        result, words, ids = supervisor.relay(packet)
        assert result == -errno.EBADMSG and "malformed" in words and ids == []
    assert supervisor.list_blockds() == ["10a2"]
    assert supervisor.process.poll() is None


@pytest.mark.parametrize("length, result", [(31, 0), (32, -errno.ENAMETOOLONG)])
def test_control_socket_path_has_to_fit(supervisor, length, result):
    """107 bytes: run_dir, "/blockd/", an id of at most 63, ".sock"."""
    name = "r" * (length - len(str(supervisor.dir)) - 1)
    supervisor.run_dir = supervisor.dir / name
    supervisor.start()
    code, words = supervisor.start_blockd("a" * 63)
    assert code == result
    if result < 0:
        assert "--run-dir" in words
        assert supervisor.list_blockds() == [] and supervisor.files() == []
    else:
        assert supervisor.call("a" * 63)


def test_missing_blockd_program_is_told(supervisor):
    supervisor.start()
    (supervisor.libexec / "radosvol-blockd").unlink()
    result, words = supervisor.start_blockd("10a2")
    assert result == -errno.ENOENT
    assert "radosvol-blockd" in words
    assert supervisor.list_blockds() == [] and supervisor.files() == []


def test_table_full(supervisor):
    """1024 rows; all but one are stand-ins that sleep, so that this stays cheap."""
    sleeper = supervisor.libexec / "radosvol-blockd"
    os.unlink(sleeper)
    os.symlink("/bin/sleep", sleeper)
    supervisor.start()
    for number in range(1024):
        packet = REQUEST.pack(1, START, f"{number:x}".encode(), 4, b"100\0")
        assert supervisor.relay(packet)[0] == 0
    result, words = supervisor.start_blockd("full")
    assert result == -errno.ENOSPC and "1024" in words
    assert len(supervisor.list_blockds()) == 1024
    for number in range(1024):
        assert supervisor.kill_blockd(f"{number:x}")[0] == 0
    assert supervisor.list_blockds() == [] and supervisor.files() == []


# A blockd's end


def test_crashed_blockd_comes_back_with_its_descriptors(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    first = supervisor.call("10a2")
    kill(first["pid"])
    second = supervisor.call("10a2")
    assert second["pid"] != first["pid"]
    assert second["predecessor"] == ["fuse", "loop"]
    assert second["inodes"] == first["inodes"]
    assert second["fds"] == [0, 1, 2, 3, 4]
    assert supervisor.list_blockds() == ["10a2"]


def test_callers_wait_while_a_blockd_is_started_again(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    first = supervisor.call("10a2")
    os.kill(first["pid"], signal.SIGSTOP)
    # Not accepted yet when the process dies: it stays in the queue for the next one.
    waiting = in_background(supervisor.call, "10a2")
    time.sleep(0.3)
    kill(first["pid"])
    assert waiting()["inodes"] == first["inodes"]


def test_blockd_that_ends_in_order_is_forgotten(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    pid = supervisor.call("10a2", DETACH)["pid"]
    wait_for(lambda: supervisor.list_blockds() == [], "the blockd to be forgotten")
    assert not alive(pid)
    assert supervisor.files() == []
    assert supervisor.start_blockd("10a2") == (0, "")
    assert supervisor.call("10a2")["predecessor"] == []


def test_no_descriptor_leaks(supervisor):
    supervisor.start()
    count = lambda: len(os.listdir(f"/proc/{supervisor.process.pid}/fd"))
    before = count()
    for _ in range(3):
        supervisor.start_blockd("10a2")
        kill(supervisor.call("10a2")["pid"])
        supervisor.call("10a2")
        assert count() == before + 5  # control, keeper, pidfd, "fuse", "loop"
        supervisor.call("10a2", DETACH)
        wait_for(lambda: supervisor.list_blockds() == [], "the blockd to be forgotten")
        supervisor.start_blockd("10a2")
        supervisor.call("10a2")
        supervisor.kill_blockd("10a2")
        kill(supervisor.about_server()["pid"])
        supervisor.about_server()
        assert count() == before


def test_crash_loop_is_given_up(supervisor):
    supervisor.start()
    trigger = supervisor.dir / "trigger"
    trigger.touch()
    supervisor.start_blockd("10a2", die_if=str(trigger))
    supervisor.start_blockd("10a3")
    other = supervisor.call("10a3")
    waiting = in_background(supervisor.call, "10a2")
    assert waiting() is None
    wait_for(lambda: supervisor.list_blockds() == ["10a3"], "it to be given up")
    assert "gave up" in supervisor.log()
    assert supervisor.log().count('"10a2": radosvol-blockd was ended by signal 9') == 10
    assert supervisor.call("10a3")["pid"] == other["pid"]
    trigger.unlink()
    assert supervisor.start_blockd("10a2") == (0, "")
    assert supervisor.call("10a2")["predecessor"] == []


def test_kill_between_restarts(supervisor):
    supervisor.start()
    trigger = supervisor.dir / "trigger"
    trigger.touch()
    supervisor.start_blockd("10a2", die_if=str(trigger))
    wait_for(lambda: supervisor.log().count("ended by signal 9") >= 6, "a longer delay")
    assert supervisor.kill_blockd("10a2") == (0, "")
    assert supervisor.list_blockds() == [] and supervisor.files() == []
    ends = supervisor.log().count("ended by signal 9")
    time.sleep(4)
    assert supervisor.log().count("ended by signal 9") == ends


def test_malformed_keeper_packets_are_ignored(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2", flood=True)
    first = supervisor.call("10a2")
    kill(first["pid"])
    second = supervisor.call("10a2")
    assert second["inodes"] == first["inodes"]
    assert second["predecessor"] == ["fuse", "loop"]
    assert "malformed packet" in supervisor.log()
    assert "too many descriptors" in supervisor.log()


# Its own end


def test_end_leaves_attached_blockds(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    blockd = supervisor.call("10a2")
    supervisor.start_blockd("10a3", fail=True)
    server = supervisor.about_server()["pid"]
    began = time.monotonic()
    assert supervisor.terminate() == 0
    assert time.monotonic() - began < 10
    assert not supervisor.socket.exists()
    assert not alive(server)
    assert alive(blockd["pid"])
    assert "1 attached volumes stay" in supervisor.log()
    assert supervisor.files() == ["10a2.args", "10a2.pid", "10a2.sock"]


def test_deaf_server_is_killed(supervisor):
    supervisor.start(env={"STANDIN_DEAF": "1"})
    server = supervisor.about_server()["pid"]
    began = time.monotonic()
    assert supervisor.terminate() == 0
    assert time.monotonic() - began < 10
    assert not alive(server)


def test_interrupt_ends_and_hangup_does_not(supervisor):
    supervisor.start()
    supervisor.process.send_signal(signal.SIGHUP)
    assert supervisor.list_blockds() == []
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.process.wait(DEADLINE) == 0


def test_unknown_children_are_reaped_and_blockds_end_with_pid_1(supervisor):
    """In a PID namespace of its own, as in a managed plugin: orphans land at the supervisor."""
    supervisor.start_in_pid_namespace()
    supervisor.start_blockd("10a2")
    supervisor.call("10a2")
    blockd = children_of(supervisor.init_pid)
    assert len(blockd) == 2
    os.kill(supervisor.init_pid, signal.SIGTERM)
    assert supervisor.process.wait(DEADLINE) == 0
    wait_for(lambda: not any(alive(pid) for pid in blockd), "the end of all")


# Adoption


def test_next_supervisor_adopts(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    supervisor.start_blockd("10a3")
    first = supervisor.call("10a2")
    other = supervisor.call("10a3")
    supervisor.kill()
    assert supervisor.socket.exists()
    kill(other["pid"])
    supervisor.start()
    wait_for(lambda: "adopted radosvol-blockd" in supervisor.log(), "the adoption")
    assert supervisor.list_blockds() == ["10a2"]
    assert supervisor.files() == ["10a2.args", "10a2.pid", "10a2.sock"]
    assert supervisor.call("10a2")["pid"] == first["pid"]
    assert supervisor.start_blockd("10a2")[0] == -errno.EEXIST
    # Its crash is noticed and its descriptors are handed on, with the same control socket.
    inode = supervisor.control("10a2").stat().st_ino
    kill(first["pid"])
    second = supervisor.call("10a2")
    assert second["pid"] != first["pid"]
    assert second["predecessor"] == ["fuse", "loop"]
    assert second["inodes"] == first["inodes"]
    assert supervisor.control("10a2").stat().st_ino == inode


def test_adopted_blockd_is_killed_or_ends_in_order(supervisor):
    supervisor.start()
    for image in ("10a2", "10a3"):
        supervisor.start_blockd(image)
        supervisor.call(image)
    supervisor.terminate()
    supervisor.start()
    wait_for(lambda: supervisor.log().count("adopted radosvol-blockd") == 2, "the adoption")
    pid = supervisor.call("10a2")["pid"]
    assert supervisor.kill_blockd("10a2") == (0, "")
    assert not alive(pid)
    supervisor.call("10a3", DETACH)
    wait_for(lambda: supervisor.list_blockds() == [], "it to be forgotten")
    assert supervisor.files() == []
    assert "gave up" not in supervisor.log() and "started again" not in supervisor.log()


def test_adoption_over_several_supervisors(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    first = supervisor.call("10a2")
    for number in range(1, 4):
        supervisor.kill()
        supervisor.start()
        wait_for(lambda: supervisor.log().count("adopted radosvol") == number, "the adoption")
    kill(first["pid"])
    assert supervisor.call("10a2")["inodes"] == first["inodes"]


def test_adoption_does_not_trust_a_stale_pid_file(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    blockd = supervisor.call("10a2")
    supervisor.kill()
    # Another process has the number by now: its start time is not the one in the file.
    bystander = subprocess.Popen(["sleep", "100"])
    pid_file = supervisor.run_dir / "blockd" / "10a2.pid"
    start = pid_file.read_text().split()[1]
    pid_file.write_text(f"{bystander.pid} {int(start) - 1}\n")
    try:
        supervisor.start()
        wait_for(lambda: "adopted radosvol-blockd" in supervisor.log(), "the adoption")
        assert supervisor.kill_blockd("10a2") == (0, "")
        assert not alive(blockd["pid"])
        assert alive(bystander.pid)
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("lost", ["pid", "args"])
def test_adoption_with_a_file_lost(supervisor, lost):
    supervisor.start()
    supervisor.start_blockd("10a2")
    first = supervisor.call("10a2")
    supervisor.kill()
    (supervisor.run_dir / "blockd" / f"10a2.{lost}").unlink()
    supervisor.start()
    wait_for(lambda: "adopted radosvol-blockd" in supervisor.log(), "the adoption")
    kill(first["pid"])
    if lost == "pid":
        assert supervisor.call("10a2")["inodes"] == first["inodes"]
    else:
        wait_for(lambda: supervisor.list_blockds() == [], "it to be forgotten")
        assert "cannot be started again" in supervisor.log()


def test_blockd_that_does_not_answer_its_new_supervisor(supervisor):
    supervisor.start()
    supervisor.start_blockd("10a2")
    blockd = supervisor.call("10a2")
    supervisor.kill()
    os.kill(blockd["pid"], signal.SIGSTOP)
    supervisor.start()
    assert supervisor.list_blockds() == ["10a2"]
    wait_for(lambda: "does not answer this supervisor" in supervisor.log(), "a complaint")
    os.kill(blockd["pid"], signal.SIGCONT)
    wait_for(lambda: "adopted radosvol-blockd" in supervisor.log(), "the late adoption")
    os.kill(blockd["pid"], signal.SIGSTOP)
    assert supervisor.kill_blockd("10a2") == (0, "")
    assert not alive(blockd["pid"])


def test_strange_files_among_the_control_sockets(supervisor):
    supervisor.start()
    supervisor.terminate()
    blockds = supervisor.run_dir / "blockd"
    (blockds / "10a2.sock").write_text("not a socket")
    (blockds / "UPPER.sock").write_text("")
    (blockds / ("a" * 200 + ".sock")).write_text("")
    (blockds / "10a3.sock").mkdir()
    supervisor.start()
    assert supervisor.list_blockds() == []


# Its start


def test_stale_socket_is_replaced(supervisor):
    supervisor.start()
    supervisor.kill()
    assert supervisor.socket.exists()
    supervisor.start()
    assert supervisor.about_server()


def test_served_socket_is_refused(supervisor):
    supervisor.socket.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(supervisor.socket))
        other.listen()
        status, words = supervisor.fails()
        assert status == 1
        assert str(supervisor.socket) in words and "--socket" in words
        assert supervisor.socket.exists()


def test_two_in_one_run_dir_are_refused(supervisor):
    supervisor.start()
    status, words = supervisor.fails(f"--socket={supervisor.dir}/other.sock")
    assert status == 1
    assert str(supervisor.process.pid) in words and "--run-dir" in words
    assert supervisor.about_server()


def test_plain_file_at_the_socket_path_is_left_alone(supervisor):
    supervisor.socket.parent.mkdir()
    supervisor.socket.write_text("precious")
    status, words = supervisor.fails()
    assert status == 1 and "not a socket" in words
    assert supervisor.socket.read_text() == "precious"


def test_missing_program_is_told(supervisor):
    (supervisor.libexec / "docker-volume-rados-server").unlink()
    status, words = supervisor.fails()
    assert status == 1
    assert "docker-volume-rados-server" in words and "--libexec-dir" in words


def test_programs_are_found_where_they_are_installed(supervisor):
    installed = supervisor.dir / "libexec" / "docker-volume-rados"
    sbin = supervisor.dir / "sbin"
    sbin.mkdir()
    shutil.copy(BUILD / "docker-volume-rados", sbin)
    installed.mkdir()
    for name in ("docker-volume-rados-server", "radosvol-blockd"):
        (supervisor.libexec / name).rename(installed / name)
    supervisor.start(program=sbin / "docker-volume-rados")
    server = supervisor.about_server()["argv"][0]
    assert os.path.realpath(server) == str(installed / "docker-volume-rados-server")


def test_not_root(supervisor):
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
        + [str(arg) for arg in supervisor.command()],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1 and "root" in done.stderr


def test_bad_flag_and_variable_are_named(supervisor):
    status, words = supervisor.fails("--bogus")
    assert status == 2 and "--bogus" in words
    status, words = supervisor.fails("--watch-timeout", "3")
    assert status == 2 and "--watch-timeout" in words and "5 to 120" in words
    status, words = supervisor.fails(env={"WATCH_TIMEOUT": "soon"})
    assert status == 2 and "WATCH_TIMEOUT" in words and '"soon"' in words


def test_help_and_version():
    run = lambda flag: subprocess.run(
        [BUILD / "docker-volume-rados", flag], capture_output=True, text=True, timeout=DEADLINE
    )
    assert run("--help").returncode == 0
    assert "RADOS_POOL" in run("--help").stdout
    assert run("--version").stdout.startswith("docker-volume-rados ")


# systemd


def start_with_listener(supervisor, fds="1", pid=None, listen=True):
    """As systemd does: descriptor 3 listens already, LISTEN_PID is the process itself."""
    path = supervisor.dir / "passed.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    if listen:
        listener.listen()
    number = listener.fileno()
    program = (
        "import os, sys\n"
        f"os.dup2({number}, 3)\n"
        f"os.environ.update(LISTEN_FDS={fds!r}, LISTEN_PID=str({pid or 'os.getpid()'}),"
        " LISTEN_FDNAMES='x')\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    wrapper = ["/usr/bin/python3", "-c", program]
    return path, listener, wrapper


def test_socket_activation(supervisor):
    path, listener, wrapper = start_with_listener(supervisor)
    supervisor.start(wrapper=wrapper, pass_fds=(listener.fileno(),))
    listener.close()
    own = supervisor.socket
    supervisor.socket = path
    about = supervisor.about_server()
    assert not own.exists()
    assert about["fds"] == [0, 1, 2, 3, 4]
    assert not [name for name in about["env"] if name.startswith("LISTEN_")]
    assert supervisor.terminate() == 0
    assert path.exists()


@pytest.mark.parametrize(
    "trouble, words", [({"fds": "2"}, "LISTEN_FDS"), ({"listen": False}, "descriptor 3")]
)
def test_socket_activation_gone_wrong(supervisor, trouble, words):
    _, listener, wrapper = start_with_listener(supervisor, **trouble)
    with listener:
        done = subprocess.run(
            wrapper + [str(arg) for arg in supervisor.command()],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            pass_fds=(listener.fileno(),),
        )
    assert done.returncode == 1 and words in done.stderr


def test_socket_meant_for_another_process_is_not_taken(supervisor):
    _, listener, wrapper = start_with_listener(supervisor, pid=1)
    with listener:
        supervisor.start(wrapper=wrapper, pass_fds=(listener.fileno(),))
        assert supervisor.about_server()["fds"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_is_told(supervisor, abstract):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.settimeout(DEADLINE)
        path = f"{supervisor.dir}/notify"
        notify.bind("\0" + path if abstract else path)
        supervisor.start(env={"NOTIFY_SOCKET": "@" + path if abstract else path})
        assert notify.recv(100) == b"READY=1"
        assert "NOTIFY_SOCKET" not in supervisor.about_server()["env"]
        supervisor.terminate()
        assert notify.recv(100) == b"STOPPING=1"
