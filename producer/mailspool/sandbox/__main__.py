"""`python -m mailspool.sandbox '{"port": 0, "log": "/tmp/x.jsonl"}'`: a receiver in a process of its own, for programs.

The argument is a JSON object: `host`, `port` and any field of ReceiverOptions; what it leaves out keeps its default,
except that mail and log are not held in memory. The first line on stdout is the receiver's URL, printed once it
listens; nothing else is printed. SIGTERM and Ctrl-C end it. People use `mailspool sandbox`. Exit: 78 with a sentence
on stderr for bad options.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from mailspool.errors import ConfigError, MailspoolError
from mailspool.sandbox.options import ReceiverOptions
from mailspool.sandbox.receiver import Receiver, serve

if sys.platform == "win32":
    from asyncio import run
else:
    from uvloop import run


class _Place(msgspec.Struct, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 0


def parse(argument: str) -> tuple[_Place, ReceiverOptions]:
    """ConfigError where the argument is no JSON object or holds a name or a type that is unknown."""
    try:
        fields = msgspec.json.decode(argument, type=dict[str, msgspec.Raw])
        place_fields = {name: fields.pop(name) for name in ("host", "port") if name in fields}
        place = msgspec.json.decode(msgspec.json.encode(place_fields), type=_Place)
        unknown = fields.keys() - ReceiverOptions.__dataclass_fields__.keys()
        if unknown:
            raise ConfigError(f"unknown receiver options: {', '.join(sorted(unknown))}")
        fields = {"remember_mails": msgspec.Raw(b"false"), "remember_log": msgspec.Raw(b"false")} | fields
        options = msgspec.json.decode(msgspec.json.encode(fields), type=ReceiverOptions, dec_hook=_path)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"bad receiver options: {error}") from error
    return place, options


def _path(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{value!r} is no path")


def _announce(receiver: Receiver) -> None:
    sys.stdout.write(receiver.url + "\n")
    sys.stdout.flush()


async def _main(place: _Place, options: ReceiverOptions) -> None:
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await serve(options, host=place.host, port=place.port, on_ready=_announce)


def main(arguments: list[str]) -> int:
    """The process."""
    if len(arguments) > 1:
        sys.stderr.write("one JSON object, or nothing\n")
        return 2
    try:
        place, options = parse(arguments[0] if arguments else "{}")
        run(_main(place, options))
    except MailspoolError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
