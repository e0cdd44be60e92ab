"""The small parts of the command line by themselves: words, flags, streams, following."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from mailspool.batch import Batch
from mailspool.cli import live
from mailspool.cli.content_key import ONCE
from mailspool.cli.ending import GO_ON, advice, stopped
from mailspool.cli.failures import Usage
from mailspool.cli.letter import Content
from mailspool.cli.live import follow
from mailspool.cli.options import Globals
from mailspool.cli.paint import Span, line, painted
from mailspool.cli.queueing import _in_doubt
from mailspool.cli.recipients import Addresses, ListSource, exists, recipients
from mailspool.cli.say import Say
from mailspool.cli.wording import in_flags, of_addresses
from mailspool.errors import InputError, SpoolUnavailable, WaitTimeout
from mailspool.status import BatchStatus, MessageStatus, RouteStatus
from tests.producer.cli.test_screens import ACTIVE, DONE

# -- say


def test_answers_and_complaints_never_mix(capsys: pytest.CaptureFixture[str]) -> None:
    say = Say()
    say.text("answer")
    say.note("note")
    say.notice("code", "look")
    say.error(code="c", message="broken", hint="mend it", exit_code=65)
    told = capsys.readouterr()
    assert told.out == "answer\n"
    assert told.err == "note\n! look\nerror: broken\nhint:  mend it\n"


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say = Say(json=True)
    say.object({"name": "علي", "n": None})
    say.note("not for programs")
    say.notice("code", "look")
    say.error(code="c", message="broken", hint="", exit_code=65)
    told = capsys.readouterr()
    assert told.out == '{"name":"علي","n":null}\n'
    assert [json.loads(line) for line in told.err.splitlines()] == [
        {"notice": {"code": "code", "message": "look"}},
        {"error": {"code": "c", "message": "broken", "hint": None, "exit": 65}},
    ]


def test_quiet_keeps_errors(capsys: pytest.CaptureFixture[str]) -> None:
    say = Say(quiet=True)
    say.note("note")
    say.notice("code", "look")
    say.error(code="c", message="broken", hint="", exit_code=65)
    assert capsys.readouterr().err == "error: broken\n"


def test_a_hint_that_was_said_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    Say().error(
        code="c", message="3 rows are bad.\nSkip them.\nOr mend them.", hint="Skip them. Or mend them.", exit_code=65
    )
    assert "hint" not in capsys.readouterr().err


def test_an_error_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Say().error(code="c", message='line 3: "\x1b[2J"\nand more', hint="\x07", exit_code=65)
    assert capsys.readouterr().err == 'error: line 3: "\\x1b[2J"\nand more\nhint:  \\x07\n'


def test_no_word_of_an_answer_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """States and reasons, too, are what somebody wrote into Redis."""
    spans = line(Span("paused\x1b[2J", "red"), "\u202e", "\n")
    Say().lines([spans])
    assert capsys.readouterr().out == "paused\\x1b[2J\\u202e\n\n"
    assert painted(spans) == "\x1b[31mpaused\\x1b[2J\x1b[0m\\u202e\n"


# -- flags


def test_flags_after_the_command_beat_those_before() -> None:
    before = Globals(json=True, redis_url="redis://a", config=Path("a"))
    assert Globals(quiet=True, redis_url="redis://b").over(before) == Globals(True, True, Path("a"), "redis://b")


def content(**given: object) -> Content:
    empty = Content(None, None, None, None, None, None, (), (), None)
    return replace(empty, **given)  # type: ignore[arg-type] # a test says what it wants


@pytest.mark.parametrize(
    ("given", "stdin_is_list", "words"),
    [
        ({}, False, "nothing to say"),
        ({"subject": "x"}, False, "nothing to say"),
        ({"text": "a", "body": "b"}, False, "--text names a file"),
        ({"eml": "a", "attach": ("b",)}, False, "--eml"),
        ({"text": "-", "html": "-"}, False, "stdin"),
        ({"text": "-"}, True, "stdin"),
    ],
)
def test_content_flags_that_do_not_fit(given: dict[str, object], stdin_is_list: bool, words: str) -> None:
    with pytest.raises(Usage, match=words):
        content(**given).check(stdin_is_list=stdin_is_list)


def test_content_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mail.txt").write_bytes("\ufeffسلام {{ name }}\n".encode())
    Path("mail.html").write_text("<p>hi</p>")
    Path("bill.pdf").write_bytes(b"%PDF")
    given = content(text="mail.txt", html="mail.html", attach=("bill.pdf",), headers=("X-A: b: c", "List-Id:<n.x.org>"))
    message = given.message("me@x.org")
    assert not isinstance(message, bytes)
    assert (message.text, message.html, message.from_) == ("سلام {{ name }}\n", "<p>hi</p>", "me@x.org")
    assert dict(message.headers) == {"X-A": "b: c", "List-Id": "<n.x.org>"}
    assert [item.name for item in message.attachments] == ["bill.pdf"]


def test_a_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mail.txt"
    path.write_bytes(b"one\ntwo \xff\n")
    with pytest.raises(InputError, match=r"is not UTF-8 \(line 2\)"):
        content(text=str(path)).message("me@x.org")


def test_names_that_no_file_system_takes() -> None:
    assert not exists("x" * 10_000)
    assert not exists("a\0b")
    assert not exists("")


# -- recipients


def test_a_file_wins_over_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ali@x.org").write_text("sara@x.org\n")
    with recipients(["ali@x.org"], Say()) as who:
        assert isinstance(who, ListSource)
        assert who.title == "ali@x.org"
    with recipients(["ali@y.org"], Say()) as who:
        assert who == Addresses(("ali@y.org",))


def test_stdin_is_read_once_and_given_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a@x.org\n")))
    with recipients(["-"], Say()) as who:
        assert isinstance(who, ListSource)
        for _ in range(2):
            rows = who.again()
            assert not isinstance(rows, Path)
            assert rows.read() == b"a@x.org\n"


# -- wording


def test_python_words_become_flags() -> None:
    error = InputError('Skip them with on_bad_row="skip" (--skip-bad).', hint="send_at is past", code="bad_rows")
    told = in_flags(error)
    assert (told.message, told.hint, told.code) == ("Skip them with --skip-bad.", "--at is past", "bad_rows")
    other = InputError("something else")
    assert in_flags(other) is other


def test_of_addresses() -> None:
    told = of_addresses(InputError("1 of 1", problems=["row 1: template needs {{ x }}."], code="bad_rows"))
    assert told.message == "template needs {{ x }}. Nothing was queued."
    assert of_addresses(InputError("from is bad")).message == "from is bad"


def test_a_key_of_one_run_makes_no_second_run_safe() -> None:
    lost = SpoolUnavailable("lost; run it again", acknowledged=None)
    assert "mailspool status" in _in_doubt(lost, ONCE + "1").message
    assert _in_doubt(lost, ONCE + "1").acknowledged is None
    assert _in_doubt(lost, "mine") is lost
    refused = SpoolUnavailable("not there")
    assert _in_doubt(refused, ONCE + "1") is refused


# -- following

PAUSED = replace(ACTIVE, waiting_for=str(RouteStatus("main", "paused", "535 no", None)))


class Script:
    """A batch whose statuses are written down."""

    id = "b7k2m9q4x"

    def __init__(self, *statuses: BatchStatus | Exception) -> None:
        self._statuses = list(statuses)

    async def status(self) -> BatchStatus:
        found = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def messages(self, states: object) -> AsyncIterator[MessageStatus]:
        return
        yield


async def test_following_ends_with_the_batch(capsys: pytest.CaptureFixture[str]) -> None:
    status = await follow(Say(json=True), cast("Batch", Script(ACTIVE, DONE)), None, tell=True)
    assert status is DONE
    assert [json.loads(line)["done"] for line in capsys.readouterr().out.splitlines()] == [False, True]


async def test_following_outlasts_an_outage(capsys: pytest.CaptureFixture[str]) -> None:
    away = SpoolUnavailable("redis://queue does not answer (tried 5 s).")
    status = await follow(Say(), cast("Batch", Script(away, away, DONE)), None)
    assert status is DONE
    told = capsys.readouterr()
    assert told.err == "! redis://queue does not answer (tried 5 s). Waiting for it; Ctrl-C is safe.\n"
    assert told.out == ""


async def test_following_tells_of_a_relay_in_trouble(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await follow(Say(), cast("Batch", Script(PAUSED, DONE)), None)
    assert capsys.readouterr().err == "", "what is over in a moment is not worth a line"
    monkeypatch.setattr(live, "_WAITED_S", 0)
    await follow(Say(), cast("Batch", Script(PAUSED, PAUSED, replace(ACTIVE, waiting_for="held by you"), DONE)), None)
    assert capsys.readouterr().err == (
        "! b7k2m9q4x waits: relay main paused: 535 no   Look:  mailspool probe main\n! b7k2m9q4x waits: held by you\n"
    )


def test_what_deliver_advises_when_the_time_is_over() -> None:
    assert advice(WaitTimeout("", status=PAUSED)) == f"mailspool probe main tells more; then {GO_ON}"
    assert advice(WaitTimeout("", status=ACTIVE)) == advice(WaitTimeout("", status=None)) == GO_ON


def test_who_goes_on_when_the_time_of_deliver_is_over() -> None:
    over = WaitTimeout("b7k2m9q4x: 3 of 5 after 1 s, still going. It waits: held by you.", status=ACTIVE)
    assert stopped(over, ACTIVE, 1).message == over.message
    assert stopped(over, ACTIVE, 0).message == (
        "b7k2m9q4x: 3 of 5 after 1 s; run `mailspool worker` to go on. It waits: held by you."
    )


async def test_following_gives_up() -> None:
    with pytest.raises(WaitTimeout, match=r"30,515 of 50,000 after 0 s, still going") as caught:
        await follow(Say(), cast("Batch", Script(ACTIVE)), timedelta(0))
    assert caught.value.status is ACTIVE
    with pytest.raises(WaitTimeout, match=r"still going\. It waits: relay main paused: 535 no\.$") as caught:
        await follow(Say(), cast("Batch", Script(PAUSED)), timedelta(0))
    assert caught.value.hint == "mailspool probe main"
    with pytest.raises(WaitTimeout, match="no answer"):
        await follow(Say(), cast("Batch", Script(SpoolUnavailable("away"))), timedelta(0))
