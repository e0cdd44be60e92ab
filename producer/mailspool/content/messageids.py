"""The Message-IDs of a batch, for who only names them: `show`, `retry`.

Called by client/browse.py. The same ids as `Compiled.message_id` answers; but where From is the same in all mails, no
template engine is loaded for them. Raises InputError (the spec).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mailspool.content.address import AddressError, parse_mailbox
from mailspool.content.guesses import is_template
from mailspool.content.headers import message_id
from mailspool.contract.records import Row, Spec

if TYPE_CHECKING:
    from mailspool.content.mime import Compiled


class MessageIds:
    """Of one batch."""

    def __init__(self, spec: Spec, *, batch: str) -> None:
        self._spec = spec
        self._batch = batch
        self._domain = _domain_of_all(spec)
        self._compiled: Compiled | None = None

    def of(self, row: Row, n: int) -> str:
        """In angle brackets; empty if its values are gone and From needs them."""
        if self._domain and row.raw is None:
            return message_id(self._batch, n, self._domain)
        if self._compiled is None:
            from mailspool.content.mime import Compiled  # here: it loads jinja2

            # Attachments need not be fetched for a Message-ID.
            self._compiled = Compiled(self._spec, {}, batch=self._batch, date_ms=0)
        return self._compiled.message_id(row, n)


def _domain_of_all(spec: Spec) -> str:
    """The domain of From, if no row decides it; else nothing."""
    if spec.kind == "mime" or (spec.kind == "template" and is_template(spec.from_)):
        return ""
    try:
        return parse_mailbox(spec.from_).address.rpartition("@")[2]
    except AddressError:
        return ""  # mime.py says what is wrong with it
