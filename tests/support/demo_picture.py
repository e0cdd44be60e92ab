"""The README's picture: `python -m tests.support.demo_picture` runs the demo and draws what it printed."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURE = Path(__file__).parents[2] / ".github" / "demo.svg"

_DEMO = "import sys; sys.argv[:] = ['.venv/bin/mailspool', 'demo']; from mailspool.cli.main import run; run()"
"""As `make demo` calls it: its last lines name the command."""


def main() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _DEMO],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ make demo", style="bold"))
    for line in ran.stdout.splitlines():
        style = "green" if line.strip().startswith("sent") else "yellow" if line.strip().startswith("failed") else ""
        console.print(Text(line, style=style))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(console.export_svg(title="mailspool"), "utf-8")


if __name__ == "__main__":
    main()
