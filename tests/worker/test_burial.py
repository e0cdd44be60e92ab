"""Who is provably dead: real processes, killed, unreaped, in another pid namespace; and what a starting worker does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mailspool import Message
from mailspool_worker.burial import identity, provably_dead
from tests.support.embedded import eventually
from tests.support.ground import Ground

_SAY = """
import json, sys
from mailspool_worker.burial import identity, provably_dead
print(json.dumps(identity()), flush=True)
for line in sys.stdin:
    print(json.dumps(provably_dead(json.loads(line), identity())), flush=True)
"""
Fields = dict[str, str]


class Other:
    """Another process: it says who it is, and judges others when asked."""

    def __init__(self, *before: str) -> None:
        words = [*before, sys.executable, "-c", _SAY]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.fields: Fields = {name: str(value) for name, value in json.loads(self._line()).items()}

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def judges_dead(self, fields: Fields) -> bool:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(fields) + "\n")
        self.process.stdin.flush()
        return bool(json.loads(self._line()))

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other() -> Iterator[Other]:
    found = Other()
    yield found
    found.end()


def mine() -> Fields:
    return {name: str(value) for name, value in identity().items()}


def judged(fields: Fields, **changes: str) -> bool:
    return provably_dead(fields | changes, identity())


def test_who_lives_is_not_dead(other: Other) -> None:
    assert not judged(other.fields)
    assert not judged(mine())
    assert not other.judges_dead(mine())
    assert not other.judges_dead(other.fields)


def test_who_is_frozen_is_not_dead(other: Other) -> None:
    other.process.send_signal(signal.SIGSTOP)
    assert not judged(other.fields)
    other.process.send_signal(signal.SIGCONT)


def test_who_was_killed_is_dead_also_before_its_parent_has_looked(other: Other) -> None:
    other.process.kill()
    eventually(lambda: judged(other.fields), "a zombie is dead")
    assert other.process.returncode is None
    other.process.communicate()
    assert judged(other.fields)


@pytest.mark.parametrize("name", ["boot", "pid_ns"])
@pytest.mark.parametrize("value", ["other", ""])
def test_of_another_machine_or_namespace_nothing_is_known(other: Other, name: str, value: str) -> None:
    other.end()
    assert judged(other.fields)
    assert not judged(other.fields, **{name: value})


def test_a_pid_that_was_given_anew_is_no_sign_of_life(other: Other) -> None:
    then, _, clock = other.fields["started"].partition("@")
    assert judged(other.fields, started=f"{int(then) - 1}@{clock}")
    assert not judged(other.fields, started=f"{int(then) - 1}@time:[1]"), "another clock counts otherwise"
    assert not judged(other.fields, started=""), "a worker of an older release does not say"


@pytest.mark.parametrize("pid", ["", "x", "-1", "1.5", "²"])
def test_a_pid_that_is_none_proves_nothing(other: Other, pid: str) -> None:
    assert not judged(other.fields, pid=pid)


def test_what_is_hidden_proves_nothing(other: Other, tmp_path: Path) -> None:
    (tmp_path / "self/ns").mkdir(parents=True)
    assert not provably_dead(other.fields | {"started": "1@time"}, identity(), tmp_path)


def test_a_process_of_another_user_lives(other: Other) -> None:
    """pid 1 may not be signalled by everybody, and is there."""
    assert not judged(other.fields | {"pid": "1", "started": ""})


def may_unshare() -> bool:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(["unshare", "-p", "-f", "--mount-proc", "true"], check=False, capture_output=True).returncode
        == 0
    )


def test_two_pid_namespaces_do_not_bury_each_other(other: Other) -> None:
    """As in neighbouring containers: the same boot, other pids."""
    if not may_unshare():
        pytest.skip("only root on a machine that lets it may make a pid namespace")
    inner = Other("unshare", "-p", "-f", "--mount-proc")
    try:
        assert inner.fields["boot"] == other.fields["boot"]
        assert inner.fields["pid_ns"] != other.fields["pid_ns"]
        assert int(inner.fields["pid"]) < 10, "it is the first one there"
        assert not judged(inner.fields)
        assert not inner.judges_dead(other.fields)
        assert not inner.judges_dead(mine())
    finally:
        inner.end()
    assert not judged(inner.fields), "not even once it is dead: who is to know?"


async def test_a_starting_worker_takes_over_at_once(tmp_path: Path) -> None:
    """Without it the mail would wait for the dead worker's lease; here that is longer than the test may take."""
    with Ground(tmp_path / "ground") as ground:
        receiver = ground.receiver()
        ground.relay_url = receiver.url
        long_s = {"lease_s": 300.0}
        async with ground.spool() as spool:
            dead = ground.worker("dead", long_s)
            mail = Message(from_="me@acme.test", to="slow-60s-x@x.test", subject="Hello", text="Salaam!\n")
            await spool.send(mail)
            eventually(lambda: bool(rows_of(receiver.log.path)), "it is on the wire")
            dead.kill()
            heir = ground.worker("heir", long_s)
            batch = await spool.batch("last")
            assert (await batch.status()).done is False
            eventually(lambda: "worker_buried" in heir.first_words(), "the dead one is buried")
            (line,) = [line for line in heir.first_words().splitlines() if "worker_buried" in line]
            assert json.loads(line)["leases"] == 1
            assert json.loads(line)["pid"] == str(dead.pid)


def rows_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []
