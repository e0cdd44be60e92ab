"""A batch's spec and its rows -> the bytes of each mail.

Called by the worker for each attempt, by the producer for checks and previews. Pure: spec, row, n and date decide every
byte, so all attempts are identical. `compose.py` makes mails of template and literal specs; finished MIME goes out as
it is, with Date and Message-ID put first if they are missing. Bytes have CRLF line ends and are not dot-stuffed.
Raises InputError (the spec), RenderError (this row), and KeyError for a row whose attachments were not given: who
only wants sizes of texts or Message-IDs may leave the blobs out.
"""

from __future__ import annotations

from collections.abc import Mapping

from mailspool.content import finished, headers
from mailspool.content.compose import UNKNOWN_SIZE as UNKNOWN_SIZE
from mailspool.content.compose import Composed, envelope_address
from mailspool.content.compose import Rendered as Rendered
from mailspool.content.headers import message_id as message_id
from mailspool.content.render import RenderError as RenderError
from mailspool.contract.records import Row, Spec
from mailspool.errors import InputError

_ADDED = 400
"""Room for Date and Message-ID before finished MIME."""


class Compiled:
    """A batch ready to be rendered. Takes milliseconds to make: keep it as long as the batch is in work."""

    def __init__(self, spec: Spec, blobs: Mapping[str, bytes], *, batch: str, date_ms: int) -> None:
        self._batch = batch
        self._date = headers.date(date_ms)
        self._content: Composed | finished.Finished
        self._mail_from: str | None
        if spec.kind == "mime":
            self._mail_from = envelope_address(spec)
            try:
                self._content = finished.inspect(spec.mime)
            except finished.MimeError as error:
                raise InputError(f"The finished mail cannot be sent: {error}.", code="bad_mime") from None
        else:
            self._content = Composed(spec, blobs, batch=batch, date_line=self._date)
            self._mail_from = self._content.mail_from

    def render(self, row: Row, n: int) -> Rendered:
        """The mail of this row, message `n` of its batch. Raises RenderError."""
        if row.raw is not None:
            try:
                return self._as_it_is(finished.inspect(row.raw), row, n)
            except finished.MimeError as error:
                raise RenderError(f"its own content cannot be sent: {error}") from None
        if isinstance(self._content, Composed):
            return self._content.render(row, n)
        return self._as_it_is(self._content, row, n)

    def upper_bound(self, row: Row) -> int:
        """No mail of this row is larger; `UNKNOWN_SIZE` if only rendering can tell. Far cheaper than rendering."""
        if row.raw is not None:
            return len(row.raw) + _ADDED
        if isinstance(self._content, Composed):
            return self._content.upper_bound(row)
        return len(self._content.data) + _ADDED

    def shared_bytes(self, row: Row) -> int:
        """How much of this row's mail lies in memory once for the whole batch: attachments, finished MIME."""
        if row.raw is not None:
            return 0
        return self._content.shared_size if isinstance(self._content, Composed) else len(self._content.data)

    def message_id(self, row: Row, n: int) -> str:
        """The Message-ID of this row's mail, in angle brackets; empty if its values are gone and From needs them."""
        try:
            if row.raw is None and isinstance(self._content, Composed):
                return message_id(self._batch, n, self._content.domain(row))
            mail = finished.inspect(row.raw) if row.raw is not None else self._content
        except (RenderError, finished.MimeError):
            return ""
        own = mail.message_id if isinstance(mail, finished.Finished) else ""
        return own or self._made_id(row.mail_from or self._mail_from or "", n)

    @property
    def from_varies(self) -> bool:
        return isinstance(self._content, Composed) and self._content.from_varies

    def sender(self, row: Row) -> str:
        """Whom a receiver takes for this row's sender, an address; far cheaper than rendering. Raises RenderError."""
        if row.raw is None and isinstance(self._content, Composed):
            return self._content.sender(row)
        return row.mail_from or self._mail_from or ""

    def _made_id(self, mail_from: str, n: int) -> str:
        domain = mail_from.rpartition("@")[2] or (self._mail_from or "").rpartition("@")[2] or "localhost"
        return message_id(self._batch, n, domain)

    def _as_it_is(self, mail: finished.Finished, row: Row, n: int) -> Rendered:
        mail_from = self._mail_from if row.mail_from is None else row.mail_from
        if mail_from is None:
            raise RenderError("its own content comes without an envelope sender")
        first = b"" if mail.has_date else self._date
        if not mail.message_id:
            first += f"Message-ID: {self._made_id(mail_from, n)}\r\n".encode()
        smtputf8 = mail.smtputf8 or not (row.recipient.isascii() and mail_from.isascii())
        pieces = (first, mail.data) if first else (mail.data,)
        return Rendered(mail_from, pieces, len(first) + len(mail.data), mail.eight_bit, smtputf8)
