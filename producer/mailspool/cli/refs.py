"""BATCH as people type it: what `Spool.batch` knows, and a suggestion where it knows nothing.

Used by every command that takes a BATCH. Raises NotFound (66); people call a batch by the key or name that they gave
it, so these are looked for among the latest batches. Known limit: an older batch is not suggested.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from mailspool.errors import NotFound

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.spool import Spool

_AMONG: Final = 200
"""One round trip each, and only after a reference that nobody has."""
_SHOWN: Final = 3
_OURS: Final = ("content:", "once:")
"""Keys that `send` makes; nobody types them."""


async def known_batch(spool: Spool, ref: str) -> Batch:
    """The batch; else NotFound, with what the person may have meant."""
    try:
        return await spool.batch(ref)
    except NotFound as error:
        if error.code != "no_such_batch":  # there is one, and it cannot be read
            raise
        meant = await _meant(spool, ref.removeprefix("key:").casefold())
        if not meant and ref != "last" and difflib.get_close_matches(ref.casefold(), ("last",)):
            meant = ["last"]
        if not meant:
            raise
        raise NotFound(
            f"{error.message} Did you mean {' or '.join(meant)}?", hint=error.hint, code=error.code
        ) from None


async def _meant(spool: Spool, typed: str) -> list[str]:
    """References that work: the beginning of a key is what people type, or the name of a batch."""
    found: list[str] = []
    if not typed:
        return found
    async for batch in spool.batches(_AMONG):
        key = batch.key or ""
        if key.casefold().startswith(typed) and not key.startswith(_OURS):
            found.append(f"key:{key}")
        elif batch.name.casefold().startswith(typed):
            found.append(f"{batch.id} ({batch.name})")
        if len(found) == _SHOWN:
            break
    return found
