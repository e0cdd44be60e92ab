"""The grammar of MAIL and RCPT."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailspool.sandbox.grammar import NOTHING_OFFERED, MailCommand, Offer, Refused, parse_mail, parse_rcpt

ALL = Offer(size_limit=1000, eight_bit=True, smtputf8=True, auth=True)
LOCAL_64 = "a" * 64


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("FROM:<>", MailCommand("")),
        ("from:<a@b.test>", MailCommand("a@b.test")),
        ("FROM:<a@b.test> SIZE=1000 BODY=8BITMIME", MailCommand("a@b.test", "8BITMIME")),
        ("FROM:<a@b.test> body=7bit size=0", MailCommand("a@b.test", "7BIT")),
        ("FROM:<ä@b.test> SMTPUTF8", MailCommand("ä@b.test", smtputf8=True)),
        ("FROM:<a@b.test> AUTH=<>", MailCommand("a@b.test")),
        ("FROM:<prvs=1=a+b=c.test@b.test>", MailCommand("prvs=1=a+b=c.test@b.test")),
    ],
)
def test_mail(argument: str, expected: MailCommand) -> None:
    assert parse_mail(argument, ALL) == expected


@pytest.mark.parametrize(
    ("argument", "code"),
    [
        *[(bad, "501 5.5.4") for bad in ("", "FROM", "FROM:", "FROM:a@b.test", "FROM: <a@b.test>", "TO:<a@b.test>")],
        *[(f"FROM:<a@b.test>{bad}", "501 5.5.4") for bad in (" ", "  SIZE=1", "SIZE=1", " =1", " SIZE=1 SIZE=1")],
        ("FROM:<a@b.test", "501 5.5.4"),
        ("FROM:<a@b.test>> SIZE=1", "501 5.5.4"),
        ("FROM:<a@b.test> SIZE=1001", "552 5.3.4"),
        *[
            (f"FROM:<a@b.test> {bad}", "555 5.5.4")
            for bad in ("SIZE", "SIZE=x", "SIZE=-1", "BODY=9", "XYZ", "RET=HDRS")
        ],
        ("FROM:<a@b.test> SIZE=" + "9" * 21, "555 5.5.4"),
        ("FROM:<a>", "501 5.1.7"),
        ("FROM:<ä@b.test>", "553 5.6.7"),
    ],
)
def test_mail_refused(argument: str, code: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_mail(argument, ALL)
    assert caught.value.reply.startswith(code)


@pytest.mark.parametrize("parameter", ["SIZE=1", "BODY=8BITMIME", "SMTPUTF8", "AUTH=<>"])
def test_parameters_that_were_not_offered_are_refused(parameter: str) -> None:
    with pytest.raises(Refused, match="555"):
        parse_mail(f"FROM:<a@b.test> {parameter}", NOTHING_OFFERED)


def test_a_size_limit_of_zero_is_no_limit() -> None:
    offer = Offer(size_limit=0, eight_bit=False, smtputf8=False, auth=False)
    assert parse_mail("FROM:<a@b.test> SIZE=99999999999", offer) == MailCommand("a@b.test")


@pytest.mark.parametrize(
    "address",
    [
        *("a@b", "a@localhost", "a.b@c-d.e.test", "o'neill@x.test", "a+b=c@x.test", "#!$%&'*/=?^_`{|}~-@x.test"),
        *('"a b"@x.test', '"a\\"b"@x.test', '"<>@"@x.test', "a@[127.0.0.1]", "a@[IPv6:::1]", "postmaster"),
        *("PostMaster", "a@1.test", f"{LOCAL_64}@x.test", "a@" + "b" * 252),
    ],
)
def test_rcpt(address: str) -> None:
    assert parse_rcpt(f"TO:<{address}>", smtputf8=False) == address


@pytest.mark.parametrize("address", ["ä@b.test", "علي@مثال.test", '"é"@b.test'])
def test_rcpt_beyond_ascii_needs_smtputf8(address: str) -> None:
    assert parse_rcpt(f"TO:<{address}>", smtputf8=True) == address
    with pytest.raises(Refused, match=r"553 5\.6\.7"):
        parse_rcpt(f"TO:<{address}>", smtputf8=False)


@pytest.mark.parametrize(
    "argument",
    [
        *[f"TO:<{address}>" for address in ("", "a", "@b", "a@", ".a@b", "a.@b", "a..b@c", "a@b.", "a@.b", "a@b..c")],
        *[
            f"TO:<{address}>"
            for address in ("a b@c", "a@b c", "a@-b", "a@b-", "a@b_c", "a@@b", "a@b@c", '"a@b', 'a"b@c')
        ],
        *[f"TO:<{address}>" for address in ("a(c)@b", "a,b@c", "a:b@c", "<a@b>", "@x:a@b", "a@[]", "a@[x", "a\t@b")],
        *[
            f"TO:<{address}>"
            for address in (f"{LOCAL_64}a@x.test", "a@" + "b" * 253, "a\x7f@b", "é\x85@b", "ä" * 33 + "@b")
        ],
        *("", "TO:", "TO:a@b", "TO: <a@b>", "FROM:<a@b>", "TO:<a@b> NOTIFY=NEVER", "TO:<a@b> "),
    ],
)
def test_rcpt_refused(argument: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_rcpt(argument, smtputf8=True)
    assert caught.value.reply[:3] in ("501", "555")
    assert caught.value.reply.isascii()


@given(st.text(max_size=60) | st.text(alphabet='<>@." \\[]ab:=-\u00e4', max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    for argument in (text, f"FROM:<{text}>", f"FROM:<a@b> {text}"):
        refusal, address = "", ""
        try:
            address = parse_mail(argument, ALL).address
        except Refused as refused:
            refusal = refused.reply
        assert refusal.isascii()
        assert refusal.isprintable()
        assert not any(character in address for character in "\r\n\0")
