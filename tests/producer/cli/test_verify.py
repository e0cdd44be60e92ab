"""`mailspool verify`: what a person and a program are told, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.producer.cli.commands import Here
from tests.producer.client.conftest import SAFE
from tests.support.embedded import plain_server


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Path]:
    with plain_server(tmp_path / "plain", *SAFE) as server:
        yield server


def redis(socket: Path, *words: str) -> None:
    from redis import Redis

    with Redis(unix_socket_path=str(socket)) as client:
        client.execute_command(*words)


def test_found_repaired_and_in_order(here: Here, socket: Path) -> None:
    url = ("--redis-url", f"unix://{socket}")
    here.write("list.csv", "email\n" + "".join(f"u{n}@x.org\n" for n in range(150)))
    batch = str(here.send("--to", "list.csv", *url, "--json").json()["batch"])
    sound = here.run("verify", *url)
    assert (sound.code, sound.err) == (0, "")
    assert sound.out.startswith(
        f"unix://{socket}: 150 messages in 1 batch, all in order.\nFor each:  total = queued + "
    )

    redis(socket, "HSET", f"ms:batch:{batch}", "n_sent", "3")
    redis(socket, "SET", "ms:key:\x1b[2Jgone", "bnone")
    wrong = here.run("verify", *url)
    assert wrong.code == 1
    first, *_, last, advice = wrong.out.splitlines()
    assert first.split() == ["wrong", batch, "sent", "sent", "stands", "at", "3,", "and", "the", "records", "hold", "0"]
    assert last.endswith(": 150 messages in 1 batch, 3 faults.")
    assert advice == "next  mailspool verify --repair"
    assert "\x1b" not in wrong.out

    told = here.run("verify", *url, "--json")
    assert (told.code, told.err) == (1, "")
    report = told.json()
    assert {name: report[name] for name in ("batches", "messages", "left")} == {
        "batches": 1,
        "messages": 150,
        "left": 3,
    }
    assert json.loads(told.out)["wrong"][0] == {
        "what": "counter", "batch": batch, "where": "sent", "detail": "sent stands at 3, and the records hold 0",
        "repaired": False,
    }  # fmt: skip

    repaired = here.run("verify", "--repair", *url)
    assert repaired.code == 0
    assert repaired.out.splitlines()[0].startswith("repaired")
    assert here.run("verify", *url, "--json").json()["wrong"] == []


def test_what_cannot_be_repaired(here: Here, socket: Path) -> None:
    url = ("--redis-url", f"unix://{socket}")
    batch = here.send("--to", "a@x.org", *url).out.strip()
    redis(socket, "DEL", f"ms:spec:{batch}")
    ran = here.run("verify", "--repair", *url)
    assert ran.code == 1
    assert "nothing can bring it back" in ran.out
    assert "next" not in ran.out


def test_an_empty_spool(here: Here) -> None:
    assert here.run("verify", "--json").json() == {
        "batches": 0, "messages": 0, "wrong": [], "more": 0, "left": 0, "unproved": [],
    }  # fmt: skip
