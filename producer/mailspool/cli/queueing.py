"""What `send` does inside the loop: check or queue, say what became of it, then watch or deliver.

Every upload of the command line has a key, if only one for this run (`once:...`): so after Ctrl-C the spool itself
tells whether the commit had happened. Raises Interrupted with exactly that, and what Spool raises.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypedDict

from mailspool.cli import screens
from mailspool.cli.content_key import ONCE, PREFIX, content_key
from mailspool.cli.ending import end
from mailspool.cli.failures import Interrupted
from mailspool.cli.interrupt import stoppable
from mailspool.cli.live import patience
from mailspool.cli.options import Ask
from mailspool.cli.paint import harmless
from mailspool.cli.recipients import Addresses, ListSource
from mailspool.cli.when import Moment
from mailspool.cli.wording import in_flags, of_addresses
from mailspool.client.specs import template_spec
from mailspool.content.digest import digest
from mailspool.errors import ConfigError, InputError, KeyConflict, NotFound, SpoolUnavailable
from mailspool.lists import ListOptions, empty_list, open_rows
from mailspool.spool import Spool

if TYPE_CHECKING:
    from mailspool.batch import Batch
    from mailspool.cli.interrupt import Signals
    from mailspool.cli.send import Order
    from mailspool.contract.states import Class, OnUncertain
    from mailspool.message import Message
    from mailspool.settings import Settings
    from mailspool.status import BatchStatus


@dataclass(frozen=True)
class Sent:
    """What one `send` queued; its JSON."""

    batch: str
    queued: int
    skipped: int
    duplicates: int
    created: bool
    rejects: str | None
    skipped_bad: int

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class Common(TypedDict):
    """The terms as Spool takes them."""

    class_: Class
    name: str | None
    send_at: datetime | None
    expires_after: timedelta | None
    expires_at: datetime | None
    on_uncertain: OnUncertain | None
    relay: str | None
    hold: bool


class Queueing:
    """One run."""

    def __init__(
        self,
        ask: Ask,
        order: Order,
        message: Message | bytes,
        who: Addresses | ListSource,
        signals: Signals,
        now: datetime,
    ) -> None:
        self._ask, self._say, self._order = ask, ask.say, order
        self._message, self._who = message, who
        self._signals, self._now = signals, now
        self._described = ""
        self._rejects: Path | None = None

    async def run(self) -> int:
        try:
            if isinstance(self._who, ListSource):
                await self._look(self._who)
            spool = self._ask.spool()
            if self._order.after.dry_run:
                return await self._check(spool)
            key = self._key(spool.settings)
            await _opened(spool)
        except asyncio.CancelledError:
            raise self._nothing_queued() from None
        async with spool:
            batch = await self._known_or_queued(spool, key)
            if not self._order.after.waits:
                return 0
            return await end(self._ask, self._order.after, batch, spool, self._signals)

    # -- the list

    async def _look(self, who: ListSource) -> None:
        """What kind of list it is, and whether it holds anything."""
        empty = True
        async with open_rows(who.again(), self._options(who)) as source:
            self._described = source.describe()
            self._rejects = source.reject_form.path if source.reject_form is not None else None
            async for _ in source.batches():
                empty = False
                break
        if empty and not self._order.reading.allow_empty:
            raise empty_list(who.title)

    def _options(self, who: ListSource) -> ListOptions:
        reading = self._order.reading
        return ListOptions(
            format=reading.to_format,
            encoding=reading.encoding,
            delimiter=reading.delimiter,
            email_column=reading.email_column,
            row_key=reading.row_key,
            title=None if isinstance(who.rows, Path) else who.title,
        )

    def _rows(self) -> Path | BinaryIO | Sequence[str]:
        return self._who.cells if isinstance(self._who, Addresses) else self._who.again()

    def _list_options(self) -> ListOptions | None:
        return None if isinstance(self._who, Addresses) else self._options(self._who)

    def _note_list(self, rows: int) -> None:
        """`customers.csv   UTF-8, comma, 50,000 rows: email name`."""
        if isinstance(self._who, ListSource):
            shape, colon, columns = self._described.partition(": ")
            count = screens.counted(rows, "row")
            self._say.note(f"{harmless(self._who.title)}   {shape}, {count}{colon}{harmless(columns)}")

    def _note_subject(self) -> None:
        if self._order.content.lacks_subject:
            self._say.notice("no_subject", "No subject: many receivers treat that as spam. Give --subject.")

    # -- check

    async def _check(self, spool: Spool) -> int:
        reading = self._order.reading
        try:
            async with patience(self._say, "every row is checked and rendered; nothing is queued"):
                report = await spool.check(
                    self._message,
                    self._rows(),
                    on_bad_row="skip" if reading.skip_bad else "refuse",
                    duplicates=reading.duplicates or "refuse",
                    row_key=reading.row_key,
                    list_options=self._list_options(),
                )
        except InputError as error:
            raise self._in_flags(error) from None
        if self._say.json:
            self._say.object(report.to_dict())
        else:
            self._note_list(report.rows)
            mails = screens.counted(report.good, "mail")
            self._say.text(f"{mails} checked and rendered; nothing was queued (--dry-run).")
        self._note_subject()
        if report.bad:
            left_out = f"{screens.counted(report.bad, 'bad row')} left out; a dry run writes no file of them"
            self._say.notice("skipped_bad", f"{left_out}: without --dry-run they go to {self._rejects_name()}.")
        return 0

    def _rejects_name(self) -> str:
        return harmless(str(self._order.reading.rejects or self._rejects or "a file beside the list"))

    # -- queue

    def _key(self, settings: Settings) -> str:
        terms = self._order.terms
        if terms.key is not None:
            return terms.key
        if isinstance(self._who, Addresses) or terms.again:
            return ONCE + secrets.token_hex(8)
        try:
            spec, _ = template_spec(self._message, settings)
        except InputError as error:
            raise self._in_flags(error) from None
        return content_key(digest(spec), self._who.digest, self._order.reading.meaning())

    async def _known_or_queued(self, spool: Spool, key: str) -> Batch:
        """The batch; how it stands now is said to the person."""
        batch: Batch | None = None
        try:
            before = None if key.startswith(ONCE) else await batch_of(spool, key)
            if before is not None and key.startswith(PREFIX):
                return await self._already(*before)
            async with patience(self._say, self._patience_words()):
                batch = await self._queue(spool, key, None if before is None else before[1].total)
            status, workers = await batch.status(), (await spool.status()).workers
        except asyncio.CancelledError:
            raise (self._nothing_queued() if batch is None else self._just_queued(batch.id)) from None
        except SpoolUnavailable as error:
            if batch is None:
                raise
            words = f"{batch.added:,} queued as {batch.id}, but {error.message}"
            raise SpoolUnavailable(words, hint=f"mailspool watch {batch.id}") from None
        self._tell(batch, status, workers)
        return batch

    def _patience_words(self) -> str:
        title = self._who.title if isinstance(self._who, ListSource) else "the mail"
        return f"{harmless(title)}: every row is checked, then all is queued at once; Ctrl-C queues nothing"

    async def _queue(self, spool: Spool, key: str, total: int | None) -> Batch:
        reading = self._order.reading
        try:
            return await stoppable(
                spool.send_batch(
                    self._message,
                    self._rows(),
                    key=key,
                    on_bad_row="skip" if reading.skip_bad else "refuse",
                    duplicates=reading.duplicates or "refuse",
                    row_key=reading.row_key,
                    list_options=self._list_options(),
                    rejects=reading.rejects,
                    **self._common(),
                )
            )
        except asyncio.CancelledError:
            # The upload has been given up by now, so what the key shows is final.
            after = await batch_of(spool, key)
            if after is not None and after[1].total != total:
                raise self._just_queued(after[0].id) from None
            raise
        except InputError as error:
            raise self._in_flags(error) from None
        except SpoolUnavailable as error:
            raise _in_doubt(error, key) from None

    def _common(self) -> Common:
        terms = self._order.terms
        expires = terms.expires or Moment()
        return {
            "class_": terms.class_ or ("transactional" if isinstance(self._who, Addresses) else "bulk"),
            "name": terms.name,
            "send_at": terms.at.from_(self._now) if terms.at is not None else None,
            "expires_after": expires.after,
            "expires_at": expires.at,
            "on_uncertain": terms.on_uncertain,
            "relay": terms.relay,
            "hold": terms.hold,
        }

    def _in_flags(self, error: InputError) -> InputError:
        return of_addresses(error) if isinstance(self._who, Addresses) else in_flags(error)

    def _nothing_queued(self) -> Interrupted:
        return Interrupted("Interrupted: nothing was queued.", self._signals.exit_code)

    def _just_queued(self, batch: str) -> Interrupted:
        words = f"Interrupted just after it was queued as {batch}. Undo it: mailspool cancel {batch}"
        return Interrupted(words, self._signals.exit_code)

    # -- say it

    async def _already(self, batch: Batch, status: BatchStatus) -> Batch:
        """The same command again."""
        if status.state == "cancelled":
            raise KeyConflict(
                f"this mail was queued for this list before, as {batch.id}, and cancelled. Nothing was queued. "
                "To mail everybody after all: --again.",
                hint="--again",
            )
        words = screens.already_line(status, self._now)
        if self._say.json:
            if not self._order.after.waits:
                self._say.notice("already_queued", words)
            self._say.object(Sent(batch.id, 0, status.total, 0, False, None, 0).to_dict())
        elif self._say.to_terminal:
            self._say.text(words)
        else:
            self._say.notice("already_queued", words)
            self._answer(batch.id)
        return batch

    def _tell(self, batch: Batch, status: BatchStatus, workers: int) -> None:
        rejects = str(batch.rejects) if batch.rejects is not None else None
        if self._say.json:
            sent = Sent(
                batch.id, batch.added, batch.skipped_known, batch.duplicates, batch.created, rejects, batch.skipped_bad
            )
            self._say.object(sent.to_dict())
        else:
            self._note_list(batch.added + batch.skipped_known + batch.skipped_bad + batch.duplicates)
            if self._say.to_terminal:
                self._say.lines([screens.queued_line(status, batch.added, self._now)])
            else:
                self._answer(batch.id)
        self._note_subject()
        for code, words in screens.send_notices(batch, status, workers, deliver=self._order.after.deliver):
            self._say.notice(code, words)

    def _answer(self, batch: str) -> None:
        """`B=$(mailspool send ...)`; where a report follows it begins with the same word."""
        if not self._order.after.waits:
            self._say.text(batch)


async def _opened(spool: Spool) -> None:
    """An error at this point leaves no doubt about the mail."""
    try:
        await stoppable(spool.open())
    except SpoolUnavailable as error:
        raise SpoolUnavailable(f"{error.message} Nothing was queued.", hint=error.hint) from None
    except ConfigError as error:
        words = f"{error.message} Nothing was queued."
        raise ConfigError(words, hint=error.hint, code=error.code, exit_code=error.exit_code) from None


async def batch_of(spool: Spool, key: str) -> tuple[Batch, BatchStatus] | None:
    """The committed batch of a key."""
    try:
        batch = await spool.batch(f"key:{key}")
        status = await batch.status()
    except NotFound:
        return None
    return None if status.state == "loading" else (batch, status)


def _in_doubt(error: SpoolUnavailable, key: str) -> SpoolUnavailable:
    """A key of this run alone makes no second run safe."""
    if error.acknowledged is not None or not key.startswith(ONCE):
        return error
    return SpoolUnavailable(
        "the connection to Redis was lost while the mail was being queued; it may be queued or not. "
        "Look at `mailspool status` before you send it again.",
        acknowledged=None,
    )
