"""What a row, a finished mail or a reply may hold, and what must not come of it."""

from __future__ import annotations

from email import message_from_bytes, policy

import pytest

from mailspool.content import headers
from mailspool.content.incoming import mime_to_spec
from mailspool.content.mime import Compiled
from mailspool.content.render import RenderError
from mailspool.contract.codec import DecodeError, decode_spec, encode_spec
from mailspool.contract.records import Row, Spec
from mailspool.errors import InputError


def test_a_space_before_a_colon_loses_no_receiver() -> None:
    """The standard library's parser takes such a field, and all behind it, for the body."""
    raw = b"From: a@x.test\r\nTo: b@x.test\r\nX-Old : 1\r\nCc: c@x.test\r\nBcc : d@x.test\r\n\r\nHello\r\n"
    spec, boxes = mime_to_spec(raw)
    assert [box.address for box in boxes] == ["b@x.test", "c@x.test", "d@x.test"]
    assert b"d@x.test" not in spec.mime


def test_nested_comments_are_bad_input_not_a_crash() -> None:
    with pytest.raises(InputError, match="no list of addresses"):
        mime_to_spec(b"From: a@x.test\r\nTo: " + b"(" * 5_000 + b"\r\n\r\nx")


@pytest.mark.parametrize(
    "value", ["=?utf-8?q?a b?=", "=?utf-8?q?a?b?=", "x =??q?y?=", "=?utf-8?q?x=0D=0ABcc: e@x.test?="]
)
def test_what_looks_like_an_encoded_word_arrives_as_written(value: str) -> None:
    mail = message_from_bytes(headers.unstructured("Subject", value) + b"\r\n", policy=policy.default)
    assert str(mail["Subject"]) == value


def rendered(text: str, values: dict[str, object]) -> bytes:
    spec = Spec(v=1, kind="template", from_="a@x.test", text=text)
    compiled = Compiled(spec, {}, batch="b1", date_ms=0)
    return b"".join(compiled.render(Row("u@x.test", values), 1).pieces)


@pytest.mark.parametrize(
    "text", ["{{ '*' * n }}", "{{ n * '*' }}", "{{ [1] * n }}", "{{ n ** n }}", "{{ 'a' * 10 ** 9 }}"]
)
def test_one_number_in_a_row_takes_no_memory(text: str) -> None:
    with pytest.raises(RenderError, match="more text or more work than is allowed"):
        rendered(text, {"n": 10**9})


def test_products_of_a_usual_size_are_fine() -> None:
    assert rendered("{{ '*' * n }} {{ n * 1.5 }} {{ 2 ** n }}", {"n": 4}).endswith(b"\r\n\r\n**** 6.0 16\r\n")


def test_a_spec_of_a_later_release_is_not_sent_as_if_it_were_ours() -> None:
    with pytest.raises(DecodeError, match="version 99"):
        decode_spec(encode_spec(Spec(v=99, kind="literal", from_="a@x.test", text="x")))
