"""Ten thousand personal mails with an attachment, through the sandbox, Postfix's smtp-sink and Postfix itself.

Each is received once. What the sandbox kept is compared, mail by mail and part by part, with what the standard library
alone makes of the same list and templates (support/expected_mail.py).
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from mailspool import Attachment, BatchStatus, Message
from tests.support import expected_mail
from tests.support.edition import pick, show
from tests.support.ground import Ground
from tests.support.mtas import missing_postfix, missing_sink, postfix, smtp_sink
from tests.support.waiting import until

MAILS = pick(short=2_000, full=10_000)


def message(mailing: expected_mail.Mailing) -> Message:
    name, address = expected_mail.SENDER
    return Message(
        from_=f"{name} <{address}>",
        to="{{ name }} <{{ email }}>",
        subject=expected_mail.SUBJECT,
        text=mailing.text,
        html=mailing.html,
        attachments=[Attachment(mailing.pdf)],
    )


async def sent(ground: Ground, relay_url: str) -> tuple[expected_mail.Mailing, BatchStatus]:
    mailing = expected_mail.write(ground.folder, MAILS)
    ground.relay_url = relay_url
    async with ground.spool() as spool:
        batch = await spool.send_batch(message(mailing), mailing.table, key="invoices")
        ground.worker()
        status = await batch.wait(240)
    assert status.sent == status.total == MAILS, status
    return mailing, status


def per_second(status: BatchStatus) -> int:
    assert status.started_at is not None
    assert status.finished_at is not None
    return round(MAILS / (status.finished_at - status.started_at).total_seconds())


def recipients(mailing: expected_mail.Mailing) -> Counter[str]:
    return Counter(name for name, _ in expected_mail.expected(mailing))


@pytest.mark.storm
async def test_the_sandbox_gets_each_once_and_every_part_is_right(ground: Ground) -> None:
    kept = ground.folder / "kept"
    receiver = ground.receiver(keep=str(kept))
    mailing, status = await sent(ground, receiver.url)
    index = [json.loads(line) for line in (kept / "index.jsonl").read_text("utf-8").splitlines()]
    files = {line["recipient"]: kept / line["path"] for line in index}
    assert Counter(line["recipient"] for line in index) == recipients(mailing) == receiver.log.receipts()
    ids = {line["message_id"] for line in index}
    right, octets, bare, longest = 0, 0, 0, 0
    for name, wanted in expected_mail.expected(mailing):
        data = files[name].read_bytes()
        assert expected_mail.received(data) == wanted
        right += 1
        octets = max(octets, len(data))
        bare += b"\r\n." in data
        longest = max(longest, *map(len, data.split(b"\r\n")))
    show(
        "sandbox",
        mails=MAILS,
        received_once=len(index),
        equal_in_every_part=right,
        largest_bytes=octets,
        mails_a_second=per_second(status),
        with_lines_that_begin_with_a_dot=bare,
        longest_line=longest,
    )
    assert bare >= MAILS // 4
    assert longest == expected_mail.LINE_OCTETS
    assert len(ids) == MAILS
    assert {line["mail_from"] for line in index} == {expected_mail.SENDER[1]}


@pytest.mark.storm
@pytest.mark.skipif(bool(missing_sink()), reason=missing_sink() or "it is here")
async def test_smtp_sink_counts_them_all(ground: Ground) -> None:
    with smtp_sink(ground.folder) as sink:
        _, status = await sent(ground, sink.url)
        await until(lambda: sink.received() >= MAILS, "the sink has counted")
        counted = sink.received()
    show("smtp-sink", mails=MAILS, counted=counted, mails_a_second=per_second(status))
    assert counted == MAILS


@pytest.mark.storm
@pytest.mark.skipif(bool(missing_postfix()), reason=missing_postfix() or "it is here")
async def test_postfix_logs_each_once(ground: Ground) -> None:
    with postfix() as mta:
        mailing, status = await sent(ground, mta.url)
        await until(lambda: mta.delivered().total() >= MAILS, "Postfix has thrown them all away", limit_s=120)
        delivered = mta.delivered()
    show(
        "Postfix, discard transport",
        mails=MAILS,
        delivered=delivered.total(),
        recipients=len(delivered),
        mails_a_second=per_second(status),
    )
    assert delivered == recipients(mailing)


def test_the_comparison_notices_a_difference(tmp_path: Path) -> None:
    """The oracle itself: one changed value, one lost dot and one other byte of the attachment are seen."""
    mailing = expected_mail.write(tmp_path, 3)
    rows = [expected_mail.cells(number) for number in (1, 2, 3)]
    found = [wanted for _, wanted in expected_mail.expected(mailing)]
    assert len({seen.text for seen in found}) == 3
    assert found[0].text.count("\n..1\n") == 1
    assert rows[0]["note"] in found[0].text
    assert "&lt;b&gt;&amp;amp;" in found[0].html
    assert all(len(line.encode()) <= expected_mail.LINE_OCTETS for seen in found for line in seen.text.split("\n"))
    assert any(len(line.encode()) == expected_mail.LINE_OCTETS for seen in found for line in seen.text.split("\n"))
