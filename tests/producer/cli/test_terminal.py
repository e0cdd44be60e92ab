"""At a terminal: colours, the live line, and the one question that is ever asked."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping

import pytest

from tests.producer.cli.commands import FROM, LIMIT_S, Cli


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, cli: Cli, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen(
            cli.argv(*arguments),
            cwd=cli.folder,
            env={**cli.environment, "TERM": "xterm-256color", "COLUMNS": "100", **(env or {})},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, text: str) -> None:
        end = time.monotonic() + LIMIT_S
        while text not in self.shown and self._read():
            assert time.monotonic() < end, self.shown
        assert text in self.shown, self.shown

    def end(self) -> tuple[int, str]:
        """Its exit code and all that it showed."""
        end = time.monotonic() + LIMIT_S
        while self._read():
            assert time.monotonic() < end, self.shown
        os.close(self._ours)
        return self.process.wait(LIMIT_S), self.shown.replace("\r\n", "\n")

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], 0.1)
        if not ready:
            return True
        try:
            data = os.read(self._ours, 65_536)
        except OSError:  # EIO: the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def test_what_a_person_sees(cli: Cli) -> None:
    cli.write("people.csv", "email\na@x.org\n550-5.1.1-b@x.org\n")
    with cli.receiver():
        code, shown = Terminal(cli, "send", *FROM, "--body", "x", "--to", "people.csv", "--deliver").end()
    assert code == 1
    assert "people.csv   UTF-8, one address a line" in shown or "people.csv   UTF-8, comma, 2 rows: email" in shown
    assert "2 queued   batch b" in shown
    assert "\x1b[?25l" in shown, "the live line hides the cursor"
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "and gives it back"
    assert "100 %" in shown
    assert "\x1b[31mfailed\x1b[0m" in shown
    assert "550 5.1.1 mailbox unknown (1)" in shown


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours(cli: Cli, env: dict[str, str]) -> None:
    code, shown = Terminal(cli, "send", *FROM, "--to", "a@x.org", "--body", "x", env=env).end()
    assert code == 0
    assert "\x1b[" not in shown
    assert "! No worker is running" in shown
    code, shown = Terminal(cli, "status", "nope", env=env).end()
    assert (code, shown[:16]) == (66, "error: no batch ")


def test_colours(cli: Cli) -> None:
    _, shown = Terminal(cli, "send", *FROM, "--to", "a@x.org", "--body", "x", env={"NO_COLOR": ""}).end()
    assert "\x1b[33m! \x1b[0mNo worker is running" in shown


@pytest.mark.parametrize(
    ("answer", "state", "words"),
    [
        ("n", "active", "Nothing was cancelled."),
        ("", "active", "Nothing was cancelled."),
        ("y", "cancelled", "2 mails of "),
    ],
)
def test_cancel_asks(cli: Cli, answer: str, state: str, words: str) -> None:
    batch = cli.send("--to", "a@x.org", "--to", "b@x.org", "--name", "news").out.strip()
    terminal = Terminal(cli, "cancel", batch)
    terminal.until(f"Cancel 2 mails of {batch} (news)? 0 are sent already. [y/N] ")
    terminal.type(f"{answer}\n")
    code, shown = terminal.end()
    assert code == 0
    assert words in shown
    assert cli.run("status", batch, "--json").json()["state"] == state


def test_cancel_does_not_ask_again(cli: Cli) -> None:
    batch = cli.send("--to", "a@x.org").out.strip()
    code, shown = Terminal(cli, "cancel", batch, "--yes").end()
    assert (code, shown) == (0, f"1 mail of {batch} cancelled\n")


def test_typing_a_list(cli: Cli) -> None:
    terminal = Terminal(cli, "send", *FROM, "--body", "x", "--to", "-")
    terminal.until("type addresses or CSV, one line each; end with Ctrl-D")
    terminal.type("a@x.org\n\x04")
    code, shown = terminal.end()
    assert code == 0
    assert "1 queued   batch b" in shown


def test_a_long_check_says_so(cli: Cli) -> None:
    cli.write("many.csv", "email\n" + "".join(f"a{n}@x.org\n" for n in range(100_000)))
    terminal = Terminal(cli, "send", *FROM, "--body", "{{ email }}", "--to", "many.csv", "--dry-run")
    terminal.until("every row is checked and rendered; nothing is queued")
    code, shown = terminal.end()
    assert code == 0
    assert "100,000 mails checked and rendered" in shown


def test_ctrl_c_gives_the_cursor_back(cli: Cli) -> None:
    cli.send("--to", "a@x.org")
    terminal = Terminal(cli, "watch", "last")
    terminal.until("no worker is running")
    terminal.process.send_signal(2)
    code, shown = terminal.end()
    assert code == 130
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert "Stopped watching; " in shown


def test_while_redis_does_not_answer_somebody_at_a_terminal_is_told(cli: Cli) -> None:
    terminal = Terminal(cli, "status", "--redis-url", "redis://127.0.0.1:1")
    terminal.until("Redis does not answer yet")
    code, shown = terminal.end()
    assert code == 69
    assert "error: " in shown
