"""What a mailing should have become, told by the standard library alone: csv, email, str.replace. Nothing of ours.

`write` makes list, templates and attachment; `expected` says what each recipient should get; `received` reads a mail
that a receiver kept as the same kind of object, so that two of them can be compared.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

PDF_NAME = "فاتورة نوفمبر ٢٠٢٦.pdf"
PDF = b"%PDF-1.4\r\n%\xe2\xe3\xcf\xd3\r\n" + bytes(range(256)) * 24 + b"\n%%EOF"
SENDER = ("شركة أكمي", "billing@acme.test")
SUBJECT = "فاتورة {{ number }} for {{ name }} & friends – bitte lesen"
TEXT = """Dear {{ name }},

your invoice {{ number }} over {{ amount }} is attached.
{{ note }}
.
..two dots of the template
{{ long }}
{{ thanks }}
"""
HTML = """<html><body>
<p title="{{ name }}">Dear <b>{{ name }}</b>, your invoice {{ number }} over {{ amount }} is attached.</p>
<pre>
{{ note }}
{{ long }}
</pre><p dir="rtl">مع أطيب التحيات {{ thanks }}</p></body></html>
"""
LINE_OCTETS = 998
"""RFC 5322 2.1.1: the longest line, without its CR LF."""
COLUMNS = ("email", "name", "number", "amount", "note", "long", "thanks")


@dataclass(frozen=True)
class Mailing:
    """The files of one mailing."""

    table: Path
    text: Path
    html: Path
    pdf: Path


@dataclass(frozen=True)
class Seen:
    """One mail, as far as a reader can tell."""

    sender: tuple[str, str]
    to: tuple[str, str]
    subject: str
    shape: str
    text: str
    html: str
    attachment: tuple[str | None, str, bytes]


def cells(number: int) -> dict[str, str]:
    """Row `number`: dots at the start of lines, lines of exactly 998 octets, Arabic, and all that HTML escapes.

    Every fourth text is ASCII alone, so that its dots and its 998 octets are on the wire as they are.
    """
    names = ("Anna O'Neil", "علي رضايي", 'Zoë "Zed" <Ünal> & Söhne', "Ο Αγγελος")
    longest = ("." * LINE_OCTETS, "ش" * (LINE_OCTETS // 2), "x" * LINE_OCTETS, f"{number} " * 90 + "end")
    kind = number % 4
    return {
        "email": f"Customer.{number:06d}@y{number % 50}.test",
        "name": f"{names[kind]} {number}",
        "number": f"RE-{number:08d}",
        "amount": f"{number % 977}.{number % 100:02d} {'EUR' if kind == 0 else '€'}",
        "note": f".a line that begins with a dot\n..{number}\n.\n.. .\n<b>&amp; \\{{{{ no code }}}}",
        "long": longest[kind],
        "thanks": f"Thank you {number}" if kind == 0 else f"شكراً لك {number} على طلبك، ونتمنى لك يوماً سعيداً",
    }


def write(folder: Path, count: int) -> Mailing:
    mailing = Mailing(folder / "customers.csv", folder / "letter.txt", folder / "letter.html", folder / PDF_NAME)
    with mailing.table.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(cells(number) for number in range(1, count + 1))
    mailing.text.write_text(TEXT, "utf-8")
    mailing.html.write_text(HTML, "utf-8")
    mailing.pdf.write_bytes(PDF)
    return mailing


def escaped(text: str) -> str:
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ('"', "&#34;")):
        text = text.replace(char, entity)
    return text


def filled(template: str, row: dict[str, str], *, html: bool = False) -> str:
    """The values of one row in place of the names. Values that look like templates stay as they are."""
    marked = template
    for name in COLUMNS:
        marked = marked.replace("{{ " + name + " }}", f"\0{name}\0")
    parts = marked.split("\0")
    return "".join(part if i % 2 == 0 else escaped(row[part]) if html else row[part] for i, part in enumerate(parts))


def expected(mailing: Mailing) -> Iterator[tuple[str, Seen]]:
    """By envelope recipient, in the order of the list."""
    with mailing.table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield (
                row["email"],
                Seen(
                    sender=SENDER,
                    to=(row["name"], row["email"]),
                    subject=filled(SUBJECT, row),
                    shape="multipart/mixed(multipart/alternative(text/plain text/html) application/pdf)",
                    text=filled(TEXT, row),
                    html=filled(HTML, row, html=True),
                    attachment=(PDF_NAME, "application/pdf", PDF),
                ),
            )


def received(data: bytes) -> Seen:
    """A mail as Python's own parser reads it."""
    mail = message_from_bytes(data, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    assert mail["Message-ID"]
    assert parsedate_to_datetime(str(mail["Date"])).tzinfo is not None
    text, html = mail.get_body(("plain",)), mail.get_body(("html",))
    (attachment,) = mail.iter_attachments()
    assert text is not None
    assert html is not None
    content = attachment.get_content()
    assert isinstance(content, bytes)
    return Seen(
        sender=_mailbox(mail, "From"),
        to=_mailbox(mail, "To"),
        subject=str(mail["Subject"]),
        shape=_shape(mail),
        text=_lines(text.get_content()),
        html=_lines(html.get_content()),
        attachment=(attachment.get_filename(), attachment.get_content_type(), content),
    )


def _lines(text: object) -> str:
    """Lines end in CR LF in every encoding (RFC 2046 4.1.1); Python shows it where they came as base64."""
    assert isinstance(text, str)
    return text.replace("\r\n", "\n")


def _mailbox(mail: EmailMessage, name: str) -> tuple[str, str]:
    header = mail[name]
    assert isinstance(header, AddressHeader)
    address: Address
    (address,) = header.addresses
    return address.display_name, address.addr_spec


def _shape(mail: EmailMessage) -> str:
    parts = " ".join(_shape(part) for part in mail.iter_parts() if isinstance(part, EmailMessage))
    return f"{mail.get_content_type()}({parts})" if mail.is_multipart() else mail.get_content_type()
