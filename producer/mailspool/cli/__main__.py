"""`python -m mailspool.cli`: the same as the command `mailspool`, for environments without it on the PATH."""

from __future__ import annotations

from mailspool.cli.main import run

run()
