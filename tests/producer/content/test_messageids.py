"""Message-IDs without a template engine are those that the mails carry."""

from __future__ import annotations

import pytest

from mailspool.content.messageids import MessageIds
from mailspool.content.mime import Compiled
from mailspool.contract.records import Row, Spec
from mailspool.errors import InputError

BATCH = "b7k2m9q4x0"
ROWS = (Row("ali@example.test", {"shop": "a.example"}), Row("mina@example.test", {}))


def spec(kind: str, from_: str, **more: object) -> Spec:
    assert kind in ("template", "literal")
    return Spec(v=1, kind="template" if kind == "template" else "literal", from_=from_, text="x", subject="s", **more)  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize(
    ("kind", "from_"),
    [
        ("literal", "Acme <billing@Acme.example>"),
        ("literal", "me@bücher.example"),
        ("literal", '"{{ not code }}" <me@acme.example>'),
        ("template", "billing@acme.example"),
        ("template", "{{ email }} <x@acme.example>"),
        ("template", "shop@{{ shop }}"),
    ],
)
@pytest.mark.parametrize("return_path", [None, "bounces@other.example"])
def test_the_same_as_the_mails_carry(kind: str, from_: str, return_path: str | None) -> None:
    made = spec(kind, from_, return_path=return_path)
    mails = Compiled(made, {}, batch=BATCH, date_ms=0)
    ids = MessageIds(made, batch=BATCH)
    for n, row in enumerate(ROWS, 1):
        assert ids.of(row, n) == mails.message_id(row, n)
    assert ids.of(ROWS[0], 1)


def test_finished_mail_keeps_its_own() -> None:
    made = Spec(
        v=1, kind="mime", from_="", mime=b"From: a@x.test\r\nMessage-ID: <own@x.test>\r\n\r\nx", return_path="a@x.test"
    )
    assert MessageIds(made, batch=BATCH).of(ROWS[0], 1) == "<own@x.test>"


def test_a_bad_sender_is_told() -> None:
    with pytest.raises(InputError):
        MessageIds(spec("literal", "nobody"), batch=BATCH).of(ROWS[0], 1)
