"""The embedded server when something dies, freezes or is missing: its clients, itself, its file, the disk."""

from __future__ import annotations

import os
import platform
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mailspool.errors import ConfigError, SpoolFull, SpoolUnavailable
from mailspool.redis_server import process as processes
from mailspool.redis_server.embedded import EmbeddedServer
from mailspool.redis_server.folder import SERVER
from mailspool.redis_server.locks import try_lock
from mailspool.redis_server.process import Health
from tests.producer.redis_server.conftest import IMPATIENT
from tests.support.embedded import DEADLINE_S, Visitor, eventually, kill_server, server_pid, servers_below


def test_an_orphan_is_adopted(folder: Path) -> None:
    with Visitor(folder) as visitor:
        visitor.do("enter")
        pid = server_pid(folder)
        visitor.kill()
    server = EmbeddedServer(folder)
    server.enter()
    assert server_pid(folder) == pid
    server.leave()
    assert servers_below(folder) == []


def test_a_dead_one_is_started_again_with_its_data(folder: Path) -> None:
    server = EmbeddedServer(folder)
    socket = server.enter()
    for n in range(20):
        processes.ask(socket, "RPUSH", "mails", str(n), timeout_s=5)
        if n % 5 == 4:
            was = kill_server(folder)
            assert server.ensure() == socket
            assert server_pid(folder) != was
    assert processes.ask(socket, "LLEN", "mails", timeout_s=5) == 20
    server.leave()


def test_a_server_of_ours_leaves_no_zombie(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.enter()
    pid = kill_server(folder)
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "our child is reaped")
    server.leave()


def test_ensure_is_harmless_while_it_lives(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.ensure()
    pid = server_pid(folder)
    server.ensure()
    server.enter()
    assert server_pid(folder) == pid
    server.leave()
    assert servers_below(folder) == []


def test_several_find_it_dead_and_one_server_comes_back(folder: Path) -> None:
    visitors = [Visitor(folder) for _ in range(6)]
    try:
        for visitor in visitors:
            visitor.do("enter")
        kill_server(folder)
        for visitor in visitors:
            visitor.begin("ensure")
        for visitor in visitors:
            visitor.end()
        server_pid(folder)
        for visitor in visitors:
            visitor.do("leave")
        assert servers_below(folder) == []
    finally:
        for visitor in visitors:
            visitor.__exit__()


def test_the_last_one_out_of_a_dead_server_leaves_nothing(folder: Path) -> None:
    server = EmbeddedServer(folder)
    socket = server.enter()
    kill_server(folder)
    assert socket.exists()
    server.leave()
    assert not socket.exists()


def test_after_a_death_it_is_as_safe_as_somebody_asked(folder: Path) -> None:
    """The one who wanted more may not even notice the death: its next command just connects again."""
    easy, strict = EmbeddedServer(folder, fsync="everysec"), EmbeddedServer(folder)
    easy.enter()
    socket = strict.enter()
    kill_server(folder)
    easy.ensure()
    assert processes.ask(socket, "CONFIG", "GET", "appendfsync", timeout_s=5) == [b"appendfsync", b"always"]
    kill_server(folder)
    newcomer = EmbeddedServer(folder, fsync="no")
    newcomer.enter()
    assert processes.ask(socket, "CONFIG", "GET", "appendfsync", timeout_s=5) == [b"appendfsync", b"always"]
    for server in (easy, strict, newcomer):
        server.leave()


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_frozen_one_is_waited_for(folder: Path) -> None:
    server, other = EmbeddedServer(folder), EmbeddedServer(folder)
    server.enter()
    pid = server_pid(folder)
    os.kill(pid, signal.SIGSTOP)
    waiting = in_thread(other.enter)
    eventually(lambda: try_lock_is_refused(folder / "door.lock"), "the other one stands in the door")
    os.kill(pid, signal.SIGCONT)
    waiting.join()
    assert server_pid(folder) == pid
    server.leave()
    other.leave()


def try_lock_is_refused(path: Path) -> bool:
    lock = try_lock(path)
    if lock is None:
        return True
    lock.close()
    return False


def test_one_that_stays_frozen_is_ended_and_never_doubled(folder: Path) -> None:
    server = EmbeddedServer(folder, patience=IMPATIENT)
    socket = server.enter()
    processes.ask(socket, "SET", "mail", "kept", timeout_s=5)
    pid = server_pid(folder)
    os.kill(pid, signal.SIGSTOP)
    most = 0
    waiting = in_thread(server.ensure)
    while waiting.is_alive():
        most = max(most, len(processes.holders(folder)))
        waiting.join(0.01)
    assert most == 1
    assert server_pid(folder) != pid
    assert processes.ask(socket, "GET", "mail", timeout_s=5) == b"kept"
    server.leave()


def test_one_that_lost_its_socket_is_replaced(folder: Path) -> None:
    """A cleaner of old files took the socket away: nobody can reach it any more."""
    server = EmbeddedServer(folder, patience=IMPATIENT)
    socket = server.enter()
    processes.ask(socket, "SET", "mail", "kept", timeout_s=5)
    pid = server_pid(folder)
    socket.unlink()
    server.ensure()
    assert server_pid(folder) != pid
    assert processes.ask(socket, "GET", "mail", timeout_s=5) == b"kept"
    server.leave()


def test_a_dead_servers_rewriting_child_does_not_hold_us_up(folder: Path) -> None:
    server = EmbeddedServer(folder, patience=replace(IMPATIENT, unreachable_s=DEADLINE_S))
    socket = server.enter()
    for n in range(50):
        processes.ask(socket, "SET", f"mail{n}", "kept", timeout_s=5)
    parent = server_pid(folder)
    processes.ask(socket, "CONFIG", "SET", "rdb-key-save-delay", "10000000", timeout_s=5)
    processes.ask(socket, "BGREWRITEAOF", timeout_s=5)
    eventually(lambda: len(processes.holders(folder)) == 2, "the rewriting child runs")
    os.kill(parent, signal.SIGKILL)
    thread = in_thread(server.ensure)
    thread.join(DEADLINE_S / 2)
    assert not thread.is_alive(), "it is treated like a server that may come back"
    server_pid(folder)
    assert processes.ask(socket, "DBSIZE", timeout_s=5) == 50
    server.leave()


def test_a_holder_that_is_not_visible_is_said(folder: Path) -> None:
    """A server in another container: its lock is seen, its process is not. It is never doubled."""
    folder.mkdir(mode=0o700)
    hidden = try_lock(folder / SERVER)
    assert hidden is not None
    with hidden, pytest.raises(SpoolUnavailable, match=r"not visible from here \(another container\?\)"):
        EmbeddedServer(folder, patience=IMPATIENT).enter()
    assert servers_below(folder) == []


def test_a_server_that_loads_is_waited_for(folder: Path, tmp_path: Path) -> None:
    """Reading its file takes as long as it takes, for the starter and for one who adopts it: longer than any limit."""
    server = EmbeddedServer(folder)
    socket = server.enter()
    for n in range(200):
        processes.ask(socket, "SET", f"mail{n}", "kept", timeout_s=5)
    processes.ask(socket, "BGREWRITEAOF", timeout_s=5)
    manifest = folder / "appendonlydir" / "appendonly.aof.manifest"
    eventually(lambda: ".2.base.rdb" in manifest.read_text(), "the file is rewritten")
    server.leave()
    slow = tmp_path / "slow-server"  # 5 ms a key: 1 s
    options = "--key-load-delay 5000 --loading-process-events-interval-bytes 1024"
    slow.write_text(f'#!/bin/sh\nexec {processes.find_binary("auto")} "$@" {options}\n')
    slow.chmod(0o755)
    hasty = replace(IMPATIENT, start_s=0.3, unreachable_s=0.3)
    starter, adopter = (EmbeddedServer(folder, binary=str(slow), patience=hasty) for _ in "ab")
    refused: list[str] = []

    def start() -> None:
        try:
            starter.enter()
        except SpoolUnavailable as exc:
            refused.append(str(exc))

    thread = in_thread(start)
    eventually(lambda: processes.health(socket, timeout_s=5) is Health.LOADING, "it loads")
    pid = server_pid(folder)
    starter.give_up()
    thread.join()
    assert refused == [f"{folder}: given up while its server was starting."]
    adopter.enter()
    assert server_pid(folder) == pid
    assert processes.ask(socket, "DBSIZE", timeout_s=5) == 200
    adopter.leave()
    adopter.enter()
    assert processes.ask(socket, "DBSIZE", timeout_s=5) == 200
    adopter.leave()


def test_a_broken_file_is_said(folder: Path) -> None:
    server = EmbeddedServer(folder)
    processes.ask(server.enter(), "SET", "mail", "kept", timeout_s=5)
    server.leave()
    (log,) = (folder / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"nonsense" * 100)
    with pytest.raises(
        SpoolUnavailable, match="does not start: Bad file format reading the append only file"
    ) as caught:
        server.enter()
    assert "server.log" in caught.value.hint
    assert not server.present


def test_a_program_that_is_no_server_is_said(folder: Path) -> None:
    with pytest.raises(SpoolUnavailable, match=r"does not start: .*ended with status 1"):
        EmbeddedServer(folder, binary="/bin/false").enter()


def test_an_old_line_of_the_log_is_no_reason(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.enter()
    server.leave()
    with (folder / "server.log").open("a") as log:
        log.write("1:M 24 Nov 2026 01:00:00.000 # Bad file format of last year\n")
    with pytest.raises(SpoolUnavailable, match=r"does not start: it ended with status 0"):
        EmbeddedServer(folder, binary="/bin/true").enter()


def test_a_server_that_knows_less_is_said(folder: Path, tmp_path: Path) -> None:
    """An older one given by path: it complains about an option that it does not know."""
    old = tmp_path / "old-server"
    old.write_text(
        '#!/bin/sh\necho "*** FATAL CONFIG FILE ERROR ***"\necho "Bad directive: hash-max-listpack"\nexit 1\n'
    )
    old.chmod(0o755)
    with pytest.raises(SpoolUnavailable, match="does not start: Bad directive: hash-max-listpack"):
        EmbeddedServer(folder, binary=str(old)).enter()


class Disk:
    """Stands for the disk below a folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free_mib = 1000
        real = os.statvfs("/")
        fields = list(real)

        def statvfs(path: object) -> os.statvfs_result:
            fields[1], fields[2], fields[4] = 1 << 20, 2000, self.free_mib
            return os.statvfs_result(fields)

        monkeypatch.setattr(os, "statvfs", statvfs)


def test_a_full_disk_is_not_started_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server with fsync ends when the disk is full. It starts again only when there is room, with all its data."""
    disk = Disk(monkeypatch)
    server = EmbeddedServer(folder)
    socket = server.enter()
    processes.ask(socket, "SET", "mail", "kept", timeout_s=5)
    kill_server(folder)
    disk.free_mib = 63
    with pytest.raises(SpoolFull, match="has 63 MiB left; its server needs 64 MiB to start"):
        server.ensure()
    assert servers_below(folder) == []
    disk.free_mib = 64
    server.ensure()
    assert processes.ask(socket, "GET", "mail", timeout_s=5) == b"kept"
    disk.free_mib = 0
    server.ensure()
    other = EmbeddedServer(folder)
    other.enter()
    other.leave()
    server.leave()


@pytest.mark.parametrize(
    ("binary", "words"),
    [
        ("off", "there is no Redis to use"),
        ("/nowhere/valkey", "there is no program at this path"),
        ("/etc/passwd", "no program"),
    ],
)
def test_no_binary(folder: Path, binary: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EmbeddedServer(folder, binary=binary).enter()


def test_no_embedded_server_on_musl(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "confstr", no_such_name)
    with pytest.raises(ConfigError, match=r"musl.*docker run .*valkey/valkey --appendonly yes.*redis_url"):
        EmbeddedServer(folder).enter()


def test_no_embedded_server_for_this_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(ConfigError, match="no embedded server for linux riscv64"):
        EmbeddedServer(folder).enter()
