"""Where a command speaks: stdout holds the answer and nothing else, stderr everything else.

Made once a run from the flags `--json` and `--quiet`. With `--json` both streams hold one JSON object a line:
answers on stdout, `{"error": {...}}` and `{"notice": {...}}` on stderr. Colours only on a terminal, never with
NO_COLOR. Raises BrokenPipeError where the reader has gone away (`| head`); the run ends quietly then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from typing import Final, TextIO

from mailspool.cli.paint import Line, Span, harmless, line, painted, plain

_STEERS: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Of what JSON itself leaves as it is: DEL, the C1 controls, and what turns the direction of text."""


def colours(stream: TextIO) -> bool:
    """https://no-color.org: any text in NO_COLOR switches them off."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def json_text(fields: Mapping[str, object]) -> str:
    """One line, no spaces. What would steer a terminal, or turn the direction of its text, stands there as \\u...."""
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() and "\x7f" not in text else _STEERS.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text)


class Say:
    """The streams are looked up at each call, so that whoever replaces them (a test) is heard."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet

    # -- stdout

    def lines(self, lines: Iterable[Line]) -> None:
        """The answer, for people."""
        stream = sys.stdout
        paint = painted if colours(stream) else plain
        for spans in lines:
            stream.write(paint(spans) + "\n")
        stream.flush()

    def text(self, *lines: str) -> None:
        """The answer in plain words."""
        self.lines(line(text) for text in lines)

    def object(self, fields: Mapping[str, object]) -> None:
        """The answer, or a line of it, for programs."""
        sys.stdout.write(json_text(fields) + "\n")
        sys.stdout.flush()

    @property
    def to_terminal(self) -> bool:
        """Does somebody read the answer on a screen?"""
        return sys.stdout.isatty()

    @property
    def columns(self) -> int | None:
        """Of the terminal that shows the answer; None where it goes to a file or a program."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    # -- stderr

    def note(self, text: str) -> None:
        """Good to know; nothing to do."""
        if not self.quiet and not self.json:
            self._complain(line(Span(text, "dim")))

    def notice(self, code: str, text: str) -> None:
        """Something that a person should look at, although the command does what was asked."""
        if self.quiet:
            return
        if self.json:
            sys.stderr.write(json_text({"notice": {"code": code, "message": text}}) + "\n")
            sys.stderr.flush()
        else:
            self._complain(line(Span("! ", "yellow"), harmless(text)))

    def error(self, *, code: str, message: str, hint: str, exit_code: int) -> None:
        """Why the command did not do what was asked."""
        if self.json:
            fields = {"code": code, "message": message, "hint": hint or None, "exit": exit_code}
            sys.stderr.write(json_text({"error": fields}) + "\n")
            sys.stderr.flush()
            return
        # Cells of lists and replies of servers may stand in it: nothing of them shall steer the terminal.
        lines = [harmless(text) for text in message.split("\n")]
        self._complain(line(Span("error: ", "red"), "\n".join(lines)))
        # Many messages end in their hint; line breaks and the full stop may differ.
        if hint and " ".join(hint.split()).rstrip(".").lower() not in " ".join(message.split()).lower():
            self._complain(line(Span("hint:  ", "bold"), harmless(hint)))

    def interrupted(self, words: str) -> None:
        """After Ctrl-C: below the terminal's own ^C."""
        if not self.quiet:
            self._complain(line(("\n" if sys.stderr.isatty() else "") + words))

    @property
    def shows_progress(self) -> bool:
        """May a live line be drawn on stderr?"""
        return not self.json and not self.quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    @staticmethod
    def _complain(spans: Line) -> None:
        stream = sys.stderr
        stream.write((painted if colours(stream) else plain)(spans) + "\n")
        stream.flush()
