"""The panic button: the whole spool, a class of mail, or one relay, for everybody, until somebody resumes it.

Called by Spool. A pause is a field of `ms:paused`: nothing paused is fed, workers take its batches as held within a
renewal (5 s), and a relay's workers close it within a second or so. What is on the wire finishes. Each may be said
twice: the second call changes nothing, not even since when. Raises InputError (no such class), NotFound (no such
relay).
Known limit: `resume` of the whole spool leaves a paused class or relay paused; they are resumed by name.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailspool.client.browse import totals
from mailspool.client.connection import Connection
from mailspool.client.relays import known_relay
from mailspool.contract.states import CLASSES, Class
from mailspool.errors import InputError


def classes_of(class_: Class | None) -> tuple[Class, ...]:
    """All of them for None. Raises InputError for a class that there is not."""
    if class_ is None:
        return CLASSES
    if class_ not in CLASSES:
        raise InputError(f'no class "{str(class_)[:40]}": {" and ".join(CLASSES)}.', code="no_such_class")
    return (class_,)


async def pause(connection: Connection, class_: Class | None) -> int:
    """How many mails wait behind it; 0 where it was paused already."""
    classes = classes_of(class_)
    return await _waiting(connection, classes) if await connection.moves.pause(class_ or "spool") else 0


async def resume(connection: Connection, class_: Class | None) -> int:
    """How many mails waited behind it; 0 where it was not paused."""
    classes = classes_of(class_)
    if not await connection.moves.unpause(class_ or "spool"):
        return 0
    for each in classes:
        connection.feed(each)
    return await _waiting(connection, classes)


async def pause_relay(connection: Connection, name: str) -> bool:
    """False where it was paused already."""
    return bool(await connection.moves.pause(f"relay:{await known_relay(connection, name)}"))


async def resume_relay(connection: Connection, name: str) -> bool:
    """Also one that its workers have closed looks again at once. False where no person had paused it."""
    return bool(await connection.moves.unpause(f"relay:{await known_relay(connection, name)}"))


async def _waiting(connection: Connection, classes: Sequence[Class]) -> int:
    found = await totals(connection, classes)
    return found["total"] - found["ended"] - found["n_uncertain"]
