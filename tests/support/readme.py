"""The parts of README.md that a program writes: settings, commands, errors.

`python -m tests.support.readme` renews them; tests/test_readme.py compares: a page that a program can check is checked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import typer
import typer.main
from typer.core import TyperGroup

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
    if not isinstance(group, TyperGroup):
        raise TypeError("the command line is no group of commands")
    rows = []
    for name, command in group.commands.items():
        if not command.hidden:
            inner = command.commands if isinstance(command, TyperGroup) else {}
            pieces = ["|".join(inner)] if inner else command.collect_usage_pieces(typer.Context(command))[1:]
            usage = " ".join((name, *map(_plain, pieces)))
            rows.append((f"`{usage}`", command.get_short_help_str(120)))
    return table(("command", "what it does"), iter(rows))


def _plain(piece: str) -> str:
    """`BATCH` for typer's `{BATCH}`, `[BATCH]...` for its `[[BATCH]...]...`."""
    many = "..." if piece.endswith("...") else ""
    name = piece.strip("[]{}.")
    return f"[{name}]{many}" if piece.startswith("[") else f"{name}{many}"


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
