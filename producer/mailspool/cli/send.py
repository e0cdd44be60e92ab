"""`mailspool send`: one mail to addresses, or a template to a list; queued, watched, or delivered here and now.

Everything is checked, then one commit; until it returns nothing is queued. A list without `--key` has one made from
its whole content, so that the same command again queues nothing. Addresses are rows of a list of their own: the same
template means the same for a test to yourself as for the list, and nobody sees the others.
Exit: 0, with --watch and --deliver 1 and 75 too; 65 bad input, 66 no such file, 69, 73, 78, 130 (see failures.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mailspool.cli import send_flags as flag
from mailspool.cli.failures import Usage
from mailspool.cli.letter import Content
from mailspool.cli.options import Ask, ClassName, loading
from mailspool.cli.recipients import STDIN, Addresses, ListSource, recipients
from mailspool.cli.when import Moment
from mailspool.errors import ConfigError

if TYPE_CHECKING:
    from mailspool.cli.interrupt import Signals
    from mailspool.message import Message


@dataclass(frozen=True)
class Reading:
    """How the list is read."""

    skip_bad: bool
    rejects: Path | None
    allow_empty: bool
    duplicates: flag.SameAddress | None
    row_key: str | None
    email_column: str | None
    encoding: str | None
    delimiter: str | None
    to_format: flag.ListFormat | None

    def check(self) -> None:
        if self.rejects is not None and not self.skip_bad:
            raise Usage("--rejects names the file for the rows that --skip-bad leaves out: give both.")

    def check_addresses(self) -> None:
        """What is typed about a list must not be lost in silence where there is none."""
        given = [name for name, value in vars(self).items() if value not in (None, False)]
        if given:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise Usage(f"{flags}: only for a list in a file or on stdin.")

    def meaning(self) -> dict[str, str | None]:
        """What decides which mails the list's bytes become."""
        names = ("duplicates", "row_key", "email_column", "encoding", "delimiter", "to_format")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Terms:
    """When, how and under which name."""

    name: str | None
    key: str | None
    class_: ClassName | None
    at: Moment | None
    expires: Moment | None
    relay: str | None
    on_uncertain: flag.Uncertain | None
    hold: bool
    again: bool

    def check(self) -> None:
        if self.again and self.key is not None:
            raise Usage("--again mails everybody once more, --key does not: give one of them.")


@dataclass(frozen=True)
class After:
    """What happens once it is queued, or instead."""

    watch: bool
    deliver: bool
    timeout: timedelta | None
    dry_run: bool
    rehearse: bool = False

    @property
    def waits(self) -> bool:
        return self.watch or self.deliver

    def check(self, terms: Terms) -> None:
        if self.timeout is not None and not self.waits and not self.rehearse:
            raise Usage("--timeout bounds --watch or --deliver: give one of them.")
        if self.rehearse and (self.waits or self.dry_run):
            raise Usage("--rehearse queues nothing: give it without --watch, --deliver and --dry-run.")
        if self.dry_run and self.waits:
            raise Usage("--dry-run queues nothing, so there is nothing to wait for.")
        if self.deliver and terms.hold:
            raise Usage("--hold keeps the mail back, --deliver sends it: give one of them.")


EXAMPLES: Final = """\b
mailspool send --from you@example.com --subject 'Hi {{ name }}' --text hello.txt --to people.csv --key hello
mailspool send --from you@example.com --subject Test --body 'It works.' --to you@example.com
mailspool send --eml finished.eml --to - < addresses.txt
"""


@dataclass(frozen=True)
class Order:
    """One `send` as it was typed."""

    content: Content
    to: tuple[str, ...]
    reading: Reading
    terms: Terms
    after: After

    def check(self) -> None:
        """Usage, before anything is opened."""
        self.content.check(stdin_is_list=STDIN in self.to)
        self.reading.check()
        self.terms.check()
        self.after.check(self.terms)
        if not self.to and self.content.eml is None:
            raise Usage("nobody gets it: give --to FILE, --to ADDRESS, or --to - for a list on stdin.")


def send(
    ask: Ask,
    from_: flag.From = None,
    to: flag.To = None,
    subject: flag.Subject = None,
    text: flag.Text = None,
    html: flag.Html = None,
    body: flag.Body = None,
    attach: flag.Attach = None,
    eml: flag.Eml = None,
    reply_to: flag.ReplyTo = None,
    header: flag.Header = None,
    watch: flag.Watch = False,
    deliver: flag.Deliver = False,
    timeout: flag.FollowTime = None,
    dry_run: flag.DryRun = False,
    rehearse: flag.Rehearse = False,
    key: flag.Key = None,
    again: flag.Again = False,
    name: flag.Name = None,
    class_: flag.Class = None,
    at: flag.At = None,
    expires: flag.Expires = None,
    hold: flag.Hold = False,
    relay: flag.RelayName = None,
    on_uncertain: flag.OnUncertain = None,
    skip_bad: flag.SkipBad = False,
    rejects: flag.Rejects = None,
    duplicates: flag.Duplicates = None,
    row_key: flag.RowKey = None,
    allow_empty: flag.AllowEmpty = False,
    email_column: flag.EmailColumn = None,
    encoding: flag.Encoding = None,
    delimiter: flag.Delimiter = None,
    to_format: flag.ToFormat = None,
) -> int:
    """Queue a mail for addresses or a list.

    Subject and texts are Jinja2 templates; the names in them are the columns of the list. Everything is checked first,
    then all of it is queued, or nothing.
    """
    order = Order(
        Content(from_, subject, text, html, body, eml, tuple(attach or ()), tuple(header or ()), reply_to),
        tuple(to or ()),
        Reading(skip_bad, rejects, allow_empty, duplicates, row_key, email_column, encoding, delimiter, to_format),
        Terms(name, key, class_, at, expires, relay, on_uncertain, hold, again),
        After(watch, deliver, timeout, dry_run, rehearse),
    )
    order.check()
    return _prepared(ask, order)


def _prepared(ask: Ask, order: Order) -> int:
    """What blocks is done before the loop runs, so that Ctrl-C ends it at once: then nothing was queued."""
    settings = ask.settings()
    ask.tell_unknown_variables()  # MAILSPOOL_REDIS_URI: it would be queued in another spool, without a word
    if order.after.deliver and not settings.relay_table():
        raise ConfigError(f"{settings.no_relay_words()} Nothing was queued.", code="no_relay")
    message = order.content.message(settings.default_from)
    if not order.to:
        assert isinstance(message, bytes)  # noqa: S101 - Order.check: without --to it is a finished mail
        return _run(ask, order, message, Addresses(receivers_of(message)))
    with recipients(order.to, ask.say) as who:
        return _run(ask, order, message, who)


def receivers_of(mail: bytes) -> tuple[str, ...]:
    """Whom a finished mail names."""
    from mailspool.content.incoming import mime_to_spec

    _, boxes = mime_to_spec(mail)
    if not boxes:
        raise Usage("the finished mail names nobody: give --to.")
    return tuple(box.address for box in boxes)


def _run(ask: Ask, order: Order, message: Message | bytes, who: Addresses | ListSource) -> int:
    if isinstance(who, Addresses):
        order.reading.check_addresses()
    with loading():
        # What Spool loads with its first mail, too: in its loop that would take longer, and Ctrl-C would wait for it.
        import mailspool.client.sending  # noqa: F401
        from mailspool.cli import interrupt
        from mailspool.cli.queueing import Queueing

    kind: type[Queueing] = Queueing
    if order.after.rehearse:
        from mailspool.cli.rehearse import Rehearsal as kind  # noqa: N813 - a kind of Queueing

    async def main(signals: Signals) -> int:
        return await kind(ask, order, message, who, signals, datetime.now(UTC)).run()

    return interrupt.run(main, fast=order.after.deliver or order.after.rehearse)
