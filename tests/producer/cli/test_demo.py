"""The demo: what it says is compared by a second program that knows nothing of ours."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
from pathlib import Path

import pytest

from mailspool.cli import demo_mail
from mailspool.cli.demo import as_called, steady_rate, yours
from tests.producer.cli.commands import Cli, Here
from tests.support.embedded import servers_below

COUNT = 250


def json_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_every_mail_is_accounted_for(cli: Cli) -> None:
    """`index.jsonl` is the receiver's, `show.jsonl` the spool's; the mails are read with the standard library."""
    ran = cli.run("demo", "--count", str(COUNT), "--keep", "kept", "--json")
    result = ran.json()
    assert ran.code == 0
    unknown = demo_mail.unknown(COUNT)
    assert unknown == 8
    assert {name: result[name] for name in ("count", "sent", "failed", "deferred")} == {
        "count": COUNT,
        "sent": COUNT - unknown,
        "failed": unknown,
        "deferred": 0,
    }
    kept = cli.folder / "kept"
    received, account = json_lines(kept / "index.jsonl"), json_lines(kept / "show.jsonl")
    assert len(account) == COUNT
    states = {str(line["message_id"]): line for line in account}
    assert len(states) == COUNT
    assert sorted(str(line["message_id"]) for line in received) == sorted(
        name for name, line in states.items() if line["state"] == "sent"
    ), "each sent one was taken once, and no other"
    for line in received:
        data = (kept / str(line["path"])).read_bytes()
        told = states[str(line["message_id"])]
        assert told["recipient"] == line["recipient"]
        assert told["size_bytes"] == len(data)
        assert hashlib.sha256(data).hexdigest() == line["sha256"]
        look_inside(data, int(str(told["row"])), str(told["recipient"]))
    assert {line["reply"] for line in account if line["state"] == "failed"} == {
        "550 5.1.1 as ordered by the local part"
    }
    assert sorted({int(str(line["attempts"])) for line in account}) == [1, 2]


def look_inside(data: bytes, row: int, recipient: str) -> None:
    mail = email.message_from_bytes(data, policy=email.policy.default)
    expected = list(demo_mail.rows(COUNT))[row - 1]
    body = mail.get_body(("plain",))
    (attached,) = mail.iter_attachments()
    assert body is not None
    assert mail["To"] == recipient == expected["email"]
    assert str(expected["name"]) in mail["Subject"]
    assert f"{expected['name']}" in body.get_content()
    assert f"{expected['seat']}" in body.get_content()
    assert ("مرحباً" in body.get_content()) == (expected["language"] == "ar")
    assert attached.get_filename() == demo_mail.FILE_NAME == "دعوة.pdf"
    assert attached.get_content() == demo_mail.invitation()


def test_what_a_person_sees_and_what_is_left(cli: Cli) -> None:
    ran = cli.run("demo", "--count", "60", env={"MAILSPOOL_RELAY_URL": "smtp://real.example", "MAILSPOOL_NOPE": "1"})
    assert ran.code == 0
    assert ran.err.splitlines()[0].startswith("60 personal mails through a queue in a temporary folder")
    assert "  total    60\n  sent     58\n  failed    2   550 5.1.1 mailbox unknown (2)\n" in ran.out
    assert "the receiver took 58, exactly those that the account calls sent." in ran.out
    assert "  Subject: دعوة رقم 1004: " in ran.out
    assert ran.out.endswith("Send yours:\n" + "".join(f"  {line}\n" for line in yours("python -m mailspool.cli")))
    assert not list(cli.temporary.iterdir())
    assert not cli.data_dir.exists(), "it has a spool of its own"
    assert servers_below(cli.temporary.parent) == []


def test_the_next_command_is_called_as_this_one_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "mailspool"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    assert as_called("bin/mailspool") == "bin/mailspool", "from a clone"
    assert as_called("/home/a b/mailspool") == "'/home/a b/mailspool'"
    monkeypatch.setenv("PATH", str(program.parent))
    assert as_called(str(program)) == as_called("mailspool") == "mailspool"
    assert as_called("/somewhere/mailspool/cli/__main__.py") == "python -m mailspool.cli"
    assert as_called("/usr/bin/pytest") == "mailspool"
    assert yours(".venv/bin/mailspool")[1].startswith(
        ".venv/bin/mailspool send --from you@example.com --subject 'Hi {{ "
    )


def test_one_mail(here: Here) -> None:
    assert here.run("demo", "--count", "1", "--json").json()["rate_per_s"] is None


@pytest.mark.parametrize("flags", [["--count", "0"], ["--count", "x"], ["--keep", "full"]])
def test_refused(here: Here, flags: list[str]) -> None:
    (here.folder / "full").mkdir()
    (here.folder / "full" / "file").touch()
    ran = here.run("demo", *flags)
    assert (ran.code, ran.out) == (2, "")


def test_the_shares() -> None:
    rows = list(demo_mail.rows(1000))
    local_parts = [str(row["email"]) for row in rows]
    assert demo_mail.unknown(1000) == sum(part.startswith("550-") for part in local_parts) == 30
    assert sum(part.startswith("greylist-") for part in local_parts) == 10
    assert sum("421-" in part for part in local_parts) == 1
    assert len(set(local_parts)) == 1000
    assert sum(row["language"] == "ar" for row in rows) == 200


@pytest.mark.parametrize("count", [1, 2, 3, 17, 29, 100, 101])
def test_the_one_421_takes_nobody_elses_place(count: int) -> None:
    assert demo_mail.unknown(count) == sum(str(row["email"]).startswith("550-") for row in demo_mail.rows(count))


def test_the_pdf_is_one() -> None:
    data = demo_mail.invitation()
    start = int(data.rpartition(b"startxref\n")[2].split()[0])
    assert data[start : start + 4] == b"xref"
    places = [int(line.split()[0]) for line in data[start:].splitlines()[3:8]]
    assert [data[place : place + 7] for place in places] == [b"%d 0 obj" % n for n in range(1, 6)]


def test_steady_rate() -> None:
    assert steady_rate([]) is None
    assert steady_rate([5, 6]) is None
    assert steady_rate([0] * 20) == 17_000.0
    assert steady_rate([*range(100), *range(10_000, 10_010)]) == round(98 * 1000 / 98, 1)
