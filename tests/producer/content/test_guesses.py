"""What the writer of a broken template probably meant."""

from __future__ import annotations

import pytest

from mailspool.content.guesses import not_closed, suggestion


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("{{ a }} {{ b", (1, "{{", "}}")),
        ("{{ a\n{{ b }}", (1, "{{", "}}")),
        ("x\n{% if a\n{{ b }}{% endif %}", (2, "{%", "%}")),
        ("{{ a %}", (1, "{{", "}}")),
        ("{{ a }}{% if b %}", None),
        ("}} {{ a }}", None),
        ("{# {{ #}\n{% raw %}{{ {% endraw %}\n{{ a", (3, "{{", "}}")),
        ("\n\n\n\n{{ beyond the error", None),
        ("{{ {'a': {'b': 1}} }}", None),
    ],
)
def test_a_tag_without_an_end(source: str, found: tuple[int, str, str] | None) -> None:
    assert not_closed(source, 3) == found


def test_a_key_that_no_template_can_say() -> None:
    assert suggestion("Name", "name") == " Did you mean {{ name }}?"
    assert suggestion("first_name", "First Name").endswith('rename the key "First Name" to "first_name".')
    assert len(suggestion("first_name", "First Name" * 100)) < 200
