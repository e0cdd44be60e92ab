"""`send` as people use it: what it queues, what it says, and what the same command does again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from unittest.mock import AsyncMock

import pytest

from mailspool.cli.content_key import ONCE, PREFIX
from mailspool.errors import SpoolUnavailable
from mailspool.spool import Spool
from tests.producer.cli.commands import FROM, Cli, Here

PEOPLE = "email,name\nali@example.org,Ali\nsara@example.org,Sara\n"
SENT_FIELDS = {"batch", "queued", "skipped", "duplicates", "created", "rejects", "skipped_bad"}
NO_KEY = "! Without --key an edited list is a new mailing to everybody; with --key K only what is missing is queued.\n"
NO_WORKER = (
    "! No worker is running, so nothing leaves yet.   Start one:  mailspool worker      Follow:  mailspool watch "
)


def test_a_list(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    ran = here.run("send", *FROM, "--body", "Hi {{ name }}", "--to", "people.csv", "--name", "greetings")
    (batch,) = here.batches()
    assert ran.code == 0
    assert ran.out == f"{batch['id']}\n", "one word, for B=$(mailspool send ...)"
    assert ran.err == f"people.csv   UTF-8, comma, 2 rows: email name\n{NO_KEY}{NO_WORKER}{batch['id']}\n"
    assert (batch["total"], batch["queued"], batch["class"], batch["name"]) == (2, 2, "bulk", "greetings")
    assert str(batch["key"]).startswith(PREFIX)


def test_a_list_as_json(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    ran = here.send("--to", "people.csv", "--json")
    sent = ran.json()
    assert set(sent) == SENT_FIELDS
    assert sent == {
        "batch": here.batches()[0]["id"],
        "queued": 2,
        "skipped": 0,
        "duplicates": 0,
        "created": True,
        "rejects": None,
        "skipped_bad": 0,
    }
    assert ran.notices() == ["no_key", "no_worker"]


def test_quiet(here: Here) -> None:
    assert here.send("--to", "a@x.org", "--quiet").err == ""
    assert here.run("--quiet", "send", *FROM, "--body", "x", "--to", "a@x.org").err == ""


def test_no_subject_is_told(here: Here) -> None:
    words = "! No subject: many receivers treat that as spam. Give --subject.\n"
    here.write("mail.eml", "From: me@acme.example\nTo: a@x.org\n\nhello\n")
    send = ("send", "--from", "me@acme.example", "--body", "x", "--to", "a@x.org")
    for flags in ((), ("--subject", " "), ("--dry-run",)):
        ran = here.run(*send, *flags)
        assert ran.code == 0
        assert words in ran.err
    assert here.run(*send, "--json").notices() == ["no_subject", "no_worker"]
    assert here.run(*send, "--json", "--dry-run").notices() == ["no_subject"]
    assert words not in here.run(*send, "--subject", "Hi").err
    assert words not in here.run("send", "--eml", "mail.eml").err, "a finished mail has headers of its own"


def test_a_list_without_its_flag(here: Here) -> None:
    ran = here.send("people.csv")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("hint:  whom it goes to stands after a flag: --to people.csv\n")
    assert here.run("server").err.startswith("error: Missing argument 'status|stop'. Choose from: status, stop.\n")
    assert here.run("watch", "a", "b").err.endswith("hint:  mailspool watch --help\n")
    assert "--to is empty" in here.send("--to", "").err


@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        (SpoolUnavailable("redis://queue does not answer."), 69, "1 queued as {}, but redis://queue does not answer."),
        (asyncio.CancelledError(), 130, "Interrupted just after it was queued as {}. Undo it: mailspool cancel {}"),
    ],
    ids=["an outage", "Ctrl-C"],
)
def test_what_is_queued_is_told(here: Here, trouble: BaseException, code: int, words: str) -> None:
    """The commit is behind us when the counts are read for the first answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Spool, "status", AsyncMock(side_effect=trouble))
        ran = here.send("--to", "a@x.org")
    (batch,) = here.batches()
    assert (ran.code, ran.out) == (code, "")
    assert words.format(batch["id"], batch["id"]) in ran.err


def test_the_same_list_again_queues_nothing(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    first = here.send("--to", "people.csv")
    again = here.send("--to", "people.csv")
    assert (again.code, again.out) == (0, first.out)
    assert again.err.startswith(f"! Already queued just now as {first.out.strip()} (0 of 2 sent). To mail everybody ")
    as_json = here.send("--to", "people.csv", "--json")
    assert as_json.json() == {
        "batch": first.out.strip(),
        "queued": 0,
        "skipped": 2,
        "duplicates": 0,
        "created": False,
        "rejects": None,
        "skipped_bad": 0,
    }
    assert as_json.notices() == ["already_queued"]
    assert len(here.batches()) == 1


def test_what_makes_it_another_list(here: Here) -> None:
    """Template, rows, and how they are read; not the file's name, the batch's name or the date."""
    here.write("people.csv", PEOPLE)
    here.write("same.csv", PEOPLE)
    here.write("other.csv", PEOPLE + "new@example.org,New\n")
    here.send("--to", "people.csv")
    same = [["--to", "same.csv"], ["--to", "people.csv", "--name", "n"], ["--to", "people.csv", "--at", "2h"]]
    other = [["--to", "other.csv"], ["--to", "people.csv", "--header", "X-A: b"], ["--to", "people.csv", "--again"],
             ["--to", "people.csv", "--key", "k"], ["--to", "people.csv", "--encoding", "cp1252"]]  # fmt: skip
    for flags in same:
        assert here.send(*flags, "--json").json()["created"] is False
    for number, flags in enumerate(other, 2):
        assert here.send(*flags, "--json").json()["created"] is True
        assert len(here.batches()) == number


def test_a_cancelled_list_is_not_mailed_by_accident(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    batch = here.send("--to", "people.csv").out.strip()
    here.run("cancel", batch)
    ran = here.send("--to", "people.csv")
    assert (ran.code, ran.out) == (65, "")
    assert f"before, as {batch}, and cancelled. Nothing was queued. To mail everybody after all: --again." in ran.err
    assert here.send("--to", "people.csv", "--again").code == 0


def test_addresses_always_go(here: Here) -> None:
    """A test to yourself is never refused as a repetition."""
    for _ in range(2):
        assert here.send("--to", "me@x.org").code == 0
    first, second = here.batches()
    assert first["id"] != second["id"]
    assert str(first["key"]).startswith(ONCE)
    assert first["class"] == "transactional"


def test_addresses_each_once_and_alone(here: Here) -> None:
    to = ["--to", 'Ali Reza <ali@x.org>, "B, C" <b@x.org>', "--to", "ALI@X.org", "--to", "c@x.org"]
    batch = here.send(*to).out.strip()
    shown = here.run("show", batch, "--json").lines()
    assert [line["recipient"] for line in shown] == ["ali@x.org", "b@x.org", "c@x.org"]


def test_a_key_sends_only_what_is_missing(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    batch = here.send("--to", "people.csv", "--key", "november").out
    here.write("people.csv", PEOPLE + "new@example.org,New\n")
    ran = here.send("--to", "people.csv", "--key", "november")
    assert (ran.code, ran.out) == (0, batch)
    assert f"! 2 rows queued before, 1 new (batch {batch.strip()}).\n" in ran.err
    sent = here.send("--to", "people.csv", "--key", "november", "--json").json()
    assert (sent["queued"], sent["skipped"], sent["created"]) == (0, 3, False)
    assert [status["total"] for status in here.batches()] == [3]


def test_stdin(here: Here) -> None:
    ran = here.send("--to", "-", stdin="a@x.org\nb@x.org\n")
    assert ran.err.startswith("stdin   UTF-8, one address a line, 2 rows\n")
    assert here.send("--to", "-", "--json", stdin="a@x.org\nb@x.org\n").json()["created"] is False
    assert here.send("--to", "-", "--json", stdin="email;name\nc@x.org;C\n").json()["queued"] == 1


def test_a_pipe_by_name(cli: Cli) -> None:
    """bash's <(...) is a path that can be read once."""
    ran = cli.run("send", *FROM, "--body", "x", "--to", "/dev/stdin", stdin="email,name\na@x.org,A\n")
    assert ran.code == 0
    assert ran.err.startswith("pipe   UTF-8, comma, 1 row: email name\n")


def test_the_text_from_stdin(here: Here) -> None:
    ran = here.run("send", *FROM, "--to", "me@x.org", "--text", "-", stdin="disk full\n")
    assert ran.code == 0
    ran = here.run("send", *FROM, "--to", "-", "--text", "-", stdin="disk full\n")
    assert ran.code == 2
    assert "stdin (-) can be read once" in ran.err


def test_skipped_rows_go_to_a_file(here: Here) -> None:
    here.write("people.csv", "email,name\nali@x.org,Ali\nbad,Bad\nsara@x.org,Sara\n=x@,\n")
    ran = here.send("--to", "people.csv", "--skip-bad", "--json")
    rejects = here.folder / "people.rejected.csv"
    assert ran.code == 0
    assert (ran.json()["queued"], ran.json()["skipped_bad"], ran.json()["rejects"]) == (2, 2, "people.rejected.csv")
    assert "skipped_bad" in ran.notices()
    lines = rejects.read_text("utf-8-sig").splitlines()
    assert lines[0] == "email,name,line,problem"
    assert lines[1].startswith('bad,Bad,3,"""bad"": no @ sign')
    assert lines[2].startswith("'=x@,,5,")
    assert here.send("--to", "people.csv", "--again", "--skip-bad", "--rejects", "mine.csv").code == 0
    assert (here.folder / "mine.csv").exists()


def test_a_dry_run_tells_of_bad_rows_and_writes_no_file(here: Here) -> None:
    here.write("people.csv", "email,name\nali@x.org,Ali\nbad,Bad\nworse,Bad\n")
    ran = here.send("--to", "people.csv", "--skip-bad", "--dry-run")
    assert (ran.code, ran.out) == (0, "1 mail checked and rendered; nothing was queued (--dry-run).\n")
    words = "! 2 bad rows left out; a dry run writes no file of them: without --dry-run they go to {}.\n"
    assert ran.err.endswith(words.format("people.rejected.csv"))
    named = here.send("--to", "people.csv", "--skip-bad", "--rejects", "mine.csv", "--dry-run")
    assert named.err.endswith(words.format("mine.csv"))
    assert here.send("--to", "people.csv", "--skip-bad", "--dry-run", "--json").notices() == ["skipped_bad"]
    assert sorted(path.name for path in here.folder.iterdir()) == ["people.csv"]


def test_who_has_given_a_key_or_an_address_is_not_told_of_keys(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    assert "no_key" not in here.send("--to", "people.csv", "--key", "mine", "--json").notices()
    assert "no_key" not in here.send("--to", "a@x.org", "--json").notices()
    assert "no_key" not in here.send("--to", "people.csv", "--again", "--json").notices(), "it says what it wants"
    help_text = " ".join(here.run("send", "--help").out.split())
    assert "also with a corrected list, queues only what is missing; without it all get it again" in help_text


def test_the_same_address_twice(here: Here) -> None:
    here.write("twice.csv", "email,n\na@x.org,1\na@x.org,1\n")
    ran = here.send("--to", "twice.csv", "--json")
    assert (ran.json()["queued"], ran.json()["duplicates"]) == (1, 1)
    here.write("values.csv", "email,n\na@x.org,1\na@x.org,2\n")
    for flags, queued in [(["--duplicates", "first"], 1), (["--duplicates", "all"], 2), (["--row-key", "n"], 2)]:
        assert here.send("--to", "values.csv", *flags, "--json").json()["queued"] == queued


def test_an_empty_list_that_is_meant(here: Here) -> None:
    here.write("nobody.csv", "email\n")
    assert here.send("--to", "nobody.csv", "--allow-empty", "--json").json()["queued"] == 0
    lines = here.send("--to", "nobody.csv", "--allow-empty", "--again", "--watch", "--json").lines()
    assert (lines[1]["done"], lines[1]["ok"], lines[1]["total"]) == (True, True, 0)


def test_a_finished_mail(here: Here) -> None:
    here.write("mail.eml", "From: me@x.org\nTo: Ali <a@x.org>, b@x.org\nBcc: c@x.org\nSubject: x\n\n{{ not code }}\n")
    batch = here.run("send", "--eml", "mail.eml").out.strip()
    assert [line["recipient"] for line in here.run("show", batch, "--json").lines()] == [
        "a@x.org",
        "b@x.org",
        "c@x.org",
    ]
    here.write("people.csv", PEOPLE)
    assert here.run("send", "--eml", "mail.eml", "--to", "people.csv", "--json").json()["queued"] == 2
    assert here.run("send", "--eml", "mail.eml", "--to", "people.csv", "--json").json()["queued"] == 0


def test_dates(here: Here) -> None:
    before = datetime.now(UTC)
    here.send("--to", "a@x.org", "--at", "2h", "--expires", "30m")
    (status,) = here.batches()
    send_at = datetime.fromisoformat(str(status["send_at"]))
    expires_at = datetime.fromisoformat(str(status["expires_at"]))
    assert status["state"] == "scheduled"
    assert timedelta(hours=2, seconds=-2) < send_at - before < timedelta(hours=2, minutes=1)
    assert expires_at - send_at == timedelta(minutes=30), "a span of --expires counts from --at"


def test_held(here: Here) -> None:
    ran = here.send("--to", "a@x.org", "--hold")
    assert f"! It is held.   Let it go:  mailspool release {ran.out.strip()}\n" in ran.err
    assert here.batches()[0]["state"] == "held"


def test_dry_run(here: Here) -> None:
    here.write("people.csv", PEOPLE)
    ran = here.run("send", *FROM, "--body", "Hi {{ name }}", "--to", "people.csv", "--dry-run")
    assert (ran.code, ran.out) == (0, "2 mails checked and rendered; nothing was queued (--dry-run).\n")
    assert ran.err == "people.csv   UTF-8, comma, 2 rows: email name\n"
    report = here.send("--to", "people.csv", "--dry-run", "--json").json()
    assert (report["rows"], report["good"], report["bad"], report["duplicates"]) == (2, 2, 0, 0)
    assert not here.data_dir.exists(), "it needs no Redis"
    assert here.batches() == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nobody gets it"),
        (["--to", "a@x.org", "--text", "x.txt"], "--text names a file, --body is the text itself"),
        (["--to", "a@x.org", "--eml", "x.eml"], "--eml is a finished mail"),
        (["--to", "a@x.org", "--timeout", "5s"], "--timeout bounds --watch or --deliver"),
        (["--to", "a@x.org", "--dry-run", "--watch"], "nothing to wait for"),
        (["--to", "a@x.org", "--hold", "--deliver"], "--hold keeps the mail back"),
        (["--to", "-", "--again", "--key", "k"], "--again mails everybody once more"),
        (["--to", "-", "--rejects", "x.csv"], "--skip-bad"),
        (["--to", "-", "--to", "a@x.org"], "--to takes one list, or addresses"),
        (["--to", "a@x.org", "--row-key", "n", "--skip-bad"], "--skip-bad, --row-key: only for a list"),
        (["--to", "a@x.org", "--at", "soon"], "write a time such as 08:00"),
        (["--to", "a@x.org", "--watch", "--timeout", "5"], "a unit is missing: 5s is seconds"),
        (["--to", "a@x.org", "--class", "urgent"], "'transactional', 'bulk'"),
        (["--to", "a@x.org", "--header", "X-A"], "write --header 'Name: value'"),
    ],
)
def test_flags_that_do_not_fit(here: Here, flags: list[str], words: str) -> None:
    ran = here.send(*flags)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert not here.data_dir.exists()


def test_no_content(here: Here) -> None:
    ran = here.run("send", *FROM, "--to", "a@x.org")
    assert ran.code == 2
    assert "nothing to say" in ran.err


def test_a_default_sender(here: Here) -> None:
    here.write("mailspool.toml", 'default_from = "Acme <me@acme.example>"\n')
    assert here.run("send", "--to", "a@x.org", "--body", "x").code == 0


def test_settings_are_read_from_the_file_that_is_named(here: Here) -> None:
    here.write("mine.toml", f'data_dir = "{here.folder / "mine"}"\n')
    (here.folder / "mine").mkdir()
    ran = here.run("--config", "mine.toml", "settings", "--json")
    found = {line["name"]: line for line in map(json.loads, ran.out.splitlines())}
    assert found["data_dir"]["origin"] == "MAILSPOOL_DATA_DIR", "a variable beats the file"
    assert here.run("settings", "--config", "mine.toml").err == f"settings file: {here.folder / 'mine.toml'}\n"
