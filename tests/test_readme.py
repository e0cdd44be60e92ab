"""What README.md says is true: generated sections are up to date, its Python type-checks, its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.readme import PAGE, renewed

FENCED = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for kind, text in FENCED.findall(PAGE.read_text("utf-8")) if kind == language]


def test_generated_sections_are_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert renewed(page) == page, "run: python -m tests.support.readme"


def test_the_first_screen_says_what_it_is_and_how_to_see_it() -> None:
    first_screen = "\n".join(PAGE.read_text("utf-8").splitlines()[:30])
    assert "make demo" in first_screen
    assert "make test" in first_screen
    assert "mailspool send" in first_screen


def test_a_list_that_is_sent_has_a_key() -> None:
    """Without one a corrected list goes to everybody again."""
    sends = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("$ mailspool send")]
    assert sends
    assert all(" --key " in line for line in sends)


def test_what_a_newcomer_looks_for() -> None:
    page = PAGE.read_text("utf-8")
    for words in (".venv/bin/mailspool", "`server status\\|stop`", "?tls=off|required|insecure", "wait(timeout=600)"):
        assert words in page, words


def test_python_blocks_pass_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "fastapi.pyi").write_text(
        "from typing import Any, Callable, TypeVar\nT = TypeVar('T')\n"
        "class FastAPI:\n    def __init__(self, *, lifespan: Any = ...) -> None: ...\n"
        "    def post(self, path: str, *, status_code: int = ...) -> Callable[[T], T]: ...\n"
    )
    files = []
    for number, text in enumerate(blocks("python")):
        path = tmp_path / f"block_{number}.py"
        path.write_text(text, "utf-8")
        files.append(str(path))
    assert len(files) >= 3
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(PAGE.parent / "pyproject.toml"), *files],
        cwd=PAGE.parent,
        env={"MYPYPATH": f"producer:worker:{tmp_path}", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout


def test_the_hero_script_is_fifteen_lines() -> None:
    hero = blocks("python")[0].strip().splitlines()
    assert len([line for line in hero if line]) <= 15


def test_every_command_shown_exists() -> None:
    page = PAGE.read_text("utf-8")
    named = set(re.findall(r"`mailspool (\w+)", page)) | set(re.findall(r"^\$ mailspool (\w+)", page, re.MULTILINE))
    from typer.main import get_command

    from mailspool.cli.main import app

    known = get_command(app)
    assert named
    for name in named:
        assert name in getattr(known, "commands", {}), name
