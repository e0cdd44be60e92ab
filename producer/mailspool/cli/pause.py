"""`mailspool pause` and `mailspool resume`: the whole spool or a class, for everybody, until resumed.

What is on the wire finishes. Nothing to do is no error. The answer is `{batch, moved, class, changed}`: `batch` is
null, `moved` the mails that wait behind the pause, `changed` false where it was so already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailspool.cli.options import Ask, ClassName

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.spool import Spool
    from mailspool.status import SpoolStatus

OneClass = Annotated[
    ClassName | None, typer.Option("--class", help="Only mail of this class; without it the whole spool.")
]


def pause(ask: Ask, class_: OneClass = None) -> int:
    """Stop the whole spool, or a class, for everybody until resumed."""
    from mailspool.cli import interrupt

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            was = await _is_paused(spool, class_)
            moved = await spool.pause(class_)
            far = " already" if was else f": {_mails(moved)}"
            _answer(ask, class_, moved, not was, f"{_what(class_)} is paused{far}.   Go on:  {_resume(class_)}")
        return 0

    return interrupt.run(main)


def resume(ask: Ask, class_: OneClass = None) -> int:
    """Let a paused spool, or class, go on."""
    from mailspool.cli import interrupt

    async def main(signals: Signals) -> int:
        async with ask.opened() as spool:
            was = await _is_paused(spool, class_)
            moved = await spool.resume(class_)
            far = f"goes on: {_mails(moved, 'waited')}" if was else "was not paused"
            _answer(ask, class_, moved, was, f"{_what(class_)} {far}.")
            _tell_others(ask, await spool.status())
            await _tell_relays(ask, spool)
        return 0

    return interrupt.run(main)


def _answer(ask: Ask, class_: ClassName | None, moved: int, changed: bool, words: str) -> None:
    if ask.say.json:
        ask.say.object({"batch": None, "moved": moved, "class": class_, "changed": changed})
    else:
        ask.say.text(words)


def _tell_others(ask: Ask, status: SpoolStatus) -> None:
    """What stays paused: somebody did that on purpose, perhaps somebody else."""
    for pause in status.paused:
        what = None if pause.what == "spool" else pause.what
        ask.say.notice("paused", f"{_what(what)} stays paused.   Go on:  {_resume(what)}")
    if not status.workers and status.queued + status.deferred:
        ask.say.notice("no_worker", "No worker is running. Start one:  mailspool worker")


async def _is_paused(spool: Spool, class_: ClassName | None) -> bool:
    """Before this call: how many mails wait is no sign of it, an empty spool may be paused, too."""
    return any(pause.what == (class_ or "spool") for pause in (await spool.status()).paused)


async def _tell_relays(ask: Ask, spool: Spool) -> None:
    for relay in await spool.relays():
        if relay.since is not None:
            go_on = f"mailspool relay resume {relay.name}"
            ask.say.notice("paused", f"The relay {relay.name} stays paused.   Go on:  {go_on}")


def _what(class_: str | None) -> str:
    return f"{class_.capitalize()} mail" if class_ else "The spool"


def _resume(class_: str | None) -> str:
    return f"mailspool resume --class {class_}" if class_ else "mailspool resume"


def _mails(number: int, verb: str = "") -> str:
    from mailspool.cli.screens import counted

    if not number:
        return f"no mail {verb or 'waits'}"
    return f"{counted(number, 'mail')} {verb or ('waits' if number == 1 else 'wait')}"
