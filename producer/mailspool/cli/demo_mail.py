"""The mail of the demo: a template in two languages, a list made by arithmetic, a small PDF. Pure.

What a receiver does with a row stands in its local part, as the sandbox reads it: of every hundred receivers three are
unknown and one is greylisted once; one of all is told 421 at the end of its mail, and the connection is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mailspool.message import Message

_FIRST: Final = ("Maryam", "Omar", "Layla", "Samuel", "Ines", "Tariq", "Greta", "Yusuf", "Noor", "Pavel", "Amina")
_LAST: Final = ("Haddad", "Lindqvist", "Farahani", "Okafor", "Nasser", "Moreau", "Khalil", "Sato", "Rahimi")
_FIRST_ARABIC: Final = ("مريم", "عمر", "ليلى", "يوسف", "نور", "طارق", "أمينة")
_LAST_ARABIC: Final = ("حداد", "ناصر", "خليل", "رحيمي", "الفارسي")
_ARABIC_EVERY: Final = 5
_UNKNOWN: Final = frozenset((16, 49, 82))
_GREYLISTED: Final = 28
FILE_NAME: Final = "دعوة.pdf"

_SUBJECT: Final = (
    "{% if language == 'ar' %}دعوة رقم {{ number }}: {{ name }}"
    "{% else %}Invitation {{ number }} for {{ name }}{% endif %}"
)
_TEXT: Final = """\
{% if language == "ar" -%}
مرحباً {{ name }}،

يسعدنا أن ندعوك. مقعدك هو {{ seat }}، والدعوة مرفقة.

مع التحية
{%- else -%}
Dear {{ name }},

you are invited. Your seat is {{ seat }}; the invitation is attached.

Kind regards
{%- endif %}
"""


def message() -> Message:
    from mailspool.message import Attachment, Message

    return Message(
        from_="Mailspool Demo <demo@mailspool.example>",
        subject=_SUBJECT,
        text=_TEXT,
        attachments=[Attachment(invitation(), name=FILE_NAME)],
    )


def rows(count: int) -> Iterator[dict[str, object]]:
    """Row `n` is always the same, whatever the count (but for the one 421 in the middle)."""
    for n in range(count):
        arabic = n % _ARABIC_EVERY == _ARABIC_EVERY - 1
        first, last = (_FIRST_ARABIC, _LAST_ARABIC) if arabic else (_FIRST, _LAST)
        name = f"{first[n % len(first)]} {last[(n // 3) % len(last)]}"
        yield {
            "email": f"{_order(n, count)}guest{n + 1}@example.org",
            "name": name,
            "language": "ar" if arabic else "en",
            "number": 1000 + n,
            "seat": f"{n // 40 + 1}-{n % 40 + 1}",
        }


def unknown(count: int) -> int:
    """How many receivers there are not."""
    return sum(n % 100 in _UNKNOWN for n in range(count))


def _order(n: int, count: int) -> str:
    if n % 100 in _UNKNOWN:
        return "550-5.1.1-"
    if n % 100 == _GREYLISTED:
        return "greylist-"
    return "dot-421-4.3.2-1-" if n == count // 2 else ""


def invitation() -> bytes:
    """A one-page PDF, as small as they come (ISO 32000-1, 7.5): header, five objects, table, trailer."""
    drawing = b"BT /F1 36 Tf 72 700 Td (You are invited) Tj 0 -48 Td /F1 14 Tf (sent by mailspool demo) Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    data, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj%s\nendobj\n" % (number, content)
    table = len(data)
    data += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table)
    return bytes(data)
