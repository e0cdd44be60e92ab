"""What every command is given (`Ask`), the global flags, and flags that several commands share.

A command is a plain function whose first parameter is `ask: Ask`; main.py registers `with_globals(function)`, so that
`--json` and the others may stand before or after the command's name. The function answers its exit code.
Raises ConfigError where the settings are asked for, typer.BadParameter for a WHEN or DUR that is none.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from mailspool.cli import when as times
from mailspool.cli.say import Say

if TYPE_CHECKING:
    from mailspool.settings import Settings
    from mailspool.spool import Spool

ClassName = Literal["transactional", "bulk"]


@dataclass(frozen=True)
class Globals:
    """The flags that every command has."""

    json: bool = False
    quiet: bool = False
    config: Path | None = None
    redis_url: str | None = None

    def over(self, other: Globals) -> Globals:
        """These, and where they are silent the others: a flag after the command beats the same before it."""
        return Globals(
            self.json or other.json,
            self.quiet or other.quiet,
            self.config or other.config,
            self.redis_url or other.redis_url,
        )


class ReaderGone(Exception):  # noqa: N818 - `mailspool show last | head` is no error
    """Whoever read the answer has enough."""


class Run:
    """One run of the command line: the flags before the command's name, and the command's Ask once it is known."""

    def __init__(self) -> None:
        self.before = Globals()
        self.ask: Ask | None = None


@contextmanager
def loading() -> Iterator[None]:
    """Around imports of much: nothing they make is garbage, and looking for it takes a fifth of their time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class Ask:
    """What a command is given: where to speak, and the way to settings and spool."""

    def __init__(self, flags: Globals) -> None:
        self.flags = flags
        self.say = Say(json=flags.json, quiet=flags.quiet)
        self._settings: Settings | None = None

    def settings(self, *, tell: bool = True, **overrides: object) -> Settings:
        """Read once; what people should know about them is said then (`tell`: unless somebody else does)."""
        if self._settings is None:
            with loading():
                from mailspool.settings import Settings

            if self.flags.redis_url is not None:
                overrides["redis_url"] = self.flags.redis_url
            self._settings = Settings.load(self.flags.config, **overrides)
            for sentence in self._settings.warnings if tell else ():
                self.say.notice("settings", sentence)
        return self._settings

    def tell_unknown_variables(self) -> None:
        """MAILSPOOL_* that set nothing: told where mail is queued or leaves, or where people look for it."""
        with loading():
            from mailspool.settings import unknown_variables

        for sentence in unknown_variables():
            self.say.notice("unknown_variable", sentence)

    def spool(self) -> Spool:
        """Make it inside the loop that uses it."""
        with loading():
            from mailspool.spool import Spool

        return Spool(self.settings())

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Spool]:
        """It, open: a terminal is told while a Redis of yours does not answer, instead of nothing for five seconds."""
        from mailspool.cli.live import patience

        spool = self.spool()
        async with AsyncExitStack() as waiting:
            if self.settings().redis_url is not None:
                await waiting.enter_async_context(patience(self.say, "Redis does not answer yet"))
            await spool.open()
        try:
            yield spool
        finally:
            await spool.close()

    @property
    def data_dir(self) -> Path | None:
        """Where a bug's traceback goes; None if the settings were never read."""
        return None if self._settings is None else self._settings.data_dir


def duration(text: str) -> timedelta:
    """DUR, for typer."""
    try:
        return times.duration(text)
    except ValueError as error:
        raise _no_value(text, error) from None


def moment(text: str) -> times.Moment:
    """WHEN, for typer."""
    try:
        return times.when(text, datetime.now(UTC))
    except ValueError as error:
        raise _no_value(text, error) from None


def _no_value(text: str, error: ValueError) -> typer.BadParameter:
    return typer.BadParameter(f'"{text[:40]}": {error}.')


def _version(asked: bool) -> None:
    if asked:
        from mailspool import __version__

        typer.echo(f"mailspool {__version__}")
        raise typer.Exit


JsonFlag = Annotated[bool, typer.Option("--json", help="Answers as JSON on stdout, errors as JSON lines on stderr.")]
QuietFlag = Annotated[bool, typer.Option("--quiet", help="Nothing on stderr but errors.")]
ConfigFlag = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="Read this settings file instead of the usual ones.")
]
RedisFlag = Annotated[
    str | None, typer.Option("--redis-url", metavar="URL", help="The queue's Redis; without one: the embedded server.")
]
VersionFlag = Annotated[
    bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
]

BatchRef = Annotated[
    str,
    typer.Argument(
        metavar="BATCH", help='Its id, the beginning of it, "key:KEY", "last" or "last:bulk".', show_default=False
    ),
]
Timeout = Annotated[
    timedelta | None, typer.Option("--timeout", metavar="DUR", parser=duration, help="Give up watching after this.")
]
ToFilter = Annotated[str | None, typer.Option("--to", metavar="ADDRESS", help="Only mail to this address.")]
DomainFilter = Annotated[str | None, typer.Option("--domain", metavar="DOMAIN", help="Only mail to this domain.")]
ReplyFilter = Annotated[
    str | None, typer.Option("--reply", metavar="TEXT", help="Only mail whose last reply holds this text.")
]

_GLOBAL: Final[tuple[tuple[str, object, object], ...]] = (
    ("json", JsonFlag, False),
    ("quiet", QuietFlag, False),
    ("config", ConfigFlag, None),
    ("redis_url", RedisFlag, None),
    ("version", VersionFlag, False),
)


def with_globals(function: Callable[..., int]) -> Callable[..., int]:
    """`function(ask, ...)` as typer wants it: the global flags among its own."""
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(function, eval_str=True).parameters.values()
        if parameter.name != "ask"
    ]

    def command(
        ctx: typer.Context,
        *,
        json: bool,
        quiet: bool,
        config: Path | None,
        redis_url: str | None,
        version: bool,
        **given: object,
    ) -> int:
        run = ctx.obj if isinstance(ctx.obj, Run) else Run()
        run.ask = Ask(Globals(json, quiet, config, redis_url).over(run.before))
        try:
            return function(run.ask, **given)
        except BrokenPipeError as error:  # typer would end the process itself, with 1
            raise ReaderGone from error

    first = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation, default in _GLOBAL
    ]
    signature = inspect.Signature([first, *own, *flags])
    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    vars(command)["__signature__"] = signature
    return command
