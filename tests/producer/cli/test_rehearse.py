"""`send --rehearse`: the whole batch to a receiver on this machine; nothing is queued, nothing leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mailspool.cli import rehearse
from mailspool.cli.rehearse import BUSY, GREYLISTED, UNKNOWN, Temper
from mailspool.sandbox import Order
from tests.producer.cli.commands import Cli, Here
from tests.support.embedded import servers_below

PEOPLE = "email,name\n" + "".join(f"user{n}@example.org,Name {n}\n" for n in range(400))


def test_the_report_and_the_estimate(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    here.write("people.csv", PEOPLE)
    unknown = sum(Temper()(f"user{n}@example.org") is UNKNOWN for n in range(400))
    with here.receiver() as real:
        ran = here.send("--to", "people.csv", "--rehearse", "--at", "+2h", "--hold", "--name", "news")
        assert real.out == "", "the real relay was asked, and given no mail"
    assert ran.code == 0
    assert "   done in " in ran.out
    assert f"  total    400\n  sent     {400 - unknown}\n" in ran.out
    assert f"550 5.1.1 mailbox unknown ({unknown})" in ran.out
    assert "Nothing was queued, nothing left." in ran.out
    assert "Through main: about " in ran.out
    assert " a round trip, as probed just now)" in ran.out
    assert "people.csv   UTF-8, comma, 400 rows: email name" in ran.err
    assert not here.data_dir.exists(), "the real spool was not even opened"
    assert not list((tmp_path / "tmp").iterdir())
    assert servers_below(tmp_path) == []


def test_for_programs_and_without_a_relay(here: Here) -> None:
    ran = here.send("--to", "a@x.org", "--to", "b@x.org", "--rehearse", "--json")
    found = ran.json()
    assert (ran.code, found["estimate"], found["own_faults"]) == (0, None, 0)
    assert set(found) == {"status", "own_faults", "estimate"}
    assert json.loads(ran.out)["status"]["sent"] == 2


def test_a_relay_that_is_away_is_told_and_assumed(here: Here) -> None:
    ran = here.send("--to", "a@x.org", "--rehearse", "--json", env={"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:1"})
    assert ran.notices() == ["relay"]
    assert json.loads(ran.out)["estimate"]["basis"] == "assumed"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--watch"], 2),
        (["--deliver"], 2),
        (["--dry-run"], 2),
        (["--relay", "other"], 65),
    ],
)
def test_refused(here: Here, flags: list[str], code: int) -> None:
    ran = here.send("--to", "a@x.org", "--rehearse", *flags, env={"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:1"})
    assert (ran.code, ran.out) == (code, "")


def test_bad_rows_are_those_of_send(here: Here) -> None:
    here.write("people.csv", "email\nali@@x.org\n")
    ran = here.send("--to", "people.csv", "--rehearse")
    assert ran.code == 65
    assert "two @ signs" in ran.err
    assert "--skip-bad" in ran.err


def test_mails_that_fail_by_their_own_fault(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `send` cannot know before: here a receiver that refuses for another reason."""
    monkeypatch.setattr(rehearse, "UNKNOWN", Order("rcpt", "553 5.1.3 no address"))
    monkeypatch.setattr(rehearse, "_UNKNOWN_OF_1000", 1000)
    ran = here.send("--to", "a@x.org", "--rehearse", "--timeout", "20s")
    assert ran.code == 1
    assert "1 mail would fail anyhow" in ran.out


def test_ctrl_c_leaves_nothing(cli: Cli) -> None:
    cli.write("people.csv", "email\n" + "".join(f"user{n}@example.org\n" for n in range(20_000)))
    running = cli.start("send", "--from", "me@acme.example", "--body", "x", "--to", "people.csv", "--rehearse")
    running.until("20,000 rows")
    running.signal()
    ran = running.end()
    assert ran.code == 130
    assert "nothing was queued and nothing is left behind" in ran.err
    assert not list(cli.temporary.iterdir())
    assert servers_below(cli.temporary.parent) == []


def test_the_temper() -> None:
    temper = Temper()
    temper.busy_after = 200
    found = [temper(f"user{n}@example.org") for n in range(10_000)]
    assert 250 <= found.count(UNKNOWN) <= 350
    assert 150 <= found.count(GREYLISTED) <= 250
    assert found.count(BUSY) == 1
    again = Temper()
    again.busy_after = 200
    assert [again(f"user{n}@example.org") for n in range(10_000)] == found
    busy = f"user{found.index(BUSY)}@example.org"
    assert temper(busy) is BUSY, "at its next try the policy counts"
    assert temper(busy.upper().replace("EXAMPLE.ORG", "example.org")) is None
