"""What is shipped: the wheel holds everything that the code reads, and `make` says in words what it cannot work with.

The wheel is built once, from a copy of the tree, with the build backend that constraints.txt pins.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import mailspool

HOUSE = Path(__file__).resolve().parent.parent
PACKAGES = {"mailspool": HOUSE / "producer" / "mailspool", "mailspool_worker": HOUSE / "worker" / "mailspool_worker"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    for name in ("producer", "worker"):
        shutil.copytree(HOUSE / name, tree / name)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(HOUSE / name, tree / name)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(build, cwd=tree, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def metadata(wheel: zipfile.ZipFile, name: str) -> bytes:
    return wheel.read(f"mailspool-{mailspool.__version__}.dist-info/{name}")


def headers(wheel: zipfile.ZipFile) -> Message:
    return BytesParser().parsebytes(metadata(wheel, "METADATA"))


def test_the_wheel_holds_every_file_of_both_packages(wheel: zipfile.ZipFile) -> None:
    files = [
        (package, path.relative_to(root))
        for package, root in PACKAGES.items()
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    expected = {f"{package}/{path.as_posix()}" for package, path in files}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected
    suffixes = {path.suffix for _, path in files}
    assert {".py", ".lua", ".toml", ".typed"} <= suffixes


@pytest.mark.parametrize(
    "name",
    ["mailspool/py.typed", "mailspool_worker/py.typed", "mailspool/settings/providers.toml"],
)
def test_the_wheel_holds_what_no_import_would_miss(wheel: zipfile.ZipFile, name: str) -> None:
    assert name in wheel.namelist()


def test_the_wheel_brings_one_command(wheel: zipfile.ZipFile) -> None:
    scripts = configparser.ConfigParser()
    scripts.read_string(metadata(wheel, "entry_points.txt").decode())
    assert {section: dict(scripts[section]) for section in scripts.sections()} == {
        "console_scripts": {"mailspool": "mailspool.cli.main:run"}
    }


def test_one_version_everywhere(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text("utf-8"))["project"]
    assert mailspool.__version__ == project["version"] == headers(wheel)["Version"]


def test_the_wheel_needs_nothing_that_only_development_does(wheel: zipfile.ZipFile) -> None:
    needed = [line for line in headers(wheel).get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[^\w-]", line)[0] for line in needed}
    assert not names & {"pytest", "mypy", "ruff", "fakeredis", "hypothesis", "import-linter", "pyyaml"}
    assert headers(wheel)["Requires-Python"] == ">=3.11"
    assert headers(wheel)["License-Expression"] == "MIT"


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text("utf-8"))
    named = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["dev"],
    ]
    pinned = set(re.findall(r"^([\w-]+)==", (HOUSE / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    assert {re.split(r"[^\w-]", line)[0] for line in named} <= pinned


# make, on a machine that it cannot work with


def make(tmp_path: Path, python: str) -> subprocess.CompletedProcess[str]:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(HOUSE / name, tmp_path / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "demo", f"PYTHON={python}"]
    return subprocess.run(command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)


def program(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return str(path)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not on this machine")


@needs_make
def test_make_refuses_an_old_python_in_words(tmp_path: Path) -> None:
    old = program(tmp_path / "python3.9", 'case "$1" in -V) echo Python 3.9.2;; *) exit 1;; esac')
    done = make(tmp_path, old)
    assert done.returncode == 2
    assert "Mailspool needs Python 3.11 or newer" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_make_says_what_to_install_where_venv_is_missing(tmp_path: Path) -> None:
    bare = program(tmp_path / "python3", 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac')
    done = make(tmp_path, bare)
    assert done.returncode == 2
    assert "apt install python3-venv" in done.stderr
    assert not (tmp_path / ".venv").exists()


@needs_make
def test_make_says_when_there_is_no_python(tmp_path: Path) -> None:
    done = make(tmp_path, "no-such-python")
    assert done.returncode == 2
    assert "No 'no-such-python' here" in done.stderr
