"""Every exit code of the table, each by a command that a person may type."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailspool import settings as settings_room
from mailspool.cli import failures
from mailspool.errors import NotFound
from tests.producer.cli.commands import FROM, Here
from tests.support.embedded import REPOSITORY

SEND = ["send", *FROM, "--body", "x"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["settings"], 0),
        (["status"], 0),
        (["server", "status"], 0),
        ([*SEND, "--to", "a@x.org"], 0),
        (["send"], 2),
        (["server"], 2),
        (["server", "restart"], 2),
        ([*SEND, "--to", "@"], 65),
        ([*SEND, "--to", "list.csv"], 66),
        (["status", "nope"], 66),
        (["probe", "127.0.0.1:1"], 69),
        (["watch", "last", "--timeout", "1ms"], 75),
        (["worker"], 78),
        (["probe"], 78),
        (["probe", "smtps://localhost:587"], 78),
        (["status", "--redis-url", "http://localhost"], 78),
        (["server", "stop", "--redis-url", "redis://localhost"], 78),
        (["sandbox", "--listen", "256.0.0.1:0"], 78),
        (["sandbox", "--listen", "somewhere"], 2),
    ],
)
def test_the_table(here: Here, arguments: list[str], code: int) -> None:
    if arguments[0] == "watch":
        here.send("--to", "a@x.org")
    ran = here.run(*arguments)
    assert ran.code == code, ran.err
    if code and arguments[0] != "probe":
        assert ran.out == ""
    as_json = here.run(*arguments, "--json")
    assert as_json.code == code
    if code and arguments[0] != "probe":
        assert as_json.error()["exit"] == code


def test_1_waited_and_not_all_is_well(here: Here) -> None:
    with here.receiver():
        assert here.send("--to", "550-x@x.org", "--deliver").code == 1
        assert here.run("watch", "last").code == 1
        assert here.run("status", "last").code == 0, "the command worked"
        assert here.run("worker", "--until-done").code == 1


def test_77_the_login_is_refused(here: Here) -> None:
    with strict_receiver() as url:
        ran = here.run("probe", url.replace("smtp://", "smtp://me:secret@") + "?tls=off")
        as_json = here.run("probe", url.replace("smtp://", "smtp://me:secret@") + "?tls=off", "--json")
    assert ran.code == as_json.code == 77
    assert "Login refused." in ran.out
    assert "> AUTH PLAIN ****" in ran.out
    assert set(as_json.json()) == {"steps", "tls", "auth", "size", "features", "verdict", "exit_code"}
    assert "secret" not in ran.out + as_json.out


@contextmanager
def strict_receiver() -> Iterator[str]:
    """It lets nobody log in."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mailspool.sandbox", '{"refuse_auth": true}'],
        cwd=REPOSITORY / "producer",
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_70_a_bug_is_kept_in_a_file(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(found: object) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr(settings_room, "explain", broken)
    here.data_dir.mkdir(mode=0o700)
    ran = here.run("settings")
    (path,) = here.data_dir.iterdir()
    assert (ran.code, ran.out) == (70, "")
    assert ran.err == (
        f"error: a bug of Mailspool's, not of yours (ZeroDivisionError). Its traceback is in {path}\n"
        "hint:  please report it\n"
    )
    assert "ZeroDivisionError: secret words" in path.read_text("utf-8")
    assert path.stat().st_mode & 0o777 == 0o600
    assert here.run("settings", "--json").error()["code"] == "bug"


def test_a_bug_before_there_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = failures.failure_of(KeyError("x"), tmp_path / "not there")
    (path,) = tmp_path.iterdir()
    assert told.exit_code == 70
    assert str(path) in told.message
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "not there"))
    assert "KeyError" in failures.failure_of(KeyError("x"), None).message


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (NotFound("no batch"), "not_found", 66),
        (failures.Usage("give one"), "usage", 2),
        (failures.Interrupted("stopped", 143), "interrupted", 143),
        (KeyboardInterrupt(), "interrupted", 130),
        (OSError(28, "No space left on device", "/tmp/x"), "no_room", 73),
    ],
)
def test_what_an_error_is_called(error: BaseException, code: str, exit_code: int) -> None:
    told = failures.failure_of(error)
    assert (told.code, told.exit_code) == (code, exit_code)


def test_redis_that_goes_away_in_the_middle() -> None:
    from redis.exceptions import ConnectionError as RedisConnectionError

    told = failures.failure_of(RedisConnectionError("gone"))
    assert (told.code, told.exit_code) == ("spool_unavailable", 69)
