"""One group of replies: which refusal decides, and what a 354 is worth then."""

from __future__ import annotations

import itertools

import pytest

from mailspool_worker.classify import Reply, Stage
from mailspool_worker.smtp.envelope import Envelope
from tests.support.worker_parts import TestClock, make_items, make_run

STAGES = (Stage.MAIL, Stage.RCPT, Stage.DATA)


def after(*codes: int) -> Envelope:
    (item,) = make_items(make_run(TestClock()), ["a@x.test"])
    envelope = Envelope(item)
    for stage, code in zip(STAGES, codes, strict=False):
        envelope.take(stage, Reply(code, (b"",)))
    return envelope


@pytest.mark.parametrize("codes", list(itertools.product((250, 354, 450, 550), (250, 251, 450), (250, 354, 451, 554))))
def test_every_group(codes: tuple[int, int, int]) -> None:
    mail, rcpt, data = codes
    envelope = after(*codes)
    refused = [
        stage for stage, code in zip(STAGES, codes, strict=True) if code // 100 != (3 if stage is Stage.DATA else 2)
    ]
    if data // 100 == 2:  # no answer to DATA: the replies are out of step
        refused = [Stage.DATA]
    assert (envelope.refusal[0] if envelope.refusal else None) == (refused[0] if refused else None)
    accepted, go = rcpt // 100 == 2, data == 354
    assert envelope.holds_354 is (go and accepted and mail == 250)
    assert envelope.needs_lone_dot is (go and not accepted)
    assert envelope.must_abort is (go and accepted and mail != 250)
    assert len(envelope.heard) == 3


def test_nothing_is_decided_before_data_is_answered() -> None:
    envelope = after(250, 250)
    assert (envelope.holds_354, envelope.needs_lone_dot, envelope.must_abort) == (False, False, False)


def test_a_354_after_an_answer_that_is_no_refusal_of_the_recipient_gets_no_dot() -> None:
    """A dot might deliver an empty mail to somebody whose RCPT was answered with nonsense."""
    envelope = after(250, 354, 354)
    assert (envelope.holds_354, envelope.needs_lone_dot, envelope.must_abort) == (False, False, True)


def test_one_reply_too_many_refuses_nobody() -> None:
    """`550` behind the last message's `250`, then the replies to MAIL and RCPT: the 550 was about something else."""
    envelope = after(550, 250, 250)
    assert envelope.refusal == (Stage.DATA, Reply(250, (b"",)))
