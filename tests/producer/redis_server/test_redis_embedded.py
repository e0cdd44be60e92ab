"""The embedded server among healthy processes: started, adopted, shared, stopped by the last one out."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailspool.errors import ConfigError, SpoolUnavailable
from mailspool.redis_server import process as processes
from mailspool.redis_server.embedded import EmbeddedServer, Patience
from mailspool.redis_server.folder import DOOR, LOG, SERVER, prepare, socket_path
from mailspool.redis_server.locks import try_lock, wait_for_lock
from mailspool.redis_server.process import Health, Record
from tests.producer.redis_server.conftest import IMPATIENT
from tests.support.embedded import Visitor, eventually, server_pid, servers_below


def config(socket: Path, name: str) -> bytes:
    reply = processes.ask(socket, "CONFIG", "GET", name, timeout_s=5)
    assert isinstance(reply, list)
    value = reply[1]
    assert isinstance(value, bytes)
    return value


def uses(server: EmbeddedServer) -> bool:
    return server.present


def test_it_starts_serves_and_ends(folder: Path) -> None:
    server = EmbeddedServer(folder)
    assert not uses(server)
    socket = server.enter()
    assert socket == server.socket_path == folder / "redis.sock"
    assert uses(server)
    assert processes.health(socket, timeout_s=5) is Health.UP
    pid = server_pid(folder)
    server.leave()
    assert not uses(server)
    assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
    assert not socket.exists()
    assert servers_below(folder) == []
    server.leave()


def test_its_configuration(folder: Path) -> None:
    server = EmbeddedServer(folder)
    socket = server.enter()
    wanted = {
        "appendonly": b"yes",
        "appendfsync": b"always",
        "save": b"",
        "maxmemory-policy": b"noeviction",
        "hash-max-listpack-entries": b"512",
        "hash-max-listpack-value": b"512",
        "port": b"0",
    }
    assert {name: config(socket, name) for name in wanted} == wanted
    server.leave()


def test_nobody_else_can_reach_it(folder: Path) -> None:
    server = EmbeddedServer(folder)
    socket = server.enter()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert socket.stat().st_mode & 0o777 == 0o700
    for file in folder.rglob("appendonly*"):
        assert file.stat().st_mode & 0o077 == 0, file
    server.leave()


def test_it_has_a_session_of_its_own(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.enter()
    pid = server_pid(folder)
    assert os.getsid(pid) == pid != os.getsid(0)
    opened = {Path(os.readlink(fd)).name for fd in Path(f"/proc/{pid}/fd").iterdir()}
    assert SERVER in opened
    assert not opened & {DOOR, "users.lock"}
    server.leave()


def test_it_gets_none_of_our_secrets(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILSPOOL_RELAY_PASSWORD", "hunter2")
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nenv > {tmp_path}/environment\nexec {processes.find_binary("auto")} "$@"\n')
    wrapper.chmod(0o755)
    server = EmbeddedServer(folder, binary=str(wrapper))
    server.enter()
    server.leave()
    environment = (tmp_path / "environment").read_text()
    assert "PATH=" in environment
    assert "hunter2" not in environment


def test_what_was_written_is_there_after_a_stop(folder: Path) -> None:
    server = EmbeddedServer(folder)
    processes.ask(server.enter(), "SET", "mail", "kept", timeout_s=5)
    server.leave()
    assert processes.ask(server.enter(), "GET", "mail", timeout_s=5) == b"kept"
    server.leave()


@pytest.mark.parametrize("name", ["sp ace", "quo'te\"", "سلام", "back\\slash", "new\nline"])
def test_folders_with_any_name(tmp_path: Path, folder: Path, name: str) -> None:
    server = EmbeddedServer(tmp_path / name)
    processes.ask(server.enter(), "SET", "mail", "kept", timeout_s=5)
    server.leave()
    assert processes.ask(server.enter(), "GET", "mail", timeout_s=5) == b"kept"
    assert server.folder.name == name
    server.leave()


def test_two_processes_share_it_and_the_last_one_stops_it(folder: Path) -> None:
    with Visitor(folder) as first, Visitor(folder) as second:
        first.do("enter")
        pid = server_pid(folder)
        second.do("enter")
        first.do("leave")
        assert server_pid(folder) == pid
        assert processes.health(folder / "redis.sock", timeout_s=5) is Health.UP
        first.do("enter")
        second.do("leave")
        assert server_pid(folder) == pid
        first.do("leave")
        assert servers_below(folder) == []


def test_two_users_in_one_process(folder: Path) -> None:
    first, second = EmbeddedServer(folder), EmbeddedServer(folder)
    first.enter()
    second.enter()
    first.leave()
    assert processes.health(second.socket_path, timeout_s=5) is Health.UP
    second.leave()
    assert servers_below(folder) == []


def test_twelve_at_once_none_refused_one_server(folder: Path) -> None:
    """And again while the others leave: whoever comes in the moment of the stop gets a server, too."""
    with ExitStack() as stack:
        visitors = [stack.enter_context(Visitor(folder)) for _ in range(12)]
        for visitor in visitors:
            visitor.begin("enter")
        assert {visitor.end() for visitor in visitors} == {str(folder / "redis.sock")}
        server_pid(folder)
        assert (folder / LOG).read_text().count("Ready to accept connections") == 1
        processes.ask(folder / "redis.sock", "SET", "mail", "kept", timeout_s=5)
        for _ in range(5):
            for visitor in visitors:
                visitor.begin("leave")
                visitor.begin("enter")
            for visitor in visitors:
                visitor.end()
                visitor.end()
        server_pid(folder)
        assert processes.ask(folder / "redis.sock", "GET", "mail", timeout_s=5) == b"kept"
        for visitor in visitors:
            visitor.begin("leave")
        for visitor in visitors:
            visitor.end()
        assert servers_below(folder) == []


def test_a_forked_child_is_no_user_until_it_enters(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.enter()
    pid = server_pid(folder)
    to_child, to_parent = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(to_child[1])
            inherited = server.present
            server.leave()  # not ours to leave
            os.write(to_parent[1], b"1" if inherited else b"0")
            os.read(to_child[0], 1)
            server.enter()
            os.write(to_parent[1], b"e")
            os.read(to_child[0], 1)
            server.leave()
            code = 0
        finally:
            os._exit(code)
    os.close(to_child[0])
    assert os.read(to_parent[0], 1) == b"0"
    assert server_pid(folder) == pid, "a child that never entered has stopped its parent's server"
    os.write(to_child[1], b".")
    assert os.read(to_parent[0], 1) == b"e"
    server.leave()
    assert server_pid(folder) == pid, "the child's presence did not count"
    os.write(to_child[1], b".")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert servers_below(folder) == []
    for fd in (to_child[1], *to_parent):
        os.close(fd)


def test_a_child_that_lives_on_does_not_hold_the_server_up(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.enter()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    server.leave()
    assert servers_below(folder) == []
    os.close(writing)
    os.waitpid(child, 0)


def test_forks_while_a_thread_enters_and_leaves(folder: Path) -> None:
    """Children forked in the middle of it (and living on) neither hold the server up nor take it down."""
    other = EmbeddedServer(folder, fsync="no")
    other.enter()
    pid = server_pid(folder)
    server = EmbeddedServer(folder, fsync="no")
    done = threading.Event()

    def come_and_go() -> None:
        for _ in range(40):
            server.enter()
            server.leave()
        done.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    reading, writing = os.pipe()
    children = []
    while not done.is_set():
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        children.append(child)
        done.wait(0.01)
    thread.join()
    assert server_pid(folder) == pid
    other.leave()
    assert servers_below(folder) == []
    os.close(writing)
    os.close(reading)
    for child in children:
        os.waitpid(child, 0)


def test_a_child_forked_while_another_thread_waits_is_not_stuck(folder: Path) -> None:
    prepare(folder)
    server = EmbeddedServer(folder, fsync="no")
    door = try_lock(folder / DOOR)
    assert door is not None
    thread = threading.Thread(target=server.enter)
    thread.start()
    eventually(server._turn.locked, "the thread is inside")
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            server.leave()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    door.close()
    thread.join()
    server.leave()


def test_who_wants_more_raises_it_and_nobody_lowers_it(folder: Path) -> None:
    easy, strict = EmbeddedServer(folder, fsync="everysec"), EmbeddedServer(folder)
    socket = easy.enter()
    assert config(socket, "appendfsync") == b"everysec"
    strict.enter()
    assert config(socket, "appendfsync") == b"always"
    third = EmbeddedServer(folder, fsync="no")
    third.enter()
    easy.ensure()
    assert config(socket, "appendfsync") == b"always"
    record = processes.read_record(folder)
    assert record == Record(pid=server_pid(folder), fsync="always", binary="valkey-server")
    for server in (strict, easy, third):
        server.leave()
    assert config(easy.enter(), "appendfsync") == b"everysec", "nobody present asks for more"
    easy.leave()


def test_long_paths_listen_below_tmp(tmp_path: Path, folder: Path) -> None:
    long = tmp_path / ("x" * 100)
    server = EmbeddedServer(long)
    socket = server.enter()
    assert socket.parent.parent == Path("/tmp")
    assert socket.parent.name.startswith(f"mailspool-{os.geteuid()}-")
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    with Visitor(long) as visitor:
        assert visitor.do("enter") == str(socket)
        server.leave()
        assert processes.health(socket, timeout_s=5) is Health.UP
        visitor.do("leave")
    assert not socket.parent.exists()


@pytest.mark.parametrize("trap", ["open", "link"])
def test_a_prepared_folder_below_tmp_is_refused(tmp_path: Path, folder: Path, trap: str) -> None:
    place = socket_path(tmp_path / ("y" * 100)).parent
    if trap == "open":
        place.mkdir()
        place.chmod(0o755)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    try:
        with pytest.raises(ConfigError, match="not a folder that belongs to you alone"):
            EmbeddedServer(tmp_path / ("y" * 100)).enter()
    finally:
        place.unlink() if place.is_symlink() else place.rmdir()


def test_a_wait_can_be_given_up(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    server = EmbeddedServer(folder)
    answers: list[str] = []

    def enter() -> None:
        try:
            server.enter()
        except SpoolUnavailable as exc:
            answers.append(str(exc))

    door = try_lock(folder / DOOR)
    assert door is not None
    with door:
        thread = threading.Thread(target=enter)
        thread.start()
        server.give_up()
        thread.join()
    assert answers == [f"{folder}: given up while its server was starting."]
    assert not server.present


def test_a_door_that_stays_shut_is_said(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    door = try_lock(folder / DOOR)
    assert door is not None
    with door, pytest.raises(SpoolUnavailable, match=r"opening or closing this spool for 0 s\.$"):
        EmbeddedServer(folder, patience=Patience(door_s=0)).enter()


def test_its_log_stays_small(folder: Path) -> None:
    server = EmbeddedServer(folder, patience=IMPATIENT)
    server.enter()
    server.leave()
    (folder / LOG).write_bytes(b"x" * (processes.LOG_LIMIT_BYTES + 1))
    server.enter()
    server.leave()
    assert (folder / LOG).stat().st_size < 100_000
    assert (folder / "server.log.1").stat().st_size > processes.LOG_LIMIT_BYTES


def test_a_removed_folder_leaves_no_server(folder: Path) -> None:
    """`rm -r` by somebody who starts afresh: the server on the removed files is of no use to anybody."""
    server = EmbeddedServer(folder)
    server.enter()
    folder.rename(folder.with_name("old"))
    for file in sorted(folder.with_name("old").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    folder.with_name("old").rmdir()
    server.leave()
    assert not server.present
    eventually(lambda: not servers_below(folder.parent), "its server has ended")


def test_presence_ends_with_the_process(folder: Path) -> None:
    with Visitor(folder) as visitor:
        visitor.do("enter")
        assert try_lock(folder / "users.lock") is None
        visitor.kill()
    free = wait_for_lock(folder / "users.lock", limit_s=5)
    assert free is not None
    free.close()
    server = EmbeddedServer(folder)
    server.enter()
    server.leave()
