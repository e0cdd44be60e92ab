"""Peers that are not in this project's dependencies: each has an environment of its own below .bench/."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

HOME = Path(".bench").resolve()


def python_of(name: str) -> Path:
    return HOME / name / "bin" / "python"


def install_python(name: str, *packages: str) -> None:
    venv.create(HOME / name, with_pip=True)
    subprocess.run([python_of(name), "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)


def install_node(name: str, *packages: str) -> None:
    folder = HOME / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    subprocess.run(["npm", "install", "--silent", "--no-audit", *packages], check=True, cwd=folder, stdout=sys.stderr)
