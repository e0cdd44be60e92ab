"""Same content, same digest: what `key=` goes by."""

from __future__ import annotations

from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any

import msgspec
import pytest

from mailspool.content.digest import changed_fields, digest
from mailspool.content.incoming import mime_to_spec
from mailspool.contract.records import AttachmentRef, Spec

REF = AttachmentRef("0" * 64, "a.pdf", "application/pdf", 1)
SPEC = Spec(
    v=1, kind="template", from_="a@x.org", subject="s", text="t", html="h", headers=(("X-A", "1"),), attachments=(REF,)
)


def test_the_digest_is_the_same_in_every_release() -> None:
    assert digest(SPEC) == "75a11011ffb13954d7b45a561ef8b96e36b6429de8dc3894d2649db575370d06"
    assert digest(msgspec.structs.replace(SPEC, v=2)) == digest(SPEC)
    assert changed_fields(SPEC, SPEC) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"subject": "S"}, ["subject"]),
        ({"text": None}, ["text"]),
        ({"text": "x", "html": "y"}, ["text", "html"]),
        ({"from_": "b@x.org"}, ["from"]),
        ({"to": "{{ email }}"}, ["to"]),
        ({"cc": "c@x.org"}, ["cc"]),
        ({"reply_to": "r@x.org"}, ["reply_to"]),
        ({"sender": "r@x.org"}, ["sender"]),
        ({"return_path": "r@x.org"}, ["return_path"]),
        ({"headers": (("X-A", "2"),)}, ["headers"]),
        ({"headers": (("x-a", "1"),)}, []),
        ({"attachments": ()}, ["attachments"]),
        ({"attachments": (msgspec.structs.replace(REF, name="b.pdf"),)}, ["attachments"]),
        ({"kind": "literal"}, ["use of {{ }}"]),
        ({"kind": "mime", "mime": b"From: a@x.org\r\n\r\n"}, ["content"]),
    ],
)
def test_changed_fields(changes: dict[str, Any], named: list[str]) -> None:
    other = msgspec.structs.replace(SPEC, **changes)
    assert changed_fields(SPEC, other) == changed_fields(other, SPEC) == named
    assert (digest(SPEC) == digest(other)) == (not named)


def built(body: str, *, date: str = "Mon, 23 Nov 2026 18:00:00 +0000") -> Spec:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.org", "b@x.org", "s"
    message["Date"], message["Message-ID"] = date, make_msgid()
    message.set_content(body)
    message.add_alternative(f"<p>{body}</p>", subtype="html")
    message.add_attachment(b"pdf", maintype="application", subtype="pdf", filename="a.pdf")
    return mime_to_spec(message)[0]


def test_a_mail_that_is_built_again_is_the_same_mail() -> None:
    first, again = built("x"), built("x", date="Tue, 24 Nov 2026 18:00:00 +0000")
    assert first.mime != again.mime, "random boundaries and ids"
    assert digest(first) == digest(again)
    assert changed_fields(first, built("y")) == ["content"]
    assert digest(msgspec.structs.replace(first, return_path="b@x.org")) != digest(first)
