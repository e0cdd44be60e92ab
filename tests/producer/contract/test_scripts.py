"""Every Lua file is a move, filled in completely, named by what it says."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from mailspool.contract.scripts import NAMES, scripts

FILES = sorted(path.name for path in (files("mailspool.contract") / "lua").iterdir() if path.name.endswith(".lua"))


def test_every_file_is_a_move() -> None:
    assert [name.removesuffix(".lua") for name in FILES if name != "prelude.lua"] == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_filled_in_and_named_by_its_text(name: str) -> None:
    script = scripts("spool")[name]
    assert not re.findall(r"@\w+@", script.text)
    assert script.sha == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()
    assert "local P = 'spool:'" in script.text


def test_two_spools_have_other_scripts() -> None:
    assert not {one.sha for one in scripts("one").values()} & {one.sha for one in scripts("two").values()}


def test_no_script_spells_out_a_prefix() -> None:
    lua = files("mailspool.contract") / "lua"
    assert not [name for name in FILES if "'ms:" in (lua / name).read_text("utf-8")]
