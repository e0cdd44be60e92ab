"""The command line: its commands, its global flags, and what becomes of an error.

`run` is the console entry of the distribution. `main(arguments)` answers the exit code and raises nothing; the codes
are told in failures.py. With `--json` every error is one JSON line on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import typer

from mailspool.cli import (
    control,
    demo,
    messages,
    probe,
    sandbox,
    send,
    server,
    settings,
    status,
    watch,
    worker,
)
from mailspool.cli.failures import Interrupted, Usage, failure_of
from mailspool.cli.options import (
    Ask,
    ConfigFlag,
    Globals,
    JsonFlag,
    QuietFlag,
    RedisFlag,
    VersionFlag,
    with_globals,
)
from mailspool.cli.say import Say
from mailspool.errors import MailspoolError

COMMANDS: Final[tuple[tuple[str, Callable[..., int]], ...]] = (
    ("demo", demo.demo),
    ("send", send.send),
    ("worker", worker.worker),
    ("status", status.status),
    ("show", messages.show),
    ("watch", watch.watch),
    ("retry", control.retry),
    ("hold", control.hold),
    ("release", control.release),
    ("cancel", control.cancel),
    ("sandbox", sandbox.sandbox),
    ("probe", probe.probe),
    ("settings", settings.settings),
    ("server", server.server),
)
_EPILOG: Final = (
    "Exit codes: 0 done as asked, 1 waited and not all is well, 2 usage, 65 bad input (nothing was queued), "
    "66 no such file or batch, 69 Redis or receiver unreachable, 70 a bug, 73 no room, 75 timeout, "
    "77 login refused or folder of another user, 78 settings, 130 Ctrl-C."
)
_HELP: Final = {"help_option_names": ["-h", "--help"]}


class _Run:
    """One run: the Ask of its command, once that is known."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.ask: Ask | None = None
        flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
        # Before the command line is understood its errors must know already how to be told.
        self._say = Say(json="--json" in flags, quiet="--quiet" in flags)

    def learn(self, ask: Ask) -> None:
        self.ask = ask

    def fail(self, error: BaseException) -> int:
        """Tell it; the exit code."""
        failure = failure_of(error, self.ask.data_dir if self.ask else None)
        say = self.ask.say if self.ask else self._say
        if not (isinstance(error, Interrupted | KeyboardInterrupt) and say.quiet):
            say.error(
                code=failure.code, message=failure.message, hint=failure.hint, exit_code=failure.exit_code
            )
        return failure.exit_code


def _application(run: _Run) -> typer.Typer:
    app = typer.Typer(
        name="mailspool",
        help="Send bulk mail through a durable queue, and account for every single message.",
        epilog=_EPILOG,
        add_completion=False,
        rich_markup_mode=None,  # plain help is read in a tenth of a second
        no_args_is_help=True,
        context_settings=_HELP,
    )

    @app.callback()
    def everywhere(
        ctx: typer.Context,
        json: JsonFlag = False,
        quiet: QuietFlag = False,
        config: ConfigFlag = None,
        redis_url: RedisFlag = None,
        version: VersionFlag = False,
    ) -> None:
        ctx.obj = Globals(json, quiet, config, redis_url)

    for name, function in COMMANDS:
        app.command(name, context_settings=_HELP)(with_globals(function, asked=run.learn))
    return app


def main(arguments: Sequence[str]) -> int:
    """One command; its exit code."""
    this_run = _Run(arguments)
    command = typer.main.get_command(_application(this_run))
    try:
        code = command.main(list(arguments), prog_name="mailspool", standalone_mode=False)
    except BrokenPipeError:
        return _reader_is_gone()
    except (MailspoolError, Usage, Interrupted, typer.TyperException, KeyboardInterrupt) as error:
        return this_run.fail(error)
    except Exception as error:  # noqa: BLE001 - a bug of ours: kept in a file, told, exit 70
        return this_run.fail(error)
    return code if isinstance(code, int) else 0


def _reader_is_gone() -> int:
    """`mailspool show last | head`: what was asked for was given; Python shall not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def run() -> None:
    """The console command `mailspool`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal of another encoding gets escapes instead of an exception.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))
