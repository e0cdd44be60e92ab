"""The parts of README.md that a program writes: settings, commands, errors.

`python -m tests.support.readme` renews them; tests/test_readme.py compares: a page that a program can check is checked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import typer.main

from mailspool import errors
from mailspool.cli.main import app
from mailspool.settings import Settings, explain

PAGE = Path(__file__).parents[2] / "README.md"


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def settings() -> str:
    lines = explain(Settings(data_dir="/nowhere"))
    rows = ((f"`{line.name}`", f"`{line.default}`", line.reason) for line in lines)
    return table(("setting", "default", "why"), rows)


def commands() -> str:
    group = typer.main.get_command(app)
    if not isinstance(group, click.Group):
        raise TypeError("the command line is no group of commands")
    shown = ((name, command) for name, command in group.commands.items() if not command.hidden)
    rows = ((f"`{_usage(name, command)}`", command.get_short_help_str(120)) for name, command in shown)
    return table(("command", "what it does"), rows)


def _usage(name: str, command: click.Command) -> str:
    if isinstance(command, click.Group):
        return f"{name} {'|'.join(command.commands)}"
    context = click.Context(command)
    arguments = [part.make_metavar(context) for part in command.params if isinstance(part, click.Argument)]
    return " ".join([name, *arguments])


def error_list() -> str:
    rows = []
    for error in vars(errors).values():
        if inspect.isclass(error) and issubclass(error, errors.MailspoolError) and error is not errors.MailspoolError:
            first = (inspect.getdoc(error) or "").split("\n\n")[0].replace("\n", " ")
            rows.append((f"`{error.__name__}`", str(error.default_exit), first))
    return table(("error", "exit code", "what it says"), iter(rows))


SECTIONS: dict[str, Callable[[], str]] = {"settings": settings, "commands": commands, "errors": error_list}


def renewed(page: str) -> str:
    """The page with its generated sections as they should be."""
    for name, make in SECTIONS.items():
        pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
        found = pattern.search(page)
        if found is None:
            raise ValueError(f"README.md has no section {name}")
        made = make()
        start, end = found.span()
        page = f"{page[:start]}{found[1]}{made}\n{found[2]}{page[end:]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text("utf-8")), "utf-8")
