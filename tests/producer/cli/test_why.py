"""`mailspool why`, `pause`, `resume`, `relay`, `resolve`: what a person and a program are told, and the exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mailspool import Settings, Spool
from mailspool.cli.why import screen
from mailspool.client.why import Cause, Why
from tests.producer.cli.commands import Here
from tests.support.hand import Hand


def worked(here: Here, work: Callable[[Hand], Awaitable[object]]) -> None:
    """A worker by hand does this to the spool of the command line."""

    async def main() -> None:
        async with Spool(Settings(data_dir=here.data_dir)) as spool:
            await work(Hand(await spool.connection()))

    asyncio.run(main())


def queued(here: Here, *more: str) -> str:
    here.write("list.csv", "email\n" + "".join(f"u{n}@y.org\n" for n in range(1, 6)))
    return str(here.send("--to", "list.csv", "--json", *more).json()["batch"])


def test_why_of_everything(here: Here) -> None:
    assert here.run("why").out == "Nothing waits: the spool has no mail to send.\n"
    batch = queued(here)
    ran = here.run("why", "last")
    assert (ran.code, ran.err) == (0, "")
    first, last_chance, advice = ran.out.splitlines()
    assert first == "No worker is running, so nothing leaves."
    assert last_chance.startswith("Last chance ")
    assert advice == "next  mailspool worker"
    told = here.run("why", batch, "--json").json()
    assert (told["kind"], told["about"], told["waiting_for"], told["next_try"]) == ("batch", batch, [first], None)
    assert here.run("why", f"{batch}-2").out.splitlines()[0] == first
    assert here.run("why", "--json").json()["waiting_for"] == [first]


def test_why_of_what_was_answered(here: Here) -> None:
    batch = queued(here)
    worked(here, lambda hand: hand.work(batch, {1: "deferred", 2: "deferred", 3: "failed"}))
    ran = here.run("why", "y.org")
    assert ran.out.splitlines()[0].startswith(
        f"2 messages of {batch} wait after 450 4.2.0 greylisted by main, next try "
    )
    assert here.run("why", f"{batch}-3").out.splitlines()[-1] == (
        f"next  mailspool retry {batch} --state failed --to u3@y.org"
    )


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ("nosuch", 'no batch "nosuch"'),
        ("lst", 'no batch "lst"'),
        ("no..org", "no domain: two dots in a row"),
        ("nosuch-3", 'no batch "nosuch"'),
    ],
)
def test_why_of_nothing(here: Here, ref: str, words: str) -> None:
    error = here.run("why", ref, "--json").error()
    assert (error["code"], error["exit"]) == ("no_such_batch", 66)
    assert words in str(error["message"])


def test_why_suggests_what_was_meant(here: Here) -> None:
    queued(here, "--name", "invoices")
    assert "Did you mean last?" in here.run("why", "lst").err
    assert " (invoices)?" in here.run("why", "invo").err


def test_at_most_three_commands_and_nothing_that_steers_a_terminal() -> None:
    causes = tuple(Cause("reply", f"450 \x1b[2J{n}", do=f"mailspool show {n}") for n in (1, 1, 2, 3, 4))
    lines = ["".join(part.text for part in line) for line in screen(Why("batch", "b1", causes, None))]
    assert lines[0] == "450 \\x1b[2J1"
    assert lines[5:] == ["next  mailspool show 1", "      mailspool show 2", "      mailspool show 3"]


def test_pause_and_resume(here: Here) -> None:
    batch = queued(here)
    ran = here.run("pause")
    assert (ran.code, ran.out) == (0, "The spool is paused: 5 mails wait.   Go on:  mailspool resume\n")
    assert here.run("pause", "--class", "bulk", "--json").json() == {
        "batch": None, "moved": 5, "class": "bulk", "changed": True,
    }  # fmt: skip
    shown = here.run("status")
    assert "paused   the spool is paused by you since " in shown.out
    assert "! The spool is paused by you.   Go on:  mailspool resume\n" in shown.err
    assert "! Bulk mail is paused by you.   Go on:  mailspool resume --class bulk\n" in shown.err
    env = {"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:2525"}
    assert "Bulk mail is paused by you since " in here.run("why", "main", env=env).out
    one = here.run("status", batch).out
    assert "active: the spool is paused by you since " in one
    assert one.splitlines()[-1] == "next  mailspool resume"
    resumed = here.run("resume")
    assert resumed.out == "The spool goes on: 5 mails waited.\n"
    assert "! Bulk mail stays paused.   Go on:  mailspool resume --class bulk\n" in resumed.err
    assert here.run("status", batch).out.splitlines()[-1] == "next  mailspool resume --class bulk"
    assert here.run("resume", "--class", "bulk", "--json").json() == {
        "batch": None, "moved": 5, "class": "bulk", "changed": True,
    }  # fmt: skip
    assert here.run("status", "--json").json()["paused"] == []
    assert here.run("pause", "--class", "fast").code == 2


def test_what_is_paused_or_resumed_twice_is_no_empty_spool(here: Here) -> None:
    queued(here)
    here.run("pause")
    assert here.run("pause").out == "The spool is paused already.   Go on:  mailspool resume\n"
    assert here.run("pause", "--json").json() == {"batch": None, "moved": 0, "class": None, "changed": False}
    here.run("resume")
    assert here.run("resume").out == "The spool was not paused.\n"
    assert here.run("resume", "--json").json() == {"batch": None, "moved": 0, "class": None, "changed": False}
    assert here.run("resume", "--class", "bulk").out == "Bulk mail was not paused.\n"


def test_relays(here: Here) -> None:
    assert "no relay is known" in here.run("relay", "list").err
    env = {"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:2525"}
    (listed,) = here.run("relay", "list", "--json", env=env).lines()
    assert (listed["name"], listed["state"], listed["sessions"]) == ("main", "unserved", 0)
    error = here.run("relay", "pause", "mian", "--json", env=env).error()
    assert (error["code"], error["exit"]) == ("no_such_relay", 66)
    assert error["message"] == 'no relay "mian": known are main. Did you mean "main"?'
    assert here.run("relay", "pause", "main", env=env).out == (
        "The relay main is paused.   Go on:  mailspool relay resume main\n"
    )
    again = here.run("relay", "pause", "main", "--json", env=env).json()
    assert (again["state"], again["why"], again["changed"]) == ("paused", "paused by you", False)
    table = here.run("relay", "list", env=env).out.splitlines()
    assert table[0].split() == ["RELAY", "STATE", "SESSIONS", "WORKERS", "SINCE", "UNTIL", "WHY"]
    assert table[1].startswith("main   paused         0        0  ")
    assert table[1].endswith("  paused by you")
    assert here.run("why", "main", env=env).out.splitlines()[-1] == "next  mailspool relay resume main"
    queued(here)
    assert "! The relay main stays paused.   Go on:  mailspool relay resume main\n" in here.run("resume", env=env).err
    worked(here, lambda hand: hand.beat())
    shown = here.run("status")
    assert "relays   main paused by you since " in shown.out
    assert "! Nothing leaves by the relay main.   Go on:  mailspool relay resume main\n" in shown.err
    assert here.run("status", "last").out.splitlines()[-1] == "next  mailspool relay resume main"
    assert here.run("relay", "resume", "main").out == "The relay main goes on.   Look:  mailspool why main\n"
    assert here.run("relay", "resume", "main").out.startswith(
        "The relay main was not paused by you; if it has stopped by itself, "
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("relay",), "list, pause, resume"),
        (("relay", "stop", "main"), "list"),
        (("relay", "pause"), "which relay? mailspool relay pause NAME"),
        (("relay", "list", "main"), "relay list takes no name"),
        (("resolve", "last"), "--as"),
        (("resolve", "last", "--as", "deferred"), "sent"),
    ],
)
def test_what_is_not_understood(here: Here, arguments: tuple[str, ...], words: str) -> None:
    ran = here.run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_resolve(here: Here) -> None:
    batch = queued(here)
    worked(here, lambda hand: hand.work(batch, {1: "uncertain", 2: "uncertain", 3: "uncertain"}))
    assert here.run("why", batch).out.splitlines()[-1] == f"next  mailspool show {batch} --state uncertain"
    asked = here.run("why", f"{batch}-1").out.splitlines()[-1]
    assert asked == f"next  mailspool resolve {batch} --as sent --to u1@y.org"
    ran = here.run("resolve", batch, "--as", "sent", "--to", "u1@y.org")
    assert (ran.code, ran.out) == (0, f"1 uncertain mail of {batch} is sent now; 2 are uncertain still\n")
    assert here.run("resolve", batch, "--as", "sent", "--to", "a@x.org").out == (
        f"Nothing to do: no uncertain mail of {batch} matches the filter (2 uncertain).\n"
    )
    assert here.run("resolve", batch, "--as", "failed", "--domain", "y.org", "--json").json() == {
        "batch": batch, "moved": 2,
    }  # fmt: skip
    assert here.run("resolve", batch, "--as", "sent").out == f"Nothing to do: no mail of {batch} is uncertain.\n"
    assert here.run("status", batch, "--json").json()["failed"] == 2
