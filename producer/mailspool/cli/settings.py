"""`mailspool settings`: every setting, its value (secrets masked) and where it came from.

With `--json` one line a setting, with default and reason. Raises ConfigError (78) where a setting is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mailspool.cli.options import Ask

if TYPE_CHECKING:
    from mailspool.cli.paint import Cell, Line
    from mailspool.settings import SettingLine


def settings(
    ask: Ask,
    changed: Annotated[bool, typer.Option("--changed", help="Only those that are no default.")] = False,
) -> int:
    """Show every setting, its value, and where it came from."""
    from mailspool.settings import explain

    found = ask.settings()
    ask.tell_unknown_variables()
    lines = [one for one in explain(found) if not changed or one.origin != "default"]
    if ask.say.json:
        for one in lines:
            ask.say.object({**one.to_dict()})
        return 0
    ask.say.note(f"settings file: {found.config_file or 'none'}")
    ask.say.lines(_table(lines))
    return 0


def _table(found: list[SettingLine]) -> list[Line]:
    from mailspool.cli.paint import Span, harmless, table

    rows: list[list[Cell]] = [[Span(title, "dim") for title in ("NAME", "VALUE", "FROM")]]
    for one in found:
        own: Literal["plain", "bold"] = "plain" if one.origin == "default" else "bold"
        rows.append([Span(one.name, own), Span(harmless(one.value), own), Span(harmless(one.origin), "dim")])
    return table(rows)
