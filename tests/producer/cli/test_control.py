"""`hold`, `release`, `cancel`, `retry` where there is nothing to do: they say why, and do not pretend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mailspool.cli.control import _cancelled, _none_to_retry, _still_waits, _why_not
from mailspool.errors import InputError
from tests.producer.cli.commands import Here
from tests.producer.cli.test_screens import ACTIVE, DONE


def test_what_is_so_already(here: Here) -> None:
    batch = here.send("--to", "a@x.org", "--to", "b@x.org").out.strip()

    def says(*command: str) -> str:
        ran = here.run(*command, batch)
        assert ran.code == 0
        return ran.out

    assert says("release") == f"Nothing to do: {batch} is not held.\n"
    assert says("hold") == f"2 mails of {batch} held.   Go on:  mailspool release {batch}\n"
    assert says("hold") == f"Nothing to do: {batch} is held already.\n"
    assert says("release") == f"2 mails of {batch} released\n"
    assert says("retry") == f"Nothing to do: no mail of {batch} is deferred.\n"
    assert says("cancel") == f"2 mails of {batch} cancelled\n"
    for command in ("hold", "release", "cancel"):
        assert says(command) == f"Nothing to do: {batch} is cancelled already.\n"


def test_cancel_says_how_many_and_what_was_sent_before() -> None:
    words = "19,485 mails of b7k2m9q4x (invoices) cancelled; 30,512 of its 50,000 were sent before"
    assert _cancelled(19_485, ACTIVE) == words
    assert _cancelled(1, replace(ACTIVE, name="", sent=0)) == "1 mail of b7k2m9q4x cancelled"


def test_what_keeps_it_all_the_same_is_told(here: Here) -> None:
    held = replace(ACTIVE, state="held", waiting_for="held by you")
    assert _still_waits(held, "") == ("waiting", "It waits: held by you.   Next:  mailspool release b7k2m9q4x")
    assert _still_waits(held, "held") is None
    assert _still_waits(replace(ACTIVE, waiting_for="a later try at 21:11:00"), "") is None
    batch = here.send("--to", "a@x.org").out.strip()
    here.run("pause")
    assert here.run("hold", batch).err == ""
    released = here.run("release", batch).err
    assert released.startswith("! It waits: the spool is paused by you since ")
    assert released.endswith(".   Next:  mailspool resume\n")


def test_what_is_done(here: Here) -> None:
    with here.receiver():
        here.send("--to", "a@x.org", "--to", "550-x@x.org", "--deliver")
    batch = str(here.batches()[0]["id"])
    for command in ("hold", "release", "cancel"):
        assert (
            here.run(command, batch).out == f"Nothing to do: {batch} is done already: no mail of it is left to send.\n"
        )
    assert here.run("retry", batch).out == (
        f"Nothing to do: no mail of {batch} is deferred "
        f"(1 failed; for those:  mailspool retry {batch} --state failed).\n"
    )
    assert here.run("retry", batch, "--state", "failed", "--to", "a@b.org").out == (
        f"Nothing to do: no failed mail of {batch} matches the filter (1 failed).\n"
    )


def test_none_to_retry() -> None:
    status = replace(ACTIVE, deferred=0, failed=3)
    assert _none_to_retry(status, "failed", narrowed=True) == (
        "no failed mail of b7k2m9q4x matches the filter (3 failed)"
    )
    assert "due already" in _none_to_retry(replace(ACTIVE, deferred=2), "deferred", narrowed=False)


@pytest.mark.parametrize(("sent", "warned"), [(0, False), (7, True)])
def test_queueing_again_reaches_those_that_have_it(sent: int, warned: bool) -> None:
    error = _why_not(InputError("closed"), replace(DONE, state="cancelled", sent=sent))
    assert error.message.endswith(" This mails all of them again, also those that were sent.") is warned
