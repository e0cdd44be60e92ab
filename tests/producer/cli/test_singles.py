"""Single mails in `status`: counted in one line, so that a newsletter stays on the screen."""

from __future__ import annotations

from dataclasses import replace

from mailspool.cli.paint import plain
from mailspool.cli.singles import LOOKED_AT, SHOWN, folded, folded_line, is_single
from tests.producer.cli.commands import Here
from tests.producer.cli.test_screens import ACTIVE, DONE

LIST = replace(DONE, id="b-list")
RESET = replace(DONE, id="b1", name="", class_="transactional", total=1, sent=1, failed=0, suppressed=0)
WAITING = replace(RESET, state="active", queued=1, sent=0, done=False)


def test_what_a_single_mail_is() -> None:
    assert is_single(RESET)
    assert not is_single(replace(RESET, name="invoice 7"))
    assert not is_single(replace(RESET, class_="bulk"))
    assert not is_single(ACTIVE)


def test_the_youngest_stay() -> None:
    batches = [WAITING, *[RESET] * 30, LIST]
    shown, away = folded(batches)
    assert shown == [WAITING, RESET, RESET, LIST]
    assert len(away) == 28
    assert plain(folded_line(away, 32)) == "and 28 single mails (28 sent); --all shows each"
    assert plain(folded_line([*away, WAITING], LOOKED_AT)) == (
        "and 29 single mails among the latest 200 (1 queued, 28 sent); --all shows each"
    )


def test_a_line_for_one_would_save_none() -> None:
    assert folded([RESET] * 4) == ([RESET] * 4, [])
    assert folded([LIST] * 30) == ([LIST] * SHOWN, [])


def test_status(here: Here) -> None:
    here.write("people.csv", "email\na@x.org\nb@x.org\n")
    newsletter = here.send("--to", "people.csv").out.strip()
    for name in "cdefg":
        here.send("--to", f"{name}@x.org")
    shown = here.run("status").out
    assert newsletter in shown
    assert shown.endswith("\nand 2 single mails (2 queued); --all shows each\n")
    assert "single mails" not in here.run("status", "--all").out
    assert len(here.batches()) == 6, "programs are given each"
    assert here.run("status", "last:bulk").out.startswith(newsletter)
    assert here.run("why", "last:bulk").out.startswith("No worker is running")
