"""Mails made from a template or literal spec: compiled once a batch, a row filled in.

Called by mime.py. What comes out is 7-bit (but for a non-ASCII local part in an address field: RFC 6532), with
boundaries, Message-ID and Date that only batch, n and commit decide.
Raises InputError (the spec), RenderError (this row), and KeyError for a row whose attachments were not given.
Known limit: an attached mail (message/*) is sent as application/octet-stream, since MIME forbids base64 for it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from mailspool.content import headers
from mailspool.content.address import AddressError, Mailbox, identity, normalise, parse_mailbox, parse_mailboxes
from mailspool.content.body import base64_lines, encode_text
from mailspool.content.frame import (
    Frame,
    Leaf,
    Multi,
    Part,
    Piece,
    Shared,
    Slot,
    begins_with_dot,
    constant_body,
    pieces_of,
)
from mailspool.content.render import RenderError, Templates, fields_of
from mailspool.contract.records import AttachmentRef, Row, Spec
from mailspool.errors import InputError

UNKNOWN_SIZE = sys.maxsize
"""An upper bound where a template can print more than it is given: render the row to know."""
_GROWTH = 24
"""Bytes that one character of a value can take at most: six in UTF-8 (some capitals), each as %XX, in segments."""
_TEXT_GROWTH = 8
"""The same for a template's own text in a body: escaped (5), base64 (1.4)."""
_ROOM = 2_000
"""Message-ID, boundaries, transfer encodings."""
_OURS = frozenset(("message_id",))
_CHECK = 6
"""Hexadecimal digits of the mark in the Message-ID; the next 24 make the boundaries."""


class Rendered(NamedTuple):
    """One mail. The pieces joined are its exact bytes; each piece ends at a line end. `dots`: a line may begin with one
    (RFC 5321, 4.5.2); without it nobody need look for them."""

    mail_from: str
    pieces: tuple[bytes, ...]
    size: int
    eight_bit: bool
    smtputf8: bool
    dots: bool = True


class _Sender(NamedTuple):
    """What From gives: its field, the domain of the Message-ID, the default of MAIL FROM."""

    line: bytes
    domain: str
    address: str


class _BoxTemplate(NamedTuple):
    """A mailbox of which a part is rendered: an index into the rendered texts, or a constant."""

    label: str
    address: int | str
    name: int | str | None

    def read(self, texts: Sequence[str]) -> Mailbox:
        address = self.address if isinstance(self.address, str) else texts[self.address]
        try:
            if self.name is None:
                return parse_mailbox(headers.one_line(address))
            name = self.name if isinstance(self.name, str) else texts[self.name]
            return Mailbox(name, normalise(address.strip()))
        except AddressError as error:
            raise RenderError(f"{self.label} does not become a mailbox: {error}") from None


class Composed:
    """One batch of composed mails. `mail_from`: the envelope sender unless a row has its own; None if From varies."""

    def __init__(self, spec: Spec, blobs: Mapping[str, bytes], *, batch: str, date_line: bytes) -> None:
        _refuse_odd_names(spec)
        self._batch = batch
        self._texts = Templates(fields_of(spec), literal=spec.kind == "literal")
        self._index = {key: i for i, key in enumerate(self._texts.keys)}
        self._return_path = None if spec.return_path is None else _path(spec.return_path)
        self._from = self._box_template("from") or self._constant_sender()
        fixed = self._from if isinstance(self._from, _Sender) else None
        self.mail_from = fixed.address if fixed else self._return_path
        self._to = self._box_template("to") if spec.to is not None else None
        self._reply_to = self._box_template("reply_to") if spec.reply_to is not None else None
        self._named = self._constant_receivers(spec)
        self._missing = [ref.sha for ref in spec.attachments if ref.sha not in blobs]
        layout = _Layout(spec, blobs, self._texts.constant, self._index)
        self._frame = Frame(layout.pieces(date_line, fixed.line if fixed else Slot("from")))
        self.shared_size = self._frame.shared_size
        places = self._frame.places
        self._encoders = tuple((places[key][0], e, self._index[key]) for key, e in layout.encoders().items())
        self._bodies = tuple(places[key][0] for key in ("text", "html") if key in places)
        self._levels = tuple((p, key[-1:].encode()) for key in places if key[:9] == "boundary:" for p in places[key])
        self._to_place = places["to"][0] if "to" in places else None
        self._id_place = places["message_id"][0]
        self._plain = all(constant.isascii() for constant in self._frame.constants)
        self._risky = any(b"--=_" in constant for constant in self._frame.constants)
        # Message-ID and boundaries are ours: letters and digits.
        self._filled = tuple(p for key, at in places.items() if key not in _OURS and key[:9] != "boundary:" for p in at)
        self._dots = begins_with_dot(self._frame.constants)
        self._fixed_bound = self._size_without_values()

    def render(self, row: Row, n: int) -> Rendered:
        """The mail of this row. Raises RenderError; KeyError with the digest of an attachment that was not given."""
        if self._missing:
            raise KeyError(self._missing[0])
        if "\0" in row.to_name:
            raise RenderError("a value holds a NUL character")
        if not row.recipient.isprintable():
            raise RenderError("the address holds a control character")  # it goes into To as it is
        try:
            return self._fill(row, n)
        except UnicodeEncodeError:
            raise RenderError("a value holds half a character (a lone surrogate)") from None
        except MemoryError:
            raise RenderError("it takes more memory than there is") from None

    def _fill(self, row: Row, n: int) -> Rendered:
        texts = self._texts.fill(row.values, row.recipient)
        segments = self._frame.segments.copy()
        for place, encode, i in self._encoders:
            segments[place] = encode(texts[i])
        plain = self._plain
        if isinstance(self._from, _Sender):
            sender = self._from
        else:
            sender = self._sender_of(self._from.read(texts))
            segments[self._frame.places["from"][0]] = sender.line
            plain = plain and sender.line.isascii()
        if self._reply_to is not None:
            line = _reply_to_line(self._reply_to, texts)
            segments[self._frame.places["reply_to"][0]] = line
            plain = plain and line.isascii()
        self._check_named(row)
        if self._to_place is not None:
            segments[self._to_place] = headers.mailboxes("To", (self._receiver(row, texts),))
        mark = headers.mark(self._batch, n)
        segments[self._id_place] = f"{self._batch}.{n}.{mark[:_CHECK]}@{sender.domain}>\r\n".encode()
        if self._levels:
            boundary = self._boundary(mark, segments)
            for place, level in self._levels:
                segments[place] = boundary + level
        pieces = self._frame.join(segments)
        dots = self._dots or begins_with_dot([segments[place] for place in self._filled])
        mail_from = sender.address if row.mail_from is None else row.mail_from
        smtputf8 = not (plain and row.recipient.isascii() and mail_from.isascii())
        return Rendered(mail_from, pieces, sum(map(len, pieces)), smtputf8, smtputf8, dots)

    def domain(self, row: Row) -> str:
        """The domain of From, which stands in the Message-ID. Raises RenderError."""
        if isinstance(self._from, _Sender):
            return self._from.domain
        return self._from.read(self._texts.fill(row.values, row.recipient)).address.rpartition("@")[2]

    @property
    def from_varies(self) -> bool:
        return not isinstance(self._from, _Sender)

    def sender(self, row: Row) -> str:
        """Whom a receiver takes for the sender: From where it varies by row, else MAIL FROM. Raises RenderError."""
        if isinstance(self._from, _Sender):
            return self._from.address if row.mail_from is None else row.mail_from
        return self._from.read(self._texts.fill(row.values, row.recipient)).address

    # ---------------------------------------------------------------- size

    def upper_bound(self, row: Row) -> int:
        uses = self._texts.uses
        if uses is None:
            return UNKNOWN_SIZE
        values = row.values
        length = len(row.recipient) + len(row.to_name)
        for name, times in uses.items():
            value = values.get(name)
            if value is None:
                value = values if name == "row" else row.recipient if name == "email" else ""
            length += times * (len(value) if isinstance(value, str) else len(str(value)) + 4)
        return self._fixed_bound + _GROWTH * length

    def _size_without_values(self) -> int:
        size = _ROOM + sum(map(len, self._frame.constants))
        for field in self._texts.dynamic:
            growth = _TEXT_GROWTH if field.key in ("text", "html") else _GROWTH
            size += growth * len(field.source.encode())
        return size

    # ---------------------------------------------------------------- who

    def _box_template(self, key: str) -> _BoxTemplate | None:
        """None if the field is constant."""
        name_key = f"{key}.name"
        if key not in self._index and name_key not in self._index:
            return None
        constant = self._texts.constant
        name = self._index[name_key] if name_key in self._index else constant.get(name_key)
        return _BoxTemplate(key, self._index[key] if key in self._index else constant[key], name)

    def _constant_sender(self) -> _Sender:
        text = self._texts.constant["from"]
        try:
            return self._sender_of(parse_mailbox(text))
        except AddressError as error:
            raise _bad_mailbox("from", text, error) from None

    def _sender_of(self, box: Mailbox) -> _Sender:
        address = box.address if self._return_path is None else self._return_path
        return _Sender(headers.mailboxes("From", (box,)), box.address.rpartition("@")[2], address)

    def _constant_receivers(self, spec: Spec) -> frozenset[str] | None:
        """Whom a template's constant To and Cc name: a row must be one of them. None: nothing to compare."""
        if spec.kind != "template" or spec.to is None or self._to is not None:
            return None
        texts = [self._texts.constant["to"], *([spec.cc] if spec.cc else [])]
        return frozenset(identity(box.address) for text in texts for box in _listed("to", text))

    def _check_named(self, row: Row) -> None:
        if self._named is not None and identity(row.recipient) not in self._named:
            raise RenderError("to does not become the row's own address")

    def _receiver(self, row: Row, texts: Sequence[str]) -> Mailbox:
        if self._to is None:
            return Mailbox(row.to_name, row.recipient)
        box = self._to.read(texts)
        if box.address != row.recipient and identity(box.address) != identity(row.recipient):
            raise RenderError("to does not become the row's own address")
        return Mailbox(box.name, row.recipient)

    # ---------------------------------------------------------------- boundaries

    def _boundary(self, mark: str, segments: Sequence[bytes]) -> bytes:
        """Part boundaries without their level; another one in the (provoked) case that a text holds it."""
        boundary = f"=_{mark[_CHECK : _CHECK + 24]}".encode()
        if not self._risky and not any(b"--=_" in segments[place] for place in self._bodies):
            return boundary
        while any(boundary in text for text in (*segments, *self._frame.constants)):
            boundary = b"=_" + hashlib.blake2b(boundary, digest_size=12).hexdigest().encode()
        return boundary


class _Layout:
    """Where everything stands in a mail of this batch."""

    def __init__(
        self, spec: Spec, blobs: Mapping[str, bytes], constant: Mapping[str, str], index: Mapping[str, int]
    ) -> None:
        self._spec, self._blobs, self._constant, self._index = spec, blobs, constant, index
        self._alone = not spec.attachments and (spec.text is None or spec.html is None)

    def pieces(self, date_line: bytes, sender: bytes | Slot) -> list[Piece]:
        spec = self._spec
        head: list[Piece] = [sender]
        if spec.sender:
            head.append(headers.mailboxes("Sender", _listed("sender", spec.sender)))
        if spec.reply_to:
            varies = "reply_to" in self._index or "reply_to.name" in self._index
            head.append(Slot("reply_to") if varies else self._boxes("Reply-To", "reply_to"))
        to_varies = spec.to is None or "to" in self._index or "to.name" in self._index
        head.append(Slot("to") if to_varies else self._boxes("To", "to"))
        if spec.cc:
            head.append(headers.mailboxes("Cc", _listed("cc", spec.cc)))
        head += [self._text("subject", _field("Subject")), date_line, b"Message-ID: <", Slot("message_id")]
        head += [self._text(f"header:{i}", _field(name)) for i, (name, _) in enumerate(spec.headers)]
        return [*head, b"MIME-Version: 1.0\r\n", *pieces_of(self._tree())]

    def encoders(self) -> dict[str, Callable[[str], bytes]]:
        """How the rendered text of a slot becomes bytes; address fields are filled by their own rules."""
        spec = self._spec
        wanted: dict[str, Callable[[str], bytes]] = {"subject": _field("Subject")}
        wanted |= {f"header:{i}": _field(name) for i, (name, _) in enumerate(spec.headers)}
        wanted |= {key: partial(_body, alone=self._alone) for key in ("text", "html")}
        wanted |= {f"name:{i}": partial(headers.disposition, _kind(ref)) for i, ref in enumerate(spec.attachments)}
        return {key: encode for key, encode in wanted.items() if key in self._index}

    def _text(self, key: str, encode: Callable[[str], bytes]) -> Piece:
        return Slot(key) if key in self._index else encode(self._constant[key])

    def _boxes(self, name: str, key: str) -> bytes:
        return headers.mailboxes(name, _listed(key, self._constant[key]))

    def _tree(self) -> Part:
        spec = self._spec
        attached = [(ref, self._attachment(i, ref)) for i, ref in enumerate(spec.attachments)]
        parts: list[Part] = []
        if spec.text is not None or spec.html is None:
            parts.append(self._body_leaf("text", "plain"))
        shown: list[Part] = []
        if spec.html is not None:
            shown = [part for ref, part in attached if ref.inline]
            leaf = self._body_leaf("html", "html")
            parts.append(Multi("related", "r", (leaf, *shown)) if shown else leaf)
        body = Multi("alternative", "a", tuple(parts)) if len(parts) > 1 else parts[0]
        rest = [part for _, part in attached if part not in shown]
        return Multi("mixed", "m", (body, *rest)) if rest else body

    def _body_leaf(self, key: str, subtype: str) -> Leaf:
        head = b"Content-Type: text/%b; charset=utf-8\r\n" % subtype.encode()
        if key in self._index:
            return Leaf((head, Slot(key)))
        encoding, lines = encode_text(self._constant.get(key, ""), alone=self._alone)
        return Leaf((head, b"Content-Transfer-Encoding: %b\r\n\r\n" % encoding, constant_body(lines)))

    def _attachment(self, i: int, ref: AttachmentRef) -> Leaf:
        kind = "application/octet-stream" if ref.type.lower().startswith("message/") else ref.type
        head = f"Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n".encode()
        if ref.cid:
            head += f"Content-ID: <{ref.cid}>\r\n".encode()
        name = self._text(f"name:{i}", partial(headers.disposition, _kind(ref)))
        return Leaf((head, name, b"\r\n", Shared(base64_lines(self._blobs.get(ref.sha, b"")) or b"\r\n")))


def envelope_address(spec: Spec) -> str:
    """MAIL FROM of a spec whose From is constant. Raises InputError."""
    if spec.return_path is not None:
        return _path(spec.return_path)
    try:
        return parse_mailbox(spec.from_).address
    except AddressError as error:
        raise _bad_mailbox("from", spec.from_, error) from None


def _refuse_odd_names(spec: Spec) -> None:
    """What goes into headers unencoded, checked once more: a spec comes out of Redis, not from `Message`."""
    for name, _ in spec.headers:
        if not headers.is_field_name(name):
            raise InputError(f"{name[:60]!r} is no header name.", code="bad_message")
    for ref in spec.attachments:
        told = ref.type + (ref.cid or "")
        if not told.isascii() or not told.isprintable():
            raise InputError("The type or cid of an attachment holds odd characters.", code="bad_message")


def _path(text: str) -> str:
    """A return path as MAIL FROM wants it; `<>` is the empty one (RFC 5321, 4.5.5)."""
    if text.strip() in ("", "<>"):
        return ""
    try:
        return parse_mailbox(text).address
    except AddressError as error:
        raise _bad_mailbox("return_path", text, error) from None


def _listed(label: str, text: str) -> tuple[Mailbox, ...]:
    try:
        return parse_mailboxes(text)
    except AddressError as error:
        raise _bad_mailbox(label, text, error) from None


def _bad_mailbox(label: str, text: str, error: AddressError) -> InputError:
    return InputError(f'{label} "{text[:60]}": {error}.', code="bad_address")


def _reply_to_line(box: _BoxTemplate, texts: Sequence[str]) -> bytes:
    """Several mailboxes are welcome, and none at all (`{{ agent|default("") }}`): then the field is left out."""
    if box.name is not None:
        return headers.mailboxes("Reply-To", (box.read(texts),))
    text = headers.one_line(box.address if isinstance(box.address, str) else texts[box.address])
    try:
        return headers.mailboxes("Reply-To", parse_mailboxes(text)) if text else b""
    except AddressError:
        raise RenderError("reply_to does not become a mailbox") from None


def _kind(ref: AttachmentRef) -> str:
    return "inline" if ref.inline else "attachment"


def _field(name: str) -> Callable[[str], bytes]:
    def encode(value: str) -> bytes:
        return headers.unstructured(name, headers.one_line(value))

    return encode


def _body(text: str, *, alone: bool) -> bytes:
    encoding, lines = encode_text(text, alone=alone)
    return b"Content-Transfer-Encoding: %b\r\n\r\n%b" % (encoding, lines)
