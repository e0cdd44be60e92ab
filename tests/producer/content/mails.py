"""Specs and mails for the tests of this folder, and the standard library's view of a mail."""

from __future__ import annotations

import hashlib
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from hypothesis import strategies as st

from mailspool.content.mime import Compiled, Rendered
from mailspool.contract.records import AttachmentRef, Row, Spec

BATCH, DATE_MS = "b7k2m9q4x", 1_795_000_000_000
ROW = Row("ali@x.org", {"name": "Ali", "code": "C1"})

CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUE = st.one_of(
    st.text(CHARS, max_size=120),
    st.lists(
        st.sampled_from(
            [
                "سلام",
                "שלום",
                "😀",
                "\r\nBcc: evil@x.org\r\n\r\n",
                "\n.\n",
                ".",
                "..x",
                "<b>&\"'",
                "x" * 1200,
                "ü",
                " ",
                "=20",
                "--=_",
            ]
        ),
        max_size=12,
    ).map("".join),
)


def compiled(*, blobs: dict[str, bytes] | None = None, **fields: Any) -> Compiled:
    spec = Spec(**{"v": 1, "kind": "template", "from_": "Acme <billing@acme.example>", "text": "x\n", **fields})
    return Compiled(spec, blobs or {}, batch=BATCH, date_ms=DATE_MS)


def parsed(rendered: Rendered) -> EmailMessage:
    """The mail, after the promises about its bytes have been checked."""
    data = b"".join(rendered.pieces)
    assert rendered.size == len(data)
    assert data.endswith(b"\r\n")
    assert b"\r" not in data.replace(b"\r\n", b"")
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert b"\0" not in data
    assert all(piece.endswith(b"\r\n") for piece in rendered.pieces)
    assert max(map(len, data.split(b"\r\n"))) <= 998
    assert data.isascii() or rendered.eight_bit
    message = BytesParser(policy=policy.default).parsebytes(data)
    assert not message.defects
    for part in message.walk():
        assert not part.defects
    return message


def mail(row: Row = ROW, n: int = 1, **fields: Any) -> EmailMessage:
    return parsed(compiled(**fields).render(row, n))


def ref(
    name: str, data: bytes, kind: str = "application/pdf", *, inline: bool = False, cid: str | None = None
) -> AttachmentRef:
    return AttachmentRef(hashlib.sha256(data).hexdigest(), name, kind, len(data), inline, cid)


def blobs(*contents: bytes) -> dict[str, bytes]:
    return {hashlib.sha256(data).hexdigest(): data for data in contents}
