"""What a status looks like to a person, word for word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from mailspool.batch import Batch
from mailspool.cli import screens, tables
from mailspool.cli.paint import Line, plain, width
from mailspool.status import BatchStatus, MessageStatus, RouteStatus, SpoolStatus

pytestmark = pytest.mark.usefixtures("tehran")
NOW = datetime(2026, 11, 23, 17, 34, 0, tzinfo=UTC)  # 21:04 in Tehran
ACTIVE = BatchStatus(
    id="b7k2m9q4x",
    name="invoices",
    key=None,
    class_="bulk",
    state="active",
    total=50_000,
    queued=19_471,
    sent=30_512,
    deferred=14,
    failed=3,
    expired=0,
    cancelled=0,
    suppressed=0,
    uncertain=0,
    created_at=NOW - timedelta(minutes=3),
    send_at=None,
    expires_at=NOW + timedelta(days=5),
    started_at=NOW - timedelta(seconds=62),
    finished_at=None,
    next_try=None,
    rate_per_s=812.0,
    eta_s=24,
    waiting_for=None,
    done=False,
    ok=False,
)
DONE = replace(
    ACTIVE,
    state="done",
    queued=0,
    sent=49_988,
    deferred=0,
    failed=9,
    suppressed=3,
    finished_at=NOW,
    rate_per_s=None,
    eta_s=None,
    done=True,
)
LATER = replace(
    ACTIVE,
    queued=0,
    sent=49_987,
    deferred=13,
    failed=0,
    rate_per_s=None,
    eta_s=None,
    next_try=NOW + timedelta(minutes=7),
)
MESSAGE = MessageStatus(
    id="b7k2m9q4x-17",
    batch="b7k2m9q4x",
    row=17,
    recipient="ali@example.org",
    state="failed",
    attempts=1,
    reply="550 5.1.1 no such user",
    reason="mailbox_unknown",
    next_try=None,
    message_id="<b7k2m9q4x.17.abc@acme.example>",
    relay="main",
    remote_id=None,
    first_try=NOW,
    last_try=NOW,
    size_bytes=1_234,
)


def text(lines: Sequence[Line]) -> str:
    return "\n".join(plain(line) for line in lines)


@dataclass
class Told:
    """The attributes of a Batch that `send_notices` reads."""

    id: str = "b7k2m9q4x"
    created: bool = True
    added: int = 50_000
    skipped_known: int = 0
    skipped_bad: int = 0
    duplicates: int = 0
    rejects: str | None = None
    notices: tuple[str, ...] = field(default=())


def notices(told: Told, status: BatchStatus = ACTIVE, workers: int = 1, *, deliver: bool = False) -> dict[str, str]:
    return dict(screens.send_notices(cast("Batch", told), status, workers, deliver=deliver))


def test_the_report_of_a_done_batch() -> None:
    groups = {"failed": Counter({"550 5.1.1 mailbox unknown": 7, "552 5.2.2 mailbox full": 2})}
    assert text(screens.report(DONE, groups, NOW)) == (
        "b7k2m9q4x  invoices   done in 1 min 2 s\n"
        "  total        50,000\n"
        "  sent         49,988\n"
        "  failed            9   550 5.1.1 mailbox unknown (7) · 552 5.2.2 mailbox full (2)\n"
        "  suppressed        3\n"
        "next  mailspool show b7k2m9q4x --unsent --csv unsent.csv"
    )


def test_the_report_of_one_on_its_way() -> None:
    assert text(screens.report(ACTIVE, {}, NOW)) == (
        "b7k2m9q4x  invoices   active, 812/s, about 24 s left\n"
        "  total      50,000\n"
        "  queued     19,471\n"
        "  sent       30,512\n"
        "  deferred       14\n"
        "  failed          3\n"
        "  expires Sat 28 Nov 21:04 +0330\n"
        "next  mailspool watch b7k2m9q4x"
    )


@pytest.mark.parametrize(
    ("status", "first", "last"),
    [
        (replace(DONE, failed=0, suppressed=0, sent=50_000), "done in 1 min 2 s", "sent    50,000"),
        (replace(DONE, state="cancelled"), "cancelled in 1 min 2 s", "--unsent --csv unsent.csv"),
        (replace(ACTIVE, state="held", waiting_for="held by you"), "held: held by you", "mailspool release b7k2m9q4x"),
        (replace(ACTIVE, waiting_for="no worker is running"), "active: no worker is running", "mailspool worker"),
        (
            replace(ACTIVE, waiting_for="no worker is running for bulk mail: mailspool worker --class bulk starts one"),
            "--class bulk starts one",
            "mailspool worker --class bulk",
        ),
        (replace(ACTIVE, waiting_for="relay eu-2 paused: 535"), "relay eu-2 paused: 535", "mailspool probe eu-2"),
        (replace(ACTIVE, waiting_for="relay main waiting: refused"), "waiting: refused", "mailspool probe main"),
        (replace(ACTIVE, rate_per_s=None, eta_s=None), "   active", "mailspool watch b7k2m9q4x"),
        (
            replace(ACTIVE, total=0, queued=0, sent=0, deferred=0, failed=0, done=True, state="done"),
            "done",
            "sent    0",
        ),
    ],
)
def test_head_and_next_step(status: BatchStatus, first: str, last: str) -> None:
    lines = text(screens.report(status, {}, NOW)).splitlines()
    assert lines[0].endswith(first)
    assert lines[-1].endswith(last)


def test_sums_fit_in_what_is_shown() -> None:
    shown = text(screens.report(ACTIVE, {}, NOW)).splitlines()[1:6]
    total, *parts = (int(line.split()[1].replace(",", "")) for line in shown)
    assert total == sum(parts)


def test_deferred_tells_when_it_goes_on() -> None:
    groups = {"deferred": Counter({"450 4.2.0 greylisted": 13})}
    lines = text(screens.report(LATER, groups, NOW))
    assert "deferred       13   450 4.2.0 greylisted (13), next try at 21:11" in lines
    line = screens.waiting_line(LATER, groups["deferred"], NOW)
    assert line == (
        "13 wait for a later try, next at 21:11, last chance Sat 28 Nov. Ctrl-C is safe.  (450 4.2.0 greylisted (13))"
    )
    assert screens.waiting_line(replace(LATER, deferred=1, next_try=None, expires_at=None), Counter(), NOW) == (
        "1 waits for a later try. Ctrl-C is safe."
    )


@pytest.mark.parametrize(("after_s", "words"), [(0, "in 1 s"), (12, "in 12 s"), (89, "in 89 s"), (90, "at 21:05")])
def test_soon(after_s: int, words: str) -> None:
    assert screens.soon(NOW + timedelta(seconds=after_s), NOW) == words


@pytest.mark.parametrize(
    ("reply", "reason", "kind"),
    [
        ("550 5.1.1 <ali@x.org>: no such user", "mailbox_unknown", "550 5.1.1 mailbox unknown"),
        ("550 go away", "policy", "550 policy"),
        ("550 5.1.1 gone", None, "550 5.1.1 gone"),
        (None, "render: no name", "render: no name"),
        (None, "expired", "expired"),
        (None, None, "no reply"),
        ("550 5.1.1 \x1b[2J", None, "550 5.1.1 \\x1b[2J"),
        ("no SMTP reply", None, "no SMTP reply"),
    ],
)
def test_reply_kind(reply: str | None, reason: str | None, kind: str) -> None:
    assert screens.reply_kind(replace(MESSAGE, reply=reply, reason=reason)) == kind


def test_many_kinds_of_replies_are_cut() -> None:
    found = Counter({f"550 kind {n}": 10 - n for n in range(6)})
    assert screens.kinds(found) == "550 kind 0 (10) · 550 kind 1 (9) · 550 kind 2 (8) · 550 kind 3 (7) · 2 other kinds"
    found["550 kind 4"] = 0
    del found["550 kind 5"]
    assert screens.kinds(found).endswith(" · 1 other kind")


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_the_live_line_fits(columns: int) -> None:
    shown = plain(screens.live_line(ACTIVE, columns))
    assert shown.startswith("b7k2m9q4x invoices  ")
    assert "61 %  30,512 sent  14 deferred  3 failed   812/s   about 24 s left" in shown
    if columns >= 100:
        assert width(shown) <= columns
        assert "╸" in shown or "━" in shown


@pytest.mark.parametrize(("share", "drawn"), [(0, "────"), (0.49, "━╸──"), (0.5, "━━──"), (0.99, "━━━╸"), (1, "━━━━")])
def test_bar(share: float, drawn: str) -> None:
    assert plain(screens.bar(share, 4)) == drawn


def test_the_live_line_tells_what_keeps_it() -> None:
    held = replace(ACTIVE, waiting_for="relay main paused: 535 5.7.8 bad\x1b[0m credentials")
    assert plain(screens.live_line(held, 80)).endswith("relay main paused: 535 5.7.8 bad\\x1b[0m credentials")
    assert "later try" not in plain(screens.live_line(replace(LATER, waiting_for="a later try at 21:11"), 80))


def test_it_is_not_100_percent_before_the_end() -> None:
    nearly = replace(ACTIVE, queued=1, sent=49_999, deferred=0, failed=0)
    assert " 99 % " in plain(screens.live_line(nearly, 80))
    assert " 100 % " in plain(screens.live_line(DONE, 80))
    assert " 100 % " in plain(screens.live_line(replace(DONE, total=0, sent=0, failed=0, suppressed=0), 80))


def test_what_send_says() -> None:
    assert plain(screens.queued_line(ACTIVE, 50_000, NOW)) == (
        "50,000 queued   batch b7k2m9q4x  bulk  expires Sat 28 Nov 21:04 +0330"
    )
    scheduled = replace(ACTIVE, send_at=NOW + timedelta(hours=11))
    assert "bulk  starts Tue 24 Nov 08:04 +0330  expires" in plain(screens.queued_line(scheduled, 1, NOW))


def test_the_same_command_again() -> None:
    status = replace(ACTIVE, sent=412, queued=49_571)
    assert screens.already_line(status, NOW) == (
        "Already queued 3 minutes ago as b7k2m9q4x (412 of 50,000 sent, 14 deferred, 3 failed). "
        "To mail everybody again: --again."
    )


def test_notices_of_send() -> None:
    assert notices(Told()) == {}
    assert notices(Told(), workers=0)["no_worker"] == (
        "No worker is running, so nothing leaves yet.   Start one:  mailspool worker      "
        "Follow:  mailspool watch b7k2m9q4x"
    )
    assert notices(Told(), workers=0, deliver=True) == {}
    assert notices(Told(), DONE, workers=0) == {}
    assert notices(Told(), replace(ACTIVE, state="held"), workers=0) == {
        "held": "It is held.   Let it go:  mailspool release b7k2m9q4x"
    }
    paused = replace(ACTIVE, waiting_for="relay main paused: 535")
    assert notices(Told(), paused) == {"waiting": "It waits: relay main paused: 535   Look:  mailspool probe main"}
    assert notices(Told(), replace(ACTIVE, waiting_for="starts 08:00")) == {}


def test_notices_about_rows() -> None:
    found = notices(Told(duplicates=1, skipped_bad=2, rejects="customers.rejected.csv"))
    assert found == {
        "duplicates": "1 row repeats another and is sent once.",
        "skipped_bad": "2 bad rows left out: customers.rejected.csv. Repair that file and send it.",
    }
    found = notices(Told(created=False, added=10, skipped_known=5, notices=("class", "send_at")))
    assert found == {
        "terms_kept": "b7k2m9q4x was queued before; the class and send_at of then stand.",
        "known_rows": "5 rows queued before, 10 new (batch b7k2m9q4x).",
    }


SPOOL = SpoolStatus(
    spool="redis://queue:6379/0",
    durability="append-only, fsync each second",
    workers=2,
    queued=19_471,
    deferred=14,
    uncertain=0,
    oldest_s=180,
    routes=(RouteStatus("main", "ok", None, None), RouteStatus("b", "paused", "535 5.7.8", NOW + timedelta(minutes=5))),
    batches=(ACTIVE, replace(DONE, id="b1", name="", created_at=NOW - timedelta(days=1))),
)


def test_the_spool() -> None:
    assert text(tables.spool_screen(SPOOL, NOW)) == (
        "spool    redis://queue:6379/0   append-only, fsync each second\n"
        "worker   2 workers, 812/s\n"
        "relays   main ok · b paused: 535 5.7.8, until 21:09\n"
        "mail     19,471 queued  14 deferred   the oldest batch is 3 min old\n"
        "\n"
        "BATCH      NAME      CLASS  STATE    TOTAL  QUEUED    SENT  DEFERRED  FAILED  SUPPRESSED  QUEUED AT\n"
        "b7k2m9q4x  invoices  bulk   active  50,000  19,471  30,512        14       3           0  21:01\n"
        "b1                   bulk   done    50,000       0  49,988         0       9           3  Sun 22 Nov 21:04"
    )


def test_an_empty_spool() -> None:
    empty = replace(SPOOL, workers=0, queued=0, deferred=0, oldest_s=None, routes=(), batches=())
    assert text(tables.spool_screen(empty, NOW)) == (
        "spool    redis://queue:6379/0   append-only, fsync each second\n"
        "worker   no worker is running\n"
        "no batches here yet"
    )


def test_messages() -> None:
    waiting = replace(
        MESSAGE, row=200, recipient="سارا@example.org", state="deferred", attempts=2, reply=None, reason="connect",
        next_try=NOW + timedelta(minutes=7),
    )  # fmt: skip
    assert text(tables.message_table([MESSAGE, waiting], NOW)) == (
        "ROW  RECIPIENT         STATE     TRIES  NEXT   REPLY\n"
        "17   ali@example.org   failed    1      -      550 5.1.1 no such user\n"
        "200  سارا@example.org  deferred  2      21:11  connect"
    )
    assert not text(tables.message_table([MESSAGE], NOW, header=False)).startswith("ROW")


def test_a_narrow_terminal() -> None:
    """Counts stand below their batch, a long name loses its middle; nothing of it is lost in a pipe."""
    long = replace(ACTIVE, name="the invoices of November for all customers", queued=19_464, expired=4, uncertain=3)
    one = replace(SPOOL, batches=(long, replace(DONE, id="b1", name="")))
    lines = tables.spool_screen(one, NOW, 80)
    assert max(width(plain(line)) for line in lines) <= 80
    assert text(lines[5:]) == (
        "BATCH      NAME                         CLASS  STATE    TOTAL    SENT  QUEUED AT\n"
        "b7k2m9q4x  the invoices …all customers  bulk   active  50,000  30,512  21:01\n"
        "    19,464 queued  14 deferred  3 failed  4 expired  3 uncertain\n"
        "b1                                      bulk   done    50,000  49,988  21:01\n"
        "    9 failed  3 suppressed"
    )
    assert "the invoices of November for all customers" in text(tables.spool_screen(one, NOW))


@pytest.mark.parametrize("columns", [72, 80, 100])
def test_messages_on_a_narrow_terminal(columns: int) -> None:
    longest = replace(
        MESSAGE, recipient=f"{'a' * 60}@{'long-' * 10}name.example.org", reply="550 5.7.1 " + "words that explain " * 9
    )
    lines = [plain(line) for line in tables.message_table([longest, MESSAGE], NOW, columns=columns)]
    assert max(map(width, lines)) <= columns
    assert " ".join(line.split("-  ", 1)[-1].strip() for line in lines[1:-1]) == (longest.reply or "").strip()
    assert "…" in lines[1]
    assert lines[-1].split()[:2] == ["17", "ali@example.org"]


def test_one_message() -> None:
    assert text(tables.message_screen(MESSAGE)) == (
        "b7k2m9q4x-17\n"
        "  recipient   ali@example.org\n"
        "  state       failed\n"
        "  tries       1\n"
        "  reply       550 5.1.1 no such user\n"
        "  reason      mailbox unknown\n"
        "  first try   Mon 23 Nov 2026 21:04:00 +0330\n"
        "  last try    Mon 23 Nov 2026 21:04:00 +0330\n"
        "  relay       main\n"
        "  size        1,234 bytes\n"
        "  Message-ID  <b7k2m9q4x.17.abc@acme.example>"
    )


@pytest.mark.parametrize(
    ("key", "last"),
    [
        (
            "may news",
            "      wrong addresses: correct them in the original list, then  mailspool send ... --key 'may news'",
        ),
        (None, "next  mailspool show b7k2m9q4x --unsent --csv unsent.csv"),
        ("content:3c14471ead583773", "next  mailspool show b7k2m9q4x --unsent --csv unsent.csv"),
        ("once:3c14471ead583773", "next  mailspool show b7k2m9q4x --unsent --csv unsent.csv"),
    ],
)
def test_how_a_wrong_address_gets_its_mail_after_all(key: str | None, last: str) -> None:
    assert text(screens.report(replace(DONE, key=key), {}, NOW)).splitlines()[-1] == last
    assert "wrong addresses" not in text(screens.report(replace(DONE, key="k", failed=0, suppressed=0), {}, NOW))
