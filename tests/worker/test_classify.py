"""What replies mean: every row by its samples, and what must hold for any reply a server can think of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailspool_worker.classify import (
    ABOUT_US,
    Context,
    Loss,
    Reply,
    Stage,
    Verdict,
    classify,
    explain,
    failed_check,
    named_delay_s,
)
from mailspool_worker.verdicts.named_time import NAMED_LIMIT_S
from mailspool_worker.verdicts.rules import RULES, first_match
from tests.worker.reply_samples import LOSSES, REPLIES, LossSample, Sample, reply_of

SETUP = (Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)
SPEAKING = [stage for stage in Stage if stage is not Stage.QUIT]


def meaning(stage: Stage, said: str, context: Context | None = None) -> Verdict:
    return classify(stage, reply_of(said), context or Context())


@pytest.mark.parametrize("sample", REPLIES, ids=lambda sample: sample.row)
def test_a_reply_means_what_its_row_says(sample: Sample) -> None:
    reply = reply_of(sample.said)
    verdict = classify(sample.stage, reply, sample.context)
    assert (verdict.action, verdict.reason) == (sample.action, sample.reason)
    assert explain(verdict, reply).endswith(f": {reply.text}")


@pytest.mark.parametrize("sample", LOSSES, ids=lambda sample: sample.row)
def test_a_loss_means_what_its_row_says(sample: LossSample) -> None:
    verdict = classify(sample.stage, sample.loss, sample.context)
    assert (verdict.action, verdict.reason) == (sample.action, sample.reason)
    assert ": " in explain(verdict, sample.loss)


def test_every_rule_decides_a_sample() -> None:
    deciding = {
        first_match(Stage.DATA if sample.context.chunking else sample.stage, reply_of(sample.said)).name
        for sample in REPLIES
        if sample.said[0] in "45" and not sample.context.after_refusal and sample.stage is not Stage.QUIT
    }
    assert [rule.name for rule in RULES if rule.name not in deciding] == []
    assert len({rule.name for rule in RULES}) == len(RULES)


# -- what a verdict says beside its action


def test_421_closes_the_session_and_costs_an_attempt_at_the_dot_only() -> None:
    said = "421 4.3.2 shutting down"
    assert not meaning(Stage.RCPT, said).counts_attempt
    at_dot = meaning(Stage.DOT, said)
    assert at_dot.counts_attempt
    assert not at_dot.session_usable
    assert at_dot.slow_route


@pytest.mark.parametrize(("uncounted", "counts"), [(0, False), (1, False), (2, True), (3, True)])
def test_the_third_uncounted_verdict_in_a_row_counts(uncounted: int, counts: bool) -> None:
    context = Context(uncounted=uncounted)
    assert meaning(Stage.RCPT, "421 4.3.2 shutting down", context).counts_attempt is counts
    assert meaning(Stage.RCPT, "503 5.5.1 need MAIL", context).counts_attempt is counts


def test_nothing_counts_before_mail() -> None:
    assert not meaning(Stage.AUTH, "432 4.3.2 connections limit", Context(uncounted=9)).counts_attempt


def test_pipelining_or_bdat_is_switched_off_by_whom_it_confuses() -> None:
    said = "503 5.5.1 Bad sequence of commands"
    assert meaning(Stage.RCPT, said).disable == ""
    assert meaning(Stage.RCPT, said, Context(pipelined=True)).disable == "pipelining"
    assert meaning(Stage.DOT, said, Context(pipelined=True, chunking=True)).disable == "chunking"
    assert meaning(Stage.RCPT, said, Context(pipelined=True, chunking=True)).disable == "pipelining"
    assert not meaning(Stage.RCPT, said).session_usable


def test_the_flood_warning_pauses_ten_minutes_and_starts_again_with_one_session() -> None:
    verdict = meaning(Stage.DOT, "450 4.7.28 unusual rate of mail")
    assert (verdict.pause_s, verdict.one_session, verdict.slow_route) == (600.0, True, True)


@pytest.mark.parametrize(
    ("stage", "said", "first_s", "limit_s"),
    [
        (Stage.AUTH, "535 5.7.8 bad credentials", 300.0, 3_600.0),
        (Stage.AUTH, "454 4.7.0 Too many login attempts", 60.0, 1_800.0),
        (Stage.DOT, "454 Throttling failure: Daily message quota exceeded.", 3_600.0, None),
        (Stage.MAIL, "550 no", 3_600.0, None),
        (Stage.RCPT, "550 5.7.511 Access denied, banned sender", 3_600.0, 21_600.0),
    ],
)
def test_how_long_a_scope_sleeps(stage: Stage, said: str, first_s: float, limit_s: float | None) -> None:
    verdict = meaning(stage, said)
    assert (verdict.pause_s, verdict.pause_limit_s) == (first_s, limit_s)
    assert not verdict.counts_attempt


def test_scopes() -> None:
    assert meaning(Stage.RCPT, "550 5.1.1 unknown").scope == "recipient"
    assert meaning(Stage.DOT, "550 5.1.1 unknown").scope == "message"
    assert meaning(Stage.MAIL, "550 no").scope == "sender"
    assert meaning(Stage.AUTH, "535 no").scope == "route"
    assert meaning(Stage.RCPT, "550 5.7.511 banned").scope == "site"
    assert classify(Stage.RCPT, Loss.CLOSED).scope == "session"


def test_a_busy_receiver_slows_the_route_and_the_message_waits() -> None:
    assert meaning(Stage.RCPT, "452 4.3.1 no space").slow_route
    assert meaning(Stage.RCPT, "452 4.5.3 too many").slow_route
    assert not meaning(Stage.RCPT, "450 4.2.0 greylisted").slow_route


def test_which_failures_alarm_the_batch() -> None:
    assert meaning(Stage.RCPT, "550 5.1.1 unknown").alarming
    assert meaning(Stage.DOT, "550 5.7.1 spam").alarming
    assert not meaning(Stage.RCPT, "552 5.2.2 full").alarming


def test_after_a_refusal_even_an_acceptance_is_only_counted() -> None:
    """An empty message that a lone dot completed must never look sent."""
    context = Context(after_refusal=True)
    assert meaning(Stage.DOT, "250 queued", context).action == "ignore"
    assert meaning(Stage.DATA, "554 no recipients", context).session_usable
    assert not meaning(Stage.DATA, "421 bye", context).session_usable
    assert classify(Stage.DOT, Loss.TIMEOUT, context).action == "ignore"


# -- greylisting


@pytest.mark.parametrize(
    ("said", "delay_s"),
    [
        ("Greylisted, try again in 300 seconds", 300.0),
        ("Greylisted for 5 minutes", 300.0),
        ("Greylisting in action, please come back in 00:04:30", 270.0),
        ("please retry after 4 minutes and 30 seconds", 270.0),
        ("retry in 5m", 300.0),
        ("try again in at least 1 hour", 3_600.0),
        ("try again in 1h, 30 min", 5_400.0),
        ("please wait 90 secs", 90.0),
        ("try again in 86400 s", NAMED_LIMIT_S),
        ("try again in 86401 s", NAMED_LIMIT_S),
        ("try again in 999999 hours", NAMED_LIMIT_S),
        ("try again in 0 seconds", None),
        ("try again within 24 hours", None),
        ("Greylisted, see http://example.org/5m.html", None),
        ("try again in 5", None),
        ("after 10 messages", None),
        ("", None),
    ],
)
def test_a_named_time_is_read(said: str, delay_s: float | None) -> None:
    assert named_delay_s(said) == delay_s


def test_greylisting_waits_as_named_else_five_minutes_else_the_first_step() -> None:
    plain = "450 4.2.0 Greylisted"
    assert meaning(Stage.RCPT, plain).min_delay_s == 300.0
    assert meaning(Stage.RCPT, plain, Context(first_step_s=301.0)).min_delay_s == 300.0
    assert meaning(Stage.RCPT, plain, Context(first_step_s=1.0)).min_delay_s == 1.0
    named = meaning(Stage.RCPT, "450 4.2.0 Greylisted, try again in 10 minutes", Context(first_step_s=1.0))
    assert named.min_delay_s == 600.0
    assert named.counts_attempt


def test_421_may_be_greylisting_and_still_closes() -> None:
    verdict = meaning(Stage.RCPT, "421 4.7.1 Greylisted for 60 seconds")
    assert (verdict.action, verdict.min_delay_s, verdict.session_usable) == ("later", 60.0, False)


# -- codes against texts


def test_words_inside_an_address_decide_nothing() -> None:
    for local in (
        "relay-access-denied",
        '"authentication required"',
        "spam",
        "greylisted",
        '"sender address rejected"',
    ):
        for said in (f"550 5.1.1 <{local}@d.example>: User unknown", f"550 {local}@d.example: User unknown"):
            assert meaning(Stage.RCPT, said).action == "fail+suppress", said


def test_an_enhanced_code_counts_on_any_line_and_not_against_the_basic_code() -> None:
    assert meaning(Stage.RCPT, "550-Sorry\n550 5.1.1 gone").action == "fail+suppress"
    assert meaning(Stage.RCPT, "450 5.1.1 User unknown").action == "later"
    assert meaning(Stage.RCPT, "550 4.2.2 Something").action == "fail"


def test_an_unknown_code_counts_by_its_first_digit() -> None:
    assert meaning(Stage.RCPT, "499 what").action == "later"
    assert meaning(Stage.RCPT, "599 what").action == "fail"
    assert classify(Stage.RCPT, Reply(150, (b"",))).action == "later"
    assert classify(Stage.RCPT, Reply(-1, (b"",))).reason == "protocol"
    assert classify(Stage.DOT, Reply(150, (b"",))).action == "uncertain"


def test_the_failed_check_is_named() -> None:
    assert failed_check(reply_of("550 5.7.26 neither SPF nor DKIM passed")) == "SPF, DKIM"
    assert failed_check(reply_of("550 5.7.25 refused")) == "reverse DNS"
    assert failed_check(reply_of("550 refused")) == "authentication"
    verdict = meaning(Stage.DOT, "550 5.7.25 refused")
    assert explain(verdict, reply_of("550 5.7.25 refused")) == (
        "The sender does not pass the receiver's checks (reverse DNS): 550 5.7.25 refused"
    )


def test_explain_is_a_sentence() -> None:
    reply = reply_of("550 5.1.1 No such user")
    assert explain(classify(Stage.RCPT, reply), reply) == "The mailbox does not exist: 550 5.1.1 No such user"
    lost = classify(Stage.DOT, Loss.CLOSED)
    assert explain(lost, Loss.CLOSED).endswith("it may have been accepted: the server closed the connection")


# -- for any reply


@pytest.mark.parametrize("code", [421, 432, 450, 451, 452, 454, 500, 501, 503, 521, 530, 550, 552, 554, 556])
@pytest.mark.parametrize("context", [Context(), Context(mode="direct", age_s=1e6, more_hosts=False, every_host=True)])
def test_any_sample_with_any_code_anywhere(code: int, context: Context) -> None:
    for sample in REPLIES:
        reply = Reply(code, reply_of(sample.said).lines)
        for stage in SPEAKING:
            verdict = classify(stage, reply, context)
            assert verdict.action not in ("ok", "uncertain")
            assert not (verdict.final and (code < 500 or verdict.reason in ABOUT_US))
            assert not (context.mode == "relay" and stage < Stage.MAIL and (verdict.final or verdict.counts_attempt))
            if code == 421 or stage is Stage.BODY or stage < Stage.MAIL:
                assert not verdict.session_usable or (verdict.action == "helo" and code != 421)


words = st.sampled_from(
    [sample.said[4:] for sample in REPLIES]
    + ["relay", "sender", "quota", "user unknown", "blocked", "\ufffd", "x" * 3_000]
)
enhanced = st.builds(
    "{}.{}.{} ".format, st.integers(2, 5), st.integers(0, 9), st.one_of(st.integers(0, 60), st.integers(500, 710))
)
replies = st.builds(
    lambda code, status, texts: Reply(code, tuple((status + text).encode() for text in texts)),
    st.integers(200, 599),
    st.one_of(st.just(""), enhanced),
    st.lists(words, min_size=1, max_size=3),
)
contexts = st.builds(
    Context,
    mode=st.sampled_from(["relay", "direct"]),
    tls=st.sampled_from(["required", "opportunistic"]),
    credentials=st.booleans(),
    many_rcpt=st.booleans(),
    pipelined=st.booleans(),
    chunking=st.booleans(),
    plain=st.booleans(),
    helo_tried=st.booleans(),
    reused=st.booleans(),
    after_refusal=st.booleans(),
    uncounted=st.integers(0, 4),
    more_hosts=st.booleans(),
    every_host=st.booleans(),
    missing_before=st.booleans(),
    own_domain_resolves=st.booleans(),
    age_s=st.sampled_from([0.0, 1e5]),
)
events = st.one_of(replies, st.sampled_from(list(Loss)))


@settings(max_examples=300)
@given(st.sampled_from(list(Stage)), replies, contexts)
def test_a_refusal_is_never_ok_and_4xx_never_final(stage: Stage, reply: Reply, context: Context) -> None:
    verdict = classify(stage, reply, context)
    if reply.code >= 400:
        assert verdict.action not in ("ok", "uncertain")
    if reply.code < 500:
        assert not verdict.final
    if reply.code == 421 or stage is Stage.BODY:
        assert not verdict.session_usable


@settings(max_examples=300)
@given(st.sampled_from(list(Stage)), events, contexts)
def test_nothing_about_us_ends_a_message(stage: Stage, event: Reply | Loss, context: Context) -> None:
    verdict = classify(stage, event, context)
    assert not (verdict.final and verdict.reason in ABOUT_US)
    assert verdict.final <= verdict.counts_attempt
    assert explain(verdict, event)


@settings(max_examples=300)
@given(st.sampled_from(SETUP), events, contexts)
def test_before_mail_a_relay_never_touches_a_message(stage: Stage, event: Reply | Loss, context: Context) -> None:
    if context.mode == "direct" or event in (Loss.TOO_BIG, Loss.NO_SMTPUTF8):
        return
    verdict = classify(stage, event, context)
    assert not verdict.final
    assert not verdict.counts_attempt
    if verdict.action == "clear":
        assert context.tls == "opportunistic"
        assert not context.credentials


@settings(max_examples=300)
@given(events, contexts)
def test_only_a_loss_at_the_dot_is_uncertain(event: Reply | Loss, context: Context) -> None:
    for stage in SPEAKING:
        verdict = classify(stage, event, context)
        if verdict.action == "uncertain":
            assert stage is Stage.DOT
            assert isinstance(event, Loss) or event.code // 100 == 3
        if isinstance(event, Loss) and event not in (Loss.TOO_BIG, Loss.NO_SMTPUTF8):
            assert not verdict.session_usable
