"""The command line: its commands, its global flags, and what becomes of an error.

`run` is the console entry of the distribution. `main(arguments)` answers the exit code and raises nothing; the codes
are told in failures.py. With `--json` every error is one JSON line on stderr.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Final

import typer

from mailspool.cli import (
    control,
    demo,
    doctor,
    messages,
    pause,
    probe,
    relay,
    resolve,
    sandbox,
    send,
    server,
    settings,
    status,
    verify,
    watch,
    why,
    worker,
)
from mailspool.cli.failures import INTERRUPTED, USAGE, Interrupted, Usage, failure_of
from mailspool.cli.options import (
    ConfigFlag,
    Globals,
    JsonFlag,
    QuietFlag,
    ReaderGone,
    RedisFlag,
    Run,
    VersionFlag,
    with_globals,
)
from mailspool.cli.say import Say, json_text
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
    ("resolve", resolve.resolve),
    ("why", why.why),
    ("pause", pause.pause),
    ("resume", pause.resume),
    ("relay", relay.relay),
    ("verify", verify.verify),
    ("sandbox", sandbox.sandbox),
    ("probe", probe.probe),
    ("doctor", doctor.doctor),
    ("settings", settings.settings),
    ("server", server.server),
)
_EPILOG: Final = (
    "Exit codes: 0 done as asked, 1 waited and not all is well, 2 usage, 65 bad input (nothing was queued), "
    "66 no such file or batch, 69 Redis or receiver unreachable, 70 a bug, 73 no room, 75 timeout, "
    "77 login refused or folder of another user, 78 settings, 130 Ctrl-C."
)
_EXAMPLES: Final = {"send": send.EXAMPLES}
_HELP: Final = {"help_option_names": ["-h", "--help"]}


app = typer.Typer(
    name="mailspool",
    help="Send bulk mail through a durable queue, and account for every single message.",
    epilog=_EPILOG,
    add_completion=False,
    rich_markup_mode=None,  # plain help is there in a tenth of a second
    context_settings=_HELP,
)


@app.callback(invoke_without_command=True)
def everywhere(
    ctx: typer.Context,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
    config: ConfigFlag = None,
    redis_url: RedisFlag = None,
    version: VersionFlag = False,
) -> None:
    if isinstance(ctx.obj, Run):
        ctx.obj.before = Globals(json, quiet, config, redis_url)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(USAGE)


for _name, _function in COMMANDS:
    app.command(_name, context_settings=_HELP, epilog=_EXAMPLES.get(_name))(with_globals(_function))


def main(arguments: Sequence[str]) -> int:
    """One command; its exit code."""
    this_run = Run()
    command = typer.main.get_command(app)
    try:
        code = command.main(list(arguments), prog_name="mailspool", standalone_mode=False, obj=this_run)
    except ReaderGone:
        return _reader_is_gone()
    except (MailspoolError, Usage, Interrupted, typer.TyperException, KeyboardInterrupt) as error:
        return _tell(error, this_run, arguments)
    except Exception as error:  # noqa: BLE001 - a bug of ours: kept in a file, told, exit 70
        return _tell(error, this_run, arguments)
    return code if isinstance(code, int) else 0


def _tell(error: BaseException, this_run: Run, arguments: Sequence[str]) -> int:
    """In words or as JSON; answers the exit code."""
    ask = this_run.ask
    # A command line that was not understood has no Ask, and still says how it wants to be told so.
    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    say = ask.say if ask else Say(json="--json" in flags, quiet="--quiet" in flags)
    failure = failure_of(error, ask.data_dir if ask else None)
    if failure.code == "interrupted" and not say.json:
        say.interrupted(failure.message)
    else:
        say.error(code=failure.code, message=failure.message, hint=failure.hint, exit_code=failure.exit_code)
    return failure.exit_code


def _reader_is_gone() -> int:
    """`mailspool show last | head`: what was asked for was given; Python shall not complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _stop_at_once(number: int, frame: FrameType | None) -> None:
    """Ctrl-C before a command's loop runs: modules are loaded, files are read, nothing has been done yet.

    Not by KeyboardInterrupt: raised in the middle of an import it comes out as anything.
    """
    words = "Interrupted: nothing was done."
    if "--json" in sys.argv:
        words = json_text({"error": {"code": "interrupted", "message": words, "hint": None, "exit": INTERRUPTED}})
    os.write(sys.stderr.fileno(), f"{words}\n".encode())
    os._exit(INTERRUPTED)


def run() -> None:
    """The console command `mailspool`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop_at_once)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal of another encoding gets escapes instead of an exception.
            stream.reconfigure(errors="backslashreplace")
    code = main(sys.argv[1:])
    # All memory is given back at once: to look through it for garbage first takes longer than most commands do.
    gc.freeze()
    sys.exit(code)
