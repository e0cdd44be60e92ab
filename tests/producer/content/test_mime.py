"""Finished MIME goes out byte for byte, for a whole batch or for one row."""

from __future__ import annotations

import pytest

from mailspool.content.mime import RenderError, message_id
from mailspool.contract.records import Row
from tests.producer.content.mails import BATCH, ROW, compiled

MIME = (
    b"From: Acme <a@acme.example>\r\nTo: x@x.org\r\nSubject:  odd   spacing \r\n\tfolded\r\nX-Raw: {{ name }}\r\n\r\n"
    b"body {{ name }}\r\n.\r\nend"
)


def test_finished_mime_goes_out_as_it_is() -> None:
    stored = MIME + b"\r\n"
    batch = compiled(kind="mime", from_="a@acme.example", mime=stored)
    first, second = batch.render(ROW, 3), batch.render(Row("b@x.org", {}), 4)
    added = (
        b"Date: Wed, 18 Nov 2026 11:06:40 +0000\r\nMessage-ID: "
        + message_id(BATCH, 3, "acme.example").encode()
        + b"\r\n"
    )
    assert b"".join(first.pieces) == added + stored
    assert first.pieces[1] is second.pieces[1]
    assert (first.mail_from, first.size) == ("a@acme.example", len(added + stored))
    assert (first.eight_bit, first.smtputf8) == (False, False)
    assert batch.message_id(ROW, 4).encode() in second.pieces[0]
    assert batch.message_id(ROW, 4) == message_id(BATCH, 4, "acme.example")


def test_finished_mime_keeps_its_own_date_and_id() -> None:
    whole = b"DATE: x\r\nMessage-id : <own@x.org>\r\n" + MIME + "سلام\r\n".encode()
    rendered = compiled(kind="mime", from_="a@acme.example", mime=whole, return_path="b@acme.example").render(ROW, 1)
    assert rendered.pieces == (whole,)
    assert compiled(kind="mime", from_="a@acme.example", mime=whole).message_id(ROW, 1) == "<own@x.org>"
    assert rendered.mail_from == "b@acme.example"
    assert (rendered.eight_bit, rendered.smtputf8) == (True, False)
    assert compiled(kind="mime", from_="a@acme.example", mime="To: ع@x.org\r\n\r\n".encode()).render(ROW, 1).smtputf8


def test_a_row_may_bring_its_own_content() -> None:
    batch = compiled(text="{{ x }}")
    raw = b"From: own@x.org\r\nDate: d\r\n\r\nown\r\n"
    rendered = batch.render(Row("ali@x.org", {}, mail_from="own@x.org", raw=raw), 2)
    assert b"".join(rendered.pieces) == f"Message-ID: {message_id(BATCH, 2, 'x.org')}\r\n".encode() + raw
    assert rendered.mail_from == "own@x.org"
    assert batch.message_id(Row("ali@x.org", {}, mail_from="own@x.org", raw=raw), 2) == message_id(BATCH, 2, "x.org")
    assert batch.message_id(Row("ali@x.org", {}, raw=b"x"), 2) == ""
    assert batch.render(Row("ali@x.org", {}, raw=raw), 2).mail_from == "billing@acme.example"
    assert batch.upper_bound(Row("ali@x.org", {}, raw=raw)) >= rendered.size
    bare = batch.render(
        Row("ali@x.org", {}, raw=raw.replace(b"\r\n", b"\n").replace(b"Date", b"Bcc: b@x.org\nDate")), 2
    )
    assert bare.pieces[-1] == raw, "no bare line end and no Bcc goes out, whoever stored it"
    with pytest.raises(RenderError, match="line 1 is no header field"):
        batch.render(Row("ali@x.org", {}, raw=b"x\r\n\r\n"), 2)
    with pytest.raises(RenderError, match="without an envelope sender"):
        compiled(from_="{{ x }}").render(Row("ali@x.org", {}, raw=raw), 2)
