"""The key of a list without one: the same content, and nothing else, makes the same key."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailspool.cli.content_key import PREFIX, content_key, list_digest

READING: dict[str, str | None] = {"encoding": None, "delimiter": None, "duplicates": "first"}


def key(template: str = "t", rows: str = "r", **reading: str | None) -> str:
    return content_key(template, rows, {**READING, **reading})


def test_the_same_content_has_the_same_key() -> None:
    assert key() == key()
    assert key().startswith(PREFIX)
    assert len(key()) == len(PREFIX) + 32


def test_it_must_never_change_between_releases() -> None:
    """A batch lives for weeks; after an upgrade the same command must still find it."""
    assert (
        content_key("aa", "bb", {"encoding": "cp1252", "delimiter": None}) == "content:3c14471ead583773005309fbbb066ea6"
    )


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(template="t2"),
        lambda: key(rows="r2"),
        lambda: key(encoding="cp1252"),
        lambda: key(duplicates="all"),
        lambda: key(duplicates=None),
        lambda: content_key("tr", "", READING),
    ],
)
def test_another_content_has_another(other: Callable[[], str]) -> None:
    assert other() != key()


def test_flags_that_were_not_given_do_not_count() -> None:
    assert key() == content_key("t", "r", {"duplicates": "first"})


def test_how_a_list_arrives_in_blocks_does_not_matter() -> None:
    assert list_digest([b"email\nali@", b"x.org\n"]) == list_digest([b"email\nali@x.org\n"]) != list_digest([])
