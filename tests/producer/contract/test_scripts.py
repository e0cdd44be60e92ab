"""Every Lua file is a move, filled in completely, named by what it says."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

import pytest

from mailspool.contract.scripts import NAMES, scripts

FILES = sorted(path.name for path in (files("mailspool.contract") / "lua").iterdir() if path.name.endswith(".lua"))

PARTS = {"prelude.lua", "erasure.lua"}


def test_every_file_is_a_move() -> None:
    assert [name.removesuffix(".lua") for name in FILES if name not in PARTS] == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_filled_in_and_named_by_its_text(name: str) -> None:
    script = scripts("spool")[name]
    assert not re.findall(r"@\w+@", script.text)
    assert script.sha == hashlib.sha1(script.text.encode(), usedforsecurity=False).hexdigest()
    assert "local P = 'spool:'" in script.text


def test_erasure_stands_where_something_may_come_to_rest_and_nowhere_else() -> None:
    lua = files("mailspool.contract") / "lua"
    prelude = (lua / "prelude.lua").read_text("utf-8")
    functions = dict(re.findall(r"^local function (\w+)\((.*?)(?=^local |\Z)", prelude, re.DOTALL | re.MULTILINE))
    ends, before = {"erase_rows", "erase_content"}, set[str]()
    while ends != before:
        before = set(ends)
        ends |= {name for name, body in functions.items() if calls(body, ends)}
    assert {"asleep", "finish", "rest"} < ends
    for name, script in scripts("spool").items():
        needed = calls((lua / f"{name}.lua").read_text("utf-8"), ends)
        assert ("local function erase_rows" in script.text) == needed, name
    assert "local function erase_rows" not in scripts("spool")["record"].text, "it is called for every mail"


def calls(text: str, names: set[str]) -> bool:
    return any(re.search(rf"\b{name}\(", text) for name in names)


def test_two_spools_have_other_scripts() -> None:
    assert not {one.sha for one in scripts("one").values()} & {one.sha for one in scripts("two").values()}


def test_no_script_spells_out_a_prefix() -> None:
    lua = files("mailspool.contract") / "lua"
    assert not [name for name in FILES if "'ms:" in (lua / name).read_text("utf-8")]
