"""The key of a list that was sent without one: the same command again is recognised by its whole content. Pure.

Used by send.py. Two commands have the same key if everything that decides which mails arise is the same: the template
with its files, the bytes of the list, and how the list is read. Its name, dates, class and relay do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "content:"
ONCE: Final = "once:"
"""Keys of one run: nobody types them, and no other run has them."""
_VERSION: Final = "1"
"""Part of what is hashed: another way to hash must never call two contents the same."""


def list_digest(blocks: Iterable[bytes]) -> str:
    """Of the list's bytes, as they come."""
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return found.hexdigest()


def content_key(template_digest: str, rows_digest: str, reading: Mapping[str, str | None]) -> str:
    """`reading`: the flags that change what the list's bytes mean; those left out (None) do not count."""
    given = {name: value for name, value in sorted(reading.items()) if value is not None}
    whole = json.dumps([_VERSION, template_digest, rows_digest, given], ensure_ascii=True)
    return PREFIX + hashlib.sha256(whole.encode()).hexdigest()[:32]
