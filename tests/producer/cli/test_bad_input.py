"""Bad input: a sentence that names the row, file or relay and what to do, its exit code, and nothing queued."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailspool.cli.failures import failure_of
from mailspool.errors import SpoolUnavailable
from mailspool.redis_server import folder
from mailspool.redis_server import link as links
from tests.producer.cli.commands import FROM, Here, Ran
from tests.support.embedded import plain_server


def nothing_queued(here: Here, ran: Ran) -> None:
    assert ran.out == ""
    assert here.batches() == []


@dataclass(frozen=True)
class Case:
    """A `send` to customers.csv that must be refused."""

    words: str
    list_: str | bytes = "email,name\nali@example.org,Ali\nsara@example.org,Sara\n"
    flags: tuple[str, ...] = ("--body", "hello")
    code: int = 65
    name: str = "customers.csv"


LISTS = {
    "no address column": Case(
        "customers.csv has no address column: line 1 has name, phone. Call one of them email, or say which it is: "
        "--email-column NAME.",
        "name,phone\nAli,1\n",
    ),
    "two address columns": Case(
        'customers.csv has 2 columns that may hold the address: "mail" and "recipient". Say which: --email-column',
        "mail,recipient\na@x.org,b@x.org\n",
    ),
    "an unknown address column": Case("--email-column", flags=("--body", "x", "--email-column", "adress")),
    "not UTF-8": Case("customers.csv is not UTF-8 (line 2).", "email,name\nali@x.org,Müller\n".encode("cp1252")),
    "an unknown encoding": Case('there is no encoding "klingon"', flags=("--body", "x", "--encoding", "klingon")),
    "a bad address": Case(
        "customers.csv: 1 of 2 rows is bad; nothing was queued.\n"
        'line 3: "ali@@x.org": two @ signs (column email)\nSkip them with --skip-bad.',
        "email\nsara@x.org\nali@@x.org\n",
    ),
    "more cells than columns": Case(
        "line 3: 3 cells, header has 2: an unquoted comma?", "email,amount\na@x.org,1\nb@x.org,1,5\n"
    ),
    "a workbook": Case('Save it as "CSV UTF-8"', b"PK\x03\x04 a workbook", name="customers.xlsx"),
    "a header that is missing": Case("line 1 holds an address, not column names", "ali@x.org,Ali\nb@x.org,B\n"),
    "an empty list": Case("customers.csv holds no rows; nothing was queued.", ""),
    "a header and nothing else": Case("customers.csv holds no rows", "email,name\n"),
    "a list of which all is bad": Case("all 1 rows are bad", "email\nx\n", flags=("--body", "x", "--skip-bad")),
    "one address with two values": Case(
        "ali@x.org stands in lines 2 and 3 with different values\n"
        "Say --duplicates first (one mail each), or --duplicates all (every row is a mail), or --row-key COLUMN",
        "email,number\nali@x.org,1\nali@x.org,2\n",
    ),
    "a NUL in a cell": Case("line 2: ", b"email,name\nali@x.org,A\0li\n", flags=("--body", "{{ name }}")),
    "a name that a row lacks": Case(
        "line 2: template needs {{ name }}",
        '{"email": "a@x.org", "name": "A"}\n{"email": "b@x.org"}\n',
        ("--body", "{{ name }}"),
        name="customers.jsonl",
    ),
    "a name that no row has": Case(
        "template needs {{ Name }}; customers.csv has: email, name. Did you mean {{ name }}?",
        flags=("--body", "Hi {{ Name }}"),
    ),
    "a row key that is no column": Case("--row-key", flags=("--body", "x", "--row-key", "number")),
}
CONTENT = {
    "a template's syntax": Case("text: a {{ is not closed: }} is missing.", flags=("--body", "Hi {{ name")),
    "a name with a space": Case(
        'text line 2: "First Name" is not one word, and a name in a template is. Did you mean {{ first_name }}?',
        "email,First Name\na@x.org,A\n",
        ("--body", "Hi\n{{ First Name }}"),
    ),
    "a name with a hyphen": Case(
        "Did you mean {{ first_name }}?", "email,First-Name\na@x.org,A\n", ("--body", "Hi {{ first-name }}")
    ),
    "an unknown filter": Case('there is no filter "shout"', flags=("--body", "{{ name | shout }}")),
    "a line break in the subject": Case(
        "subject holds a line break", flags=("--body", "x", "--subject", "a\r\nBcc: b")
    ),
    "a NUL in the subject": Case("subject holds a NUL", flags=("--body", "x", "--subject", "a\0b")),
    "a line break in a header": Case("line break", flags=("--body", "x", "--header", "X-A: b\nBcc: evil@x.org")),
    "a NUL in a header": Case("NUL", flags=("--body", "x", "--header", "X-A: b\0c")),
    "a header name with a space": Case("is no header name", flags=("--body", "x", "--header", "X A: b")),
    "a header name with a line break": Case("is no header name", flags=("--body", "x", "--header", "X-A\nBcc: b")),
    "a header of ours": Case("use subject= for Subject", flags=("--body", "x", "--header", "Subject: b")),
    "a header twice": Case("x-a is given twice", flags=("--body", "x", "--header", "X-A: 1", "--header", "x-a: 2")),
    "a missing attachment": Case('no file "bill.pdf"', flags=("--body", "x", "--attach", "bill.pdf"), code=66),
    "a file for each row": Case("not offered yet", flags=("--body", "x", "--attach", "{{ name }}.pdf")),
    "a missing text": Case('--text: no file "mail.txt".', flags=("--text", "mail.txt"), code=66),
    "prose for a file": Case(
        'no file "Hello, all". For the text itself use --body "Hello, all"', flags=("--text", "Hello, all"), code=66
    ),
    "a bad sender": Case('from "me": no @ sign', flags=("--body", "x", "--from", "me")),
    "a bad reply address": Case("reply_to", flags=("--body", "x", "--reply-to", "me")),
    "a start that is past": Case("--at 2020-01-01T08:00:00", flags=("--body", "x", "--at", "2020-01-01T08:00")),
    "an expiry before the start": Case(
        "--expires is not after", flags=("--body", "x", "--at", "2h", "--expires", "2020-01-01T08:00")
    ),
    "an expiry that is past": Case("--expires", flags=("--body", "x", "--expires", "2020-01-01T08:00")),
    "an empty key": Case("the key is empty", flags=("--body", "x", "--key", "")),
    "a key with a line break": Case("the key holds a control character", flags=("--body", "x", "--key", "a\nb")),
}


@pytest.mark.parametrize("case", [*LISTS.values(), *CONTENT.values()], ids=[*LISTS, *CONTENT])
def test_refused(here: Here, case: Case) -> None:
    here.write(case.name, case.list_)
    sender = () if "--from" in case.flags else ("--from", "me@acme.example")
    ran = here.run("send", *sender, "--to", case.name, *case.flags)
    assert ran.code == case.code, ran.err
    assert case.words in ran.err
    assert ran.err.startswith("error: ")
    nothing_queued(here, ran)


@pytest.mark.parametrize("name", ["no address column", "not UTF-8", "a bad address", "one address with two values"])
def test_the_same_as_json(here: Here, name: str) -> None:
    case = LISTS[name]
    here.write(case.name, case.list_)
    ran = here.send("--to", case.name, "--json")
    error = ran.error()
    assert error["exit"] == ran.code == case.code
    assert case.words in str(error["message"])
    nothing_queued(here, ran)


def test_dry_run_finds_what_only_rendering_finds(here: Here) -> None:
    here.write("customers.csv", "email,count\na@x.org,1\nb@x.org,\n")
    ran = here.run("send", *FROM, "--to", "customers.csv", "--body", "{{ 10 / count|int }}", "--dry-run")
    assert ran.code == 65
    assert "line 3: text: it cannot be filled" in ran.err
    nothing_queued(here, ran)


def test_too_big(here: Here) -> None:
    here.write("bill.pdf", b"x" * 5_000)
    here.write("customers.csv", "email\na@x.org\n")
    ran = here.send("--to", "customers.csv", "--attach", "bill.pdf", env={"MAILSPOOL_MAX_MESSAGE_BYTES": "4000"})
    assert ran.code == 65
    assert "max_message_bytes is 4,000" in ran.err
    nothing_queued(here, ran)


def test_no_sender(here: Here) -> None:
    ran = here.run("send", "--to", "a@x.org", "--body", "x")
    assert ran.code == 65
    assert '--from "You <you@example.org>", or set default_from' in ran.err
    nothing_queued(here, ran)


@pytest.mark.parametrize(
    ("to", "code", "words"),
    [
        ("customers.csw", 66, 'no file "customers.csw", and it is no address. Did you mean customers.csv?'),
        ("ali", 66, 'no file "ali", and it is no address.'),
        ("ali@@x.org", 65, '--to "ali@@x.org": two @ signs'),
        ("ali@", 65, '--to "ali@": nothing after the @'),
        (".", 66, ". is a folder; give a file."),
        ("a\0b@x.org", 65, "a NUL character"),
        ("", 66, 'no file ""'),
    ],
)
def test_nobody_of_that_name(here: Here, to: str, code: int, words: str) -> None:
    here.write("customers.csv", "email\na@x.org\n")
    ran = here.send("--to", to)
    assert ran.code == code
    assert words in ran.err
    nothing_queued(here, ran)


def test_a_template_for_an_address_alone(here: Here) -> None:
    ran = here.run("send", *FROM, "--to", "a@x.org", "--body", "Dear {{ name }}")
    assert ran.code == 65
    assert ran.err == (
        "error: template needs {{ name }}; this row has: email. Nothing was queued.\n"
        "hint:  an address alone has no other columns: give a list with --to FILE\n"
    )
    nothing_queued(here, ran)


@pytest.mark.parametrize(
    ("mail", "words"),
    [
        (b"no header\n", "line 1 is no header field"),
        (b"To: a@x.org\nSubject: x\n\nx\n", "The finished mail has no From"),
        (b"From: me@x.org\nTo: ali@@x.org\n\nx\n", "To of the finished mail"),
        (b"From: me@x.org\nTo: a@x.org\n\n\0\n", "NUL"),
    ],
)
def test_a_finished_mail(here: Here, mail: bytes, words: str) -> None:
    here.write("mail.eml", mail)
    ran = here.run("send", "--eml", "mail.eml")
    assert ran.code == 65
    assert words in ran.err
    nothing_queued(here, ran)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("smtp://", "relay_url"),
        ("mail.acme.example", "relay_url"),
        ("smtp://me:p/w@mail.acme.example", "%2F"),
        ("smtps://mail.acme.example:587", "587"),
        ("smtp://mail.acme.example:465", "465"),
        ("gmial://me@gmail.com:pw", 'Did you mean "gmail"?'),
    ],
)
def test_a_relay_url(here: Here, url: str, words: str) -> None:
    ran = here.send("--to", "a@x.org", "--deliver", env={"MAILSPOOL_RELAY_URL": url})
    assert ran.code == 78
    assert words in ran.err
    assert "p/w" not in ran.err.replace("write %2F", "")
    nothing_queued(here, ran)


@pytest.mark.parametrize("arguments", [["send", *FROM, "--body", "x", "--to", "a@x.org", "--deliver"], ["worker"]])
def test_no_relay(here: Here, arguments: list[str]) -> None:
    ran = here.run(*arguments)
    assert ran.code == 78
    assert "MAILSPOOL_RELAY_URL=smtp://user:password@host:587" in ran.err
    nothing_queued(here, ran)


def test_a_misspelt_setting(here: Here) -> None:
    here.write("mailspool.toml", 'key_prefix = "x"\nrelay_uri = "smtp://localhost"\n')
    ran = here.send("--to", "a@x.org")
    assert ran.code == 78
    assert 'mailspool.toml line 2: unknown setting "relay_uri". Did you mean "relay_url"?' in ran.err
    Path("mailspool.toml").unlink()
    nothing_queued(here, ran)


def test_a_settings_file_that_is_not_there(here: Here) -> None:
    ran = here.send("--to", "a@x.org", "--config", "mine.toml")
    assert ran.code == 66
    assert 'there is no settings file "mine.toml" (--config).' in ran.err


def test_the_same_key_with_another_content(here: Here) -> None:
    assert here.send("--to", "a@x.org", "--key", "k").code == 0
    ran = here.run("send", *FROM, "--body", "another", "--to", "b@x.org", "--key", "k")
    assert ran.code == 65
    assert 'key "k" belongs to batch' in ran.err
    assert "with another text. Nothing was queued. Use a new key" in ran.err
    assert [batch["total"] for batch in here.batches()] == [1]


def test_redis_is_unreachable(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "OPEN_LIMIT_S", 0.2)
    ran = here.send("--to", "a@x.org", "--redis-url", "redis://127.0.0.1:1")
    assert ran.code == 69
    assert "redis://127.0.0.1:1 does not answer (tried 0.2 s). Nothing was queued.\n" in ran.err


@pytest.mark.parametrize(
    "command", [["status"], ["status", "last"], ["show", "last"], ["watch", "last"], ["hold", "x"]]
)
def test_who_queues_nothing_does_not_speak_of_it(
    here: Here, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(links, "OPEN_LIMIT_S", 0.2)
    ran = here.run(*command, "--redis-url", "redis://127.0.0.1:1")
    assert (ran.code, ran.out) == (69, "")
    assert ran.err.startswith("error: redis://127.0.0.1:1 does not answer (tried 0.2 s).\n")


def test_where_nobody_listens_the_hint_says_what_to_do() -> None:
    refused = "cannot connect to 127.0.0.1:1: connection refused"
    assert failure_of(SpoolUnavailable("redis://127.0.0.1:1 does not answer.", hint=refused)).hint == (
        f"{refused}. Start it, or correct redis_url (mailspool settings shows it)"
    )


@pytest.mark.parametrize(
    ("options", "flags", "words"),
    [
        (("--appendonly", "no"), (), 'would lose mail at a restart: appendonly is off. Set it, or durability = "none"'),
        (("--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"), (), "maxmemory-policy is allkeys-lru"),
        (("--appendonly", "yes"), ("--on-uncertain", "hold"), 'on_uncertain="hold" needs a Redis'),
    ],
    ids=["forgetful", "evicting", "hold without fsync"],
)
def test_an_unfit_redis(
    here: Here, tmp_path: Path, options: tuple[str, ...], flags: tuple[str, ...], words: str
) -> None:
    with plain_server(tmp_path / "plain", *options) as socket:
        ran = here.send("--to", "a@x.org", *flags, "--redis-url", f"unix://{socket}")
    assert ran.code == 78
    assert words in ran.err
    assert ran.out == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_somebody_else(here: Here) -> None:
    here.data_dir.mkdir(mode=0o700)
    os.chown(here.data_dir, 12_345, 12_345)
    ran = here.send("--to", "a@x.org")
    assert (ran.code, ran.out) == (77, "")
    assert "this spool belongs to uid 12345: sudo -u '#12345' mailspool status" in ran.err


def test_a_folder_that_cannot_be_made(here: Here) -> None:
    here.write("file", "")
    ran = here.send("--to", "a@x.org", env={"MAILSPOOL_DATA_DIR": "file/spool"})
    assert (ran.code, ran.out) == (78, "")
    assert "Set data_dir (MAILSPOOL_DATA_DIR) to a folder of yours." in ran.err


def test_too_little_disk(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def nearly_full(place: Path) -> folder.DiskRoom:
        return folder.DiskRoom(free_bytes=300 << 20, total_bytes=10 << 30)

    monkeypatch.setattr(folder, "disk_room", nearly_full)
    ran = here.send("--to", "a@x.org", "--key", "k", "--attach", str(here.write("big.bin", b"x" * (1 << 20))))
    assert (ran.code, ran.out) == (73, "")
    assert "must stay free. Nothing was queued." in ran.err


UNKNOWN: dict[str, Callable[[str], list[str]]] = {
    "status": lambda ref: ["status", ref],
    "show": lambda ref: ["show", ref],
    "one message": lambda ref: ["show", f"{ref}-1"],
    "watch": lambda ref: ["watch", ref],
    "retry": lambda ref: ["retry", ref],
    "hold": lambda ref: ["hold", ref],
    "release": lambda ref: ["release", ref],
    "cancel": lambda ref: ["cancel", ref],
}


@pytest.mark.parametrize("arguments", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_batch(here: Here, arguments: Callable[[str], list[str]]) -> None:
    known = here.send("--to", "a@x.org", "--name", "test").out.strip()
    unknown = {
        "bxxxxxxxxx": f'no batch "bxxxxxxxxx" in {here.data_dir}. Latest: {known} (test, ',
        "key:nope": f'no batch with the key "nope" in {here.data_dir}.',
        known[:3]: f'no batch "{known[:3]}"',
    }
    for ref, words in unknown.items():
        if ref.startswith("key:") and arguments("") == ["show", "-1"]:
            words = "key"  # a key may end in -1: then it is a key
        ran = here.run(*arguments(ref), "--json")
        assert (ran.code, ran.out) == (66, "")
        assert words in str(ran.error()["message"])
        assert ran.error()["code"] == "no_such_batch"


def test_last_of_nothing(here: Here) -> None:
    ran = here.run("status", "last")
    assert ran.code == 66
    assert ran.err == f"error: no batches in {here.data_dir} yet.\n"
    assert here.run("worker", "--until-done", "last", env={"MAILSPOOL_RELAY_URL": "smtp://localhost"}).code == 66
