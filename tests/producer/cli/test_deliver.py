"""Mail that really leaves: `--deliver`, `--watch`, `worker`, and what is shown of it afterwards."""

from __future__ import annotations

import csv
import io
import json

import pytest

from mailspool.conversation import Conversation, Happened
from mailspool.status import BatchStatus, MessageStatus, SpoolStatus
from tests.producer.cli.commands import Cli, Here

MIXED = (
    "email,name\nali@example.org,علي\n550-5.1.1-x@example.org,X\n450-4.2.0-1-y@example.org,Y\nsara@example.org,Sara\n"
)


def fields(kind: type) -> set[str]:
    return {name.rstrip("_") for name in kind.__dataclass_fields__}  # type: ignore[attr-defined] # a dataclass


def test_deliver_and_look(here: Here) -> None:
    here.write("list.csv", MIXED)
    with here.receiver() as receiver:
        ran = here.send("--to", "list.csv", "--deliver", "--name", "mixed", "--json")
        taken = [json.loads(line) for line in receiver.out.splitlines()]
    sent, status = ran.lines()
    assert ran.code == 1, "done, but one failed"
    assert (sent["queued"], sent["created"]) == (4, True)
    assert (status["total"], status["sent"], status["failed"], status["done"], status["ok"]) == (4, 3, 1, True, False)
    assert set(status) == fields(BatchStatus)
    assert sorted(mail["recipients"][0] for mail in taken) == [
        "450-4.2.0-1-y@example.org",
        "ali@example.org",
        "sara@example.org",
    ]
    assert {mail["subject"] for mail in taken} == {"Hi"}

    again = here.send("--to", "list.csv", "--watch", "--json")
    assert (again.code, again.lines()[0]["created"]) == (1, False)
    look_at(here, str(sent["batch"]))


def look_at(here: Here, batch: str) -> None:
    """The same batch by `status`, `show` and `retry`, as words, JSON and CSV."""
    shown = here.run("show", "key:" + str(here.run("status", batch, "--json").json()["key"]), "--json").lines()
    assert [line["row"] for line in shown] == [1, 2, 3, 4]
    assert all(set(line) == fields(MessageStatus) for line in shown)
    assert [line["state"] for line in shown] == ["sent", "failed", "sent", "sent"]
    assert (shown[1]["attempts"], shown[1]["reason"], shown[2]["attempts"]) == (1, "mailbox_unknown", 2)

    unsent = here.run("show", batch, "--unsent").out.splitlines()
    assert len(unsent) == 2
    assert unsent[1].split()[:4] == ["2", "550-5.1.1-x@example.org", "failed", "1"]
    one = here.run("show", f"{batch}-2", "--json").json()
    talks, entries = one.pop("conversation"), one.pop("history")
    assert one == shown[1]
    assert isinstance(talks, list)
    assert isinstance(entries, list)
    assert [set(told) for told in talks + entries] == [fields(Conversation), fields(Happened)]
    assert "  <  550 5.1.1" in here.run("show", f"{batch}-2").out
    assert here.run("show", f"{batch}-9").code == 66

    rows = list(csv.DictReader(io.StringIO(here.run("show", batch, "--csv", "-").out)))
    assert [row["recipient"] for row in rows] == [line["recipient"] for line in shown]
    assert here.run("show", batch, "--unsent", "--csv", "unsent.csv").code == 0
    assert here.send("--to", "unsent.csv", "--json").json()["queued"] == 1, "what show writes, send reads"

    report = here.run("status", batch).out
    assert report.startswith(f"{batch}  mixed   done in ")
    assert "  failed   1   550 5.1.1 mailbox unknown (1)\n" in report
    assert report.endswith(f"next  mailspool show {batch} --unsent --csv unsent.csv\n")
    assert set(here.run("status", "--json").json()) == fields(SpoolStatus)

    assert here.run("retry", batch, "--json").json() == {"batch": batch, "moved": 0}, (
        "deferred ones, and there are none"
    )
    assert here.run("retry", batch, "--state", "failed", "--to", "a@b.org", "--json").json()["moved"] == 0
    ran = here.run("retry", batch, "--state", "failed")
    assert ran.out == f"1 mail of {batch} is due now\n"
    assert "No worker is running" in ran.err


def test_the_report_on_stdout(here: Here) -> None:
    with here.receiver():
        ran = here.send("--to", "a@x.org", "--deliver")
    assert ran.code == 0
    first, *rest = ran.out.splitlines()
    assert first.split()[1:3] == ["done", "in"]
    assert rest == ["  total   1", "  sent    1"]
    assert ran.err == ""


def test_watch_while_a_worker_delivers(cli: Cli) -> None:
    cli.write("list.csv", MIXED)
    with cli.receiver():
        batch = cli.send("--to", "list.csv").out.strip()
        watching = cli.start("watch", "last", "--json")
        watching.until('"queued":4')
        worked = cli.run("worker", "--until-done", batch[:6])
        watched = watching.end()
        assert cli.run("watch", batch, "--timeout", "1s").code == 1
    assert worked.code == 1
    assert worked.out == ""
    assert {json.loads(line)["event"] for line in worked.err.splitlines()} >= {"worker_started", "sent", "failed"}
    statuses = watched.lines()
    assert watched.code == 1
    assert all(line["total"] == 4 for line in statuses)
    assert [line["done"] for line in statuses] == [False] * (len(statuses) - 1) + [True]


def test_a_timeout(here: Here) -> None:
    with here.receiver():
        ran = here.send("--to", "450-x@example.org", "--deliver", "--timeout", "500ms", "--json")
        assert ran.code == 75
        assert [line.get("total") for line in ran.lines()] == [None, 1], "what was queued, and how it stands"
        assert ran.error()["code"] == "timeout"
        assert "0 of 1 after 0.5 s; run `mailspool worker` to go on." in str(ran.error()["message"])
        assert "mailspool worker" in str(ran.error()["hint"])
        assert here.run("worker", "--until-done", "--timeout", "500ms").code == 75
    assert here.run("watch", "last", "--timeout", "0s").code == 75


def test_the_report_when_the_time_is_over(here: Here) -> None:
    here.write("list.csv", "email\n550-5.1.1-x@example.org\n450-x@example.org\n")
    hourly = {"MAILSPOOL_RETRY_SCHEDULE": "1h*"}
    with here.receiver():
        here.send("--to", "list.csv")
        here.run("worker", "--drain", env=hourly)
        ran = here.send("--to", "list.csv", "--deliver", "--timeout", "200ms", env=hourly)
    assert ran.code == 75
    assert "  failed     1   550 5.1.1 mailbox unknown (1)\n" in ran.out
    assert "  deferred   1   450" in ran.out
    assert "next  " not in ran.out, "the error says what to do"
    _, stops, error, *_ = ran.err.splitlines()
    assert stops == "the time is over: stops here; what is on the wire finishes (at most 25 s)"
    assert "1 of 2 after 0.2 s; run `mailspool worker` to go on." in error
    assert "still going" not in ran.err


def test_drain_leaves_later_tries(here: Here) -> None:
    with here.receiver():
        here.send("--to", "450-x@example.org", "--to", "b@x.org")
        ran = here.run("worker", "--drain", "--json", env={"MAILSPOOL_RETRY_SCHEDULE": "1h*"})
    assert (ran.code, ran.out) == (0, "")
    assert [(batch["sent"], batch["deferred"]) for batch in here.batches()] == [(1, 1)]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["x"], "add --until-done"),
        (["--drain", "--until-done"], "give one of them"),
        (["--timeout", "5s"], "--timeout bounds --drain or --until-done"),
        (["--class", "urgent"], "urgent"),
        (["--processes", "2"], "No such option"),
    ],
)
def test_flags_of_the_worker_that_do_not_fit(here: Here, flags: list[str], words: str) -> None:
    ran = here.run("worker", *flags)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_a_quiet_worker(here: Here) -> None:
    nowhere = {"MAILSPOOL_RELAY_URL": "smtp://127.0.0.1:1", "MAILSPOOL_LOG_LEVEL": "info"}
    ran = here.run("worker", "--drain", "--quiet", env=nowhere)
    assert (ran.code, ran.out, ran.err) == (0, "", ""), "without the flag it says at least that it starts"


def test_hold_release_cancel(here: Here) -> None:
    batch = here.send("--to", "a@x.org", "--to", "b@x.org").out.strip()
    steps = [
        ("hold", 2, "held"),
        ("hold", 0, "held"),
        ("release", 2, "active"),
        ("cancel", 2, "cancelled"),
        ("cancel", 0, "cancelled"),
    ]
    for command, moved, state in steps:
        assert here.run(command, batch, "--json").json() == {"batch": batch, "moved": moved}
        assert here.run("status", batch, "--json").json()["state"] == state
    for flags in ((), ("--state", "failed")):
        ran = here.run("retry", batch, *flags, "--json")
        assert (ran.code, ran.out) == (65, "")
        assert ran.error()["message"] == (
            f"batch {batch} is cancelled, and a cancelled batch stays cancelled: nothing of it can be tried again. "
            "To mail those after all, queue them again: the same mailspool send with --again (or another --key)."
        )
    assert here.run("watch", batch).code == 0, "cancelled was somebody's wish"


def test_filters(here: Here) -> None:
    batch = here.send("--to", "a@x.org", "--to", "b@y.org", "--to", "c@Y.org").out.strip()

    def rows(*flags: str) -> list[object]:
        return [line["row"] for line in here.run("show", batch, "--json", *flags).lines()]

    assert rows("--to", "A@x.org") == [1]
    assert rows("--domain", "y.org") == [2, 3]
    assert rows("--state", "queued", "--state", "sent") == [1, 2, 3]
    assert rows("--state", "failed") == []
    assert rows("--limit", "2") == [1, 2]
    assert here.run("show", batch, "--state", "gone").code == 2
    assert here.run("show", batch, "--state", "sent", "--unsent").code == 2
    assert here.run("show", f"{batch}-1", "--limit", "1").code == 2
    limited = here.run("show", batch, "--limit", "2")
    assert len(limited.out.splitlines()) == 3
    assert limited.err == "the first 2; more with --limit 40, all with --csv FILE or --json\n"
    assert here.run("show", batch, "--state", "sent").err == f"no such message in {batch}\n"


def test_a_csv_that_cannot_be_written(here: Here) -> None:
    here.send("--to", "a@x.org")
    ran = here.run("show", "last", "--csv", "no/such/folder.csv")
    assert (ran.code, ran.out) == (73, "")
    assert "cannot write no/such/folder.csv: no such file or directory." in ran.err
