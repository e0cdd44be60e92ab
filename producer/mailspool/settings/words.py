"""pydantic's findings as sentences: where the value stands, what it is, what to write instead.

Called by model.py. Values of secrets and URLs are never shown; others are cut to 60 characters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mailspool.settings.sources import Given
from mailspool.settings.suggest import did_you_mean
from mailspool.settings.tomlfile import KeyPath

SHOWN_LIMIT: Final = 60

_WORDS: Final = {
    "int_parsing": "write a whole number",
    "int_type": "write a whole number",
    "int_from_float": "write a whole number",
    "int_parsing_size": "write a smaller number",
    "float_parsing": "write a number",
    "float_type": "write a number",
    "finite_number": "write a number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "write text in quotes",
    "path_type": "write a path in quotes",
    "tuple_type": 'write a list such as ["acme.example"]',
}


def sentences(error: ValidationError, given: Mapping[KeyPath, Given]) -> list[str]:
    """One sentence for each finding."""
    return [_sentence(details, given) for details in error.errors(include_url=False)]


def _sentence(details: ErrorDetails, given: Mapping[KeyPath, Given]) -> str:
    key = tuple(str(part) for part in details["loc"])
    while key and key not in given:
        key = key[:-1]
    source = given.get(key)
    name = ".".join(key) or ".".join(str(part) for part in details["loc"])
    shown = "" if source is None else _shown(key, source.value)
    return finish(f"{source.prefix if source else ''}{name}{shown}: {_advice(details)}")


def _shown(key: KeyPath, value: object) -> str:
    if key[-1].endswith(("password", "url")) or not isinstance(value, str | int | float):
        return ""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return f" = {text if len(text) <= SHOWN_LIMIT else text[:SHOWN_LIMIT] + '...'}"


def _advice(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    if kind == "literal_error":
        expected = str(context.get("expected", "")).replace("'", "")
        choices = expected.replace(" or ", ", ").split(", ")
        return f"choose one of {', '.join(choices)}.{did_you_mean(str(details['input'])[:SHOWN_LIMIT], choices)}"
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        bound = float(context.get("ge", context.get("gt", context.get("le", context.get("lt", 0)))))
        relation = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}
        return f"write {relation.get(kind, 'less than')} {bound:.15g}"
    return _WORDS.get(kind, details["msg"])


def finish(text: str) -> str:
    """A full stop at the end, unless the text ends in one, or in a URL or a line that somebody will copy."""
    last = text.rsplit(maxsplit=1)[-1]
    return text if text.endswith((".", "?", "!", '"..."')) or "://" in last else text + "."
