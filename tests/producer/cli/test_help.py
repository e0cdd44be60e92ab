"""What can be asked before anything is done: help, version, and what is said about a command that is none."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mailspool import __version__
from mailspool.cli.main import COMMANDS
from tests.producer.cli.commands import Here
from tests.support.embedded import REPOSITORY

HEAVY = {"redis", "pydantic", "pydantic_settings", "jinja2", "arq", "aiosmtplib", "rich.live", "asyncio", "uvloop"}
NOT_FOR_LOOKING = {"jinja2", "arq", "aiosmtplib", "smtplib", "tenacity", "lxml", "uvloop", "mailspool.lists.reader"}
"""What only the writing, queueing and sending of mail needs."""
NAMES = (
    *("demo", "send", "worker", "status", "show", "watch", "retry", "hold", "release", "cancel"),
    *("resolve", "why", "pause", "resume", "relay"),
    *("verify", "sandbox", "probe", "doctor", "settings", "server"),
)


def loaded_by(*arguments: str, heavy: set[str] = HEAVY) -> set[str]:
    """Which of the heavy modules this command line loads, in a process of its own."""
    code = (
        "import json, sys\nfrom mailspool.cli.main import main\n"
        f"main({list(arguments)!r})\nsys.stderr.write(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY / "producer", check=True, capture_output=True, text=True
    )
    modules = set(json.loads(done.stderr[done.stderr.rindex("[") :]))
    assert "typer" in modules
    return modules & heavy


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert loaded_by(*arguments) == set()


def test_the_help_of_a_command_loads_only_what_typer_needs_itself() -> None:
    """Typer makes its choices with pydantic."""
    assert loaded_by("send", "--help") <= {"pydantic"}


def test_who_looks_or_stops_loads_nothing_that_only_sending_needs(here: Here) -> None:
    assert here.send("--to", "ali@example.test").code == 0
    looks = (["status"], ["status", "last"], ["why"], ["why", "last"], ["relay", "list"], ["show", "last"])
    for arguments in (*looks, ["hold", "last"], ["pause"], ["cancel", "last", "--yes"]):
        assert loaded_by(*arguments, heavy=NOT_FOR_LOOKING) == set(), arguments


def test_every_command_is_there_in_order() -> None:
    assert tuple(name for name, _ in COMMANDS) == NAMES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_every_command_has_help(here: Here, name: str, flag: str) -> None:
    ran = here.run(name, flag)
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: mailspool {name} ")
    for shared in ("--json", "--quiet", "--config FILE", "--redis-url URL", "--version"):
        assert shared in ran.out


def test_help_names_every_command_in_one_line(here: Here) -> None:
    lines = here.run("--help").out.partition("Commands:")[2].splitlines()
    told = {line.split()[0]: line for line in lines if line.startswith("  ") and line.split()[:1]}
    for name in NAMES:
        assert name in told
        assert not told[name].endswith("..."), "cut off: say it shorter"


@pytest.mark.parametrize("arguments", [["--version"], ["send", "--version"], ["--json", "status", "--version"]])
def test_version(here: Here, arguments: list[str]) -> None:
    ran = here.run(*arguments)
    assert (ran.code, ran.out, ran.err) == (0, f"mailspool {__version__}\n", "")


def test_nothing_at_all(here: Here) -> None:
    ran = here.run()
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: mailspool")


def test_a_misspelt_command(here: Here) -> None:
    ran = here.run("sned")
    assert (ran.code, ran.out) == (2, "")
    assert "Did you mean 'send'?" in ran.err


def test_a_misspelt_flag(here: Here) -> None:
    ran = here.run("send", "--subjekt", "x")
    assert ran.code == 2
    assert "--subjekt" in ran.err
    assert "--subject" in ran.err
    assert "mailspool send --help" in ran.err


@pytest.mark.parametrize("arguments", [["--json", "sned"], ["send", "--json", "--foo"], ["send", "--foo", "--json"]])
def test_usage_errors_as_json(here: Here, arguments: list[str]) -> None:
    ran = here.run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert ran.error()["code"] == "usage"
    assert ran.error()["exit"] == 2
    assert set(ran.error()) == {"code", "message", "hint", "exit"}


def test_a_receiver_called_json_is_no_flag(here: Here) -> None:
    """After -- nothing is a flag."""
    ran = here.run("show", "--", "--json")
    assert ran.code == 66
    assert ran.err.startswith("error: ")
